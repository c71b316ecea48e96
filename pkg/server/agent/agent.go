// Package agent runs the changefeeds of one capture as the owner orders, and
// tells the owner how far they are. It is the capture's side of pkg/peer.
package agent

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
	"github.com/tidemark/tidemark/pkg/processor"
)

// Processor runs the tables of one changefeed here. *processor.Processor
// implements it and says what the methods mean.
type Processor interface {
	Spans
	Reporter
	Run(ctx context.Context) error
}

// Spans says what a processor has to work on. The methods do not block.
type Spans interface {
	AddSpans(spans []processor.SpanStart)
	RemoveSpans(spans []model.Span)
	SetBarrier(ts uint64)
	Spans() []processor.SpanStart
}

// Reporter tells how far a processor is.
type Reporter interface {
	Progress() processor.Progress
	Changed() <-chan struct{}
}

// Factory makes the processor of a run; it must not block.
type Factory func(info *etcdmeta.ChangefeedInfo) (Processor, error)

// Agent owns the processors of one registration of a capture. It implements
// peer.Worker.
type Agent struct {
	factory Factory
	onLeave func()
	logger  *zap.Logger
	now     func() time.Time
	ctx     context.Context // of the processors
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	changed chan struct{}

	mu       sync.Mutex
	liveness model.Liveness
	// told is the liveness that the owner knows.
	told  model.Liveness
	works map[model.ChangefeedID]*work
	// ended are runs whose end has to be confirmed to the owner.
	ended []*peerpb.FeedKey
}

// work is one run of a changefeed.
type work struct {
	id        model.ChangefeedID
	epoch     uint64
	processor Processor // nil when it could not be made
	cancel    context.CancelFunc
	applied   uint64
	failure   *peerpb.Failure // why it ended by itself
	running   bool
	stopping  bool // ordered to end
	dirty     bool // has something to report
	// next are orders for another run, which begins when this one has ended.
	next []*peerpb.Order
}

// New makes an agent without work. onLeave is called, once and without
// blocking, when the owner wants the capture to take no tables any more.
func New(factory Factory, onLeave func(), logger *zap.Logger) *Agent {
	ctx, cancel := context.WithCancel(context.Background())
	return &Agent{
		factory: factory, onLeave: onLeave, logger: logger, now: time.Now, ctx: ctx, cancel: cancel,
		changed: make(chan struct{}, 1), works: map[model.ChangefeedID]*work{},
	}
}

// Close stops every processor and waits for them: afterwards nothing is
// written downstream any more. Their ends are reported.
func (a *Agent) Close() {
	a.cancel()
	a.tasks.Wait()
	a.mu.Lock()
	for _, w := range a.works {
		a.finish(w)
	}
	a.mu.Unlock()
	a.signal()
}

// leave makes the capture one that takes no tables any more, which it stays
// until it is started anew. What runs goes on until the owner has moved it.
func (a *Agent) leave() {
	if a.liveness < model.LivenessStopping {
		a.liveness = model.LivenessStopping
		a.logger.Info("this capture is being drained")
		a.onLeave()
	}
}

// Isolated implements peer.Worker.
func (a *Agent) Isolated() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.works {
		w.next = nil
		if !w.stopping {
			a.logger.Warn("the owner is out of reach, run ends", zap.Stringer("changefeed", w.id), zap.Uint64("epoch", w.epoch))
			a.stop(w)
		}
	}
}

// SetLiveness changes what the owner is told of this capture.
func (a *Agent) SetLiveness(l model.Liveness) {
	a.mu.Lock()
	a.liveness = max(a.liveness, l)
	a.mu.Unlock()
	a.signal()
}

// Changed implements peer.Worker.
func (a *Agent) Changed() <-chan struct{} { return a.changed }

func (a *Agent) signal() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Apply implements peer.Worker.
func (a *Agent) Apply(orders []*peerpb.Order) {
	a.mu.Lock()
	for _, order := range orders {
		a.apply(order)
	}
	a.mu.Unlock()
	a.signal()
}

func (a *Agent) apply(order *peerpb.Order) {
	if order.Leave {
		a.leave()
		return
	}
	id := peer.FeedID(order.Feed)
	w := a.works[id]
	switch {
	case a.ctx.Err() != nil:
	case w == nil && order.Start != nil:
		a.start(id, order)
	case w == nil && order.Stop:
		a.ended = append(a.ended, order.Feed)
	case w == nil:
		a.logger.Info("order for a run that is not here", zap.Stringer("changefeed", id), zap.Uint64("epoch", order.Feed.Epoch))
	case w.epoch == order.Feed.Epoch && !w.stopping:
		a.steer(w, order)
	case w.epoch == order.Feed.Epoch: // it is stopping already
	default:
		a.supersede(w, order)
	}
}

// supersede handles an order for another run than the present one.
func (a *Agent) supersede(w *work, order *peerpb.Order) {
	switch {
	case order.Start != nil:
		w.next = []*peerpb.Order{order}
		a.stop(w)
	case len(w.next) > 0 && w.next[0].Feed.Epoch == order.Feed.Epoch && !order.Stop:
		w.next = append(w.next, order)
	case order.Stop:
		if len(w.next) > 0 && w.next[0].Feed.Epoch == order.Feed.Epoch {
			w.next = nil
		}
		a.ended = append(a.ended, order.Feed)
	}
}

// start begins a run.
func (a *Agent) start(id model.ChangefeedID, order *peerpb.Order) {
	w := &work{id: id, epoch: order.Feed.Epoch}
	a.works[id] = w
	info := &etcdmeta.ChangefeedInfo{}
	err := json.Unmarshal(order.Start, info)
	if err == nil {
		w.processor, err = a.factory(info)
	}
	if err != nil {
		w.processor = nil
		a.fail(w, err)
		return
	}
	ctx, cancel := context.WithCancel(a.ctx)
	w.cancel, w.running = cancel, true
	a.logger.Info("run starts", zap.Stringer("changefeed", id), zap.Uint64("epoch", w.epoch))
	a.tasks.Go(func() { a.run(ctx, w) })
	a.steer(w, order)
}

// steer passes an order on to the run's processor.
func (a *Agent) steer(w *work, order *peerpb.Order) {
	if w.processor != nil && w.running {
		if len(order.Add) > 0 {
			spans := make([]processor.SpanStart, len(order.Add))
			for i, s := range order.Add {
				spans[i] = processor.SpanStart{Span: peer.FromSpan(s.Span), CheckpointTs: s.CheckpointTs, Prepare: s.Prepare}
			}
			w.processor.AddSpans(spans)
		}
		if len(order.Remove) > 0 {
			spans := make([]model.Span, len(order.Remove))
			for i, s := range order.Remove {
				spans[i] = peer.FromSpan(s)
			}
			w.processor.RemoveSpans(spans)
		}
		if order.BarrierTs != 0 {
			w.processor.SetBarrier(order.BarrierTs)
		}
	}
	if order.Seq > w.applied {
		w.applied, w.dirty = order.Seq, true
	}
	if order.Stop {
		a.stop(w)
	}
}

// stop ends a run; its end is reported when it is over.
func (a *Agent) stop(w *work) {
	w.stopping = true
	if !w.running {
		a.finish(w)
		return
	}
	w.cancel()
}

// run waits for a processor to end while it passes its signals on.
func (a *Agent) run(ctx context.Context, w *work) {
	ended := make(chan struct{})
	a.tasks.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-w.processor.Changed():
				a.mu.Lock()
				w.dirty = true
				a.mu.Unlock()
				a.signal()
			}
		}
	})
	err := w.processor.Run(ctx)
	close(ended)
	w.cancel()
	a.mu.Lock()
	w.running = false
	if w.stopping {
		a.finish(w)
	} else if a.ctx.Err() == nil {
		if err == nil {
			err = errEnded
		}
		a.fail(w, err)
	}
	a.mu.Unlock()
	a.signal()
}

var errEnded = stderrors.New("the processor ended without being asked to")

// fail notes why a run ended by itself. It stays until the owner stops it.
func (a *Agent) fail(w *work, err error) {
	code := errors.CodeOf(err)
	if code == "" {
		code = errors.ErrProcessorUnknown.Text()
	}
	w.failure = &peerpb.Failure{Code: code, Message: err.Error(), UnixMs: a.now().UnixMilli()}
	w.dirty = true
	a.logger.Warn("run ended with an error", zap.Stringer("changefeed", w.id), zap.Uint64("epoch", w.epoch), zap.Error(err))
}

// finish forgets a run that was ordered to end, and starts the next one.
func (a *Agent) finish(w *work) {
	delete(a.works, w.id)
	a.ended = append(a.ended, peer.FeedKey(w.id, w.epoch))
	a.logger.Info("run stopped", zap.Stringer("changefeed", w.id), zap.Uint64("epoch", w.epoch))
	if a.ctx.Err() != nil {
		return
	}
	for _, order := range w.next {
		a.apply(order)
	}
}

// Hello implements peer.Worker.
func (a *Agent) Hello() *peerpb.Hello {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told, a.ended = a.liveness, nil // what is not listed does not run
	hello := &peerpb.Hello{Liveness: int32(a.liveness)}
	for _, w := range a.works {
		report := w.report()
		if w.processor != nil {
			for _, s := range w.processor.Spans() {
				if s.Prepare {
					report.Prepared = append(report.Prepared, peer.ToSpan(s.Span))
				} else {
					report.Held = append(report.Held, peer.ToSpan(s.Span))
				}
			}
		}
		hello.Feeds = append(hello.Feeds, report)
	}
	return hello
}

// Report implements peer.Worker.
func (a *Agent) Report() *peerpb.Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	report := &peerpb.Report{Liveness: int32(a.liveness)}
	for _, w := range a.works {
		if w.dirty {
			report.Feeds = append(report.Feeds, w.report())
		}
	}
	for _, key := range a.ended {
		report.Feeds = append(report.Feeds, &peerpb.FeedReport{Feed: key, Stopped: true})
	}
	a.ended = nil
	if len(report.Feeds) == 0 && a.told == a.liveness {
		return nil
	}
	a.told = a.liveness
	return report
}

// report tells where a run is. applied is read before the progress, which
// therefore includes it.
func (w *work) report() *peerpb.FeedReport {
	w.dirty = false
	r := &peerpb.FeedReport{Feed: peer.FeedKey(w.id, w.epoch), Applied: w.applied, Error: w.failure}
	if w.processor == nil {
		return r
	}
	p := w.processor.Progress()
	r.Spans = uint32(p.Spans)
	r.CheckpointTs, r.ResolvedTs = p.CheckpointTs, p.ResolvedTs
	r.PullerResolvedTs, r.LastCommitTs = p.PullerResolvedTs, p.LastCommitTs
	r.Stall = peer.ToStall(p.Stall)
	if w := p.Warning; w != nil {
		r.Warning = &peerpb.Failure{Code: w.Code, Message: w.Message, UnixMs: w.Time.UnixMilli()}
	}
	for _, s := range p.Removed {
		r.Removed = append(r.Removed, &peerpb.SpanStart{Span: peer.ToSpan(s.Span), CheckpointTs: s.CheckpointTs})
	}
	for _, s := range p.Prepared {
		r.Prepared = append(r.Prepared, peer.ToSpan(s))
	}
	return r
}
