package processor

import (
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
)

// round looks at every span that was marked, and at those that an older limit
// held back. It returns true when the checkpoint moved.
func (p *Processor) round() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.currentLimit()
	p.gate.Store(limit)
	for _, s := range p.takeMarked() {
		p.step(s)
	}
	if limit > p.limit {
		p.limit = limit
		held := p.limited
		p.limited = p.spare[:0]
		for _, s := range held {
			s.limited = false
			p.advance(s)
		}
		clear(held)
		p.spare = held
	}
	return p.publish()
}

// takeMarked swaps the list of marked spans; the old one is reused.
func (p *Processor) takeMarked() []*span {
	clear(p.seen)
	p.markMu.Lock()
	marked := p.marked
	p.marked = p.seen[:0]
	p.markMu.Unlock()
	p.seen = marked
	return marked
}

// currentLimit is the timestamp beyond which no row may go.
func (p *Processor) currentLimit() uint64 {
	limit := min(p.barrier, p.schemaTs)
	if p.o.TargetTs > 0 {
		limit = min(limit, p.o.TargetTs)
	}
	return limit
}

// step takes over what happened to a span since the last round.
func (p *Processor) step(s *span) {
	s.marked.Store(false)
	if s.rows == nil || s.gone {
		return
	}
	watermark, idle := s.acks.state()
	if watermark > s.checkpoint { // never while it is only prepared
		s.checkpoint = watermark
		p.checkpoints.risen(s)
	}
	if s.state == spanLeaving {
		if idle && s.subClosed && !s.emitting {
			p.letGo(s)
		}
		return
	}
	if ts := s.resolved.Load(); ts > s.pulled {
		s.pulled = ts
		if s.prepared {
			p.nowReady(s)
			return
		}
		p.pulled.risen(s)
	}
	p.advance(s)
}

// nowReady tells that a prepared span has read the history and follows the
// present.
func (p *Processor) nowReady(s *span) {
	if !s.ready {
		s.ready = true
		p.readied = append(p.readied, s.span)
		notify(p.changed)
	}
}

// advance lets a span go as far as it may now.
func (p *Processor) advance(s *span) {
	if s.state != spanRunning || s.prepared {
		return
	}
	if s.pulled > p.limit && !s.limited {
		s.limited = true
		p.limited = append(p.limited, s)
	}
	upTo := min(s.pulled, p.limit)
	if upTo <= s.target {
		return
	}
	s.target = upTo
	switch {
	case s.emitting: // the worker sees the new target
	case s.rows.Len() > 0:
		s.emitting = true
		p.enqueue(s)
	default:
		s.acks.reach(upTo)
		if watermark, _ := s.acks.state(); watermark > s.checkpoint {
			s.checkpoint = watermark
			p.checkpoints.risen(s)
		}
	}
}

// letGo ends a span that left: nothing of it is on its way.
func (p *Processor) letGo(s *span) {
	s.gone = true
	p.forget(s)
	delete(p.leaving, s)
	p.removed = append(p.removed, SpanStart{Span: s.span, CheckpointTs: s.checkpoint})
	key := keyOf(s.span)
	if next := p.spans[key]; next == s {
		delete(p.spans, key)
	} else if next != nil {
		next.after = nil
		p.waiting = append(p.waiting, next)
		notify(p.places)
	}
	p.logger.Info("span is removed", append(s.fields(), zap.Uint64("checkpointTs", s.checkpoint))...)
	p.metrics.tables.Set(float64(len(p.checkpoints.items)))
	notify(p.changed)
}

// publish tells whoever listens what a round has changed. It returns true when
// the checkpoint moved.
func (p *Processor) publish() bool {
	p.metrics.holds(p.feed.Held())
	now := p.timestamps()
	if now == p.told {
		return false
	}
	moved := now.checkpoint != p.told.checkpoint
	p.told = now
	if moved {
		p.movedAt = p.o.Now()
		p.advanceLease(now.checkpoint)
	}
	notify(p.changed)
	return moved
}

// timestamps is the least of all spans.
type timestamps struct{ checkpoint, resolved, pulled uint64 }

func (p *Processor) timestamps() timestamps {
	checkpoint, ok := p.checkpoints.min()
	if !ok {
		return timestamps{}
	}
	pulled, _ := p.pulled.min()
	return timestamps{checkpoint: checkpoint, pulled: pulled, resolved: max(checkpoint, min(pulled, p.currentLimit()))}
}

func (p *Processor) advanceLease(checkpoint uint64) {
	ms := model.PhysicalMs(checkpoint) - leaseSlack
	p.leaseMu.RLock()
	defer p.leaseMu.RUnlock()
	if p.lease == nil || ms < model.PhysicalMs(p.leaseTs)+leaseStep {
		return
	}
	p.leaseTs = model.ComposeTSO(ms, 0)
	p.lease.Advance(p.leaseTs)
}
