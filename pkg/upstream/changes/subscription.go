package changes

import (
	"bytes"
	"container/heap"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tikv/client-go/v2/util/codec"

	"github.com/tidemark/tidemark/pkg/model"
)

// Subscription is a running subscription of one span.
type Subscription struct {
	c   *Client
	o   Options
	all KeyRange // the span, encoded

	// calls is held shared while the Consumer is called, and alone to end the
	// subscription.
	calls    sync.RWMutex
	closed   atomic.Bool // set under calls
	admitted atomic.Bool
	started  time.Time
	// announce makes OnResolved calls one at a time.
	announce sync.Mutex

	mu       sync.Mutex
	ranges   rangeHeap // the parts of the span, least resolved-ts first
	resolved uint64    // last announced, at first StartTs
	advanced time.Time // when resolved rose last
}

// part is one range of a span, and the region that serves it. A part belongs
// to its subscription's heap for its whole life; when a region splits, it is
// replaced by several parts that cover the same keys.
type part struct {
	sub      *Subscription
	keys     KeyRange // encoded
	pos      int      // in the heap; guarded by sub.mu
	resolved uint64   // guarded by sub.mu
	ready    bool     // initialized in its present registration; guarded by sub.mu
	reason   Reason   // guarded by sub.mu
	detail   string   // guarded by sub.mu
	since    time.Time
	cleaned  time.Time // when its locks were resolved last; guarded by sub.mu
	region   Region    // never changes; ID 0 when it has to be looked up
	attempts int       // failures in a row; owned by who holds the part
	lane     uint64    // on its stream; written under sub.mu by who holds the part

	match    matcher // belongs to the receiver of the stream that serves the part
	scanned  int64   // bytes of history received; guarded by the store's mu
	scanning bool    // counted in the store's running scans; guarded by the store's mu
}

func newSubscription(c *Client, o Options) *Subscription {
	s := &Subscription{c: c, o: o, resolved: o.StartTs, started: time.Now()}
	s.advanced = s.started
	s.all = KeyRange{Start: codec.EncodeBytes(nil, o.Span.StartKey)}
	if len(o.Span.EndKey) > 0 {
		s.all.End = codec.EncodeBytes(nil, o.Span.EndKey)
	}
	p := &part{sub: s, keys: s.all, resolved: o.StartTs, reason: ReasonLookup, since: s.started}
	s.ranges = rangeHeap{p}
	return s
}

// Close ends the subscription. After it returns no further call reaches the Consumer.
func (s *Subscription) Close() {
	s.end(nil)
}

// end ends the subscription for good; the consumer is told the error, if any,
// and nothing after it.
func (s *Subscription) end(err error) {
	s.calls.Lock()
	was := s.closed.Swap(true)
	if !was && err != nil {
		s.o.Consumer.OnError(err)
	}
	s.calls.Unlock()
	if !was {
		s.c.forget(s)
	}
}

// Status is a snapshot of the progress.
func (s *Subscription) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{ResolvedTs: s.resolved, Regions: len(s.ranges)}
	for _, p := range s.ranges {
		if p.ready {
			st.Initialized++
		}
	}
	if !s.alive() {
		st.Reason = ReasonClosed
		return st
	}
	slowest := s.ranges[0]
	for _, p := range s.ranges {
		// Among equals, one that is not served yet tells more.
		if slowest.ready && !p.ready && p.resolved == slowest.resolved {
			slowest = p
		}
	}
	st.Slowest, st.Reason, st.Detail, st.Since = slowest.region.ID, slowest.reason, slowest.detail, slowest.since
	return st
}

// deliver hands rows to the consumer.
func (s *Subscription) deliver(rows []model.RawChange) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if s.alive() {
		s.o.Consumer.OnRows(rows)
	}
}

// advance records the resolved-ts of a part and announces the span's when it
// rose. One that goes back is ignored.
func (s *Subscription) advance(p *part, ts uint64) {
	s.mu.Lock()
	if ts <= p.resolved {
		s.mu.Unlock()
		return
	}
	p.resolved = ts
	if p.reason == ReasonLock {
		p.reason, p.since, p.detail = ReasonLive, s.c.coarseNow(), ""
	}
	if len(s.ranges) > 1 {
		heap.Fix(&s.ranges, p.pos)
	}
	rose := s.ranges[0].resolved > s.resolved
	s.mu.Unlock()
	if rose {
		s.announceResolved()
	}
}

func (s *Subscription) announceResolved() {
	s.announce.Lock()
	defer s.announce.Unlock()
	s.mu.Lock()
	least := s.ranges[0].resolved
	rose := least > s.resolved
	if rose {
		s.resolved = least
		s.advanced = s.c.coarseNow()
	}
	s.mu.Unlock()
	if !rose {
		return
	}
	s.calls.RLock()
	defer s.calls.RUnlock()
	if s.alive() {
		s.o.Consumer.OnResolved(least)
	}
}

// alive tells whether anybody still wants the subscription.
func (s *Subscription) alive() bool { return !s.closed.Load() }

// replace puts parts in the place of one that covers the same keys.
func (s *Subscription) replace(old *part, parts []*part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heap.Remove(&s.ranges, old.pos)
	for _, p := range parts {
		p.resolved, p.cleaned = old.resolved, old.cleaned
		heap.Push(&s.ranges, p)
	}
}

// note records what a part is doing, for Status.
func (p *part) note(r Reason, detail string) {
	p.sub.mu.Lock()
	if p.reason != r {
		p.reason, p.since = r, time.Now()
	}
	p.detail = detail
	p.ready = r == ReasonLive
	p.sub.mu.Unlock()
}

// checkpoint is the ts from which the part has to be registered.
func (p *part) checkpoint() uint64 {
	p.sub.mu.Lock()
	defer p.sub.mu.Unlock()
	return p.resolved
}

// wants tells whether a raw key lies in the subscribed span.
func (s *Subscription) wants(key []byte) bool {
	return bytes.Compare(key, s.o.Span.StartKey) >= 0 &&
		(len(s.o.Span.EndKey) == 0 || bytes.Compare(key, s.o.Span.EndKey) < 0)
}

// rangeHeap orders parts by their resolved-ts.
type rangeHeap []*part

func (h rangeHeap) Len() int           { return len(h) }
func (h rangeHeap) Less(i, j int) bool { return h[i].resolved < h[j].resolved }
func (h rangeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

// Push implements heap.Interface.
func (h *rangeHeap) Push(x any) {
	p := x.(*part)
	p.pos = len(*h)
	*h = append(*h, p)
}

// Pop implements heap.Interface.
func (h *rangeHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}
