package changes

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestFrontierIsTheMinimum(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var f frontier
	want := make(map[*part]uint64)
	add := func(ts uint64) {
		p := &part{}
		f.add(p, ts)
		want[p] = ts
	}
	add(1)
	for range 5000 {
		switch p := f.parts[rnd.IntN(len(f.parts))]; {
		case rnd.IntN(10) == 0:
			add(want[p])
		case rnd.IntN(12) == 0 && len(f.parts) > 1:
			f.remove(p)
			require.Equal(t, -1, p.slot)
			delete(want, p)
		default:
			ts := want[p] + uint64(rnd.IntN(3))
			before := f.minimum()
			may := f.raise(p, ts)
			want[p] = max(want[p], ts)
			if !may {
				require.Equal(t, before, f.minimum())
			}
		}
		least := ^uint64(0)
		for _, ts := range want {
			least = min(least, ts)
		}
		require.Equal(t, least, f.minimum())
		require.Equal(t, least, f.ts[f.slowest().slot])
	}
}

func keys(start, end string) KeyRange { return KeyRange{[]byte(start), []byte(end)} }

func reg(id uint64, start, end string) Region {
	return Region{ID: id, Version: 1, Start: []byte(start), End: []byte(end), Leader: 1}
}

func TestCut(t *testing.T) {
	for name, tc := range map[string]struct {
		parts   []KeyRange
		regions []Region
		want    []string // range and region, 0 for a hole, and resolved-ts
	}{
		"inside of one region": {[]KeyRange{keys("b", "c")}, []Region{reg(1, "", "")}, []string{"b-c 1 @0"}},
		"exactly one region":   {[]KeyRange{keys("b", "c")}, []Region{reg(1, "b", "c")}, []string{"b-c 1 @0"}},
		"several regions": {
			[]KeyRange{keys("b", "x")}, []Region{reg(1, "", "d"), reg(2, "d", "m"), reg(3, "m", "")},
			[]string{"b-d 1 @0", "d-m 2 @0", "m-x 3 @0"},
		},
		"nothing found": {[]KeyRange{keys("b", "x")}, nil, []string{"b-x 0 @0"}},
		"holes": {
			[]KeyRange{keys("b", "x")}, []Region{reg(1, "c", "d"), reg(2, "f", "g")},
			[]string{"b-c 0 @0", "c-d 1 @0", "d-f 0 @0", "f-g 2 @0", "g-x 0 @0"},
		},
		"regions of others": {
			[]KeyRange{keys("b", "c"), keys("m", "n")}, []Region{reg(1, "", "c"), reg(2, "c", "k"), reg(3, "k", "")},
			[]string{"b-c 1 @0", "m-n 3 @1"},
		},
		"stale answers overlap": {
			[]KeyRange{keys("b", "x")}, []Region{reg(1, "a", "m"), reg(2, "d", "k"), reg(3, "k", "")},
			[]string{"b-m 1 @0", "m-x 3 @0"},
		},
		"neighbours become one after a merge": {
			[]KeyRange{keys("b", "c"), keys("c", "d"), keys("e", "f")}, []Region{reg(1, "", "")},
			[]string{"b-d 1 @0", "e-f 1 @2"},
		},
		"neighbours in two regions": {
			[]KeyRange{keys("b", "c"), keys("c", "d")}, []Region{reg(1, "", "c"), reg(2, "c", "")},
			[]string{"b-c 1 @0", "c-d 2 @1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Subscription{}
			c := cutter{sub: s}
			for i, k := range tc.parts {
				p := &part{sub: s, keys: k}
				s.frontier.add(p, uint64(i))
				c.add(p, tc.regions)
			}
			var got []string
			for i, p := range c.pieces {
				got = append(got, fmt.Sprintf("%s-%s %d @%d", p.keys.Start, p.keys.End, p.region.ID, c.ts[i]))
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestUnion(t *testing.T) {
	var parts []*part
	for _, k := range []KeyRange{keys("a", "c"), keys("b", "d"), keys("d", "e"), keys("f", "k"), keys("g", "h")} {
		parts = append(parts, &part{keys: k})
	}
	require.Equal(t, []KeyRange{keys("a", "e"), keys("f", "k")}, union(parts))
}

func historyPart(o Options) *part {
	return &part{sub: &Subscription{o: o, c: &Client{cfg: Config{AdmitTimeout: time.Hour}}, started: time.Now()}}
}

func TestScansGrowWhileSmallAndShrinkWhileLarge(t *testing.T) {
	s := newScans(256)
	for range 2000 {
		s.enqueue(historyPart(Options{}), scanHistory)
	}
	start := func() (started []*part) {
		for {
			p := s.next(time.Now(), new(int))
			if p == nil {
				return started
			}
			started = append(started, p)
		}
	}
	running := start()
	require.Len(t, running, leastScans)
	rounds := 0
	for len(running) < 256 {
		for _, p := range running {
			s.ended(p, true)
		}
		running = start()
		rounds++
	}
	require.LessOrEqual(t, rounds, 8)
	require.Len(t, running, 256)

	for _, p := range running {
		s.grew(p, smallScan)
		s.ended(p, true)
	}
	require.Zero(t, s.bytes)
	running = start()
	require.Len(t, running, leastScans)
	// One scan that fills the budget keeps the others out.
	s.ended(running[1], true)
	s.limit = 100
	s.grew(running[0], scanBudget+1)
	require.Empty(t, start())
	s.ended(running[0], false)
	require.Len(t, start(), 100)
}

func TestScanClasses(t *testing.T) {
	s := newScans(3)
	full := false
	refused := historyPart(Options{Admit: func() bool { return full }})
	for range 5 {
		s.enqueue(historyPart(Options{}), scanRecent)
	}
	s.enqueue(refused, scanHistory)
	first := historyPart(Options{First: true})
	s.enqueue(first, scanUrgent)

	next := func(refused *int) *part { return s.next(time.Now(), refused) }
	require.Same(t, first, next(new(int)))
	for range 3 {
		require.Equal(t, scanRecent, next(new(int)).scan.class)
	}
	asked := 0
	require.Nil(t, next(&asked))
	require.Equal(t, 1, asked)
	full = true
	require.Nil(t, next(&asked), "asked a moment ago")
	require.Same(t, refused, next(new(int)))

	again := historyPart(Options{})
	again.attempts = 1
	s.enqueue(historyPart(Options{}), scanHistory)
	s.enqueue(again, scanHistory)
	require.Same(t, again, next(new(int)), "an interrupted part goes first")
	require.Len(t, s.takeAll(), 3)
	require.True(t, s.empty())
}

func TestAdmissionIsOverruledOneAtATime(t *testing.T) {
	c := New(Config{AdmitTimeout: time.Minute})
	no := func() bool { return false }
	a := &Subscription{c: c, o: Options{Admit: no}, started: time.Now()}
	b := &Subscription{c: c, o: Options{Admit: no}, started: time.Now()}
	now := time.Now()
	require.False(t, a.admit(now.Add(30*time.Second)))
	require.True(t, a.admit(now.Add(61*time.Second)))
	require.True(t, a.admit(now), "asked once only")
	require.False(t, b.admit(now.Add(62*time.Second)))
	require.True(t, b.admit(now.Add(122*time.Second)))
}

// An owner that has closed its subscription and given everything back is not
// asked for room any more.
func TestNobodyIsAdmittedAfterTheEnd(t *testing.T) {
	asked := 0
	s := newSubscription(New(Config{}), Options{Admit: func() bool { asked++; return true }})
	s.calls.Lock() // Close waits for nobody, or is about to
	require.False(t, s.admit(time.Now()))
	s.calls.Unlock()
	s.Close()
	require.False(t, s.admit(time.Now()))
	require.Zero(t, asked)
}

// A lock that stands still is told until the resolved-ts rises, however often
// the store repeats it.
func TestRepeatedResolvedTsKeepsTheReason(t *testing.T) {
	s := newSubscription(New(Config{}), Options{StartTs: 5})
	p := s.frontier.parts[0]
	p.note(ReasonLive, "")
	p.reason, p.detail = ReasonLock, "1 lock"
	require.False(t, s.advance(p, 5))
	require.Equal(t, ReasonLock, s.Status().Reason)
	require.True(t, s.advance(p, 6))
	require.Equal(t, ReasonLive, s.Status().Reason)
}

func TestManyThatWaitAreAskedMoreSeldom(t *testing.T) {
	require.Less(t, askAgain(100), 2*admitPoll)
	require.Equal(t, 6*admitPoll, askAgain(10_000))
}

func TestClassOf(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration, first bool) *part {
		s := &Subscription{o: Options{First: first}}
		p := &part{sub: s}
		s.frontier.add(p, model.TSOFromTime(now.Add(-d)))
		return p
	}
	pd := model.TSOFromTime(now)
	require.Equal(t, scanRecent, classOf(at(time.Second, false), pd))
	require.Equal(t, scanHistory, classOf(at(time.Hour, false), pd))
	require.Equal(t, scanUrgent, classOf(at(time.Hour, true), pd))
}

func TestLanes(t *testing.T) {
	st := newStore(New(Config{}), 1)
	sm := newStream(st, nil, true)
	on := func(region uint64, loop bool) *part {
		s := &Subscription{o: Options{FilterLoop: loop}}
		p := &part{sub: s, region: Region{ID: region}}
		s.frontier.add(p, 1)
		require.True(t, sm.add(p))
		return p
	}
	a, b := on(1, false), on(2, false)
	require.Equal(t, a.lane, b.lane, "different regions share a lane")
	c := on(1, false)
	require.NotEqual(t, a.lane, c.lane, "one region is once in a lane")
	d := on(1, true)
	require.Equal(t, uint64(1), d.lane&1)

	require.True(t, sm.remove(c, true))
	require.False(t, sm.remove(c, true))
	require.Equal(t, c.lane, on(1, false).lane, "ended by the store: used again")
	require.Equal(t, []*part{a}, sm.takeOf(a.sub))
	require.NotEqual(t, a.lane, on(1, false).lane, "deregistered: never used again")
	require.Nil(t, sm.find(a.lane, 1))
	require.Same(t, b, sm.find(b.lane, 2))
}

// What was read of history may come after the error that ended the scan.
func TestNothingFollows(t *testing.T) {
	busy := &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{}}
	split := &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{}}
	again := &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{}}
	scanning, live := &part{}, &part{match: matcher{initialized: true}}
	require.True(t, nothingFollows(live, split))
	require.False(t, nothingFollows(live, again))
	require.False(t, nothingFollows(scanning, split))
	require.True(t, nothingFollows(scanning, busy))
}

func TestClassicStreamsKnowTheirOwnRegionsOnly(t *testing.T) {
	sm := newStream(newStore(New(Config{}), 1), nil, false)
	own := newSubscription(sm.st.c, Options{})
	sm.owner = own
	other := newSubscription(sm.st.c, Options{})
	require.False(t, sm.add(other.frontier.parts[0]))
	require.Empty(t, sm.lanes)
	require.True(t, sm.add(own.frontier.parts[0]))
	require.False(t, sm.add(own.frontier.parts[0]), "it has the region")
}
