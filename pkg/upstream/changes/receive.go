package changes

import (
	"errors"
	"fmt"
	"io"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// receive handles messages until the stream ends; it always returns an error.
func (sm *stream) receive() error {
	var m rawMessage
	h := receiver{sm: sm, m: &m}
	for {
		if err := sm.raw.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("store closed the stream")
			}
			return err
		}
		if err := parseMessage(m.buf, &h); err != nil {
			return err
		}
	}
}

// receiver handles the parts of one message after the other.
type receiver struct {
	sm *stream
	m  *rawMessage
}

// onEvent implements handler.
func (h *receiver) onEvent(e *wireEvent) error {
	p := h.sm.find(e.requestID, e.regionID)
	if p == nil {
		return nil // deregistered meanwhile
	}
	switch {
	case e.isErr:
		return h.regionError(p, e.err)
	case e.entries != nil:
		return h.onRows(p, e.entries)
	case e.resolvedTs > 0:
		h.resolved(p, e.resolvedTs)
	}
	return nil
}

// onResolved implements handler.
func (h *receiver) onResolved(r *wireResolved) error {
	return r.each(func(region uint64) {
		if p := h.sm.find(r.requestID, region); p != nil {
			h.resolved(p, r.ts)
		}
	})
}

func (h *receiver) resolved(p *part, ts uint64) {
	if p.match.initialized {
		p.sub.advance(p, ts)
	}
}

// onRows matches the rows of one event and delivers what is committed.
func (h *receiver) onRows(p *part, entries []byte) error {
	h.m.kept = true
	size := int64(len(entries))
	wasInitialized := p.match.initialized
	out := h.sm.rows[:0]
	var r wireRow
	var err error
	for len(entries) > 0 {
		if entries, err = nextRow(entries, &r); err != nil {
			return err
		}
		if r.typ == 0 || (r.typ != rowInitialized && !p.sub.wants(r.key())) {
			continue
		}
		if out, err = p.match.apply(&r, out); err != nil {
			p.sub.end(err)
			return nil
		}
	}
	if err := checkResolved(p, out); err != nil {
		p.sub.end(err)
		return nil
	}
	if len(out) > 0 {
		p.sub.deliver(out)
	}
	clear(out)
	h.sm.rows = out[:0]
	if !wasInitialized {
		h.sm.st.scanGrew(p, size)
		if p.match.initialized {
			p.attempts = 0
			p.note(ReasonLive, "")
			h.sm.st.scanEnded(p, true)
		}
	}
	return nil
}

// checkResolved makes sure that the store keeps its promise: no commit at or
// below a resolved-ts that it has sent.
func checkResolved(p *part, rows []model.RawChange) error {
	if len(rows) == 0 {
		return nil
	}
	resolved := p.checkpoint()
	for i := range rows {
		if rows[i].CommitTs <= resolved {
			return cerrors.ErrResolvedTsBroken.New(rows[i].CommitTs, resolved, p.region.ID)
		}
	}
	return nil
}

// regionError ends a request and decides what follows.
func (h *receiver) regionError(p *part, body []byte) error {
	var e cdcpb.Error
	if err := e.Unmarshal(body); err != nil {
		return fmt.Errorf("%w: %v", errWire, err)
	}
	if !h.sm.ended(p) {
		return nil // deregistered meanwhile
	}
	h.sm.st.scanEnded(p, false)
	c := h.sm.st.c
	switch {
	case e.Compatibility != nil:
		p.sub.end(cerrors.ErrVersionIncompatible.New("the store wants a client of version " + e.Compatibility.RequiredVersion))
	case e.ClusterIdMismatch != nil:
		p.sub.end(cerrors.ErrClusterIDMismatch.New(e.ClusterIdMismatch.Current, e.ClusterIdMismatch.Request))
	case e.DuplicateRequest != nil:
		p.sub.end(cerrors.ErrEventFeedEventError.New(e.String()))
	case e.ServerIsBusy != nil, e.Congested != nil:
		p.attempts = max(p.attempts, 2) // 80 ms at least
		c.retry(p, ReasonBusy, e.String())
	default:
		c.cfg.Logger.Debug("region has to be registered again",
			zap.Uint64("region", p.region.ID), zap.Int64("table", p.sub.o.Span.TableID), zap.String("error", e.String()))
		c.retry(p, ReasonRegion, e.String())
	}
	return nil
}
