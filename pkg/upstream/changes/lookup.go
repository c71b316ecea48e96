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
	for ctx.Err() == nil {
		parts, wait := c.lookup.due()
		if len(parts) > 0 {
			c.place(ctx, parts)
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
// Pieces that have no usable region yet stay in the queue.
func (c *Client) place(ctx context.Context, parts []*part) {
	live := parts[:0]
	for _, p := range parts {
		if p.sub.alive() {
			live = append(live, p)
		}
	}
	if len(live) == 0 {
		return
	}
	regions, err := c.cfg.Regions.Scan(ctx, union(live), lookupBatch)
	if err != nil {
		if ctx.Err() == nil {
			c.cfg.Logger.Warn("region lookup failed", zap.Int("ranges", len(live)), zap.Error(err))
		}
		for _, p := range live {
			p.note(ReasonLookup, err.Error())
			c.lookup.add(p, c.cfg.LookupPause)
		}
		return
	}
	for _, p := range live {
		c.cut(ctx, p, regions)
	}
}

// cut splits a part along region borders. What lies behind the last region of
// the answer is asked for again at once, a hole or a region without a leader
// after a pause.
func (c *Client) cut(ctx context.Context, p *part, regions []Region) {
	var pieces, again []*part
	pos := p.keys.Start
	piece := func(end []byte) *part {
		n := &part{sub: p.sub, keys: KeyRange{pos, end}, reason: ReasonLookup, since: p.since, attempts: p.attempts}
		pieces = append(pieces, n)
		pos = end
		return n
	}
	covered := false
	first := sort.Search(len(regions), func(i int) bool {
		return len(regions[i].End) == 0 || bytes.Compare(regions[i].End, pos) > 0
	})
	for i := first; i < len(regions); i++ {
		r := &regions[i]
		if len(r.End) > 0 && bytes.Compare(r.End, pos) <= 0 {
			continue // told twice
		}
		if len(p.keys.End) > 0 && bytes.Compare(r.Start, p.keys.End) >= 0 {
			break
		}
		if bytes.Compare(r.Start, pos) > 0 {
			again = append(again, piece(r.Start)) // a hole
		}
		end, last := r.End, false
		if len(end) == 0 || (len(p.keys.End) > 0 && bytes.Compare(p.keys.End, end) <= 0) {
			end, last = p.keys.End, true
		}
		n := piece(end)
		if r.Leader == 0 {
			again = append(again, n)
		} else {
			n.region = *r
		}
		if last {
			covered = true
			break
		}
	}
	// A full answer was cut at the limit: what it lacks may well exist.
	more := len(pieces) > 0 || len(regions) >= lookupBatch
	if !covered {
		n := piece(p.keys.End)
		if more {
			defer c.lookup.add(n, 0)
		} else {
			again = append(again, n)
		}
	}
	p.sub.replace(p, pieces)
	for _, n := range again {
		n.note(ReasonLookup, "no region with a leader covers the range")
		c.lookup.add(n, c.cfg.LookupPause)
	}
	for _, n := range pieces {
		if n.region.ID != 0 {
			n.note(ReasonQueued, "")
			c.storeFor(ctx, n.region.Leader).enqueue(n)
		}
	}
}

// union returns the sorted, disjoint ranges that the parts cover together.
func union(parts []*part) []KeyRange {
	h := make([]KeyRange, 0, len(parts))
	for _, p := range parts {
		h = append(h, p.keys)
	}
	slices.SortFunc(h, func(a, b KeyRange) int { return bytes.Compare(a.Start, b.Start) })
	out := h[:1]
	for _, r := range h[1:] {
		last := &out[len(out)-1]
		if len(last.End) > 0 && bytes.Compare(r.Start, last.End) > 0 {
			out = append(out, r)
			continue
		}
		if len(last.End) > 0 && (len(r.End) == 0 || bytes.Compare(r.End, last.End) > 0) {
			last.End = r.End
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
	*h = old[:len(old)-1]
	return x
}
