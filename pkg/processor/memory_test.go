package processor

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sorter"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// fakeMemory is the memory of one changefeed, and of a process that is full
// when the test says so.
type fakeMemory struct {
	held, lent, quota, limit int64
	full                     bool
	scans                    int
	expected                 int64
}

func (m *fakeMemory) Held() int64      { return m.held }
func (m *fakeMemory) Lent() int64      { return m.lent }
func (m *fakeMemory) Quota() int64     { return m.quota }
func (m *fakeMemory) LendLimit() int64 { return m.limit }

func (m *fakeMemory) BeginScan(bytes int64) (int64, bool) {
	if m.full {
		return 0, false
	}
	m.scans++
	m.expected += bytes
	return bytes, true
}

func (m *fakeMemory) EndScan(reserved, _ int64) {
	m.scans--
	m.expected -= reserved
}

func TestAdmission(t *testing.T) {
	m := &fakeMemory{quota: 1 << 30}
	clock := time.Unix(0, 0)
	a := newAdmission(m, func() time.Time { return clock })
	spans := make([]*span, 100)
	for i := range spans {
		spans[i] = &span{}
	}
	admitted := func() (n int) {
		for _, s := range spans {
			if _, before := a.scanning[s]; !before && a.admit(s) {
				n++
			}
		}
		return n
	}
	end := func(bytes int64) {
		for _, s := range spans {
			a.ended(s, bytes)
		}
	}
	require.Equal(t, 1, admitted(), "nothing is known yet")
	require.True(t, a.admit(spans[0]), "who is in may ask again")
	require.Equal(t, 1, m.scans)
	end(0)
	require.Equal(t, 100, admitted(), "idle tables start together")
	for range 10 {
		end(64 << 20)
		admitted()
	}
	end(64 << 20)
	require.Equal(t, 1, admitted(), "big ones come one by one")
	require.Positive(t, m.expected)
	end(0)
	m.held, m.lent = 33<<20, 1
	require.Zero(t, admitted(), "the sink makes room")
	m.lent = 0
	clock = clock.Add(idleSink - 1)
	require.Zero(t, admitted(), "the sink may be about to get the rows")
	clock = clock.Add(1)
	require.Equal(t, 1, admitted(), "one may run: the sink stands still")
	a.forget(spans[0])
	m.full = true
	require.Zero(t, admitted(), "other changefeeds fill the memory")
	m.full = false
	require.Zero(t, admitted(), "a scan has been at work")
	clock = clock.Add(idleSink)
	require.Equal(t, 1, admitted())
	a.close()
	require.Zero(t, m.scans)
	require.Zero(t, m.expected)
	m.held = 1<<30 + 1
	require.Zero(t, admitted(), "over the quota")
}

func TestRoom(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m := &fakeMemory{quota: 64 << 20, limit: math.MaxInt64}
	r := newRoom(m)
	require.Equal(t, int64(16<<20), r.size(), "a quarter of the quota")
	enter := func(bytes int64) int64 {
		w, err := r.enter(ctx, bytes)
		require.NoError(t, err)
		return w
	}
	all := enter(1 << 40)
	require.False(t, r.sem.TryAcquire(1), "what is too large goes alone")
	all, err := r.fit(ctx, all, 1<<20)
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), all, "it was not so large")
	more := enter(15 << 20)
	require.False(t, r.sem.TryAcquire(1))
	r.leave(more)
	r.leave(all)

	m.limit = 4 << 20 // other changefeeds have come
	require.Equal(t, int64(4<<20), r.size())
	first, second := enter(1<<20), enter(3<<20)
	require.False(t, r.sem.TryAcquire(1), "full with 4 MiB")
	r.leave(second)
	first, err = r.fit(ctx, first, 2<<20)
	require.NoError(t, err)
	second = enter(2 << 20)
	cancel()
	_, err = r.fit(ctx, second, 3<<20)
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.enter(ctx, 3<<20)
	require.ErrorIs(t, err, context.Canceled)
	r.leave(first)
	require.True(t, r.sem.TryAcquire(r.most), "nothing is left behind")
}

// countingFilter keeps all rows and counts the batches that it has seen.
type countingFilter struct{ batches *atomic.Int32 }

func (f countingFilter) Keep(_ *model.Table, rows []model.RawChange) ([]model.RawChange, error) {
	f.batches.Add(1)
	return rows, nil
}

// TestMounterWorkerNum: so many tables are worked on at once, and no more.
func TestMounterWorkerNum(t *testing.T) {
	const tables = 6
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			var filters, batches atomic.Int32
			r := newRig(t, func(o *Options) {
				o.Config.Mounter = &config.MounterConfig{WorkerNum: workers}
				o.NewRowFilter = func() RowFilter {
					filters.Add(1)
					return countingFilter{&batches}
				}
			})
			gate := make(chan struct{})
			r.sink.gate = gate
			var ids []int64
			for i := range int64(tables) {
				ids = append(ids, i+1)
			}
			r.open(ids...)
			for _, id := range ids {
				r.add(id, 10)
				s := r.up.sub(t, id)
				s.rows(change(20, "a"))
				s.resolve(30)
			}
			r.waitFor("the workers to be at the sink and the other tables to queue", func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return int(batches.Load()) == workers && len(r.emitters.queue) == tables-workers
			})
			close(gate)
			r.waitCheckpoint(30)
			require.Equal(t, int32(tables), batches.Load())
			require.Equal(t, int32(workers), filters.Load(), "each worker has one")
		})
	}
}

// history sends rows of 1,000 bytes, n in all, and resolves what it sent.
func (s *fakeSub) history(n int) {
	value := bytes.Repeat([]byte("x"), 1000)
	var rows []model.RawChange
	for i := range n {
		rows = append(rows, model.NewRawChange(20, uint64(21+i), fmt.Appendf(nil, "%08d", i), value, nil))
		if len(rows) == 100 || i == n-1 {
			s.rows(rows...)
			rows = rows[:0]
		}
	}
	s.resolve(uint64(20 + n))
}

// TestMemoryQuota: what is beyond a changefeed's quota goes to disk.
func TestMemoryQuota(t *testing.T) {
	const rows = 60_000
	for _, test := range []struct {
		quota uint64
		disk  bool
	}{{4 << 20, true}, {1 << 30, false}} {
		t.Run(fmt.Sprint(test.quota), func(t *testing.T) {
			registry := prometheus.NewRegistry()
			r := newRig(t, func(o *Options) { o.Config.MemoryQuota, o.Registerer = test.quota, registry })
			r.open(1)
			r.add(1, 10)
			r.sink.gate = make(chan struct{})
			r.up.sub(t, 1).history(rows)
			require.Equal(t, float64(test.quota), gaugeOf(t, registry, "ticdc_sinkmanager_memory_quota", "total"))
			r.waitFor("the metric to follow", func() bool { // it does so while the checkpoint stands still, too
				return gaugeOf(t, registry, "ticdc_sinkmanager_memory_quota", "used") == float64(r.engine.Held())
			})
			if test.disk {
				require.Less(t, r.engine.Held(), int64(32<<20))
			} else {
				require.Greater(t, r.engine.Held(), int64(rows*1000))
			}
			require.Equal(t, test.disk, r.engine.OnDisk() > 0)
			close(r.sink.gate)
			r.waitCheckpoint(20 + rows)
			require.Len(t, r.sink.rowsOf(1), rows)
		})
	}
}

// TestUnfinishedTransactionsCount: what waits for commits is in the figures, and
// leaves with the run.
func TestUnfinishedTransactionsCount(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.add(1, 10)
	unfinished := r.up.sub(t, 1).o.Unfinished
	unfinished(1 << 20)
	require.Equal(t, int64(1<<20), r.engine.Held())
	require.Contains(t, r.memoryInUse(), "1 of 1024 MiB")
	unfinished(-1 << 20)
	require.Zero(t, r.engine.Held())
}

// TestProcessLimit: changefeeds whose sinks stand still keep no other from
// going on, and all of them stay within what the process may hold.
func TestProcessLimit(t *testing.T) {
	const rows, limit = 30_000, 8 << 20
	registry := prometheus.NewRegistry()
	engine := openEngine(t, sorter.Config{MemoryLimit: limit, Registerer: registry})
	var rigs []*rig
	for range 3 {
		r := newRig(t, func(o *Options) { o.Sorter = engine })
		r.open(1)
		rigs = append(rigs, r)
	}
	stuck, moving := rigs[:2], rigs[2]
	gate := make(chan struct{})
	for _, r := range stuck {
		r.sink.gate = gate
		r.add(1, 10)
		r.up.sub(t, 1).history(rows)
	}
	moving.add(1, 10)
	s := moving.up.sub(t, 1)
	require.Eventually(t, s.o.Admit, 30*time.Second, time.Millisecond, "less than its share is in use")
	s.history(rows)
	moving.waitCheckpoint(20 + rows)
	require.Len(t, moving.sink.rowsOf(1), rows)
	require.Positive(t, engine.OnDisk())
	close(gate)
	for _, r := range stuck {
		r.waitCheckpoint(20 + rows)
		require.Len(t, r.sink.rowsOf(1), rows)
	}
	require.LessOrEqual(t, gaugeOf(t, registry, "ticdc_sorter_memory_peak_bytes"), float64(limit))
	require.Positive(t, gaugeOf(t, registry, "ticdc_sorter_memory_peak_bytes"))
}

// gaugeOf reads a gauge that has the label values.
func gaugeOf(t *testing.T, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(values, l) }) {
				return m.GetGauge().GetValue()
			}
		}
	}
	require.Fail(t, "no metric "+name)
	return 0
}

// large returns so many changes of a MiB each.
func large(n int) []model.RawChange {
	rows := make([]model.RawChange, n)
	for i := range rows {
		rows[i] = model.NewRawChange(20, uint64(21+i), []byte{byte(i)}, make([]byte, 1<<20), nil)
	}
	return rows
}

// TestScansWaitForEachOther: no history is read beside another one for which
// there would be no memory, and who waits says so.
func TestScansWaitForEachOther(t *testing.T) {
	engine := openEngine(t, sorter.Config{MemoryLimit: 8 << 20}) // from 4.5 MiB on rows go to disk
	one := newRig(t, func(o *Options) { o.Sorter = engine })
	one.open(1)
	other := newRig(t, func(o *Options) { o.Sorter = engine })
	other.open(1, 2)

	other.add(1, 10)
	s := other.up.sub(t, 1)
	require.True(t, s.o.Admit())
	s.rows(large(1)...) // now it is known what a table of this changefeed brings
	s.resolve(40)
	other.waitCheckpoint(40)

	one.add(1, 10)
	busy := one.up.sub(t, 1)
	require.True(t, busy.o.Admit())
	busy.rows(large(4)...)
	other.add(2, 10)
	waits := other.up.sub(t, 2)
	require.False(t, waits.o.Admit())
	other.up.set(func() { other.up.statuses = changes.Status{Reason: changes.ReasonQueued} })
	other.waitFor("the reason", func() bool {
		stall := other.Progress().Stall
		return stall != nil && stall.Reason == model.StallCatchingUp &&
			strings.Contains(stall.Detail, "waits for memory: 0 of 1024 MiB in use, by all changefeeds 4 of 8 MiB")
	})
	busy.resolve(40)
	one.waitCheckpoint(40)
	other.waitFor("the other to be done", waits.o.Admit)
	waits.resolve(40)
	other.waitFor("all to be delivered", func() bool { return other.Progress().CheckpointTs == 40 })
}
