package sorter

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestBudget(t *testing.T) {
	b := newBudget(100)
	require.Equal(t, int64(75), b.forBuffers(), "the rest may be lent")
	require.True(t, b.take(75))
	require.False(t, b.take(1))
	require.True(t, b.short())
	require.Equal(t, int64(38), b.excess())
	b.lend(25)
	b.force(50)
	require.Equal(t, int64(150), b.peak.Load())
	b.buffered.Add(-115)
	b.lent.Add(-25)
	require.False(t, b.short())
	b.waiting.Add(1)
	require.True(t, b.short(), "somebody waits for more than is left")
	require.Equal(t, int64(10), b.excess())
	require.Equal(t, int64(150), b.peak.Load())

	unbound := newBudget(0)
	require.True(t, unbound.take(math.MaxInt64/2))
	require.False(t, unbound.short())
	_, ok := unbound.beginScan(&Feed{}, math.MaxInt64/2)
	require.True(t, ok)
}

// What unfinished transactions hold is not there for others, but for a quarter,
// so that their rows, too, find room when they come.
func TestUnfinishedTransactions(t *testing.T) {
	e := openEngine(t, 100)
	f := e.NewFeed(1000)
	defer f.Close()
	b := e.budget
	f.Unfinished(40)
	require.Equal(t, int64(40), f.Held())
	require.Equal(t, int64(40), e.Held())
	require.Equal(t, int64(35), b.forBuffers())
	_, ok := f.BeginScan(20)
	require.True(t, ok)
	f.Unfinished(20)
	_, ok = f.BeginScan(5)
	require.False(t, ok, "another scan waits")
	f.Unfinished(1000)
	require.Equal(t, int64(18), b.forBuffers())
	require.Equal(t, int64(1060), b.peak.Load())
	f.Unfinished(-1060)
	require.Equal(t, int64(75), b.forBuffers())
	require.Zero(t, f.Held())
}

func TestBeginScan(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBudget(160) // 120 for buffers, 90 before rows go to disk
	b.now = func() time.Time { return now }
	b.join(3)
	f, g := &Feed{}, &Feed{}
	may := func(f *Feed, bytes int64) bool {
		t.Helper()
		reserved, ok := b.beginScan(f, bytes)
		require.True(t, !ok || reserved == min(bytes, 45), "at most half of what there is")
		return ok
	}
	require.True(t, may(f, 45))
	require.True(t, may(g, 40), "all that fits may run")
	require.False(t, may(f, 6))
	b.endScan(45, -1)
	require.True(t, b.take(50))
	require.False(t, may(f, 1), "the memory of one scan is in use, that of another reserved")
	now = now.Add(scanPatience)
	require.False(t, may(f, 1), "another one runs")
	b.endScan(40, 40)
	require.True(t, may(f, 40))
	b.endScan(40, 60)
	require.Equal(t, int64(40), b.average)

	require.True(t, b.take(10))
	_, ok := b.beginScan(f, -1)
	require.False(t, ok, "as many as others bring")
	now = now.Add(scanPatience - 1)
	require.False(t, may(f, 31), "sinks may make room soon")
	now = now.Add(1)
	f.buffered.Store(41)
	require.False(t, may(f, 31), "more than its share")
	require.False(t, b.short())
	f.buffered.Store(40)
	require.True(t, may(f, 31), "has less than its share")
	require.False(t, b.short(), "only half of the memory is in use")
	require.True(t, b.take(1))
	require.False(t, may(f, 1000))
	now = now.Add(scanPatience)
	require.False(t, may(f, 1000))
	require.True(t, b.short(), "others go to disk")
	require.Equal(t, int64(1), b.excess())
	b.buffered.Add(-1)
	require.False(t, b.short())
	f.refused = time.Time{}
	now = now.Add(-scanPatience)
	require.False(t, may(f, 1000))
	require.False(t, may(g, 1000))
	b.endScan(31, 31)
	now = now.Add(scanPatience)
	require.True(t, may(g, 1000), "the next one's turn")
	b.endScan(45, -1)
	require.False(t, may(f, 1000), "one at a time")
	now = now.Add(scanPatience)
	require.True(t, may(f, 1000))
}

// TestSlowSinksMakeRoom: rows of who has most go to disk when others wait.
func TestSlowSinksMakeRoom(t *testing.T) {
	e := openEngine(t, 16<<20) // 12 MiB for buffers, 9 before rows go to disk
	slow, waiting := e.NewFeed(1<<30), e.NewFeed(1<<30)
	defer waiting.Close()
	defer slow.Close()
	s := slow.NewSpan()
	for i := range 8 {
		require.NoError(t, s.Add([]model.RawChange{model.NewRawChange(1, 2, []byte{byte(i)}, make([]byte, 1<<20), nil)}))
	}
	require.Zero(t, e.OnDisk())
	require.Eventually(t, func() bool {
		reserved, ok := waiting.BeginScan(4 << 20)
		if ok {
			waiting.EndScan(reserved, -1)
		}
		return e.OnDisk() > 0
	}, 30*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return e.Held() <= e.budget.low() }, 30*time.Second, time.Millisecond)
	require.Len(t, drain(t, s, math.MaxUint64, Limits{Rows: 100, Bytes: 1 << 17}), 8)
}

// TestLendLimit: changefeeds share what may be lent evenly.
func TestLendLimit(t *testing.T) {
	e := openEngine(t, 1<<20)
	feeds := []*Feed{e.NewFeed(1), e.NewFeed(1)}
	require.Equal(t, int64(1<<17), feeds[0].LendLimit())
	feeds[1].Close()
	feeds[1].Close()
	require.Equal(t, int64(1<<18), feeds[0].LendLimit())
	feeds[0].Close()
	unbound := openEngine(t, 0).NewFeed(1)
	defer unbound.Close()
	require.Equal(t, int64(math.MaxInt64), unbound.LendLimit())
}

// TestLimitIsKeptByAll: many changefeeds with more rows than the process may
// hold, among them one row that is larger than the limit, which goes alone.
func TestLimitIsKeptByAll(t *testing.T) {
	const limit, feeds, rows = 4 << 20, 8, 4000
	e := openEngine(t, limit)
	spans := make([]*Span, feeds)
	var wg sync.WaitGroup
	value := make([]byte, 1000)
	for i := range spans {
		f := e.NewFeed(1 << 30)
		defer f.Close()
		spans[i] = f.NewSpan()
		wg.Go(func() {
			for n := range rows {
				c := model.NewRawChange(1, uint64(2+n), fmt.Append(nil, n), value, nil)
				if err := spans[i].Add([]model.RawChange{c}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, e.budget.peak.Load(), int64(limit))
	require.Positive(t, e.OnDisk())

	huge := model.NewRawChange(1, 2, []byte("huge"), make([]byte, 2*limit), nil)
	require.NoError(t, spans[0].Add([]model.RawChange{huge}))
	require.Positive(t, e.budget.waits.Load())
	require.Less(t, e.budget.peak.Load(), int64(2*limit+worthIt(limit)+rowOverhead+100), "everything else had to make room")
	for i, s := range spans {
		want := rows
		if i == 0 {
			want++
		}
		require.Len(t, drain(t, s, math.MaxUint64, Limits{Rows: 100, Bytes: 1 << 17}), want)
	}
	require.Zero(t, e.Held())
}
