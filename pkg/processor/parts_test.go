package processor

import (
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeap(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	h := minHeap{
		place: func(s *span) *int { return &s.checkpointPlace },
		ts:    func(s *span) uint64 { return s.checkpoint },
	}
	_, ok := h.min()
	require.False(t, ok)
	var all []*span
	for range 5000 {
		switch {
		case len(all) == 0 || r.Intn(4) == 0:
			s := &span{checkpoint: uint64(r.Intn(1000))}
			all = append(all, s)
			h.push(s)
		case r.Intn(6) == 0:
			i := r.Intn(len(all))
			h.remove(all[i])
			all = slices.Delete(all, i, i+1)
		default:
			s := all[r.Intn(len(all))]
			s.checkpoint += uint64(r.Intn(100))
			h.risen(s)
		}
		got, ok := h.min()
		require.Equal(t, len(all) > 0, ok)
		if ok {
			least := slices.MinFunc(all, func(a, b *span) int { return int(a.checkpoint) - int(b.checkpoint) })
			require.Equal(t, least.checkpoint, got)
		}
	}
}

func TestTracker(t *testing.T) {
	var tr tracker
	tr.begin(5)
	require.True(t, func() bool { _, idle := tr.state(); return idle }())
	tr.reach(8)
	a, b, c := &flight{watermark: 10}, &flight{watermark: 20}, &flight{watermark: 30}
	tr.launch(a)
	tr.launch(b)
	tr.launch(c)
	require.False(t, tr.land(b))
	at, idle := tr.state()
	require.Equal(t, uint64(8), at)
	require.False(t, idle)
	require.True(t, tr.land(a))
	at, _ = tr.state()
	require.Equal(t, uint64(20), at)
	tr.reach(40)
	at, _ = tr.state()
	require.Equal(t, uint64(20), at, "the last batch is on its way")
	require.True(t, tr.land(c))
	at, idle = tr.state()
	require.Equal(t, uint64(40), at)
	require.True(t, idle)
}
