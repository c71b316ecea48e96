package mysql

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// keyWatch sees which transaction has which conflict key when.
type keyWatch struct {
	mu     sync.Mutex
	active map[uint64]int    // key → worker that has it now
	last   map[uint64]uint64 // key → commit-ts of the last row that had it
	wrong  string
}

func (k *keyWatch) begin(worker int, jobs []*job) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, j := range jobs {
		for i := range j.rows {
			for _, key := range j.keysOf(i) {
				if other, ok := k.active[key]; ok && other != worker {
					k.wrong = "two workers have a key at once"
				}
				if j.rows[i].CommitTs < k.last[key] {
					k.wrong = "rows of a key are out of order"
				}
				k.active[key], k.last[key] = worker, j.rows[i].CommitTs
			}
		}
	}
}

func (k *keyWatch) end(jobs []*job) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, j := range jobs {
		for i := range j.rows {
			for _, key := range j.keysOf(i) {
				delete(k.active, key)
			}
		}
	}
}

// TestDispatcher deals out random transactions that share keys, from several
// tables at once, and looks at the order in which the workers apply them.
func TestDispatcher(t *testing.T) {
	for name, tc := range map[string]struct {
		workers, maxRows int
		keys             uint64 // per table
		split            bool
	}{
		"few keys":      {8, 10, 20, false},
		"many keys":     {8, 10, 5000, false},
		"split":         {5, 3, 100, true},
		"one hot key":   {16, 4, 1, true},
		"single worker": {1, 10, 50, false},
		"row by row":    {16, 1, 300, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := fakeSink(t, "", false)
			s.settings.maxTxnRow = tc.maxRows
			for id := range tc.workers {
				s.workers = append(s.workers, newWorker(id, s))
			}
			s.dispatcher = newDispatcher(s.workers, tc.maxRows, nil)
			watch := &keyWatch{active: map[uint64]int{}, last: map[uint64]uint64{}}
			ctx, stop := context.WithCancel(t.Context())
			var workers, tables sync.WaitGroup
			for _, w := range s.workers {
				workers.Go(func() { applyNothing(ctx, w, watch) })
			}
			var batches, done atomic.Int64
			for table := range 3 {
				tables.Go(func() {
					r := rand.New(rand.NewPCG(uint64(table), tc.keys))
					for ts := uint64(1); ts < 3000; {
						b, all := randomBatch(r, int64(table), tc.keys, &ts)
						all.batch = &pendingBatch{done: func(error) { done.Add(1) }}
						all.batch.left.Store(1)
						batches.Add(1)
						s.dispatcher.dispatch(all, b, nil, takenKeys{}, tc.split)
						all.batch.finish(nil)
					}
				})
			}
			tables.Wait()
			require.Eventually(t, func() bool { return done.Load() == batches.Load() }, eventually, tick)
			stop()
			workers.Wait()
			require.Empty(t, watch.wrong)
			require.Zero(t, s.inFlight.Load())
		})
	}
}

// applyNothing is a worker that only looks busy.
func applyNothing(ctx context.Context, w *worker, watch *keyWatch) {
	for {
		jobs, err := w.take(ctx, nil)
		if err != nil {
			return
		}
		watch.begin(w.id, jobs)
		for range jobs {
			runtime.Gosched()
		}
		watch.end(jobs)
		w.finish(jobs, nil)
	}
}

// randomBatch makes up to 20 rows with up to 3 keys each. Commit-ts go on from ts.
func randomBatch(r *rand.Rand, table int64, keys uint64, ts *uint64) (*model.RowBatch, *job) {
	all := &job{plan: &tablePlan{table: &model.Table{ID: table}}, ends: []uint32{0}}
	*ts++
	for range 1 + r.IntN(20) {
		if r.IntN(3) > 0 {
			*ts++
		}
		all.rows = append(all.rows, model.RawChange{CommitTs: *ts})
		for range 1 + r.IntN(3) {
			// Tables have keys of their own, but slots meet.
			all.keys = append(all.keys, uint64(table)<<40|r.Uint64N(keys))
		}
		from := all.ends[len(all.ends)-1]
		slices.Sort(all.keys[from:])
		all.keys = all.keys[:int(from)+len(slices.Compact(all.keys[from:]))]
		all.ends = append(all.ends, uint32(len(all.keys)))
	}
	return &model.RowBatch{TableID: table, Rows: all.rows, LastOfTxn: true}, all
}
