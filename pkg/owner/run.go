package owner

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
	"github.com/tidemark/tidemark/pkg/scheduler"
)

// run is one epoch of a running changefeed: from the start until an error, a
// job or the end of the term. It belongs to its feed's goroutine.
type run struct {
	f      *feed
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	epoch  uint64
	info   *etcdmeta.ChangefeedInfo

	lease Lease // set by the loading task

	// Set once the schema is loaded.
	changed <-chan struct{}
	unwatch func()
	planner *planner
	failure error // of loading or of a DDL

	barrier uint64
	settled bool // every table has been placed and confirmed once
	seq     uint64
	place   placement
	// doubtful are tables that have a place and may not be replicated any more.
	doubtful []int64
	works    map[model.CaptureID]*work

	pieces pieces // what place knows by numbers that are no ids of tables
	cut    cutting
	arr    arrangement

	delivery   *delivery // of a DDL or a sync point, under way
	syncPoints syncPoints
	watermarks watermarks
	// sink is opened by the first thing to be written. It belongs to the task
	// of delivery or watermarks, of which one runs at a time.
	sink DDLSink
}

// work is what one capture does for the run.
type work struct {
	conn    Conn // nil while the stream is broken
	started bool
	// lastChange is the last order that changed the set of spans, unconfirmed
	// are those orders that no progress includes yet, oldest first.
	lastChange  uint64
	unconfirmed []change
	barrierSent uint64
	progress    *peerpb.FeedReport // newest, nil before the first
}

// change is an order that changed the set of spans. Until the capture's
// progress includes it, nothing after floor is proven of these spans.
type change struct{ seq, floor uint64 }

// ordered notes that spans were changed when the changefeed was at floor.
func (w *work) ordered(seq, floor uint64) {
	w.lastChange = seq
	if n := len(w.unconfirmed); n > 0 && w.unconfirmed[n-1].floor == floor {
		w.unconfirmed[n-1].seq = seq
		return
	}
	w.unconfirmed = append(w.unconfirmed, change{seq, floor})
}

// take takes the newest progress over.
func (w *work) take(progress *peerpb.FeedReport) {
	w.progress = progress
	n := 0
	for n < len(w.unconfirmed) && w.unconfirmed[n].seq <= progress.Applied {
		n++
	}
	w.unconfirmed = slices.Delete(w.unconfirmed, 0, n)
}

// proven is up to where everything of the capture is downstream, and up to
// where it has come in; 0 while that is unknown.
func (w *work) proven() (checkpoint, resolved uint64) {
	if w.progress != nil {
		checkpoint, resolved = w.progress.CheckpointTs, w.progress.ResolvedTs
	}
	if len(w.unconfirmed) == 0 {
		return checkpoint, resolved
	}
	floor := w.unconfirmed[0].floor
	if checkpoint == 0 { // it had no span before
		return floor, floor
	}
	return min(checkpoint, floor), resolved
}

// confirmed tells whether the progress includes every span given.
func (w *work) confirmed() bool {
	return w.progress != nil && w.progress.Applied >= w.lastChange
}

// startRun begins a run; the schema is loaded in the background.
func startRun(ctx context.Context, f *feed) *run {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		f: f, ctx: ctx, cancel: cancel, epoch: f.info.Epoch, info: f.info,
		works: map[model.CaptureID]*work{}, pieces: newPieces(), cut: newCutting(f.info.Config.Scheduler),
		arr: arrangement{moves: map[int64]*move{}},
	}
	r.place = newPlacement(r.pieces.table)
	f.resolved = f.checkpoint
	f.movedAt = f.o.clock()
	start := f.checkpoint
	if f.stored.Status == nil || f.stored.Status.MinTableBarrierTs <= start {
		start-- // the DDL at the checkpoint may not have been executed
	}
	checkpoint := f.checkpoint
	f.o.spawn(&r.tasks, func() {
		var err error
		r.lease, err = r.load(checkpoint, start)
		f.post(func() { r.onLoaded(start, err) })
	})
	return r
}

// load makes sure that the data since the checkpoint is there, and loads the
// schema meanwhile: whoever created the changefeed may still hold it.
func (r *run) load(checkpoint, start uint64) (lease Lease, err error) {
	o := r.f.o
	if id := r.info.UpstreamID; id != 0 && id != o.upstreamID {
		return nil, errors.ErrUpstreamNotFound.New(id)
	}
	held := make(chan error, 1)
	go func() {
		var err error
		if r.info.Config.CheckGCSafePoint {
			err = o.holdGC(r.ctx, r.f.id, checkpoint)
		}
		held <- err
	}()
	lease, err = o.schemas.Acquire(r.ctx, start)
	if heldErr := <-held; heldErr != nil { // it may be why the schema did not load
		return lease, heldErr
	}
	return lease, err
}

func (r *run) onLoaded(start uint64, err error) {
	if r.f.run != r {
		return
	}
	if err != nil {
		r.failure = err
		return
	}
	rules, err := filter.New(r.info.Config.Filter, r.info.Config.CaseSensitive)
	if err != nil {
		r.failure = err
		return
	}
	schema := r.lease.Schema()
	r.changed, r.unwatch = schema.Watch()
	r.planner = newPlanner(schema, rules, r.f.o.filterDDL, r.info.Config, start, r.info.TargetTs)
	r.barrier = r.f.checkpoint
	r.syncPoints = newSyncPoints(r.info.Config, max(r.f.checkpoint, r.f.reached))
	r.watermarks = watermarks{on: takesWatermarks(r.info.SinkURI), moved: true}
	r.f.logger.Info("changefeed runs", zap.Uint64("checkpointTs", r.f.checkpoint),
		zap.Uint64("epoch", r.epoch), zap.Int("tables", len(r.planner.tables)))
}

// close waits for the run's goroutines and releases what it held.
func (r *run) close() {
	r.cancel()
	r.tasks.Wait()
	if r.unwatch != nil {
		r.unwatch()
	}
	if r.lease != nil {
		r.lease.Release()
	}
	if r.sink != nil {
		r.sink.Close()
	}
}

// schemaChanged signals that the schema advanced; nil without a run.
func (r *run) schemaChanged() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.changed
}

// step moves the run as far as it can go now. The error ends the run.
func (r *run) step(ctx context.Context) error {
	if r.failure != nil || r.planner == nil || r.ctx.Err() != nil {
		return r.failure
	}
	if err := r.planner.schema.Err(); err != nil {
		return err
	}
	if r.f.o.fleet.snapshot().incompatible != nil {
		return nil // everything stands still until the captures' versions fit
	}
	for {
		barrier, err := r.planner.advance()
		if err != nil {
			return err
		}
		r.barrier = max(r.barrier, r.syncPoints.limit(barrier))
		r.dispatch()
		r.rearrange()
		r.advance()
		if !r.passStep(ctx) {
			break
		}
	}
	r.sendBarriers()
	r.tell()
	return nil
}

// passStep does what is to be done at the checkpoint: the planned step, then
// the sync point. It tells whether that is done already; what is written
// downstream takes its time and brings us here again.
func (r *run) passStep(ctx context.Context) bool {
	next := r.planner.next
	atStep := next != nil && r.f.checkpoint >= next.ts
	switch {
	case r.delivery != nil:
	case atStep && len(next.events) == 0:
		r.finishStep()
		return true
	case r.watermarks.sending:
	case atStep:
		r.execute(ctx)
	case r.syncPointDue():
		r.recordSyncPoint()
	}
	return false
}

// minBarrier is the least TSO at which a DDL may still have to be executed, or
// the first that a sync point keeps back. A run that begins behind a pause finds
// out from it what may be downstream already.
func (r *run) minBarrier() uint64 {
	least := r.planner.done + 1 // which is the checkpoint as long as its own DDL was not looked for
	if r.planner.next != nil {
		least = r.planner.next.ts
	}
	if r.syncPoints.every != 0 {
		least = min(least, r.syncPoints.next+1)
	}
	return least
}

// calm tells whether the run has nothing to do but to raise its barrier.
func (r *run) calm() bool {
	return r.settled && r.planner.next == nil && r.delivery == nil && len(r.arr.moves) == 0 && r.barrier == r.planner.done
}

// finished tells whether everything up to the target-ts is downstream, and the
// downstream knows.
func (r *run) finished() bool {
	target := r.info.TargetTs
	return target != 0 && r.planner != nil && r.f.checkpoint >= target &&
		r.planner.next == nil && r.planner.done >= target && !r.syncPointDue() && r.toldAll()
}

// advance computes checkpoint and resolved-ts from what the captures report.
// Moves do not hold them back: the capture that lets a table go counts it until
// it tells where it came to, and from then on the order to the next one does.
func (r *run) advance() {
	if !r.covered() {
		return
	}
	r.settled = r.settled || r.scheduled()
	checkpoint, resolved := r.barrier, uint64(math.MaxUint64)
	for capture, w := range r.works {
		if r.place.shows(capture) {
			at, incoming := w.proven()
			checkpoint, resolved = min(checkpoint, at), min(resolved, incoming)
		}
	}
	if resolved == math.MaxUint64 {
		resolved = r.barrier
	}
	f := r.f
	if checkpoint > f.checkpoint {
		f.checkpoint = checkpoint
		r.lease.Advance(min(checkpoint, r.planner.done))
	}
	f.resolved = max(f.resolved, resolved, f.checkpoint)
}

// covered tells whether some capture has each table, or piece of a table.
func (r *run) covered() bool {
	return r.planner != nil && len(r.place.spots) == r.wanted()
}

// scheduled tells whether every table has a place where it is confirmed.
func (r *run) scheduled() bool {
	if r.planner == nil || r.place.placed != r.wanted() {
		return false
	}
	for _, w := range r.works {
		if !w.confirmed() && w.lastChange > 0 {
			return false
		}
	}
	return true
}

// dispatch gives every table without a place to a capture, and takes away
// those that are no longer replicated.
func (r *run) dispatch() {
	r.dropTables()
	fleet := r.f.o.fleet.snapshot()
	if r.covered() || len(r.f.draining) > 0 || !r.f.heardAll(fleet) {
		return
	}
	candidates := r.candidates(fleet, 0)
	if len(candidates) == 0 {
		return
	}
	var unplaced []int64
	for id := range r.planner.tables {
		if _, ok := r.place.spots[id]; !ok && r.arr.moves[id] == nil {
			unplaced = append(unplaced, id)
		}
	}
	slices.Sort(unplaced)
	unplaced = r.placePieces(fleet, unplaced, len(candidates))
	for capture, tables := range scheduler.Assign(unplaced, candidates) {
		r.add(capture, fleet.members[capture].conn, tables)
	}
}

// add starts tables on a capture, from the checkpoint on.
func (r *run) add(capture model.CaptureID, conn Conn, tables []int64) {
	w, order := r.orderTo(capture, conn)
	if order == nil {
		return
	}
	order.Add = make([]*peerpb.SpanStart, len(tables))
	for i, id := range tables {
		order.Add[i] = &peerpb.SpanStart{Span: r.pieces.wire(id), CheckpointTs: r.f.checkpoint}
		r.place.put(id, capture)
	}
	r.change(w, order)
}

// change sends an order that changes what the capture delivers.
func (r *run) change(w *work, order *peerpb.Order) {
	w.ordered(order.Seq, r.f.checkpoint)
	w.barrierSent = r.barrier
	w.send(order)
}

// order makes an order that changes spans.
func (r *run) order() *peerpb.Order {
	r.seq++
	return &peerpb.Order{Feed: peer.FeedKey(r.f.id, r.epoch), Seq: r.seq, BarrierTs: r.barrier}
}

// dropTables takes tables from captures that are not to be replicated any
// more. Their rows up to the barrier are downstream.
func (r *run) dropTables() {
	var dropped map[model.CaptureID][]*peerpb.Span
	for _, id := range r.doubtful {
		if _, ok := r.planner.tables[r.pieces.table(id)]; ok {
			continue
		}
		r.cancelMove(id)
		if capture := r.place.of(id); capture != "" {
			if dropped == nil {
				dropped = map[model.CaptureID][]*peerpb.Span{}
			}
			dropped[capture] = append(dropped[capture], r.pieces.wire(id))
		}
		r.place.remove(id)
		r.forgetCut(id)
	}
	r.doubtful = nil
	for capture, spans := range dropped {
		r.removeAt(r.works[capture], spans...)
		r.unsettle()
	}
}

func (r *run) sendBarriers() {
	for _, w := range r.works {
		if w.started && w.conn != nil && w.barrierSent < r.barrier {
			w.barrierSent = r.barrier
			w.conn.Send(&peerpb.Order{Feed: peer.FeedKey(r.f.id, r.epoch), Seq: r.seq, BarrierTs: r.barrier})
		}
	}
}

// onReport takes a capture's newest progress over.
func (r *run) onReport(capture model.CaptureID, report *peerpb.FeedReport) {
	w := r.works[capture]
	if w == nil {
		return
	}
	w.take(report)
	r.onPrepared(capture, report.Prepared)
	r.onRemoved(capture, report)
	if report.Stopped && report.Error == nil {
		// It ended there without a reason: give the tables out again.
		r.forget(capture)
	}
}

// onAttached rebuilds a capture's part of the placement from what it says it
// holds: nothing when the report is nil.
func (r *run) onAttached(capture model.CaptureID, conn Conn, report *peerpb.FeedReport) {
	old := r.works[capture]
	if old == nil && report == nil {
		r.unsettle() // it may take its share
		return
	}
	w := &work{conn: conn}
	r.works[capture] = w
	held := map[int64]struct{}{}
	if report != nil {
		r.seq = max(r.seq, report.Applied)
		w.started, w.progress, w.lastChange = true, report, report.Applied
	}
	r.place.clear(capture)
	var foreign []*peerpb.Span
	for _, span := range report.GetHeld() {
		id, ok := r.adopt(span)
		switch at := r.place.of(id); {
		case !ok || at != "" && at != capture:
			foreign = append(foreign, span)
		case at == "": // else it is there once more, waiting for its earlier self
			held[id] = struct{}{}
			r.place.put(id, capture)
			r.doubtful = append(r.doubtful, id)
		}
	}
	if len(foreign) > 0 {
		r.removeAt(w, foreign...)
	}
	r.movesAttached(capture, w, held, report.GetPrepared())
	r.disturb()
}

// onDetached notes that a capture's stream broke. It works on.
func (r *run) onDetached(capture model.CaptureID) {
	if w := r.works[capture]; w != nil {
		w.conn = nil
	}
}

// forget gives up what a lost capture did: its tables need a new place.
func (r *run) forget(capture model.CaptureID) {
	if _, ok := r.works[capture]; !ok {
		return
	}
	delete(r.works, capture)
	r.place.clear(capture)
	r.movesLost(capture)
}

// delivery is a step or a sync point on its way downstream; its task tells
// where it is.
type delivery struct {
	reason string // model.StallDDL or model.StallSyncPoint
	since  time.Time
	what   atomic.Pointer[string]
	sink   atomic.Pointer[DDLSink]
}

// deliver writes something downstream in the background, which write does, and
// calls then when it is there. An error ends the run.
func (r *run) deliver(reason, what string, write func(*delivery) error, then func()) {
	d := &delivery{reason: reason, since: r.f.o.clock()}
	d.what.Store(&what)
	r.delivery = d
	r.f.o.spawn(&r.tasks, func() {
		err := r.openSink()
		if err == nil {
			d.sink.Store(&r.sink)
			err = write(d)
		}
		r.f.post(func() {
			r.delivery = nil
			switch {
			case r.f.run != r:
			case err != nil:
				r.failure = err
			default:
				then()
			}
		})
	})
}

// execute sends the planned step downstream, in the background. Before that
// the checkpoint is stored: if the owner dies after the DDL took effect, no
// row from before it is sent again under the old schema.
func (r *run) execute(ctx context.Context) {
	next := r.planner.next
	if !r.f.modify(ctx, func(feed *etcdmeta.Feed) { r.f.fillStatus(feed, r.minBarrier()) }) {
		return
	}
	r.f.logger.Info("executing DDL downstream", zap.Uint64("commitTs", next.ts), zap.String("query", next.events[0].Query))
	r.deliver(model.StallDDL, next.events[0].Query,
		func(d *delivery) error { return r.writeDDLs(next.events, d) },
		func() { r.onExecuted(ctx) })
}

// openSink connects to the downstream unless that was done before.
func (r *run) openSink() error {
	if r.sink != nil {
		return nil
	}
	sink, err := r.f.o.openSink(r.ctx, r.info)
	if err != nil {
		return err
	}
	r.sink = sink
	return nil
}

// writeDDLs executes the events in order.
func (r *run) writeDDLs(events []*model.DDLEvent, d *delivery) error {
	for _, ev := range events {
		d.what.Store(&ev.Query)
		if err := r.sink.WriteDDL(r.ctx, ev); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) onExecuted(ctx context.Context) {
	r.f.logger.Info("executed DDL downstream", zap.Uint64("commitTs", r.planner.next.ts))
	r.finishStep()
	r.watermarks.urgent = true
	// Stored at once, so that a restart does not execute it again. Where that
	// cannot be, another owner will: no row from behind the DDL may go first.
	if !r.f.modify(ctx, func(feed *etcdmeta.Feed) { r.f.fillStatus(feed, r.minBarrier()) }) {
		r.cancel()
	}
}

// finishStep goes on behind the planned step.
func (r *run) finishStep() {
	r.f.checkpoint = max(r.f.checkpoint, r.planner.next.ts)
	for _, table := range r.planner.next.drop {
		r.doubtful = append(r.doubtful, r.pieces.numbers(table)...)
	}
	r.planner.finish()
	r.watermarks.moved = true
}
