package processor

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// randomTable is the history of one table and what must come of it.
type randomTable struct {
	id    int64
	start uint64
	rows  []model.RawChange // in the order of commit
}

const lastTs = 2000

func randomTables(r *rand.Rand, n int) []*randomTable {
	var tables []*randomTable
	for id := range int64(n) {
		t := &randomTable{id: id + 1, start: uint64(10 + r.Intn(50))}
		for range r.Intn(600) {
			ts := t.start + 1 + uint64(r.Intn(lastTs-100))
			key := fmt.Sprintf("%04d", r.Intn(10000))
			if !slices.ContainsFunc(t.rows, func(c model.RawChange) bool { return c.CommitTs == ts && string(c.Key()) == key }) {
				t.rows = append(t.rows, model.NewRawChange(ts-1, ts, []byte(key), bytes.Repeat([]byte("v"), 1+r.Intn(100)), nil))
			}
		}
		slices.SortFunc(t.rows, func(a, b model.RawChange) int {
			if c := a.Compare(&b); c != 0 {
				return c
			}
			return bytes.Compare(a.Key(), b.Key())
		})
		tables = append(tables, t)
	}
	return tables
}

// play sends a table's history: out of order, partly twice, resolved in steps.
func (t *randomTable) play(r *rand.Rand, s *fakeSub) {
	rest := slices.Clone(t.rows)
	for resolved := t.start; resolved < lastTs; {
		resolved = min(lastTs, resolved+1+uint64(r.Intn(300)))
		var due, later []model.RawChange
		for _, c := range rest {
			early := r.Intn(5) == 0
			if c.CommitTs <= resolved || early {
				due = append(due, c)
			}
			if c.CommitTs > resolved && (!early || r.Intn(2) == 0) {
				later = append(later, c)
			}
		}
		rest = later
		r.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
		for len(due) > 0 {
			n := min(len(due), 1+r.Intn(40))
			s.rows(due[:n]...)
			due = due[n:]
		}
		s.resolve(resolved)
	}
}

// ledger acknowledges batches in random order and remembers which.
type ledger struct {
	mu    sync.Mutex
	acked map[int64]map[string]bool
}

func (l *ledger) ack(b *model.RowBatch) {
	l.mu.Lock()
	for i := range b.Rows {
		l.acked[b.TableID][name(&b.Rows[i])] = true
	}
	l.mu.Unlock()
	b.Done(nil)
}

func name(c *model.RawChange) string { return fmt.Sprintf("%d %s", c.CommitTs, c.Key()) }

// covers tells the first row up to ts that was not acknowledged.
func (l *ledger) covers(tables []*randomTable, ts uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tables {
		for i := range t.rows {
			if c := &t.rows[i]; c.CommitTs <= ts && !l.acked[t.id][name(c)] {
				return fmt.Errorf("table %d: row %s is not downstream at checkpoint %d", t.id, name(c), ts)
			}
		}
	}
	return nil
}

func TestRandomRuns(t *testing.T) {
	for seed := range int64(12) {
		for _, quota := range []uint64{1, 1 << 30} {
			t.Run(fmt.Sprintf("seed %d, quota %d", seed, quota), func(t *testing.T) { randomRun(t, seed, quota) })
		}
	}
}

func randomRun(t *testing.T, seed int64, quota uint64) {
	rnd := rand.New(rand.NewSource(seed))
	r := newRig(t, func(o *Options) { o.Config.MemoryQuota = quota })
	r.limits.Rows = 1 + rnd.Intn(50)
	r.limits.WholeTxns = seed%2 == 0
	r.sink.hold = true
	tables := randomTables(rnd, 8)
	book := &ledger{acked: map[int64]map[string]bool{}}
	var starts []SpanStart
	for _, tab := range tables {
		r.up.table(tab.id, 1)
		r.up.table(tab.id, uint64(500+rnd.Intn(500)))
		book.acked[tab.id] = map[string]bool{}
		starts = append(starts, SpanStart{Span: model.TableSpan(tab.id), CheckpointTs: tab.start})
	}
	r.AddSpans(starts)

	var players sync.WaitGroup
	for i, tab := range tables {
		players.Go(func() { tab.play(rand.New(rand.NewSource(seed*100+int64(i))), r.up.sub(t, tab.id)) })
	}
	stop := make(chan struct{})
	var acker sync.WaitGroup
	acker.Go(func() { acknowledge(r.sink, book, rand.New(rand.NewSource(seed)), stop) })

	var before uint64
	observe := func() Progress {
		p := r.Progress()
		require.GreaterOrEqual(t, p.CheckpointTs, before, "the checkpoint never regresses")
		require.LessOrEqual(t, p.CheckpointTs, p.ResolvedTs)
		require.NoError(t, book.covers(tables, p.CheckpointTs))
		before = p.CheckpointTs
		return p
	}
	for barrier := uint64(100); barrier < lastTs; barrier += uint64(1 + rnd.Intn(400)) {
		r.up.resolveSchema(barrier + uint64(rnd.Intn(100)))
		r.SetBarrier(barrier)
		require.LessOrEqual(t, observe().CheckpointTs, barrier)
	}
	r.up.resolveSchema(lastTs)
	r.SetBarrier(lastTs)
	require.Eventually(t, func() bool { return observe().CheckpointTs == lastTs }, 30*time.Second, time.Millisecond)
	players.Wait()
	close(stop)
	acker.Wait()
	for _, tab := range tables {
		got := r.sink.rowsOf(tab.id)
		require.Len(t, got, len(tab.rows))
		for i := range got {
			require.Equal(t, name(&tab.rows[i]), name(&got[i]))
			require.Equal(t, tab.rows[i].Value(), got[i].Value())
		}
	}
}

func acknowledge(s *fakeSink, book *ledger, r *rand.Rand, stop chan struct{}) {
	seen := 0
	var open []*model.RowBatch
	for {
		all := s.got()
		open = append(open, all[seen:]...)
		seen = len(all)
		for len(open) > 0 && (len(open) > 3 || r.Intn(4) > 0) {
			i := r.Intn(len(open))
			book.ack(open[i])
			open = slices.Delete(open, i, i+1)
		}
		select {
		case <-stop:
			return
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// TestSpansComeAndGo adds and removes spans while rows flow: whoever takes a
// span over continues at its final checkpoint, and nothing is lost.
func TestSpansComeAndGo(t *testing.T) {
	const tables, rounds = 6, 15
	r := newRig(t)
	r.limits.Rows = 3
	var ids []int64
	for id := range int64(tables) {
		ids = append(ids, id+1)
	}
	r.open(ids...)
	checkpoints := map[int64]uint64{}
	for _, id := range ids {
		checkpoints[id] = 10
		r.add(id, 10)
	}
	want := map[int64]int{}
	for round := range uint64(rounds) {
		var players sync.WaitGroup
		for _, id := range ids {
			s := r.up.sub(t, id)
			start := checkpoints[id]
			require.Equal(t, start, s.o.StartTs)
			players.Go(func() {
				for i := range uint64(20) {
					s.rows(change(start+i+1, fmt.Sprint(i)))
					s.resolve(start + i + 1)
				}
			})
		}
		if round%2 == 0 {
			players.Wait()
		}
		var spans []model.Span
		for _, id := range ids {
			spans = append(spans, model.TableSpan(id))
		}
		r.RemoveSpans(spans)
		removed := map[int64]uint64{}
		r.waitFor("all removed", func() bool {
			for _, s := range r.Progress().Removed {
				removed[s.Span.TableID] = s.CheckpointTs
			}
			return len(removed) == tables
		})
		players.Wait()
		require.Zero(t, r.Progress().Spans)
		for _, id := range ids {
			want[id] += int(removed[id] - checkpoints[id])
			checkpoints[id] = removed[id]
			r.add(id, removed[id])
		}
	}
	for _, id := range ids {
		seen := map[string]bool{}
		for _, c := range r.sink.rowsOf(id) {
			if c.CommitTs <= checkpoints[id] {
				seen[name(&c)] = true
			}
		}
		require.Len(t, seen, want[id], "table %d", id)
	}
}
