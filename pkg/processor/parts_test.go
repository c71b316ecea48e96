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

func TestAdmission(t *testing.T) {
	var held, lent int64
	a := newAdmission(func() int64 { return held }, func() int64 { return lent }, 1<<30)
	spans := make([]*span, 100)
	for i := range spans {
		spans[i] = &span{}
	}
	admitted := func() (n int) {
		for _, s := range spans {
			if a.admit(s) {
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
	end(0)
	require.Equal(t, 100, admitted(), "idle tables start together")
	for range 10 {
		end(64 << 20)
		admitted()
	}
	end(64 << 20)
	require.Equal(t, 1, admitted(), "big ones come one by one")
	end(0)
	held, lent = 33<<20, 1
	require.Zero(t, admitted(), "the sink makes room")
	lent = 0
	require.Equal(t, 1, admitted(), "one may always run")
	a.forget(spans[0])
	held = 1<<30 + 1
	require.Zero(t, admitted(), "over the quota")
}
