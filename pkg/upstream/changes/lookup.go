package changes

import (
	"bytes"
	"container/heap"
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"go.uber.org/zap"
)

// lookupBatch is the most regions that are asked for at once.
const lookupBatch = 1024

// lookupQueue holds the parts whose region is not known, by the time from
// which they may be looked up.
type lookupQueue struct {
	mu    sync.Mutex
	items waitHeap
	wake  chan struct{}
}

type waiting struct {
	p  *part
	at time.Time
}

func newLookupQueue() *lookupQueue { return &lookupQueue{wake: make(chan struct{}, 1)} }

func (q *lookupQueue) add(p *part, after time.Duration) {
	q.mu.Lock()
	heap.Push(&q.items, waiting{p, time.Now().Add(after)})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// due returns up to a batch of parts whose time has come, and how long to wait
// for the next one; 0 when the queue is empty.
func (q *lookupQueue) due() ([]*part, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	var out []*part
	for len(q.items) > 0 && len(out) < lookupBatch {
		if wait := q.items[0].at.Sub(now); wait > 0 {
			return out, wait
		}
		out = append(out, heap.Pop(&q.items).(waiting).p)
	}
	return out, 0
}

// runLookups places parts until the context ends.
func (c *Client) runLookups(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	failing := false
	for ctx.Err() == nil {
		parts, wait := c.lookup.due()
		if len(parts) > 0 {
			failing = c.place(ctx, parts, failing)
			continue
		}
		if wait == 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-c.lookup.wake:
		}
	}
}

// place finds the regions of the parts and hands each piece to its store.
// Pieces that have no usable region yet stay in the queue. Failures are
// logged once, until a lookup succeeds again.
func (c *Client) place(ctx context.Context, parts []*part, wasFailing bool) (failing bool) {
	live := slices.DeleteFunc(parts, func(p *part) bool { return p.sub.ended.Load() })
	if len(live) == 0 {
		return wasFailing
	}
	slices.SortStableFunc(live, func(a, b *part) int { return bytes.Compare(a.keys.Start, b.keys.Start) })
	regions, err := c.cfg.Regions.Scan(ctx, union(live), lookupBatch)
	if err != nil {
		if !wasFailing && ctx.Err() == nil {
			c.cfg.Logger.Warn("region lookup failed", zap.Int("ranges", len(live)), zap.Error(err))
		}
		for _, p := range live {
			p.note(ReasonLookup, err.Error())
			c.lookup.add(p, c.cfg.LookupPause)
		}
		return true
	}
	// Parts of one span that were cut apart by a region since merged become
	// one again: they are neighbours in the order of keys.
	bySub := make(map[*Subscription]*cutter)
	var cutters []*cutter
	for _, p := range live {
		cut := bySub[p.sub]
		if cut == nil {
			cut = &cutter{sub: p.sub}
			bySub[p.sub] = cut
			cutters = append(cutters, cut)
		}
		cut.add(p, regions)
	}
	// What lies behind an answer that was cut at its limit was not looked up.
	var asked []byte
	if len(regions) >= lookupBatch {
		asked = regions[len(regions)-1].End
	}
	for _, cut := range cutters {
		c.settle(cut, asked)
	}
	return false
}

// settle replaces the parts of one subscription by the pieces found for them.
func (c *Client) settle(cut *cutter, asked []byte) {
	cut.sub.replace(cut.old, cut.pieces, cut.ts)
	for _, p := range cut.pieces {
		switch {
		case p.region.Leader != 0:
			p.note(ReasonQueued, "")
			c.assign(p, p.region.Leader)
		case len(asked) > 0 && bytes.Compare(p.keys.Start, asked) >= 0:
			c.lookup.add(p, 0)
		default:
			p.note(ReasonLookup, "no region with a leader covers the range")
			c.lookup.add(p, c.cfg.LookupPause)
		}
	}
}

// cutter divides parts of one subscription along region borders.
type cutter struct {
	sub    *Subscription
	old    []*part
	pieces []*part
	ts     []uint64 // resolved-ts of the pieces
}

// add divides a part, which lies behind those added before. Pieces without
// region are holes in the answer.
func (c *cutter) add(p *part, regions []Region) {
	c.old = append(c.old, p)
	ts := p.checkpoint()
	pos := p.keys.Start
	first := sort.Search(len(regions), func(i int) bool { return beyond(regions[i].End, pos) })
	for i := first; i < len(regions); i++ {
		r := regions[i]
		if bytes.Compare(r.Start, p.keys.End) >= 0 {
			break
		}
		if bytes.Compare(r.Start, pos) > 0 {
			c.piece(p, KeyRange{pos, r.Start}, Region{}, ts)
			pos = r.Start
		}
		end := p.keys.End
		if beyond(end, r.End) && len(r.End) > 0 {
			end = r.End
		}
		if beyond(end, pos) { // stale answers may overlap
			c.piece(p, KeyRange{pos, end}, r, ts)
			pos = end
		}
	}
	if bytes.Compare(pos, p.keys.End) < 0 {
		c.piece(p, KeyRange{pos, p.keys.End}, Region{}, ts)
	}
}

// beyond tells whether the end of a range, which may be unbounded, lies
// behind a key.
func beyond(end, key []byte) bool { return len(end) == 0 || bytes.Compare(end, key) > 0 }

func (c *cutter) piece(from *part, keys KeyRange, r Region, ts uint64) {
	if last := len(c.pieces) - 1; last >= 0 {
		p := c.pieces[last]
		if p.region.ID == r.ID && bytes.Equal(p.keys.End, keys.Start) {
			p.keys.End = keys.End
			p.attempts = max(p.attempts, from.attempts)
			c.ts[last] = min(c.ts[last], ts)
			return
		}
	}
	c.pieces = append(c.pieces, &part{
		sub: c.sub, keys: keys, region: r, attempts: from.attempts,
		reason: from.reason, detail: from.detail, since: from.since, cleaned: from.cleaned,
	})
	c.ts = append(c.ts, ts)
}

// union returns the sorted, disjoint ranges that sorted parts cover together.
func union(parts []*part) []KeyRange {
	out := []KeyRange{parts[0].keys}
	for _, p := range parts[1:] {
		last := &out[len(out)-1]
		switch {
		case bytes.Compare(p.keys.Start, last.End) > 0:
			out = append(out, p.keys)
		case bytes.Compare(p.keys.End, last.End) > 0:
			last.End = p.keys.End
		}
	}
	return out
}

// waitHeap orders by time.
type waitHeap []waiting

func (h waitHeap) Len() int           { return len(h) }
func (h waitHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h waitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *waitHeap) Push(x any) { *h = append(*h, x.(waiting)) }

// Pop implements heap.Interface.
func (h *waitHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = waiting{}
	*h = old[:len(old)-1]
	return x
}
