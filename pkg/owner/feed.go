package owner

import (
	"context"
	stderrors "errors"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// feed drives one changefeed. Everything but box, view and done belongs to
// its own goroutine, loop; others post functions to the mailbox.
type feed struct {
	id     model.ChangefeedID
	o      *Owner
	logger *zap.Logger
	box    *mailbox
	view   atomic.Pointer[FeedView]
	done   chan struct{} // closed when loop has returned

	stored  *etcdmeta.Feed           // newest known content of etcd; Info is never nil
	info    *etcdmeta.ChangefeedInfo // stored.Info, completed and fitted to the downstream
	machine *machine
	removed bool

	run     *run
	closing int            // earlier runs that are still being closed
	tasks   sync.WaitGroup // goroutines that close runs
	// draining are captures that have not confirmed yet that an earlier run,
	// of this epoch, has ended there. Nothing new starts meanwhile.
	draining map[model.CaptureID]uint64
	// conns are the captures' streams, as far as the mailbox told of them.
	conns map[model.CaptureID]Conn
	// latest is what the watch told last; guarded by Owner.mu.
	latest *etcdmeta.Feed
	// wishes are what users want of the placement and what cannot be judged yet.
	wishes []Arrangement

	checkpoint uint64
	resolved   uint64    // 0 while not running
	reached    uint64    // barrier of earlier runs, also of other owners: rows up to it may be downstream
	movedAt    time.Time // when the stored checkpoint moved
	timer      *time.Timer
	armed      time.Time // when timer fires
	tasksBuf   []Task    // of publish

	// infoRev is stored.InfoRev. calm says that the run only follows the
	// present, which brings a step several times a second. Others read them.
	infoRev atomic.Int64
	calm    atomic.Bool
}

func newFeed(o *Owner, stored *etcdmeta.Feed) *feed {
	f := &feed{
		id: stored.ID, o: o, box: newMailbox(), done: make(chan struct{}),
		logger:   o.logger.With(zap.String("namespace", stored.ID.Namespace), zap.String("changefeed", stored.ID.ID)),
		draining: map[model.CaptureID]uint64{}, conns: map[model.CaptureID]Conn{},
	}
	f.adopt(stored)
	f.checkpoint = stored.CheckpointTs()
	if stored.Status != nil {
		f.reached = max(stored.Status.MinTableBarrierTs, 1) - 1
	}
	f.machine = newMachine(f.info.Config.ChangefeedErrorStuckDuration, o.random)
	f.machine.load(stored.Info.State, f.checkpoint, f.movedAt)
	f.publish()
	return f
}

// adopt takes what etcd holds as the truth.
func (f *feed) adopt(stored *etcdmeta.Feed) {
	if f.stored == nil || f.stored.InfoRev != stored.InfoRev {
		info := stored.Info.Clone()
		info.Config = info.Config.FitTo(info.SinkURI)
		f.info = info
	}
	if f.stored == nil || f.stored.CheckpointTs() != stored.CheckpointTs() {
		f.movedAt = f.o.clock()
	}
	f.stored = stored
	f.infoRev.Store(stored.InfoRev)
}

// loop runs until ctx ends or the changefeed was removed. It begins after the
// feed was made known: streams opened later are told through the mailbox.
func (f *feed) loop(ctx context.Context) {
	defer close(f.done)
	defer f.tasks.Wait()
	defer f.leave()
	f.timer = time.AfterFunc(time.Hour, f.box.ring)
	defer f.timer.Stop()
	// All changefeeds would wait for one channel, and get in each other's way.
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	f.begin()
	for !f.removed {
		f.step(ctx)
		if f.removed {
			return
		}
		select {
		case <-own.Done():
			return
		case <-f.box.signal:
		case <-f.run.schemaChanged():
		}
		for _, fn := range f.box.take() {
			fn()
		}
	}
}

// begin looks which captures there are. What an earlier changefeed of this id
// has left on them is told to end once more: its end may have been told before.
func (f *feed) begin() {
	members := f.o.fleet.snapshot().members
	for id, m := range members {
		if m.conn != nil {
			f.conns[id] = m.conn
		}
	}
	for id, epoch := range f.draining {
		if _, ok := members[id]; ok {
			f.sendStop(f.conns[id], id, epoch)
		} else {
			delete(f.draining, id)
		}
	}
}

// succeed waits for the end of an earlier changefeed of this id: what that has
// sent downstream may still be on its way.
func (f *feed) succeed(old *grave) {
	f.draining = old.draining
	f.closing++
	f.o.background.Go(func() {
		select {
		case <-old.ended:
		case <-f.o.ctx.Done():
		}
		f.post(func() { f.closing-- })
	})
}

// leave lets go of the changefeed at the end of the term. The processors go
// on: the next owner finds them.
func (f *feed) leave() {
	if f.run != nil {
		f.closeRun()
	}
}

func (f *feed) post(fn func()) { f.box.post(fn) }

// crowd is how many changefeeds make a crowd: their checkpoints are stored so
// seldom (flushGapPerFeed) that news of them can wait for the next resolved-ts.
const crowd = 50

// postNews is post for progress that nothing waits for. In a crowd it is looked
// at together with the next resolved-ts: waking every changefeed for each report
// and each stored checkpoint is most of what idle changefeeds cost the owner.
func (f *feed) postNews(fn func()) {
	if f.calm.Load() && f.o.count.Load() >= crowd {
		f.box.leave(fn)
		return
	}
	f.box.post(fn)
}

func (f *feed) state() model.FeedState { return f.stored.Info.State }

// step does whatever the current situation asks for.
func (f *feed) step(ctx context.Context) {
	now := f.o.clock()
	switch {
	case f.state() == "":
		f.enter(ctx, model.StateNormal, nil)
	case f.stored.Status == nil && !f.state().Running():
		f.enter(ctx, f.state(), nil) // one that runs gets its status with its first progress
	}
	if next := f.machine.onTime(f.state(), f.checkpoint, now); next != f.state() {
		f.enter(ctx, next, nil)
	}
	switch {
	case !f.state().Running():
		f.stopRun()
		f.wishes = nil
	case f.run == nil && f.closing == 0:
		f.run = startRun(ctx, f)
	}
	if f.run != nil {
		f.drive(ctx)
	}
	f.markStatus()
	f.publish()
	f.arm(now)
	f.calm.Store(f.run != nil && f.run.calm())
}

// drive moves the run and reacts to where that leads.
func (f *feed) drive(ctx context.Context) {
	if err := f.run.step(ctx); err != nil {
		f.failWith(ctx, err)
		return
	}
	if f.run.finished() {
		f.enter(ctx, model.StateFinished, nil)
		return
	}
	if f.stored.Status != nil { // what is proven is what is stored
		next := f.machine.onProgress(f.state(), f.stored.Status.CheckpointTs, f.resolved, f.o.clock())
		if next != f.state() {
			f.enter(ctx, next, nil)
		}
	}
}

// arm sets the timer for what happens by time alone.
func (f *feed) arm(now time.Time) {
	wait := f.movedAt.Add(stallAfter).Sub(now)
	if wait <= 0 {
		wait = stallAfter // look at the reason again
	}
	if f.run != nil {
		if due := f.run.tellWait(now); due > 0 {
			wait = min(wait, due)
		}
	}
	switch {
	case f.state() == model.StatePending:
		wait = max(0, f.machine.retryAt.Sub(now))
	case !f.state().Running():
		wait = time.Hour // only jobs and checks wake it
	case f.run != nil && f.run.arr.balanceAt.After(now):
		wait = min(wait, f.run.arr.balanceAt.Sub(now))
	}
	due := now.Add(wait)
	if f.armed.After(now) && !f.armed.After(due) {
		return // it is looked at again when the timer fires
	}
	f.armed = due
	f.timer.Reset(wait)
}

// fail handles an error of the run or of a check. Errors that are part of an
// orderly stop never get here: nothing listens to a run that was told to end.
func (f *feed) fail(ctx context.Context, e *model.RunningError) {
	if ctx.Err() != nil {
		return
	}
	next := f.machine.onError(f.state(), e, f.o.clock())
	if next == f.state() && (next != model.StateFailed || f.sameFailure(e)) {
		return
	}
	f.logger.Warn("changefeed met an error", zap.String("state", string(next)),
		zap.String("code", e.Code), zap.String("error", e.Message))
	f.enter(ctx, next, func(feed *etcdmeta.Feed) { feed.Info.Error = e })
}

// sameFailure is true for a failed changefeed whose stored error says already
// all that e says.
func (f *feed) sameFailure(e *model.RunningError) bool {
	stored := f.stored.Info.Error
	return stored != nil && (stored.Code == e.Code || !errors.IsGCFastFailCode(e.Code))
}

// failWith is fail for an error of the owner's own.
func (f *feed) failWith(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if stderrors.Is(err, errors.ErrNotOwner) {
		f.o.abort(err)
		return
	}
	f.fail(ctx, runningError(err, errors.ErrOwnerUnknown, f.o.self.AdvertiseAddr, f.o.clock()))
}

// warn handles a sink's warning.
func (f *feed) warn(ctx context.Context, w *model.RunningError) {
	next, fatal := f.machine.onWarning(f.state(), w, f.o.clock())
	if fatal != nil {
		f.enter(ctx, next, func(feed *etcdmeta.Feed) { feed.Info.Error = fatal })
		return
	}
	old := f.stored.Info.Warning
	if !next.Running() || (next == f.state() && old != nil && old.Code == w.Code && old.Message == w.Message) {
		return
	}
	f.enter(ctx, next, func(feed *etcdmeta.Feed) { feed.Info.Warning = w })
}

// enter stores a state and what goes with it, together with the checkpoint.
// The run is stopped first when the state does not allow one. It returns when
// that is stored; false when it cannot be, because the term or the changefeed
// is over.
func (f *feed) enter(ctx context.Context, next model.FeedState, change func(*etcdmeta.Feed)) bool {
	least := f.minBarrier()
	if !next.Running() {
		f.stopRun()
	}
	previous := f.state()
	ok := f.modify(ctx, func(feed *etcdmeta.Feed) {
		f.fillStatus(feed, least)
		if change != nil {
			change(feed)
		}
		info := feed.Info
		info.State = next
		if job := next.AdminJob(); job != info.AdminJobType {
			info.AdminJobType = job
			if job != model.AdminNone {
				info.Epoch = f.o.newEpoch(ctx)
			}
		}
		feed.Status.AdminJobType = info.AdminJobType
	})
	if ok && previous != next {
		f.logger.Info("changefeed changed state", zap.String("from", string(previous)),
			zap.String("to", string(next)), zap.Uint64("checkpointTs", f.checkpoint))
		f.movedAt = f.o.clock()
	}
	return ok
}

// minBarrier is that of the run, 0 while there is none.
func (f *feed) minBarrier() uint64 {
	if f.run == nil || f.run.planner == nil {
		return 0
	}
	return f.run.minBarrier()
}

// fillStatus puts the current progress into a record; minBarrier is that of
// the run, also of one that has just been stopped.
func (f *feed) fillStatus(feed *etcdmeta.Feed, minBarrier uint64) {
	status := etcdmeta.ChangefeedStatus{CheckpointTs: f.checkpoint, MinTableBarrierTs: f.checkpoint}
	if feed.Status != nil {
		status = *feed.Status
	}
	if f.checkpoint >= status.CheckpointTs {
		status.CheckpointTs = f.checkpoint
		status.MinTableBarrierTs = max(status.MinTableBarrierTs, f.checkpoint)
		if minBarrier != 0 {
			status.MinTableBarrierTs = minBarrier
		}
	}
	feed.Status = &status
}

// writeTimeout bounds one attempt to store a changefeed, writeRetryPause is
// waited before the next one.
const (
	writeTimeout    = 5 * time.Second
	writeRetryPause = 500 * time.Millisecond
)

// modify changes the stored record. It waits for etcd as long as the term
// lasts; nothing sensible can happen to the changefeed before.
func (f *feed) modify(ctx context.Context, change func(*etcdmeta.Feed)) bool {
	f.o.flusher.forget(f)
	for ctx.Err() == nil {
		tryCtx, cancel := context.WithTimeout(ctx, writeTimeout)
		feed, err := f.o.records.ModifyFeed(tryCtx, f.id, func(feed *etcdmeta.Feed) error {
			change(feed)
			return nil
		})
		cancel()
		switch {
		case err == nil:
			f.adopt(feed)
			f.machine.configure(f.info.Config.ChangefeedErrorStuckDuration)
			return true
		case stderrors.Is(err, errors.ErrNotOwner):
			f.o.abort(err)
			return false
		case stderrors.Is(err, errors.ErrChangeFeedNotExists):
			return false // the watch tells about it
		}
		f.logger.Warn("cannot store the changefeed, will try again", zap.Error(err))
		f.publish() // readers are told what it waits for
		sleep(ctx, writeRetryPause)
	}
	return false
}

// onRecord takes a change over that the watch saw; nil when the info is gone.
func (f *feed) onRecord(ctx context.Context, stored *etcdmeta.Feed) {
	if stored == nil || stored.Info == nil {
		if f.removed {
			return
		}
		f.logger.Warn("changefeed info is gone, dropping the rest")
		for !f.removed && ctx.Err() == nil {
			if err := f.remove(ctx); err != nil {
				f.logger.Warn("cannot drop what is left of a changefeed, will try again", zap.Error(err))
				sleep(ctx, writeRetryPause)
			}
		}
		return
	}
	if stored.InfoRev < f.stored.InfoRev || stored.StatusRev < f.stored.StatusRev {
		return // older than what was written here
	}
	f.take(ctx, stored)
}

// take makes a record the truth, and the run follow it.
func (f *feed) take(ctx context.Context, stored *etcdmeta.Feed) {
	previous := f.info
	f.adopt(stored)
	f.machine.configure(f.info.Config.ChangefeedErrorStuckDuration)
	if f.state() != previous.State {
		f.machine.load(f.state(), f.checkpoint, f.o.clock())
	}
	if f.run == nil {
		f.checkpoint = stored.CheckpointTs()
		return
	}
	if !sameRun(previous, f.info) {
		f.stopRun()
		if f.info.Epoch == previous.Epoch {
			f.modify(ctx, func(feed *etcdmeta.Feed) { feed.Info.Epoch = f.o.newEpoch(ctx) })
		}
	}
}

// sameRun tells whether a run started with a may go on under b.
func sameRun(a, b *etcdmeta.ChangefeedInfo) bool {
	return a.Epoch == b.Epoch && a.SinkURI == b.SinkURI && a.StartTs == b.StartTs && a.TargetTs == b.TargetTs &&
		reflect.DeepEqual(a.Config, b.Config)
}

// onJob does what a user asked for and returns when it is stored.
func (f *feed) onJob(ctx context.Context, job Job) error {
	if f.removed {
		return errors.ErrChangeFeedNotExists.New(f.id)
	}
	if job.Type == model.AdminRemove {
		return f.remove(ctx)
	}
	next, ok := f.machine.onJob(f.state(), job.Type)
	if !ok {
		f.logger.Info("job ignored", zap.Int("job", int(job.Type)), zap.String("state", string(f.state())))
		return nil
	}
	stored := f.enter(ctx, next, func(feed *etcdmeta.Feed) {
		if job.Type != model.AdminResume {
			return
		}
		feed.Info.Error = nil
		if ts := job.OverwriteCheckpointTs; ts != 0 {
			feed.Info.StartTs = ts
			feed.Status = &etcdmeta.ChangefeedStatus{CheckpointTs: ts, MinTableBarrierTs: ts}
		}
	})
	if !stored {
		return errors.ErrOwnerNotFound.New()
	}
	if job.Type == model.AdminResume {
		f.checkpoint = f.stored.CheckpointTs()
		f.machine.load(next, f.checkpoint, f.o.clock())
	}
	return nil
}

// onArrange takes a wish about the placement; the next step looks at it. A
// changefeed that does not run has none.
func (f *feed) onArrange(wish Arrangement) {
	if f.state().Running() {
		f.wishes = append(f.wishes, wish)
	}
}

// remove deletes every key of the changefeed and ends the loop.
func (f *feed) remove(ctx context.Context) error {
	f.stopRun()
	f.o.flusher.forget(f)
	rev, err := f.o.records.RemoveFeed(ctx, f.id)
	if err != nil {
		if stderrors.Is(err, errors.ErrNotOwner) {
			f.o.abort(err)
			return errors.ErrOwnerNotFound.New()
		}
		return err
	}
	f.removed = true
	f.o.dropSafePoints(ctx, f.id) // before the id can be taken again, with safe points of the same names
	f.o.bury(f, rev)
	f.logger.Info("changefeed removed")
	return nil
}

// stopRun ends the run here and on the captures.
func (f *feed) stopRun() {
	if f.run == nil {
		return
	}
	for capture, w := range f.run.works {
		if w.started {
			f.sendStop(w.conn, capture, f.run.epoch)
		}
	}
	f.resolved = 0
	f.closeRun()
}

func (f *feed) sendStop(conn Conn, capture model.CaptureID, epoch uint64) {
	f.draining[capture] = epoch
	if conn != nil {
		conn.Send(&peerpb.Order{Feed: peer.FeedKey(f.id, epoch), Stop: true})
	}
}

// closeRun lets go of the run's resources without waiting for them.
func (f *feed) closeRun() {
	r := f.run
	f.run = nil
	f.reached = max(f.reached, r.barrier)
	f.closing++
	f.o.spawn(&f.tasks, func() {
		r.close()
		f.post(func() { f.closing-- })
	})
}

// markStatus hands the progress to the flusher. The barrier alone is not worth
// a write: an older one is as true, and around DDLs it is stored at once.
func (f *feed) markStatus() {
	if f.run == nil || f.run.planner == nil {
		return
	}
	if f.stored.Status == nil || f.stored.Status.CheckpointTs != f.checkpoint {
		status := etcdmeta.ChangefeedStatus{CheckpointTs: f.checkpoint, MinTableBarrierTs: f.run.minBarrier()}
		f.o.flusher.mark(f, etcdmeta.StatusWrite{ID: f.id, Rev: f.stored.StatusRev, Status: status})
	}
}

// onFlushed hears what became of a marked status.
func (f *feed) onFlushed(ctx context.Context, w etcdmeta.StatusWrite, rev int64) {
	if rev == 0 { // where that cannot be read now, the next write brings us here again
		tryCtx, cancel := context.WithTimeout(ctx, writeTimeout)
		feed, err := f.o.records.GetFeed(tryCtx, f.id)
		cancel()
		if err == nil {
			f.take(ctx, feed)
		}
		return
	}
	if rev <= f.stored.StatusRev {
		return
	}
	stored := *f.stored
	stored.Status, stored.StatusRev = &w.Status, rev
	f.adopt(&stored)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
