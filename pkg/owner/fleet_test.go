package owner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
)

// A capture that is behind holds the checkpoint of the changefeed.
func TestSlowCaptureHoldsCheckpoint(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	b.limit = 150
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(150)
	c.shift.Store(int64(stallAfter))
	c.schema.advance(201)
	eventually(t, "the stall is told", func() bool { return c.view().Stalled != nil })
	require.Equal(t, model.StallCatchingUp, c.view().Stalled.Reason)
	require.Contains(t, c.view().Stalled.Detail, "c-b:1")
	c.upstream.set(func() { c.upstream.silence = time.Minute })
	c.schema.advance(202)
	eventually(t, "PD is the reason", func() bool { return c.view().Stalled.Reason == model.StallUpstream })
	c.upstream.set(func() { c.upstream.silence = 0 })
	b.with(func() { b.limit = 0 })
	c.waitCheckpoint(202)
	eventually(t, "no stall any more", func() bool { return c.view().Stalled == nil })
}

// A new owner finds what runs and does not start it again.
func TestOwnerChangeAdopts(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	c.stopOwner()
	c.detach(a)
	c.schema.advance(300)
	c.startOwner(a)
	c.waitCheckpoint(300)
	require.Equal(t, 1, a.starts)
	require.Equal(t, map[int64]uint64{1: 100, 2: 100}, a.tables(feedID))
	require.Len(t, c.view().Tasks[0].TableIDs, 2)
}

// A changefeed that was paused while a capture was cut off is stopped there as
// soon as it is back, before anything new starts.
func TestStopReachesReturningCapture(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	c.detach(a)
	eventually(t, "cut off", func() bool { return !c.owner.View().Captures[0].Connected })
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	c.shift.Store(int64(stallAfter))
	c.schema.advance(300)
	eventually(t, "the reason is told", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling
	})
	require.Equal(t, 1, a.starts)
	c.attach(a)
	c.waitCheckpoint(300)
	require.Equal(t, 2, a.starts)
}

func TestLostCapture(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(200)
	require.Len(t, b.tables(feedID), 1)
	c.detach(b)
	_, err := c.meta.Etcd().Delete(t.Context(), c.meta.Keys().Capture("c-b"))
	require.NoError(t, err)
	eventually(t, "its key is gone", func() bool {
		c.owner.fleet.mu.Lock()
		defer c.owner.fleet.mu.Unlock()
		m := c.owner.fleet.members["c-b"]
		return m == nil || !m.goneAt.IsZero()
	})
	c.schema.advance(300)
	require.Len(t, a.tables(feedID), 1, "it may still be writing")
	c.shift.Store(int64(minGrace))
	c.waitCheckpoint(300)
	require.Equal(t, map[int64]uint64{1: 100, 2: 200}, a.tables(feedID))
	require.Len(t, c.owner.View().Captures, 1)
}

// A capture that etcd knows but that cannot be reached is named at once and
// loses its tables after a while, when it must have stopped by itself.
func TestUnreachableCapture(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(200)
	c.detach(b)
	eventually(t, "seen", func() bool { return !c.owner.View().Captures[1].Connected })
	c.schema.advance(300)
	c.shift.Store(int64(stallAfter))
	eventually(t, "it is named", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling && s.Detail == "capture c-b:1 is not connected"
	})
	require.Len(t, a.tables(feedID), 1)
	c.shift.Store(int64(peer.GiveUpAfter(10 * time.Second)))
	c.waitCheckpoint(300)
	require.Len(t, a.tables(feedID), 2)
	require.Len(t, c.owner.View().Captures, 2, "it is still registered")

	b.with(func() { clear(b.runs) }) // as it was isolated
	c.attach(b)
	c.schema.advance(400)
	c.waitCheckpoint(400)
	require.Len(t, a.tables(feedID), 2)
}

// A capture that stops in order hands its tables over at once.
func TestLeavingCapture(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(200)
	b.with(func() { b.leaving = true })
	eventually(t, "handed over", func() bool { return len(a.tables(feedID)) == 2 })
	c.schema.advance(300)
	c.waitCheckpoint(300)
	require.Equal(t, map[int64]uint64{1: 100, 2: 200}, a.tables(feedID))
}

// Nothing is placed before every capture of the term's begin has said what it
// is doing.
func TestWaitsForRegisteredCaptures(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	c.startOwner(a)
	c.create()
	c.shift.Store(int64(stallAfter))
	eventually(t, "the reason is told", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling
	})
	require.Zero(t, a.starts)
	c.attach(b)
	c.waitCheckpoint(200)
}

// Captures of more than two versions must not work together.
func TestIncompatibleVersionsFreeze(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	for _, version := range []string{"v8.5.4", "v8.5.5"} {
		require.NoError(t, a.session.Register(t.Context(), &model.CaptureInfo{ID: "c-" + version, Version: version}))
	}
	eventually(t, "seen", func() bool { return c.owner.View().Incompatible != nil })
	c.shift.Store(int64(stallAfter))
	c.schema.advance(300)
	eventually(t, "the reason is told", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling
	})
	require.Equal(t, uint64(200), c.view().Status.CheckpointTs)
	_, err := c.meta.Etcd().Delete(t.Context(), c.meta.Keys().Capture("c-v8.5.5"))
	require.NoError(t, err)
	eventually(t, "gone", func() bool { return c.owner.fleet.snapshot().members["c-v8.5.5"].gone })
	c.shift.Store(int64(stallAfter + minGrace))
	c.waitCheckpoint(300)
}

// What a TiCDC capture that is gone has left is cleaned up.
func TestPositionsOfVanishedCaptures(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	keys := c.meta.Keys()
	a := c.addCapture("c-a")
	for _, capture := range []string{"c-a", "c-old"} {
		_, err := c.meta.Etcd().Put(t.Context(), keys.Position(capture, feedID), "{}")
		require.NoError(t, err)
	}
	c.startOwner(a)
	eventually(t, "cleaned", func() bool {
		state, err := c.meta.Load(t.Context())
		require.NoError(t, err)
		return len(state.Positions) == 1
	})
}

// TestStoppedCaptures holds the grace of captures that vanish against those
// that said before that nothing of them goes on.
func TestStoppedCaptures(t *testing.T) {
	s := newStage(t, 1, "a", "b", "c")
	fleet := s.term.o.fleet
	fleet.stopped([]model.CaptureID{"b", "never seen"})
	fleet.sweep(s.now)
	require.Contains(t, fleet.snapshot().members, "b", "its key is there")
	delete(s.info, "b")
	delete(s.info, "c")
	fleet.update(s.info, s.now)
	fleet.sweep(s.now)
	require.NotContains(t, fleet.snapshot().members, "b")
	require.Contains(t, fleet.snapshot().members, "c", "it may be at work still")
	fleet.sweep(s.now.Add(fleet.grace))
	require.NotContains(t, fleet.snapshot().members, "c")
	require.Contains(t, fleet.snapshot().members, "a")
}

// A capture may say that it has stopped before the next owner looks for the
// first time: most of all the owner before that.
func TestStoppedBeforeTheTerm(t *testing.T) {
	s := newStage(t, 1, "a")
	fleet := s.term.o.fleet
	stopped := func(id model.CaptureID) *model.CaptureInfo { return &model.CaptureInfo{ID: id, Stopped: true} }
	fleet.begin(&etcdmeta.State{Captures: map[model.CaptureID]*model.CaptureInfo{"a": s.info["a"], "b": stopped("b")}}, s.now)
	fleet.update(map[model.CaptureID]*model.CaptureInfo{"a": s.info["a"], "b": stopped("b"), "c": stopped("c")}, s.now)
	fleet.sweep(s.now)
	require.Len(t, fleet.snapshot().members, 3, "their keys are there")
	fleet.update(s.info, s.now)
	fleet.sweep(s.now)
	require.Len(t, fleet.snapshot().members, 1)
	require.Contains(t, fleet.snapshot().members, "a")
}
