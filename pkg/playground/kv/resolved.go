package kv

import (
	"bytes"
	"context"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"go.uber.org/zap"
)

// guard holds resolved-ts back while a prewrite runs that chooses its commit-ts (or a bound of it) before its locks or
// versions are visible: async commit and 1PC take a timestamp of their own in the middle of the prewrite. That one is
// greater than every timestamp that was handed out before the guard, so holding resolved-ts at one of those is enough.
type guard struct {
	first, last []byte // the least and the greatest key
	ts          uint64
}

// guardPrewrite must be called before the prewrite begins, and release when all its effects are visible.
func (f *feed) guardPrewrite(mutations []*kvrpcpb.Mutation) (release func()) {
	if len(mutations) == 0 {
		return func() {}
	}
	g := &guard{first: mutations[0].Key, last: mutations[0].Key}
	for _, m := range mutations[1:] {
		if bytes.Compare(m.Key, g.first) < 0 {
			g.first = m.Key
		}
		if bytes.Compare(m.Key, g.last) > 0 {
			g.last = m.Key
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	g.ts = f.lastTs
	f.guards[g] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.guards, g)
	}
}

// runResolved sends resolved-ts until the context ends.
func (f *feed) runResolved(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !f.watched() {
			continue
		}
		ts, err := f.clock.tso(ctx)
		if err != nil {
			f.logger.Warn("no timestamp for resolved-ts", zap.Error(err))
			continue
		}
		f.sendResolved(ts)
	}
}

func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.streams) > 0
}

// sendResolved sends the resolved-ts of all regions that have a new one. ts must have been handed out before the call:
// a transaction that is not prewritten now gets a commit-ts above it.
func (f *feed) sendResolved(ts uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beginRound(ts)
	for st := range f.streams {
		// A reader that has not taken the last one gets the next when it has; more would only queue up.
		if !st.resolvedWaits() {
			f.sendStreamResolved(st, ts)
		}
	}
}

// beginRound makes regions compute anew, with the guards of now.
func (f *feed) beginRound(ts uint64) {
	f.lastTs = max(f.lastTs, ts)
	f.round++
	sorted := f.table.sorted
	for g := range f.guards {
		for i := indexRaw(sorted, g.first); i < len(sorted) && bytes.Compare(sorted[i].rawStart, g.last) <= 0; i++ {
			sorted[i].holdBack(f.round, g.ts)
		}
	}
}

func (r *region) holdBack(round, ts uint64) {
	if r.guardAt != round {
		r.guardAt, r.guarded = round, ts
	}
	r.guarded = min(r.guarded, ts)
}

// resolvedTs returns the greatest timestamp such that every later commit in the region is above it.
func (r *region) resolvedTs(round, ts uint64) uint64 {
	if r.resolvedAt == round {
		return r.resolved
	}
	if r.guardAt == round {
		ts = min(ts, r.guarded)
	}
	for start := range r.locks {
		ts = min(ts, start)
	}
	r.resolvedAt, r.resolved = round, ts
	return ts
}

func (f *feed) sendStreamResolved(st *stream, ts uint64) {
	groups := make(map[uint64][]uint64) // regions by resolved-ts
	for _, req := range st.requests {
		clear(groups)
		for _, p := range req.parts {
			if p.advance(f.round, ts) {
				groups[p.resolved] = append(groups[p.resolved], p.regionID)
			}
		}
		for resolved, regions := range groups {
			st.pushResolved(st.resolvedMessage(req.id, resolved, regions))
		}
	}
}

// advance reports whether there is a new resolved-ts to send.
func (p *requestRegion) advance(round, ts uint64) bool {
	for _, s := range p.subs {
		if !s.live {
			return false
		}
		ts = min(ts, s.region.resolvedTs(round, ts))
	}
	if ts <= p.resolved {
		return false
	}
	p.resolved = ts
	return true
}

func (s *stream) resolvedMessage(requestID, ts uint64, regions []uint64) []byte {
	if s.batchResolved {
		if !s.perRequest {
			requestID = 0
		}
		return appendResolvedBatch(nil, regions, ts, requestID)
	}
	var b []byte
	for _, id := range regions {
		b = appendResolvedEvent(b, id, requestID, ts)
	}
	return b
}

// safeTs returns a timestamp at or below which nothing will be committed any more in the whole store.
func (f *feed) safeTs(ctx context.Context) (uint64, error) {
	ts, err := f.clock.tso(ctx)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beginRound(ts)
	safe := ts
	for _, r := range f.table.sorted {
		safe = min(safe, r.resolvedTs(f.round, ts))
	}
	return safe, nil
}
