package changes_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
	"github.com/tidemark/tidemark/pkg/upstream/changes/changestest"
)

var everything = changestest.SpanOf("a", "z")

func TestHistoryAndLiveChanges(t *testing.T) {
	for _, classic := range []bool{false, true} {
		t.Run(fmt.Sprintf("classic=%v", classic), func(t *testing.T) {
			c, client := start(t, changestest.Options{Classic: classic}, nil)
			old := put(c, "k1", "before")
			startTs := c.Now()
			history := put(c, "k1", "history")
			open := c.Begin("k2", "open")
			outside := put(c, "zz", "outside")
			s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: startTs})
			eventually(t, func() bool { return s.Status().Initialized == 1 }, "scan")
			live, gone := put(c, "k3", "live"), put(c, "k1", "")
			c.Begin("k4", "never").Rollback()
			late := rowID("k2", "open", open.Commit())
			catchUp(t, c, col)
			require.True(t, col.has(history, live, gone, late))
			require.False(t, col.has(old))
			require.False(t, col.has(outside))
			require.Equal(t, changes.ReasonLive, s.Status().Reason)
		})
	}
}

func TestRegionChanges(t *testing.T) {
	busy := &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "scan queue is full"}}
	for _, tc := range []struct {
		name    string
		change  func(*changestest.Cluster)
		regions int
	}{
		{"split", func(c *changestest.Cluster) { c.Split("k5") }, 2},
		{"split twice", func(c *changestest.Cluster) { c.Split("k5"); c.Split("k3") }, 3},
		{"split and merge", func(c *changestest.Cluster) { c.Split("k5"); c.Merge("k1") }, 0},
		{"not leader", func(c *changestest.Cluster) { c.Move("k1", 2) }, 1},
		{"no leader for a while", func(c *changestest.Cluster) { c.Move("k1", 0); c.Move("k1", 2) }, 1},
		{"busy", func(c *changestest.Cluster) { c.Fail("k1", busy) }, 1},
		{"congested", func(c *changestest.Cluster) { c.Fail("k1", &cdcpb.Error{Congested: &cdcpb.Congested{}}) }, 1},
		{"error without a name", func(c *changestest.Cluster) { c.Fail("k1", &cdcpb.Error{}) }, 1},
		{"not found", func(c *changestest.Cluster) { c.Fail("k1", &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{}}) }, 1},
		{"not leader, leader unknown", func(c *changestest.Cluster) { c.Fail("k1", &cdcpb.Error{NotLeader: &errorpb.NotLeader{}}) }, 1},
		{"not leader, wrong leader named", func(c *changestest.Cluster) { c.Fail("k1", changestest.NotLeader(2)) }, 1},
		{"duplicate", func(c *changestest.Cluster) { c.Fail("k1", &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{}}) }, 1},
		{"stream cut", func(c *changestest.Cluster) { c.Cut(1) }, 1},
		{"store restarted", func(c *changestest.Cluster) { c.Stop(1); c.Restart(1) }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, client := start(t, changestest.Options{Stores: 2}, nil)
			s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
			first := put(c, "k1", "first")
			catchUp(t, c, col)
			reached := col.at()
			known := len(c.Requests())
			open := c.Begin("k7", "open")
			second := put(c, "k6", "second")
			tc.change(c)
			third, fourth := put(c, "k2", "third"), rowID("k7", "open", open.Commit())
			catchUp(t, c, col)
			require.True(t, col.has(first, second, third, fourth))
			if tc.regions > 0 {
				eventually(t, func() bool { st := s.Status(); return st.Regions == tc.regions && st.Initialized == tc.regions }, "regions")
			}
			for _, r := range c.Requests()[known:] {
				require.GreaterOrEqual(t, r.CheckpointTs, reached, "history is not read again")
			}
		})
	}
}

func TestRequestFields(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	startTs := c.Now()
	_, col := subscribe(t, client, changes.Options{Span: everything, StartTs: startTs, FilterLoop: true})
	_, other := subscribe(t, client, changes.Options{Span: everything, StartTs: startTs})
	catchUp(t, c, col, other)
	requests := c.Requests()
	require.Len(t, requests, 2)
	require.NotEqual(t, requests[0].RequestId, requests[1].RequestId)
	require.NotEqual(t, requests[0].FilterLoop, requests[1].FilterLoop)
	for _, r := range requests {
		require.Equal(t, "8.5.3", r.Header.TicdcVersion)
		require.Equal(t, startTs, r.CheckpointTs)
		require.EqualValues(t, 1, r.ExtraOp)
		require.NotZero(t, r.RequestId)
	}
}

func TestFatalErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		e    *cdcpb.Error
		want error
	}{
		{"compatibility", &cdcpb.Error{Compatibility: &cdcpb.Compatibility{RequiredVersion: "9.0.0"}}, cerrors.ErrVersionIncompatible},
		{"other cluster", &cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: 1, Request: 2}}, cerrors.ErrClusterIDMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, client := start(t, changestest.Options{}, nil)
			s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
			catchUp(t, c, col)
			c.Fail("k1", tc.e)
			eventually(t, func() bool { return col.failure() != nil }, "OnError")
			require.ErrorIs(t, col.failure(), tc.want)
			require.Equal(t, changes.ReasonClosed, s.Status().Reason)
		})
	}
}

func TestIncompatibleStore(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	c.FailStoreAddr(cerrors.ErrVersionIncompatible.New("store 1 is too old"))
	_, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	eventually(t, func() bool { return col.failure() != nil }, "OnError")
	require.ErrorIs(t, col.failure(), cerrors.ErrVersionIncompatible)
}

// A subscription that ends for its own fault leaves the stream and the others on it alone.
func TestBrokenPromiseEndsOneSubscription(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	_, bad := subscribe(t, client, changes.Options{Span: changestest.SpanOf("a", "k"), StartTs: c.Now()})
	_, good := subscribe(t, client, changes.Options{Span: changestest.SpanOf("k", "z"), StartTs: c.Now()})
	catchUp(t, c, bad, good)
	c.Send("b", &cdcpb.Event_Row{Type: cdcpb.Event_COMMITTED, OpType: cdcpb.Event_Row_PUT, Key: []byte("b"), Value: []byte("v"),
		StartTs: bad.at() - 2, CommitTs: bad.at() - 1})
	eventually(t, func() bool { return bad.failure() != nil }, "OnError")
	eventually(t, func() bool { all, _ := c.Feeds(); return all == 1 }, "deregistered")
	_, again := subscribe(t, client, changes.Options{Span: changestest.SpanOf("a", "k"), StartTs: c.Now()})
	id := put(c, "c", "v")
	catchUp(t, c, good, again)
	require.True(t, again.has(id))
	require.NoError(t, good.failure())
	require.NoError(t, again.failure())
}

func TestResubscribe(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	_, stays := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-pace.C:
				c.Put(changestest.Key(i%10), fmt.Sprint(i))
				c.Resolve()
			}
		}
	})
	for i := range 50 {
		s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
		if i%2 == 0 {
			eventually(t, func() bool { return len(s.Status().Reason) > 0 && s.Status().Initialized == 1 }, "scan")
		}
		s.Close()
		col.over()
		require.NoError(t, col.failure())
	}
	close(stop)
	load.Wait()
	catchUp(t, c, stays)
	eventually(t, func() bool { all, _ := c.Feeds(); return all == 1 }, "every closed span is deregistered")
}

func TestCloseWhileDelivering(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	inside, leave := make(chan struct{}), make(chan struct{})
	col := &collector{seen: make(map[string]bool)}
	var once sync.Once
	col.onRows = func() { once.Do(func() { close(inside); <-leave }) }
	s := client.Subscribe(changes.Options{Span: everything, StartTs: c.Now(), Consumer: col})
	eventually(t, func() bool { return s.Status().Initialized == 1 }, "scan")
	put(c, "k1", "v")
	<-inside
	closed := make(chan struct{})
	go func() { s.Close(); col.over(); close(closed) }()
	for i := range 100 {
		put(c, changestest.Key(i), "v")
	}
	select {
	case <-closed:
		require.Fail(t, "Close did not wait for the call")
	default:
	}
	// Another span is looked up meanwhile.
	other := client.Subscribe(changes.Options{Span: everything, StartTs: c.Now(), Consumer: &collector{seen: make(map[string]bool)}})
	eventually(t, func() bool { r := other.Status().Reason; return r != changes.ReasonLookup }, "lookup goes on")
	close(leave)
	<-closed
	other.Close()
	s.Close() // twice is fine
	_, after := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	catchUp(t, c, after)
	require.Empty(t, col.broken)
}

func TestManySpansShareALane(t *testing.T) {
	const n = 1000
	c, client := start(t, changestest.Options{}, nil)
	for i := range n {
		c.Split(changestest.Key(i))
	}
	cols := make([]*collector, n)
	for i := range cols {
		_, cols[i] = subscribe(t, client, changes.Options{Span: changestest.SpanOf(changestest.Key(i), changestest.Key(i+1)), StartTs: c.Now()})
	}
	eventually(t, func() bool { all, scanning := c.Feeds(); return all == n && scanning == 0 }, "scans")
	before := c.ResolvedMessages()
	ts := c.Resolve()
	require.Equal(t, 1, c.ResolvedMessages()-before)
	eventually(t, func() bool {
		for _, col := range cols {
			if col.at() < ts {
				return false
			}
		}
		return true
	}, "one message moves all")
}

// muchLater makes every start-ts one of the past, with history to read.
func muchLater(cfg *changes.Config) {
	now := cfg.Now
	cfg.Now = func() uint64 { return now() + model.ComposeTSO(time.Hour.Milliseconds(), 0) }
}

// What starts now has no history to wait for.
func TestRecentSpansStartAtOnce(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	c.HoldScans(true)
	for i := range 200 {
		c.Split(changestest.Key(i))
		subscribe(t, client, changes.Options{Span: changestest.SpanOf(changestest.Key(i), changestest.Key(i)+"x"), StartTs: c.Now(),
			Admit: func() bool { return false }})
	}
	eventually(t, func() bool { all, scanning := c.Feeds(); return all == 200 && scanning == 200 }, "all begin")
}

func TestMergedPartsBecomeOne(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	c.Split("k5")
	s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	catchUp(t, c, col)
	require.Equal(t, 2, s.Status().Regions)
	c.Merge("k1")
	eventually(t, func() bool {
		c.Cut(1) // both parts are looked up anew, mostly together
		id := put(c, "k7", "v")
		catchUp(t, c, col)
		return s.Status().Regions == 1 && col.has(id)
	}, "one region")
}

func TestStreamsOfClassicStores(t *testing.T) {
	c, client := start(t, changestest.Options{Classic: true}, nil)
	c.Split("k5")
	_, a := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	b, bCol := subscribe(t, client, changes.Options{Span: changestest.SpanOf("k3", "k8"), StartTs: c.Now()})
	catchUp(t, c, a, bCol)
	require.Equal(t, 2, c.Streams(1), "one for each subscription")
	b.Close()
	eventually(t, func() bool { return c.Streams(1) == 1 }, "its stream ends with it")
	for _, r := range c.Requests() {
		require.Nil(t, r.GetDeregister(), "stores that do not know it would register")
	}
	id := put(c, "k4", "v")
	catchUp(t, c, a)
	require.True(t, a.has(id))
}

func TestIdleStreamsAreClosed(t *testing.T) {
	c, client := start(t, changestest.Options{}, func(cfg *changes.Config) { cfg.IdleTimeout = 20 * time.Millisecond })
	s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	catchUp(t, c, col)
	require.Equal(t, 1, c.Streams(1))
	s.Close()
	eventually(t, func() bool { return c.Streams(1) == 0 }, "stream is closed")
	_, again := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	id := put(c, "k1", "v")
	catchUp(t, c, again)
	require.True(t, again.has(id))
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	c, client := start(t, changestest.Options{}, func(cfg *changes.Config) { cfg.Registerer = registry })
	_, col := subscribe(t, client, changes.Options{
		Span: everything, StartTs: c.Now(), Changefeed: model.ChangefeedID{Namespace: "space", ID: "feed"},
	})
	put(c, "k1", "v")
	catchUp(t, c, col)
	c.Fail("k1", &cdcpb.Error{Congested: &cdcpb.Congested{}})
	catchUp(t, c, col)
	families, err := registry.Gather()
	require.NoError(t, err)
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	require.EqualValues(t, 1, got["ticdc_kvclient_event_feed_count"])
	require.EqualValues(t, 1, got["ticdc_kvclient_grpc_stream_count 1"])
	require.EqualValues(t, 1, got["ticdc_kvclient_event_feed_error_count Congested"])
	require.Positive(t, got["ticdc_kvclient_pull_event_count feed space kv"])
	require.Positive(t, got["ticdc_kvclient_pull_event_count feed space resolved"])
	require.Positive(t, got["ticdc_kvclient_event_size_bytes received"])
}

func TestSubscribeOutsideOfRun(t *testing.T) {
	c := changestest.New(t, changestest.Options{})
	client := changes.New(changes.Config{ClusterID: changestest.ClusterID, Regions: c, Now: c.Now})
	_, early := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	catchUp(t, c, early)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	late, _ := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	late.Close()
}

func TestScanAdmission(t *testing.T) {
	setup := func(t *testing.T, value string) *changestest.Cluster {
		c, client := start(t, changestest.Options{}, muchLater)
		startTs := c.Now()
		for i := range 30 {
			c.Split(changestest.Key(i))
			c.Put(changestest.Key(i), value)
		}
		c.HoldScans(true)
		for i := range 30 {
			subscribe(t, client, changes.Options{Span: changestest.SpanOf(changestest.Key(i), changestest.Key(i+1)), StartTs: startTs})
		}
		eventually(t, func() bool { all, _ := c.Feeds(); return all == 2 }, "two begin")
		return c
	}
	// finish ends running scans one by one, and returns the most that ran at once.
	finish := func(t *testing.T, c *changestest.Cluster) int {
		most := 0
		for i := range 30 {
			eventually(t, func() bool { all, _ := c.Feeds(); return all > i }, "next scan")
			_, scanning := c.Feeds()
			most = max(most, scanning)
			c.FinishScan(changestest.Key(i))
		}
		return most
	}
	t.Run("large", func(t *testing.T) {
		c := setup(t, string(make([]byte, 300<<10)))
		require.LessOrEqual(t, finish(t, c), 2)
	})
	t.Run("small", func(t *testing.T) {
		c := setup(t, "v")
		c.FinishScan(changestest.Key(0))
		eventually(t, func() bool { all, scanning := c.Feeds(); return all-scanning == 1 && scanning >= 3 }, "more run")
		c.HoldScans(false)
		eventually(t, func() bool { all, _ := c.Feeds(); return all == 30 }, "all run")
	})
}

func TestAdmit(t *testing.T) {
	c, client := start(t, changestest.Options{}, func(cfg *changes.Config) { muchLater(cfg); cfg.AdmitTimeout = time.Hour })
	var room atomic.Bool
	var asked atomic.Int64
	admit := func() bool { asked.Add(1); return room.Load() }
	s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now(), Admit: admit})
	gone, _ := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now(), Admit: func() bool { return false }})
	_, free := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	_, first := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now(), First: true})
	catchUp(t, c, free, first)
	eventually(t, func() bool { return asked.Load() > 3 }, "asked again")
	require.Equal(t, changes.ReasonQueued, s.Status().Reason)
	gone.Close()
	room.Store(true)
	catchUp(t, c, col)
	n := asked.Load()
	c.Cut(1)
	id := put(c, "k1", "v")
	catchUp(t, c, col)
	require.True(t, col.has(id))
	require.Equal(t, n, asked.Load(), "asked once only")
}

func TestAdmitIsOverruled(t *testing.T) {
	c, client := start(t, changestest.Options{}, func(cfg *changes.Config) { muchLater(cfg); cfg.AdmitTimeout = time.Millisecond })
	_, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now(), Admit: func() bool { return false }})
	catchUp(t, c, col)
}

// fakeLocks commits a transaction when its locks are resolved.
type fakeLocks struct {
	calls   atomic.Int64
	resolve func()
}

// Resolve implements changes.Locks.
func (l *fakeLocks) Resolve(context.Context, []byte, []byte, uint64) (int, error) {
	l.calls.Add(1)
	if l.resolve != nil {
		l.resolve()
	}
	return 1, nil
}

func TestStaleLocks(t *testing.T) {
	locks := &fakeLocks{}
	var later atomic.Uint64 // PD's time is so much ahead
	var c *changestest.Cluster
	c, client := start(t, changestest.Options{}, func(cfg *changes.Config) {
		cfg.Locks, cfg.LockInterval, cfg.LockAge, cfg.LockRepeat = locks, 5*time.Millisecond, 20*time.Millisecond, 10*time.Millisecond
		now := cfg.Now
		cfg.Now = func() uint64 { return now() + later.Load() }
	})
	s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	catchUp(t, c, col)
	open := c.Begin("k1", "v")
	later.Store(1 << 40)
	eventually(t, func() bool { return s.Status().Reason == changes.ReasonLock && locks.calls.Load() > 1 }, "lock is seen, and again")
	later.Store(0)
	id := rowID("k1", "v", open.Commit())
	catchUp(t, c, col)
	require.True(t, col.has(id))
	eventually(t, func() bool { c.Resolve(); return s.Status().Reason == changes.ReasonLive }, "live again")
}

func TestUnfinishedTransactionsAreCounted(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	var waiting atomic.Int64
	s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now(),
		Unfinished: func(delta int64) { waiting.Add(delta) }})
	catchUp(t, c, col)
	require.Zero(t, waiting.Load())
	large := string(make([]byte, 100<<10))
	first, second := c.Begin("k1", large), c.Begin("k2", large)
	both := func() bool { n := waiting.Load(); return n > 200<<10 && n < 300<<10 }
	eventually(t, both, "both wait")
	c.Cut(1)
	id := put(c, "k3", "after the cut")
	eventually(t, func() bool { return col.has(id) }, "registered again")
	eventually(t, both, "they wait again")
	first.Commit()
	eventually(t, func() bool { n := waiting.Load(); return n > 100<<10 && n < 200<<10 }, "one waits")
	second.Rollback()
	eventually(t, func() bool { return waiting.Load() == 0 }, "none waits")
	c.Begin("k4", large)
	eventually(t, func() bool { return waiting.Load() > 100<<10 }, "another one")
	s.Close()
	require.Zero(t, waiting.Load())
}

func TestEveryOutageIsToldOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	c, client := start(t, changestest.Options{}, func(cfg *changes.Config) { cfg.Logger = zap.New(core) })
	s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	catchUp(t, c, col)
	for outage := range 3 {
		c.FailStoreAddr(context.DeadlineExceeded)
		c.Cut(1)
		eventually(t, func() bool { return strings.Contains(s.Status().Detail, "deadline") }, "tried again")
		require.Equal(t, outage+1, logs.FilterMessage("change stream of a store ended").Len())
		c.FailStoreAddr(nil)
		catchUp(t, c, col)
	}
}

func TestStatusReasons(t *testing.T) {
	c, client := start(t, changestest.Options{}, nil)
	is := func(s *changes.Subscription, want changes.Reason) {
		t.Helper()
		eventually(t, func() bool { return s.Status().Reason == want }, string(want))
	}
	c.FailStoreAddr(context.DeadlineExceeded)
	s, col := subscribe(t, client, changes.Options{Span: everything, StartTs: c.Now()})
	is(s, changes.ReasonStore)
	c.HoldScans(true)
	c.FailStoreAddr(nil)
	is(s, changes.ReasonScanning)
	require.EqualValues(t, 1, s.Status().Slowest)
	c.HoldScans(false)
	is(s, changes.ReasonLive)
	c.Refuse(func(*cdcpb.ChangeDataRequest) *cdcpb.Error {
		return &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "no"}}
	})
	c.Cut(1)
	is(s, changes.ReasonBusy)
	c.Refuse(func(*cdcpb.ChangeDataRequest) *cdcpb.Error { return &cdcpb.Error{} })
	is(s, changes.ReasonRegion)
	c.Move("k", 0)
	is(s, changes.ReasonLookup)
	c.Refuse(nil)
	c.Move("k", 1)
	catchUp(t, c, col)
	s.Close()
	require.Equal(t, changes.ReasonClosed, s.Status().Reason)
}

// TestRandomSchedules commits under splits, merges, moves, cuts and errors,
// with several overlapping spans: nothing is lost, and no resolved-ts is ahead
// of a row that was not delivered.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c, client := start(t, changestest.Options{Stores: 2, Classic: seed == 5}, nil)
			rnd := rand.New(rand.NewPCG(seed, 1))
			startTs := c.Now()
			type followed struct {
				*collector
				from, to int
			}
			var subs []followed
			for _, r := range [][2]int{{0, 50}, {0, 25}, {25, 50}, {10, 40}, {10, 40}} {
				_, col := subscribe(t, client, changes.Options{Span: changestest.SpanOf(changestest.Key(r[0]), changestest.Key(r[1])), StartTs: startTs})
				subs = append(subs, followed{col, r[0], r[1]})
			}
			type wanted struct {
				key int
				id  string
			}
			var want []wanted
			open := make(map[int]*changestest.Txn)
			for i := range 400 {
				k := rnd.IntN(50)
				key, value := changestest.Key(k), fmt.Sprint(i)
				switch rnd.IntN(12) {
				case 0:
					c.Split(key)
				case 1:
					c.Merge(key)
				case 2:
					c.Move(key, uint64(1+rnd.IntN(2)))
				case 3:
					if rnd.IntN(4) == 0 {
						c.Cut(uint64(1 + rnd.IntN(2)))
					}
				case 4:
					switch rnd.IntN(4) {
					case 0:
						c.Stop(1)
						c.Restart(1)
					case 1:
						c.HoldScans(i%2 == 0) // what is written meanwhile mixes with history
					default:
						c.Fail(key, &cdcpb.Error{Congested: &cdcpb.Congested{}})
					}
				case 5, 6:
					if x := open[k]; x != nil {
						delete(open, k)
						want = append(want, wanted{k, rowID(key, "open", x.Commit())})
					} else {
						open[k] = c.Begin(key, "open")
					}
				case 7:
					c.Resolve()
				default:
					if open[k] == nil {
						want = append(want, wanted{k, put(c, key, value)})
					}
				}
			}
			for _, x := range open {
				x.Rollback()
			}
			c.HoldScans(false)
			for _, s := range subs {
				catchUp(t, c, s.collector)
				require.NoError(t, s.failure())
				for _, w := range want {
					require.Equal(t, w.key >= s.from && w.key < s.to, s.has(w.id), w.id)
				}
			}
		})
	}
}
