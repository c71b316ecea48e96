package owner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
)

// stallAfter is how long a checkpoint may stand still without a reason being
// given. Resolved-ts comes several times a second.
const stallAfter = 2 * time.Second

// silenceAfter is how long PD may be silent before that is a reason.
const silenceAfter = 2 * time.Second

// checkpoint is where a restart would begin.
func (v *FeedView) checkpoint() uint64 {
	if v.Status != nil {
		return v.Status.CheckpointTs
	}
	return v.Info.StartTs
}

// publish shows readers the current situation, if it differs from what they see.
func (f *feed) publish() {
	v := FeedView{ID: f.id, Info: f.info, Status: f.stored.Status, ResolvedTs: f.resolved}
	if r := f.run; r != nil {
		f.tasksBuf = r.taskViews(f.tasksBuf[:0])
		v.Tasks, v.Scheduled = f.tasksBuf, r.settled
		v.LastSyncedTs, v.PullerResolvedTs = r.synced()
	}
	v.Stalled = f.stall(f.o.clock())
	if old := f.view.Load(); old != nil && sameView(old, &v) {
		return
	}
	fresh := v
	fresh.Tasks = slices.Clone(v.Tasks)
	f.view.Store(&fresh)
	f.o.touch()
}

func sameView(a, b *FeedView) bool {
	return a.Info == b.Info && a.Status == b.Status && a.ResolvedTs == b.ResolvedTs &&
		a.Scheduled == b.Scheduled && a.LastSyncedTs == b.LastSyncedTs && a.PullerResolvedTs == b.PullerResolvedTs &&
		slices.EqualFunc(a.Tasks, b.Tasks, sameTask) && sameStall(a.Stalled, b.Stalled)
}

// sameTask compares by the list that is shared as long as it is the same.
func sameTask(a, b Task) bool {
	return a.CaptureID == b.CaptureID && a.CheckpointTs == b.CheckpointTs && a.ResolvedTs == b.ResolvedTs &&
		len(a.TableIDs) == len(b.TableIDs) && (len(a.TableIDs) == 0 || &a.TableIDs[0] == &b.TableIDs[0])
}

func sameStall(a, b *model.Stall) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Reason == b.Reason && a.Detail == b.Detail && a.Since.Equal(b.Since) &&
		(a.RetryAt == nil) == (b.RetryAt == nil) && (a.RetryAt == nil || a.RetryAt.Equal(*b.RetryAt))
}

// taskViews appends the tables per capture, and how far each capture is.
func (r *run) taskViews(dst []Task) []Task {
	tasks := append(dst, r.place.list()...)
	for i := range tasks {
		capture := tasks[i].CaptureID
		if w := r.works[capture]; w != nil && r.place.count(capture) > 0 && w.progress != nil {
			tasks[i].CheckpointTs, tasks[i].ResolvedTs = w.progress.CheckpointTs, w.progress.ResolvedTs
		}
	}
	return tasks
}

// synced combines what the captures tell about their sinks and pullers.
func (r *run) synced() (lastCommit, puller uint64) {
	for capture, w := range r.works {
		if r.place.count(capture) == 0 || w.progress == nil {
			continue
		}
		lastCommit = max(lastCommit, w.progress.LastCommitTs)
		if puller == 0 || w.progress.PullerResolvedTs < puller {
			puller = w.progress.PullerResolvedTs
		}
	}
	return lastCommit, puller
}

// stall says why the checkpoint stands still; nil while it moves.
func (f *feed) stall(now time.Time) *model.Stall {
	if f.state().Running() && now.Sub(f.movedAt) < stallAfter {
		return nil
	}
	s := &model.Stall{Since: f.movedAt}
	switch f.state() {
	case model.StateStopped:
		s.Reason, s.Detail = model.StallPaused, "paused by a user"
		return s
	case model.StateFinished, model.StateRemoved:
		return nil
	case model.StateFailed:
		s.Reason, s.Detail = model.StallFailed, f.errorText()
		return s
	case model.StatePending:
		retryAt := f.machine.retryAt
		s.Reason, s.Detail, s.RetryAt = model.StallBackoff, f.errorText(), &retryAt
		return s
	}
	f.runStall(s)
	return s
}

func (f *feed) errorText() string {
	if e := f.stored.Info.Error; e != nil {
		return e.Message
	}
	return ""
}

// runStall looks for what a running changefeed waits for, outermost first.
func (f *feed) runStall(s *model.Stall) {
	r := f.run
	fleet := f.o.fleet.snapshot()
	switch {
	case r == nil:
		s.Reason, s.Detail = model.StallInitialized, "the earlier run is being closed"
	case r.planner == nil:
		s.Reason, s.Detail = model.StallInitialized, "the schema is being loaded"
	case r.delivery != nil:
		r.delivery.fill(s)
	case f.o.upstream.Silence() > silenceAfter:
		s.Reason = model.StallUpstream
		s.Detail = fmt.Sprintf("PD has not answered for %s", f.o.upstream.Silence().Round(time.Second))
	case f.checkpoint > f.stored.CheckpointTs():
		s.Reason, s.Detail = model.StallUpstream, "PD's etcd has not taken the checkpoint yet"
	case fleet.incompatible != nil:
		s.Reason, s.Detail = model.StallScheduling, fleet.incompatible.Error()
	case !r.covered():
		s.Reason, s.Detail = model.StallScheduling, f.schedulingDetail(fleet)
	case r.captureStall(s, fleet):
	case !r.scheduled():
		s.Reason, s.Detail = model.StallScheduling, f.schedulingDetail(fleet)
	default:
		r.schemaStall(s)
	}
}

// fill says what is written and, if the sink has trouble, which.
func (d *delivery) fill(s *model.Stall) {
	s.Reason, s.Since = d.reason, d.since
	s.Detail = *d.what.Load()
	if sink := d.sink.Load(); sink != nil {
		if trouble := (*sink).Status(); trouble.Reason != "" {
			s.Detail += ": " + trouble.Detail
			if !trouble.RetryAt.IsZero() {
				s.RetryAt = &trouble.RetryAt
			}
		}
	}
}

func (f *feed) schedulingDetail(fleet *fleetView) string {
	switch {
	case !fleet.settled:
		return "a registered capture has not connected to this owner yet"
	case len(f.draining) > 0:
		capture, _ := first(f.draining, func(uint64) bool { return true })
		return fmt.Sprintf("capture %s has not ended the earlier run yet", fleet.addr(capture))
	}
	if capture, ok := first(f.run.works, func(w *work) bool { return w.conn == nil }); ok {
		return fmt.Sprintf("capture %s is not connected", fleet.addr(capture))
	}
	if table, ok := first(f.run.arr.moves, func(m *move) bool { return m.leaving }); ok {
		m := f.run.arr.moves[table]
		return fmt.Sprintf("table %d moves from %s to %s", f.run.pieces.table(table), fleet.addr(m.from), fleet.addr(m.to))
	}
	if f.run.cut.asking {
		return "PD is asked for the regions of tables, which may be cut over captures"
	}
	if missing := f.run.wanted() - len(f.run.place.spots); missing > 0 {
		return fmt.Sprintf("no capture takes %d tables", missing)
	}
	return "a capture has not confirmed its tables yet"
}

// first is the least key whose value fits: a reason that holds is told in the
// same words every time.
func first[K cmp.Ordered, V any](m map[K]V, fits func(V) bool) (least K, ok bool) {
	for key, value := range m {
		if fits(value) && (!ok || key < least) {
			least, ok = key, true
		}
	}
	return least, ok
}

// captureStall takes over the reason of the capture that is furthest behind.
func (r *run) captureStall(s *model.Stall, fleet *fleetView) bool {
	var worst *work
	var where model.CaptureID
	for capture, w := range r.works {
		at := w.progress.GetCheckpointTs() // 0 before it has confirmed anything
		if !r.place.shows(capture) || at == 0 || at >= r.barrier {
			continue
		}
		if worst == nil || at < worst.progress.CheckpointTs || at == worst.progress.CheckpointTs && capture < where {
			worst, where = w, capture
		}
	}
	switch {
	case worst == nil:
		return false
	case worst.conn == nil:
		s.Reason, s.Detail = model.StallScheduling, fmt.Sprintf("capture %s is not connected", fleet.addr(where))
	case worst.progress.Stall != nil:
		*s = *peer.FromStall(worst.progress.Stall)
	default:
		s.Reason = model.StallCatchingUp
		s.Detail = fmt.Sprintf("capture %s is at %d", fleet.addr(where), worst.progress.CheckpointTs)
	}
	return true
}

// schemaStall is the reason when every row up to the barrier is downstream.
func (r *run) schemaStall(s *model.Stall) {
	s.Reason = model.StallSchema
	s.Detail = fmt.Sprintf("the DDL stream is at %d", r.planner.schema.ResolvedTs())
}
