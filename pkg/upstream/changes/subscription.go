package changes

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark/tidemark/pkg/model"
)

// Subscription is a running subscription of one span.
type Subscription struct {
	c       *Client
	o       Options
	started time.Time
	counts  counts

	// ended is set by Close and by a fatal error, and makes everything drop
	// what belongs to the subscription.
	ended atomic.Bool
	// calls is held shared while the Consumer is called, and alone to end.
	calls sync.RWMutex
	// announcing makes OnResolved calls one at a time.
	announcing sync.Mutex
	announced  uint64       // guarded by announcing
	unfinished atomic.Int64 // what Options.Unfinished was told in all

	mu       sync.Mutex
	frontier frontier
	resolved uint64    // last announced, at first StartTs
	advanced time.Time // when resolved rose last
	admitted bool
}

// part is one range of a span, and the region that serves it. When the region
// splits or moves, the part is replaced by others that cover the same keys, so
// that the parts of a span always cover it without holes or overlaps.
//
// A part is handed on from the region lookup to a store, from there to the
// stream that receives it, and back to the lookup when its registration ends.
// Who holds it owns the fields that are not guarded.
type part struct {
	sub  *Subscription
	keys KeyRange // encoded; never changed

	// Guarded by sub.mu.
	slot    int    // in the frontier; -1 when replaced
	region  Region // ID 0 while it is looked up; only its leader ever changes
	ready   bool   // its history is read
	reason  Reason
	detail  string
	since   time.Time
	cleaned time.Time // when its locks were resolved last
	lane    uint64    // who holds the part reads it without the lock

	attempts  int // failures in a row
	liveSince time.Time
	match     matcher
	told      int64 // of match.held, to the owner
	scan      scan
}

func newSubscription(c *Client, o Options) *Subscription {
	o.Span = bounded(o.Span)
	now := time.Now()
	s := &Subscription{c: c, o: o, started: now, counts: c.metrics.counts(o.Changefeed), advanced: now, resolved: o.StartTs, announced: o.StartTs}
	s.frontier.add(&part{sub: s, keys: encodedRange(o.Span), reason: ReasonLookup, since: now}, o.StartTs)
	return s
}

// Close ends the subscription. After it returns no further call reaches the
// Consumer; it waits for calls that are under way.
func (s *Subscription) Close() { s.end(nil) }

// end ends the subscription for good. The consumer is told the error, if any,
// and nothing after it.
func (s *Subscription) end(err error) {
	first := !s.ended.Swap(true)
	s.calls.Lock()
	if rest := s.unfinished.Swap(0); rest != 0 {
		s.o.Unfinished(-rest)
	}
	if first && err != nil {
		s.o.Consumer.OnError(err)
	}
	s.calls.Unlock()
	if first {
		s.c.forget(s)
		s.counts.release()
	}
}

// Status is a snapshot of the progress.
func (s *Subscription) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{ResolvedTs: s.resolved, Regions: len(s.frontier.parts)}
	for _, p := range s.frontier.parts {
		if p.ready {
			st.Initialized++
		}
	}
	if s.ended.Load() {
		st.Reason = ReasonClosed
		return st
	}
	slowest := s.frontier.slowest()
	st.Slowest, st.Reason, st.Detail, st.Since = slowest.region.ID, slowest.reason, slowest.detail, slowest.since
	return st
}

// deliver hands rows to the consumer.
func (s *Subscription) deliver(rows []model.RawChange) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if !s.ended.Load() {
		s.o.Consumer.OnRows(rows)
	}
}

// tellStep is by how many bytes the rows that wait in a part must have changed
// for the owner to be told: those of small transactions come and go too fast.
const tellStep = 4 << 10

// tell passes on what rows wait for the end of their transactions.
func (p *part) tell() {
	delta := p.match.held - p.told
	if delta == 0 || -tellStep < delta && delta < tellStep && p.match.held > 0 {
		return
	}
	p.told += delta
	s := p.sub
	if s.o.Unfinished == nil {
		return
	}
	s.calls.RLock()
	defer s.calls.RUnlock()
	if !s.ended.Load() {
		s.unfinished.Add(delta)
		s.o.Unfinished(delta)
	}
}

// advance records the resolved-ts of a part; one that goes back is ignored.
// It tells whether the span's may have risen: then announce is to be called.
func (s *Subscription) advance(p *part, ts uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.slot < 0 {
		return false
	}
	// The store repeats the resolved-ts that a lock holds back.
	if p.reason == ReasonLock && ts > s.frontier.ts[p.slot] {
		p.reason, p.detail, p.since = ReasonLive, "", time.Now()
	}
	return s.frontier.raise(p, ts)
}

// announce tells the consumer the span's resolved-ts if it rose.
func (s *Subscription) announce() {
	s.announcing.Lock()
	defer s.announcing.Unlock()
	s.mu.Lock()
	least := s.frontier.minimum()
	if least > s.resolved {
		s.resolved, s.advanced = least, time.Now()
	}
	s.mu.Unlock()
	if least <= s.announced {
		return
	}
	s.announced = least
	s.calls.RLock()
	defer s.calls.RUnlock()
	if !s.ended.Load() {
		s.o.Consumer.OnResolved(least)
	}
}

// replace puts new parts, with the resolved-ts beside them, in the place of
// old ones that cover the same keys.
func (s *Subscription) replace(old, parts []*part, ts []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range old {
		s.frontier.remove(p)
	}
	for i, p := range parts {
		s.frontier.add(p, ts[i])
	}
}

// admit asks the owner of the subscription, until it agrees once, whether it
// has room for history.
func (s *Subscription) admit(now time.Time) bool {
	s.mu.Lock()
	admitted := s.admitted
	s.mu.Unlock()
	if admitted {
		return true
	}
	// Close lets nobody in, and an owner that has closed is not asked.
	if !s.calls.TryRLock() {
		return false
	}
	defer s.calls.RUnlock()
	if s.ended.Load() {
		return false
	}
	if s.o.Admit != nil && !s.o.Admit() && !s.c.overrule(s, now) {
		return false
	}
	s.mu.Lock()
	s.admitted = true
	s.mu.Unlock()
	return true
}

// wants tells whether a raw key lies in the subscribed span.
func (s *Subscription) wants(key []byte) bool {
	return bytes.Compare(key, s.o.Span.StartKey) >= 0 && bytes.Compare(key, s.o.Span.EndKey) < 0
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
	return p.sub.frontier.ts[p.slot]
}

// join notes the lane in which the part is about to be registered and returns
// its checkpoint.
func (p *part) join(lane uint64) uint64 {
	p.sub.mu.Lock()
	defer p.sub.mu.Unlock()
	p.lane = lane
	return p.sub.frontier.ts[p.slot]
}
