package processor

import (
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sorter"
)

// Processor runs one changefeed on this capture.
//
// Three kinds of goroutines share the work. Streams call the spans' OnRows and
// OnResolved, which buffer and mark. One loop, woken by marks, decides how far
// each span may go and hands those with rows to the emit workers, which sort,
// filter, cut batches and write to the sink. Acknowledgements mark the span again, and
// the loop moves the checkpoint.
type Processor struct {
	o      Options
	logger *zap.Logger
	limits sorter.Limits

	changed chan struct{}
	wake    chan struct{} // of the loop
	places  chan struct{} // of the goroutine that starts spans
	closes  chan struct{} // of the goroutine that ends them
	failure chan error    // the first error; of size 1
	synced  atomic.Uint64 // greatest commit-ts that is durable

	// Run sets these before anything uses them.
	metrics   *metrics
	feed      *sorter.Feed
	admission *admission
	room      *room

	tasks sync.WaitGroup // of Run

	// gate is limit as the last round found it. Streams compare with it.
	gate atomic.Uint64

	markMu sync.Mutex
	marked []*span // resolved or acknowledged since the last round
	seen   []*span // those of the last round, to be reused

	leaseMu   sync.RWMutex // taken after mu; held while a table version is looked up
	lease     SchemaLease
	oldLeases []SchemaLease // of stores that the loop still watches

	mu          sync.Mutex
	sink        sink.Sink
	leaseTs     uint64 // from which on the lease has history
	spans       map[spanKey]*span
	leaving     map[*span]struct{}
	prepared    map[*span]struct{}
	checkpoints minHeap // of all other spans, those that leave included
	pulled      minHeap
	waiting     []*span // to be started
	closing     []*span // to be unsubscribed
	limited     []*span // could go on if limit rose
	spare       []*span // an empty slice to become limited
	barrier     uint64
	schemaTs    uint64
	limit       uint64 // min of barrier, schemaTs and target-ts
	removed     []SpanStart
	readied     []model.Span // prepared spans that became ready
	emitters    emitters
	stopped     bool
	trouble     string // what keeps spans from starting
	told        timestamps
	movedAt     time.Time // when the checkpoint last moved
}

// New makes a processor that does nothing before Run.
func New(o Options) *Processor {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.StallAfter == 0 {
		o.StallAfter = defaultStallAfter
	}
	p := &Processor{
		o:      o,
		logger: o.Logger.With(zap.Stringer("changefeed", o.ID), zap.Uint64("epoch", o.Epoch)),
		limits: sorter.Limits{Rows: batchRows, Bytes: batchBytes, WholeTxns: wholeTxns(o)},

		changed: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		places:  make(chan struct{}, 1),
		closes:  make(chan struct{}, 1),
		failure: make(chan error, 1),

		spans:   map[spanKey]*span{},
		leaving: map[*span]struct{}{}, prepared: map[*span]struct{}{},
		movedAt: o.Now(),
	}
	p.emitters.init(&p.mu, workersOf(o.Config))
	p.checkpoints = minHeap{
		place: func(s *span) *int { return &s.checkpointPlace },
		ts:    func(s *span) uint64 { return s.checkpoint },
	}
	p.pulled = minHeap{
		place: func(s *span) *int { return &s.pulledPlace },
		ts:    func(s *span) uint64 { return s.pulled },
	}
	return p
}

// AddSpans starts to replicate spans. Spans that are already here keep going.
// It does not block; it may be called before and during Run.
func (p *Processor) AddSpans(spans []SpanStart) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spans) == 0 && len(p.leaving) == 0 {
		p.movedAt = p.o.Now()
	}
	for _, start := range spans {
		key := keyOf(start.Span)
		old := p.spans[key]
		if old != nil && old.state != spanLeaving {
			if old.prepared && !start.Prepare {
				p.takeOver(old, start.CheckpointTs)
			}
			continue
		}
		s := &span{
			p: p, span: start.Span, startTs: start.CheckpointTs, target: start.CheckpointTs,
			checkpoint: start.CheckpointTs, pulled: start.CheckpointTs, after: old, prepared: start.Prepare,
		}
		s.resolved.Store(start.CheckpointTs)
		s.acks.begin(start.CheckpointTs)
		p.spans[key] = s
		if s.prepared {
			p.prepared[s] = struct{}{}
		} else {
			p.checkpoints.push(s)
			p.pulled.push(s)
		}
		if old == nil {
			p.waiting = append(p.waiting, s)
		}
	}
	notify(p.places)
	notify(p.changed)
}

// takeOver makes a prepared span deliver the rows after ts. Processor.mu is held.
func (p *Processor) takeOver(s *span, ts uint64) {
	if ts < s.startTs {
		p.fail(fmt.Errorf("table %d was prepared from %d on and cannot go on from %d", s.span.TableID, s.startTs, ts))
		return
	}
	delete(p.prepared, s)
	s.prepared = false
	s.skip, s.checkpoint, s.target = ts, ts, ts
	s.pulled = max(s.pulled, ts)
	s.acks.begin(ts)
	p.checkpoints.push(s)
	p.pulled.push(s)
	// What the capture before may have sent is known only now.
	if s.state == spanRunning {
		s.state = spanWaiting
		p.waiting = append(p.waiting, s)
	} else {
		s.renew = true
	}
}

// forget takes a span off the books. Processor.mu is held.
func (p *Processor) forget(s *span) {
	if s.prepared {
		delete(p.prepared, s)
		return
	}
	p.checkpoints.remove(s)
	p.pulled.remove(s)
}

// RemoveSpans stops to replicate spans. No further row of them is handed to
// the sink; those already handed over are waited for, then Progress tells the
// span in Removed. It does not block.
func (p *Processor) RemoveSpans(spans []model.Span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropAnswers(spans)
	for _, r := range spans {
		s := p.spans[keyOf(r)]
		if s == nil {
			p.removed = append(p.removed, SpanStart{Span: r})
			continue
		}
		switch s.state {
		case spanWaiting:
			if s.sub == nil {
				p.dropUnstarted(s)
				continue
			}
			fallthrough
		case spanRunning:
			s.state = spanLeaving
			p.leaving[s] = struct{}{}
			p.closing = append(p.closing, s)
		case spanLeaving:
		}
	}
	notify(p.closes)
	notify(p.changed)
}

// dropAnswers forgets that spans were removed before: whoever reads Removed
// would take it for the answer to the new call. Processor.mu is held.
func (p *Processor) dropAnswers(spans []model.Span) {
	if len(p.removed) == 0 {
		return
	}
	asked := make(map[spanKey]struct{}, len(spans))
	for _, s := range spans {
		asked[keyOf(s)] = struct{}{}
	}
	p.removed = slices.DeleteFunc(p.removed, func(s SpanStart) bool {
		_, again := asked[keyOf(s.Span)]
		return again
	})
}

// dropUnstarted lets go a span that never wrote anything.
func (p *Processor) dropUnstarted(s *span) {
	key := keyOf(s.span)
	if old := s.after; old != nil {
		p.spans[key] = old // which is still on its way out, and told as removed when it is gone
		if old.prepared && !s.prepared {
			p.standIn(old, s)
		}
	} else {
		delete(p.spans, key)
		p.removed = append(p.removed, SpanStart{Span: s.span, CheckpointTs: s.checkpoint})
	}
	s.state = spanLeaving
	p.forget(s)
}

// standIn makes a span that was only prepared, and is on its way out, hold back
// what one behind it held back that is dropped: until the span is told as
// removed, it counts as one that is replicated here. Processor.mu is held.
func (p *Processor) standIn(old, dropped *span) {
	delete(p.prepared, old)
	old.prepared = false
	old.checkpoint, old.pulled = dropped.checkpoint, dropped.pulled
	old.acks.begin(dropped.checkpoint)
	p.checkpoints.push(old)
	p.pulled.push(old)
}

// SetBarrier lets rows with CommitTs <= ts pass. It only rises; before the
// first call nothing passes.
func (p *Processor) SetBarrier(ts uint64) {
	p.mu.Lock()
	p.barrier = max(p.barrier, ts)
	p.mu.Unlock()
	notify(p.wake)
}

// Spans lists the spans that are held, those that are being removed included,
// with their checkpoints.
func (p *Processor) Spans() []SpanStart {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := make([]SpanStart, 0, len(p.checkpoints.items)+len(p.prepared))
	for s := range p.prepared {
		held = append(held, SpanStart{Span: s.span, CheckpointTs: s.startTs, Prepare: true})
	}
	for _, s := range p.checkpoints.items {
		held = append(held, SpanStart{Span: s.span, CheckpointTs: s.checkpoint})
	}
	return held
}

// Changed is a coalesced signal: Progress has something new to tell.
func (p *Processor) Changed() <-chan struct{} { return p.changed }

// fail ends the run with an error; the first one wins.
func (p *Processor) fail(err error) {
	if errors.CodeOf(err) == "" {
		err = errors.ErrProcessorUnknown.Wrap(err)
	}
	select {
	case p.failure <- err:
	default:
	}
	notify(p.wake)
}

// mark puts a span on the list of the next round and asks for that.
func (p *Processor) mark(s *span) {
	p.list(s)
	notify(p.wake)
}

// list puts a span on the list of the next round.
func (p *Processor) list(s *span) {
	if s.marked.Swap(true) {
		return
	}
	p.markMu.Lock()
	p.marked = append(p.marked, s)
	p.markMu.Unlock()
}

// notify sends a coalesced signal.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// workersOf is how many spans may be emitted at once.
func workersOf(c *config.ReplicaConfig) int {
	if c.Mounter != nil && c.Mounter.WorkerNum > 0 {
		return c.Mounter.WorkerNum
	}
	return config.DefaultMounterConfig().WorkerNum
}

// wholeTxns tells whether transactions must not be cut. The address wins over
// the configuration.
func wholeTxns(o Options) bool {
	if u, err := url.Parse(o.SinkURI.Reveal()); err == nil {
		if a := u.Query().Get("transaction-atomicity"); a != "" {
			return a == config.AtomicityTable
		}
	}
	sink := o.Config.Sink
	return sink != nil && sink.TxnAtomicity != nil && *sink.TxnAtomicity == config.AtomicityTable
}
