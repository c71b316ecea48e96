package processor

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func (r *rig) prepare(table int64, checkpoint uint64) {
	r.AddSpans([]SpanStart{{Span: model.TableSpan(table), CheckpointTs: checkpoint, Prepare: true}})
}

// readied collects what Progress tells once.
func (r *rig) readied(table int64) {
	r.t.Helper()
	r.waitFor("ready", func() bool {
		for _, s := range r.Progress().Prepared {
			if s.TableID == table {
				return true
			}
		}
		return false
	})
}

// A prepared span delivers nothing and holds nothing back; when it takes over
// it delivers what comes after the other capture's last row.
func TestPreparedSpanTakesOver(t *testing.T) {
	r := newRig(t)
	r.open(1, 2)
	r.add(2, 10)
	r.prepare(1, 10)
	s := r.up.sub(t, 1)
	s.rows(change(20, "a"), change(30, "b"), change(40, "c"))
	s.resolve(50)
	r.readied(1)
	require.Empty(t, r.Progress().Prepared, "told once")
	r.up.sub(t, 2).resolve(60)
	r.waitCheckpoint(60)
	require.Empty(t, r.sink.rowsOf(1))
	require.Equal(t, 1, r.Progress().Spans)
	require.ElementsMatch(t, []SpanStart{
		{Span: model.TableSpan(1), CheckpointTs: 10, Prepare: true},
		{Span: model.TableSpan(2), CheckpointTs: 60},
	}, r.Spans())

	r.up.set(func() { r.up.now = 99 })
	r.add(1, 30)
	require.Equal(t, 2, r.Progress().Spans)
	s.resolve(70)
	r.waitCheckpoint(60)
	require.Equal(t, []uint64{40}, commitTimes(r.sink.rowsOf(1)))
	require.Equal(t, uint64(99), r.sink.got()[0].ReplicateTs, "rows up to the takeover may be there already")
	r.up.sub(t, 2).resolve(70)
	r.waitCheckpoint(70)
}

// The takeover may come before the history is read.
func TestTakeOverBeforeReady(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.prepare(1, 10)
	r.add(1, 30)
	s := r.up.sub(t, 1)
	s.rows(change(20, "a"), change(31, "b"))
	r.waitCheckpoint(30)
	s.resolve(40)
	r.waitCheckpoint(40)
	require.Equal(t, []uint64{31}, commitTimes(r.sink.rowsOf(1)))
	require.Empty(t, r.Progress().Prepared)
}

func TestPreparedSpanIsDropped(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.prepare(1, 10)
	s := r.up.sub(t, 1)
	s.rows(change(20, "a"))
	s.resolve(30)
	r.readied(1)
	r.RemoveSpans([]model.Span{model.TableSpan(1)})
	r.waitFor("removed", func() bool { return len(r.Progress().Removed) == 1 })
	require.Empty(t, r.Spans())
	require.Empty(t, r.sink.rowsOf(1))

	r.add(1, 15) // and comes back as a common one
	s = r.up.sub(t, 1)
	s.rows(change(20, "a"))
	s.resolve(30)
	r.waitCheckpoint(30)
	require.Equal(t, []uint64{20}, commitTimes(r.sink.rowsOf(1)))
}

// A prepared span is dropped, and before it is gone the table comes and goes
// again: it holds the checkpoint until it is told as removed.
func TestDroppedBehindAPreparedSpan(t *testing.T) {
	r := newRig(t)
	r.open(1, 2)
	r.add(2, 10)
	r.prepare(1, 10)
	s := r.up.sub(t, 1)
	s.resolve(30)
	r.readied(1)
	s.mu.Lock() // its Close waits
	r.RemoveSpans([]model.Span{model.TableSpan(1)})
	r.add(1, 15)
	r.RemoveSpans([]model.Span{model.TableSpan(1)})
	r.up.sub(t, 2).resolve(60)
	r.waitFor("the other table goes on", func() bool {
		return slices.ContainsFunc(r.Spans(), func(s SpanStart) bool { return s.Span.TableID == 2 && s.CheckpointTs == 60 })
	})
	checkpoint := r.Progress().CheckpointTs
	s.mu.Unlock()
	require.Equal(t, uint64(15), checkpoint)
	r.waitFor("it is gone", func() bool { return len(r.Spans()) == 1 })
	require.Equal(t, []SpanStart{{Span: model.TableSpan(1), CheckpointTs: 15}}, r.Progress().Removed)
	r.waitCheckpoint(60)
}

func TestTakeOverBelowTheStart(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.prepare(1, 10)
	r.up.sub(t, 1)
	r.add(1, 9)
	require.ErrorContains(t, r.failed(), "cannot go on from 9")
}
