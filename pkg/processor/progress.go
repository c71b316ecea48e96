package processor

import (
	"fmt"
	"time"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// Progress is a snapshot that includes every AddSpans, RemoveSpans and
// SetBarrier that returned before. It is meant for one reader, see Removed.
func (p *Processor) Progress() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.timestamps()
	removed, readied := p.removed, p.readied
	p.removed, p.readied = nil, nil
	stall := p.stall()
	return Progress{
		Spans:        len(p.checkpoints.items),
		CheckpointTs: now.checkpoint, ResolvedTs: now.resolved, PullerResolvedTs: now.pulled,
		LastCommitTs: p.synced.Load(),
		Removed:      removed,
		Prepared:     readied,
		Stall:        stall,
		Warning:      p.warning(stall),
	}
}

// warning is what clients are told while the sink retries. Processor.mu is held.
func (p *Processor) warning(stall *model.Stall) *model.RunningError {
	if stall == nil || stall.Reason != model.StallSink {
		return nil
	}
	code := p.sink.Status().Code
	if code == "" {
		code = errors.ErrProcessorUnknown.Text()
	}
	return &model.RunningError{Time: p.o.Now(), Code: code, Message: stall.Detail}
}

func (p *Processor) stalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stall() != nil
}

// stall says why the checkpoint stands still, nil when it has not done so for
// long or has nowhere to go. Processor.mu is held.
func (p *Processor) stall() *model.Stall {
	if len(p.checkpoints.items) == 0 || p.o.Now().Sub(p.movedAt) < p.o.StallAfter {
		return nil
	}
	s := p.checkpoints.items[0]
	if p.o.TargetTs > 0 && s.checkpoint >= p.o.TargetTs {
		return nil
	}
	st := &model.Stall{Since: p.movedAt}
	switch _, idle := s.acks.state(); {
	case s.state == spanWaiting:
		p.startStall(s, st)
	case !idle || s.emitting:
		p.sinkStall(s, st)
	case s.state == spanLeaving:
		st.Reason, st.Detail = model.StallScheduling, fmt.Sprintf("table %d is being removed", s.span.TableID)
	case s.pulled <= s.checkpoint:
		p.pullStall(s, st)
	default:
		p.limitStall(st)
	}
	return st
}

// startStall is about a span that was not subscribed yet.
func (p *Processor) startStall(s *span, st *model.Stall) {
	switch {
	case s.after != nil:
		st.Reason, st.Detail = model.StallScheduling, fmt.Sprintf("table %d is being removed first", s.span.TableID)
	case p.trouble != "":
		st.Reason, st.Detail = model.StallUpstream, p.trouble
	case p.sink == nil:
		st.Reason, st.Detail = model.StallInitialized, "the sink is being connected"
	default:
		st.Reason, st.Detail = model.StallInitialized, "the schema is being loaded"
	}
}

// sinkStall is about rows that were not acknowledged.
func (p *Processor) sinkStall(s *span, st *model.Stall) {
	status := p.sink.Status()
	st.Reason, st.Detail = status.Reason, status.Detail
	if !status.RetryAt.IsZero() {
		st.RetryAt = &status.RetryAt
	}
	if st.Reason == "" {
		st.Reason = model.StallSinkBusy
		st.Detail = fmt.Sprintf("rows of table %d wait for the sink, %d MiB in memory", s.span.TableID, p.feed.Held()>>20)
	}
}

// pullStall is about a span that gets no resolved-ts.
func (p *Processor) pullStall(s *span, st *model.Stall) {
	status := s.sub.Status()
	st.Reason = reasonOf(status.Reason)
	st.Detail = fmt.Sprintf("table %d: %s", s.span.TableID, status.Reason)
	if status.Slowest != 0 {
		st.Detail += fmt.Sprintf(", region %d", status.Slowest)
	}
	if status.Initialized < status.Regions {
		st.Detail += fmt.Sprintf(", %d of %d regions read", status.Initialized, status.Regions)
	}
	if !status.Since.IsZero() {
		st.Detail += ", since " + status.Since.Format(time.RFC3339)
	}
	if status.Detail != "" {
		st.Detail += ": " + status.Detail
	}
	if status.Reason == changes.ReasonQueued && s.putOff.Load() {
		st.Detail += ", waits for memory: " + p.memoryInUse()
	}
}

// memoryInUse tells what rows in memory take and may take.
func (p *Processor) memoryInUse() string {
	text := fmt.Sprintf("%d of %d MiB in use", p.feed.Held()>>20, p.feed.Quota()>>20)
	if limit := p.o.Sorter.MemoryLimit(); limit > 0 {
		text += fmt.Sprintf(", by all changefeeds %d of %d MiB", p.o.Sorter.Held()>>20, limit>>20)
	}
	return text
}

func reasonOf(r changes.Reason) string {
	switch r {
	case changes.ReasonLock:
		return model.StallLock
	case changes.ReasonQueued, changes.ReasonScanning:
		return model.StallCatchingUp
	case changes.ReasonLookup, changes.ReasonStore:
		return model.StallUpstream
	default:
		return model.StallRegion
	}
}

// limitStall is about what holds back all spans.
func (p *Processor) limitStall(st *model.Stall) {
	switch {
	case p.barrier == 0:
		st.Reason, st.Detail = model.StallScheduling, "the owner has given no barrier yet"
	case p.schemaTs <= p.barrier:
		st.Reason = model.StallSchema
		st.Detail = fmt.Sprintf("the schema is known up to %d (%s)", p.schemaTs, model.TimeOf(p.schemaTs).Format(time.RFC3339))
	default:
		st.Reason = model.StallDDL
		st.Detail = fmt.Sprintf("barrier at %d (%s)", p.barrier, model.TimeOf(p.barrier).Format(time.RFC3339))
	}
}
