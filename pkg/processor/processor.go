package processor

import (
	"context"

	"github.com/tidemark/tidemark/pkg/model"
)

// Processor runs one changefeed on this capture.
type Processor struct{ o Options }

// New makes a processor that does nothing before Run.
func New(o Options) *Processor { return &Processor{o: o} }

// Run does the work until the context ends, which gives nil, or until an error
// stops the changefeed here. When it returns, every goroutine has ended and
// nothing will be written any more. It may be called once.
func (p *Processor) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// AddSpans starts to replicate spans. Spans that are already here keep going.
// It does not block; it may be called before and during Run.
func (p *Processor) AddSpans(spans []SpanStart) {}

// RemoveSpans stops to replicate spans. No further row of them is handed to
// the sink; those already handed over are waited for, then Progress tells the
// span in Removed. It does not block.
func (p *Processor) RemoveSpans(spans []model.Span) {}

// SetBarrier lets rows with CommitTs <= ts pass. It only rises; before the
// first call nothing passes.
func (p *Processor) SetBarrier(ts uint64) {}

// Spans lists the spans that are held, with their checkpoints.
func (p *Processor) Spans() []SpanStart { return nil }

// Progress is a snapshot that includes every AddSpans, RemoveSpans and
// SetBarrier that returned before. It is meant for one reader, see Removed.
func (p *Processor) Progress() Progress { return Progress{} }

// Changed is a coalesced signal: Progress has something new to tell.
func (p *Processor) Changed() <-chan struct{} { return nil }
