package processor

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

const (
	defaultStallAfter = 3 * time.Second

	// roundGap is the least time between two rounds. Thousands of idle spans
	// resolve one by one; a round for each would cost more than all else.
	roundGap = 5 * time.Millisecond

	// leaseStep and leaseSlack, in milliseconds, say how rarely and how far
	// behind the checkpoint the schema's history is given up. A span that comes
	// from another capture may be somewhat behind.
	leaseStep  = 10_000
	leaseSlack = 60_000

	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second
)

// Run does the work until the context ends, which gives nil, or until an error
// stops the changefeed here. When it returns, every goroutine has ended and
// nothing will be written any more. It may be called once.
func (p *Processor) Run(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	p.open()
	defer p.metrics.close()

	err := p.connect(ctx)
	if err == nil {
		p.emitters.ctx = ctx
		p.tasks.Go(func() { p.startSpans(ctx) })
		p.tasks.Go(func() { p.closeSpans(ctx) })
		err = p.loop(ctx)
	}
	cancel()
	p.shut()
	if parent.Err() != nil {
		p.logger.Info("processor has ended")
		return nil
	}
	p.logger.Warn("processor has ended", zap.Error(err))
	p.metrics.exits.Inc()
	return err
}

func (p *Processor) open() {
	p.metrics = newMetrics(p.o.Registerer, p.o.ID)
	p.feed = p.o.Sorter.NewFeed(p.o.Config.MemoryQuota)
	p.metrics.quotaTotal.Set(float64(p.feed.Quota()))
	p.admission = newAdmission(p.feed, p.o.Now)
	p.room = newRoom(p.feed)
}

func (p *Processor) connect(ctx context.Context) error {
	s, err := p.o.NewSink(ctx)
	if err != nil {
		p.fail(err)
		return <-p.failure
	}
	p.mu.Lock()
	p.sink = s
	p.mu.Unlock()
	return nil
}

// shut waits for everything that Run started. The order matters: first nobody
// hands anything to the sink, then no rows come, then the sink finishes.
func (p *Processor) shut() {
	p.mu.Lock()
	p.stopped = true
	p.emitters.queued.Broadcast()
	p.mu.Unlock()
	p.feed.Close() // lets go who waits in OnRows, so that subscriptions can close
	p.tasks.Wait()

	p.mu.Lock()
	var subs []Subscription
	for _, s := range p.checkpoints.items {
		if s.sub != nil && !s.subClosed {
			subs = append(subs, s.sub)
		}
	}
	for s := range p.prepared {
		if s.sub != nil && !s.subClosed {
			subs = append(subs, s.sub)
		}
	}
	sink := p.sink
	p.mu.Unlock()
	for _, sub := range subs {
		sub.Close()
	}
	p.admission.close()
	if sink != nil {
		sink.Close()
	}
	p.mu.Lock()
	spans := slices.Clone(p.checkpoints.items)
	p.mu.Unlock()
	for _, s := range spans {
		s.acks.abandon()
	}
	p.releaseLeases()
}

func (p *Processor) releaseLeases() {
	p.leaseMu.Lock()
	leases := p.oldLeases
	if p.lease != nil {
		leases = append(leases, p.lease)
	}
	p.lease, p.oldLeases = nil, nil
	p.leaseMu.Unlock()
	for _, l := range leases {
		l.Release()
	}
}

// loop runs a round whenever something has changed. All that may wake it does
// so through one channel: waiting for several would cost a changefeed that only
// follows the present as much as its rounds do.
func (p *Processor) loop(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { notify(p.wake) })()
	var look atomic.Bool
	stall := time.AfterFunc(p.o.StallAfter, func() {
		look.Store(true)
		notify(p.wake)
	})
	defer stall.Stop()
	gap := time.NewTimer(roundGap)
	defer gap.Stop()
	var last time.Time // when the last round was
	watch := schemaWatch{}
	defer watch.stop()
	for {
		select {
		case <-p.wake:
		case <-watch.news(p):
		}
		if over, err := p.over(ctx); over {
			return err
		}
		looks := look.Swap(false)
		if looks {
			stall.Reset(p.stallWait())
		}
		if rest := roundGap - time.Since(last); rest > 0 {
			gap.Reset(rest)
			select {
			case <-gap.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		last = time.Now()
		if err := watch.follow(p); err != nil {
			p.fail(err)
			continue
		}
		moved := p.round()
		p.metrics.rounds.Observe(time.Since(last).Seconds())
		if !moved && looks && p.stalled() {
			notify(p.changed)
		}
	}
}

// over tells whether the run has to end, and why.
func (p *Processor) over(ctx context.Context) (bool, error) {
	select {
	case err := <-p.failure:
		return true, err
	default:
		return ctx.Err() != nil, ctx.Err()
	}
}

// stallWait is how long the checkpoint may still stand without a reason, or
// how long the last reason is good for.
func (p *Processor) stallWait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rest := p.o.StallAfter - p.o.Now().Sub(p.movedAt); rest > 0 {
		return rest
	}
	return p.o.StallAfter
}

// schemaWatch follows the store of the processor's lease.
type schemaWatch struct {
	store   SchemaStore
	changed <-chan struct{}
	cancel  func()
}

// follow takes over the store's resolved-ts and its error, and changes to
// another store when the lease did.
func (w *schemaWatch) follow(p *Processor) error {
	p.leaseMu.Lock()
	lease, old := p.lease, p.oldLeases
	p.oldLeases = nil
	p.leaseMu.Unlock()
	if lease == nil {
		return nil
	}
	if store := lease.Store(); store != w.store {
		w.stop()
		w.store = store
		w.changed, w.cancel = store.Watch()
	}
	for _, l := range old {
		l.Release()
	}
	if err := w.store.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaseMu.RLock()
	defer p.leaseMu.RUnlock()
	if p.lease == lease { // else tables are looked up in a store that may know less
		p.schemaTs = max(p.schemaTs, w.store.ResolvedTs())
	}
	return nil
}

// news signals that the store knows more. It is nil while that would let no row
// go on: the many changefeeds that only follow the present are held back by the
// owner's barrier, which rises a moment later, and wake for that alone.
func (w *schemaWatch) news(p *Processor) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.schemaTs >= p.barrier {
		return nil
	}
	return w.changed
}

func (w *schemaWatch) stop() {
	if w.cancel != nil {
		w.cancel()
	}
}

// startSpans subscribes to the spans that wait.
func (p *Processor) startSpans(ctx context.Context) {
	for {
		p.mu.Lock()
		batch := p.waiting
		p.waiting = nil
		p.mu.Unlock()
		if len(batch) > 0 && !p.startBatch(ctx, batch) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-p.places:
		}
	}
}

// startBatch returns false when the run is over.
func (p *Processor) startBatch(ctx context.Context, batch []*span) bool {
	if err := p.ensureLease(ctx, p.leastStart(batch)); err != nil {
		if ctx.Err() == nil {
			p.fail(err)
		}
		return false
	}
	now, ok := p.replicateTs(ctx)
	if !ok {
		return false
	}
	for _, s := range batch {
		p.mu.Lock()
		if s.state == spanWaiting && !p.stopped {
			p.startSpan(s, now)
		}
		p.mu.Unlock()
	}
	p.metrics.tables.Set(float64(p.count()))
	notify(p.wake) // the store may be another one
	return true
}

func (p *Processor) leastStart(batch []*span) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	least := batch[0].from()
	for _, s := range batch {
		least = min(least, s.from())
	}
	return least
}

// startSpan lets a span deliver, now being the TSO. Processor.mu is held.
func (p *Processor) startSpan(s *span, now uint64) {
	switch {
	case s.sub != nil: // it was prepared and takes over
		s.state, s.replicateTs = spanRunning, now
		p.logAdded(s)
		p.mark(s)
	case s.renew:
		p.subscribe(s, now)
		s.renew, s.state = false, spanWaiting
		p.waiting = append(p.waiting, s)
		notify(p.places)
	default:
		if !s.prepared {
			p.logAdded(s)
		}
		p.subscribe(s, now)
	}
}

// logAdded tells that from now on rows of the span may be delivered here. With
// "span is removed" and "processor has ended" the logs of all captures show
// who had a table when.
func (p *Processor) logAdded(s *span) {
	p.logger.Info("span is added", append(s.fields(), zap.Uint64("checkpointTs", s.from()))...)
}

func (p *Processor) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.checkpoints.items)
}

// subscribe begins the replication of a span. Processor.mu is held.
func (p *Processor) subscribe(s *span, now uint64) {
	s.replicateTs = now
	s.rows = p.feed.NewSpan()
	s.state = spanRunning
	bdr := p.o.Config.BDRMode
	s.sub = p.o.Changes.Subscribe(changes.Options{
		Span: s.span, StartTs: s.startTs, FilterLoop: bdr != nil && *bdr, Consumer: s, Changefeed: p.o.ID,
		Admit: func() bool { return p.admit(s) }, Unfinished: p.feed.Unfinished,
	})
}

// admit tells whether the span may read its history now.
func (p *Processor) admit(s *span) bool {
	ok := p.admission.admit(s)
	if before := s.putOff.Swap(!ok); !ok && !before {
		p.metrics.putOff.Inc()
	}
	return ok
}

// ensureLease sees to it that the schema's history reaches down to ts.
func (p *Processor) ensureLease(ctx context.Context, ts uint64) error {
	p.mu.Lock()
	leaseTs := p.leaseTs
	p.mu.Unlock()
	if leaseTs != 0 && leaseTs <= ts {
		return nil
	}
	lease, err := p.o.Schemas.Acquire(ctx, ts)
	if err != nil {
		return err
	}
	for {
		known, ok := p.takeLease(lease, ts)
		if ok {
			return nil
		}
		if err := waitKnown(ctx, lease.Store(), known); err != nil {
			lease.Release()
			return err
		}
	}
}

// takeLease makes a lease the one that tables are looked up with, unless its
// store is behind what spans may already be sent up to, which it returns.
func (p *Processor) takeLease(lease SchemaLease, ts uint64) (known uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lease.Store().ResolvedTs() < p.schemaTs {
		return p.schemaTs, false
	}
	p.leaseMu.Lock()
	defer p.leaseMu.Unlock()
	if p.lease != nil {
		p.oldLeases = append(p.oldLeases, p.lease)
	}
	p.lease, p.leaseTs = lease, ts
	return 0, true
}

// waitKnown waits until a store knows every DDL up to ts.
func waitKnown(ctx context.Context, store SchemaStore, ts uint64) error {
	changed, cancel := store.Watch()
	defer cancel()
	for store.ResolvedTs() < ts {
		if err := store.Err(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// replicateTs asks for the TSO at which replication starts here, until there
// is an answer. It returns false when the run is over.
func (p *Processor) replicateTs(ctx context.Context) (uint64, bool) {
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		now, err := p.o.Clock.CurrentTSO(ctx)
		p.setTrouble(err)
		if err == nil {
			return now, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-time.After(wait):
		}
	}
}

func (p *Processor) setTrouble(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = ""
	if err != nil {
		p.trouble = err.Error()
	}
}

// closeSpans ends the subscriptions of the spans that leave.
func (p *Processor) closeSpans(ctx context.Context) {
	for {
		p.mu.Lock()
		batch := p.closing
		p.closing = nil
		p.mu.Unlock()
		for _, s := range batch {
			s.sub.Close()
			s.rows.Close()
			p.admission.forget(s)
			p.mu.Lock()
			s.subClosed = true
			p.mu.Unlock()
			p.mark(s)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.closes:
		}
	}
}

// tableAt looks a table version up.
func (p *Processor) tableAt(id int64, ts uint64) (*model.Table, bool) {
	p.leaseMu.RLock()
	defer p.leaseMu.RUnlock()
	return p.lease.Store().TableByPhysicalID(id, ts)
}
