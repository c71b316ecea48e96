package changes

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// busyPause is the least pause after a store said that it is busy.
	busyPause = 50 * time.Millisecond
	// redirects is how often in a row a region's own word on its leader is
	// taken before PD is asked again.
	redirects = 3
	// settledAfter is how long a region must have been live for its earlier
	// failures not to count any more.
	settledAfter = time.Second
)

// receiver handles the messages of one stream. Its buffers are reused.
type receiver struct {
	sm   *stream
	raw  rawMessage
	msg  wireMessage
	rows []model.RawChange
	hit  []*part
	rose []*Subscription
}

// receive handles messages until the stream ends; it always returns an error.
func (sm *stream) receive() error {
	h := &receiver{sm: sm}
	for {
		if err := sm.raw.RecvMsg(&h.raw); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("store closed the stream")
			}
			return err
		}
		if !sm.st.answered.Load() {
			sm.st.answered.Store(true)
		}
		if err := h.handle(h.raw.buf); err != nil {
			return err
		}
	}
}

// handle takes one message. An error means that the stream makes no sense.
func (h *receiver) handle(data []byte) error {
	h.sm.st.c.metrics.bytes.Observe(float64(len(data)))
	if err := h.msg.parse(data); err != nil {
		return err
	}
	for i := range h.msg.events {
		e := &h.msg.events[i]
		p := h.sm.find(e.request, e.region)
		if p == nil {
			continue // deregistered meanwhile
		}
		switch e.kind {
		case eventRows:
			if err := h.onRows(p, e.body); err != nil {
				return err
			}
		case eventError:
			if err := h.onError(p, e.body); err != nil {
				return err
			}
		case eventResolved:
			h.hit = append(h.hit[:0], p)
			h.onResolved(e.resolvedTs)
		}
	}
	if r := &h.msg.resolved; len(r.regions) > 0 {
		h.hit = h.sm.findAll(r.request, r.regions, h.hit[:0])
		h.onResolved(r.ts)
	}
	return nil
}

// onResolved advances the parts in h.hit, and then each span once.
func (h *receiver) onResolved(ts uint64) {
	rose := h.rose[:0]
	for _, p := range h.hit {
		p.sub.counts.resolved.Inc()
		// The store sends it for all that is registered; it says nothing
		// before the history is complete.
		if !p.match.initialized || !p.sub.advance(p, ts) {
			continue
		}
		if n := len(rose); n == 0 || rose[n-1] != p.sub {
			rose = append(rose, p.sub)
		}
	}
	for _, s := range rose {
		s.announce()
	}
	clear(h.hit)
	clear(rose)
	h.rose = rose
}

// onRows matches the rows of one event and delivers what is committed.
func (h *receiver) onRows(p *part, entries []byte) error {
	size := int64(len(entries))
	wasInitialized := p.match.initialized
	out, n, err := h.match(p, entries)
	p.sub.counts.rows.Add(float64(n))
	if errors.Is(err, errWire) {
		return err
	}
	if err == nil {
		err = checkResolved(p, out)
	}
	if err != nil {
		p.sub.end(err) // this takes the part off the stream, too
		return nil
	}
	if len(out) > 0 {
		p.sub.deliver(out)
	}
	clear(out)
	h.rows = out[:0]
	p.tell()
	if wasInitialized {
		return nil
	}
	h.sm.st.scanGrew(p, size)
	if p.match.initialized {
		p.liveSince = time.Now()
		p.note(ReasonLive, "")
		h.sm.st.scanEnded(p, true)
	}
	return nil
}

// match applies the rows of one event and returns what is committed by them,
// and their number.
func (h *receiver) match(p *part, entries []byte) (out []model.RawChange, n int, err error) {
	out = h.rows[:0]
	var r wireRow
	for {
		var ok bool
		if entries, ok, err = nextRow(entries, &r); err != nil || !ok {
			return out, n, err
		}
		n++
		if r.typ != rowInitialized && !p.sub.wants(r.key()) {
			continue
		}
		// Once the scan is over, only what prewrites and whole rows point into
		// is kept.
		if r.typ == rowPrewrite || r.typ == rowCommitted || !p.match.initialized {
			h.raw.kept = true
		}
		if out, err = p.match.apply(&r, out); err != nil {
			return out, n, err
		}
	}
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

// onError ends a registration and decides what follows. The range keeps its
// resolved-ts, from which it is registered again.
func (h *receiver) onError(p *part, body []byte) error {
	var e cdcpb.Error
	if err := e.Unmarshal(body); err != nil {
		return fmt.Errorf("%w: %w", errWire, err)
	}
	if !h.sm.remove(p, nothingFollows(p, &e)) {
		return nil
	}
	h.sm.st.scanEnded(p, false)
	p.settled()
	c := h.sm.st.c
	c.metrics.failures.WithLabelValues(errorType(&e)).Inc()
	c.cfg.Logger.Debug("region has to be registered again",
		zap.Uint64("region", p.region.ID), zap.Int64("table", p.sub.o.Span.TableID), zap.Stringer("error", &e))
	switch {
	case e.Compatibility != nil:
		p.sub.end(cerrors.ErrVersionIncompatible.New("the store wants a client of version " + e.Compatibility.RequiredVersion))
	case e.ClusterIdMismatch != nil:
		p.sub.end(cerrors.ErrClusterIDMismatch.New(e.ClusterIdMismatch.Current, e.ClusterIdMismatch.Request))
	case e.NotLeader != nil && e.NotLeader.Leader.GetStoreId() != 0 && p.attempts < redirects:
		p.attempts++
		p.redirect(e.NotLeader.Leader.StoreId)
	case e.ServerIsBusy != nil || e.Congested != nil:
		asked := time.Duration(e.ServerIsBusy.GetBackoffMs()) * time.Millisecond
		c.retry(p, ReasonBusy, e.String(), max(busyPause, min(asked, maxRetryPause)))
	default:
		c.retry(p, ReasonRegion, e.String(), 0)
	}
	return nil
}

// nothingFollows tells whether the error is the last that comes of its
// registration. Something of a duplicate may still be alive, and history that
// was read before the error may be overtaken by it: older stores queue the two
// apart.
func nothingFollows(p *part, e *cdcpb.Error) bool {
	return e.DuplicateRequest == nil && (p.match.initialized || e.ServerIsBusy != nil)
}

// errorType names an error in metrics.
func errorType(e *cdcpb.Error) string {
	switch {
	case e.NotLeader != nil:
		return "NotLeader"
	case e.RegionNotFound != nil:
		return "RegionNotFound"
	case e.EpochNotMatch != nil:
		return "EpochNotMatch"
	case e.DuplicateRequest != nil:
		return "DuplicateRequest"
	case e.Compatibility != nil:
		return "Compatibility"
	case e.ClusterIdMismatch != nil:
		return "ClusterIdMismatch"
	case e.ServerIsBusy != nil:
		return "ServerIsBusy"
	case e.Congested != nil:
		return "Congested"
	default:
		return "Unknown"
	}
}

// settled ends a registration: rows that wait for their commit come again with
// the next one. Earlier failures of a part that was live for a while are
// forgotten.
func (p *part) settled() {
	p.match = matcher{}
	p.tell()
	if !p.liveSince.IsZero() && time.Since(p.liveSince) > settledAfter {
		p.attempts = 0
	}
	p.liveSince = time.Time{}
}

// redirect hands a part to the store that its region named as its leader.
func (p *part) redirect(leader uint64) {
	p.sub.mu.Lock()
	p.region.Leader = leader
	p.sub.mu.Unlock()
	p.note(ReasonQueued, "")
	p.sub.c.assign(p, leader)
}
