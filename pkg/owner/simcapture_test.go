package owner

import (
	"encoding/json"
	"math/rand"
	"time"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// simConn is a stream of the simulation: ordered in both directions, slow, and
// it loses what is under way when it breaks.
type simConn struct {
	s    *sim
	c    *simCapture
	term *simTerm
	rng  *rand.Rand // of its own: orders come in the random order of maps
	up   []simMessage
	down []simMessage
	// broken carries nothing new. The two ends notice at different times.
	broken                bool
	ownerLeft             bool
	ownerEnds, captureEnd time.Time
	closed                bool // by the owner
}

type simMessage struct {
	at     time.Time
	order  *peerpb.Order
	hello  *peerpb.Hello
	report *peerpb.Report
}

func (c *simConn) Capture() model.CaptureID { return c.c.id }
func (c *simConn) Close()                   { c.closed = true }

// Send implements Conn. The order is copied: the owner may go on with its own.
func (c *simConn) Send(order *peerpb.Order) {
	if !c.broken {
		c.down = c.enqueue(c.down, simMessage{order: order})
	}
}

func (c *simConn) tell(m simMessage) {
	if !c.broken {
		c.up = c.enqueue(c.up, m)
	}
}

func (c *simConn) enqueue(queue []simMessage, m simMessage) []simMessage {
	m.at = c.s.now.Add(time.Duration(c.rng.Int63n(int64(c.s.o.latency))))
	if n := len(queue); n > 0 && m.at.Before(queue[n-1].at) {
		m.at = queue[n-1].at
	}
	return append(queue, m)
}

// shatter breaks the stream: a part of what is under way still arrives.
func (c *simConn) shatter() {
	if c.broken {
		return
	}
	c.broken = true
	c.up = c.up[:c.rng.Intn(len(c.up)+1)]
	c.down = c.down[:c.rng.Intn(len(c.down)+1)]
	silence := 6 * time.Second
	c.ownerEnds = c.s.now.Add(time.Duration(c.rng.Int63n(int64(silence))))
	c.captureEnd = c.s.now.Add(time.Duration(c.rng.Int63n(int64(silence))))
}

// due takes the messages that have arrived.
func (s *sim) due(queue *[]simMessage) []simMessage {
	n := 0
	for n < len(*queue) && !(*queue)[n].at.After(s.now) {
		n++
	}
	arrived := (*queue)[:n]
	*queue = (*queue)[n:]
	return arrived
}

// simCapture is a capture: an agent with at most one run of the changefeed.
type simCapture struct {
	s        *sim
	id       model.CaptureID
	liveness model.Liveness
	drained  bool // an owner was asked to drain it
	told     model.Liveness
	conn     *simConn
	target   *simTerm // the owner it follows
	switchAt time.Time
	next     *simTerm  // it will follow from switchAt on
	dialAt   time.Time // when it may attach again
	heard    time.Time
	frozen   time.Time // until then
	work     *simWork
	ended    []*peerpb.FeedKey
	keyEnds  time.Time // of a dead one: when its key goes
	alive    bool
	dirty    bool
}

// simWork is a run with its processor.
type simWork struct {
	key      *peerpb.FeedKey
	applied  uint64
	barrier  uint64
	spans    map[simKey]*simSpan
	removed  []*peerpb.SpanStart
	readied  []*peerpb.Span
	stopping bool
	stopAt   time.Time
	next     []*peerpb.Order
	// failure is why it ended by itself, which is told once.
	failure *peerpb.Failure
	told    bool
	// warning is what its sink complains about.
	warning *peerpb.Failure
	// running are the spans that deliver. All others change by time: busy.
	running []*simSpan
	busy    map[*simSpan]struct{}
}

// simSpan is a span at work.
type simSpan struct {
	key        simKey
	start      uint64
	checkpoint uint64
	prepared   bool
	told       bool // prepared, and said to be ready
	place      int  // in running
	leaving    bool
	at         time.Time // when it starts, is ready or has left
	after      *simSpan
}

func (c *simCapture) isFrozen() bool { return c.s.now.Before(c.frozen) }

// tick is what a capture does at a time.
func (c *simCapture) tick() {
	if !c.alive || c.isFrozen() {
		return
	}
	if c.next != nil && !c.s.now.Before(c.switchAt) {
		if c.conn != nil {
			c.conn.shatter()
			c.conn = nil
		}
		c.target, c.next, c.dialAt, c.heard = c.next, nil, c.s.now, c.s.now
	}
	c.receive()
	if c.s.now.Sub(c.heard) > peer.IsolationAfter(simTTL) {
		c.isolated()
	}
	c.deliver()
	c.report()
}

// receive keeps the stream and takes orders.
func (c *simCapture) receive() {
	if c.conn == nil {
		if c.target != nil && !c.target.over && !c.s.now.Before(c.dialAt) {
			c.attach()
		}
		return
	}
	for _, m := range c.s.due(&c.conn.down) {
		c.heard = c.s.now
		c.apply(m.order)
	}
	if !c.conn.broken {
		c.heard = c.s.now // heartbeats
	} else if !c.s.now.Before(c.conn.captureEnd) {
		c.conn = nil
		c.dialAt = c.s.now.Add(time.Duration(c.s.rng.Int63n(int64(c.s.o.redial))))
	}
}

func (c *simCapture) attach() {
	conn := &simConn{s: c.s, c: c, term: c.target, rng: rand.New(rand.NewSource(c.s.rng.Int63()))}
	c.conn = conn
	c.told, c.ended = c.liveness, nil
	hello := &peerpb.Hello{CaptureId: c.id, Liveness: int32(c.liveness)}
	if c.work != nil {
		report := c.feedReport()
		for key, span := range c.work.spans {
			for ; span != nil; span = span.after {
				if span.prepared {
					report.Prepared = append(report.Prepared, c.s.wire(key))
				} else {
					report.Held = append(report.Held, c.s.wire(key))
				}
			}
		}
		hello.Feeds = append(hello.Feeds, report)
	}
	c.target.conns = append(c.target.conns, conn)
	conn.tell(simMessage{hello: hello})
}

func (c *simCapture) apply(o *peerpb.Order) {
	if o.Leave {
		c.liveness = model.LivenessStopping
		return
	}
	w := c.work
	c.dirty = true
	switch {
	case w == nil && o.Start != nil:
		c.start(o)
	case w == nil && o.Stop:
		c.ended = append(c.ended, o.Feed)
	case w == nil:
	case w.key.Epoch == o.Feed.Epoch && !w.stopping:
		c.steer(o)
	case w.key.Epoch == o.Feed.Epoch:
	case o.Start != nil:
		w.next = []*peerpb.Order{o}
		c.stop()
	case len(w.next) > 0 && w.next[0].Feed.Epoch == o.Feed.Epoch && !o.Stop:
		w.next = append(w.next, o)
	case o.Stop:
		if len(w.next) > 0 && w.next[0].Feed.Epoch == o.Feed.Epoch {
			w.next = nil
		}
		c.ended = append(c.ended, o.Feed)
	}
}

func (c *simCapture) start(o *peerpb.Order) {
	info := &etcdmeta.ChangefeedInfo{}
	if err := json.Unmarshal(o.Start, info); err != nil {
		c.s.fail("start of a run: %v", err)
	}
	c.work = &simWork{key: o.Feed, spans: map[simKey]*simSpan{}, busy: map[*simSpan]struct{}{}}
	c.steer(o)
}

func (c *simCapture) steer(o *peerpb.Order) {
	w := c.work
	for _, add := range o.Add {
		c.add(add)
	}
	for _, remove := range o.Remove {
		c.remove(c.s.key(remove))
	}
	w.barrier = max(w.barrier, o.BarrierTs)
	w.applied = max(w.applied, o.Seq)
	if o.Stop {
		c.stop()
	}
}

// later is a time in the near future that depends on nothing but the span and
// the time: maps may be walked in any order.
func (c *simCapture) later(key simKey) time.Time {
	mixed := uint64(key.table*1000+int64(key.from))*0x9e3779b97f4a7c15 + uint64(c.s.now.UnixNano())*0xbf58476d1ce4e5b9
	return c.s.now.Add(time.Duration((mixed ^ mixed>>29) % uint64(c.s.o.slowness)))
}

func (c *simCapture) add(add *peerpb.SpanStart) {
	w, key := c.work, c.s.key(add.Span)
	old := w.spans[key]
	if old != nil && !old.leaving {
		if old.prepared && !add.Prepare {
			if add.CheckpointTs < old.start {
				c.s.fail("%v was prepared on %s from %d on and cannot go on from %d", key, c.id, old.start, add.CheckpointTs)
			}
			old.prepared, old.checkpoint, old.at = false, add.CheckpointTs, c.later(key)
			w.busy[old] = struct{}{}
			c.s.begin(c, key, add.CheckpointTs)
		}
		return
	}
	span := &simSpan{key: key, start: add.CheckpointTs, checkpoint: add.CheckpointTs, prepared: add.Prepare, after: old, at: c.later(key)}
	w.spans[key] = span
	w.busy[span] = struct{}{}
	if !add.Prepare {
		c.s.begin(c, key, add.CheckpointTs)
	}
}

func (c *simCapture) remove(key simKey) {
	w := c.work
	span := w.spans[key]
	switch {
	case span == nil:
		w.removed = append(w.removed, &peerpb.SpanStart{Span: c.s.wire(key)})
	case span.leaving:
	case span.after != nil: // it never started
		w.spans[key] = span.after
		delete(w.busy, span)
		if span.after.prepared && !span.prepared { // it stands for what the other held back
			span.after.prepared, span.after.checkpoint = false, span.checkpoint
		}
	default:
		if _, ok := w.busy[span]; !ok && !span.prepared {
			w.halt(span)
		}
		span.leaving, span.at = true, c.later(key)
		w.busy[span] = struct{}{}
	}
}

func (c *simCapture) stop() {
	if !c.work.stopping {
		c.work.stopping, c.work.stopAt = true, c.later(simKey{})
	}
}

// isolated ends the run: others will get its tables.
func (c *simCapture) isolated() {
	if c.work != nil {
		c.work.next = nil
		c.stop()
	}
}

// deliver moves every span.
func (c *simCapture) deliver() {
	w := c.work
	if w == nil {
		return
	}
	c.dirty = true
	if w.stopping {
		if !c.s.now.Before(w.stopAt) {
			c.finish()
		}
		return
	}
	if w.failure != nil {
		return
	}
	for span := range w.busy {
		if !c.s.now.Before(span.at) {
			c.ripen(span)
		}
	}
	resolved := c.s.ts - min(c.s.ts, uint64(c.s.rng.Int63n(3*simStep)))
	limit := min(w.barrier, resolved, c.s.schema.resolved)
	for _, span := range w.running {
		if span.checkpoint < limit {
			c.s.deliver(c, span.key, span.checkpoint, limit)
			span.checkpoint = limit
		}
	}
}

// ripen lets a span do what it was waiting for.
func (c *simCapture) ripen(span *simSpan) {
	w := c.work
	switch {
	case span.leaving:
		delete(w.busy, span)
		w.removed = append(w.removed, &peerpb.SpanStart{Span: c.s.wire(span.key), CheckpointTs: span.checkpoint})
		if next := w.spans[span.key]; next == span {
			delete(w.spans, span.key)
		} else {
			next.after = nil
		}
	case span.after != nil:
	case span.prepared:
		delete(w.busy, span)
		if !span.told {
			span.told = true
			w.readied = append(w.readied, c.s.wire(span.key))
		}
	default:
		delete(w.busy, span)
		span.place = len(w.running)
		w.running = append(w.running, span)
	}
}

// halt takes a span off those that deliver.
func (w *simWork) halt(span *simSpan) {
	last := w.running[len(w.running)-1]
	w.running[span.place], last.place = last, span.place
	w.running = w.running[:len(w.running)-1]
}

func (c *simCapture) finish() {
	w := c.work
	c.work = nil
	c.ended = append(c.ended, w.key)
	for _, o := range w.next {
		c.apply(o)
	}
}

func (c *simCapture) feedReport() *peerpb.FeedReport {
	w := c.work
	r := &peerpb.FeedReport{Feed: w.key, Applied: w.applied, Removed: w.removed, Prepared: w.readied, Error: w.failure, Warning: w.warning}
	w.removed, w.readied, w.told = nil, nil, true
	count := func(span *simSpan) {
		r.Spans++
		if r.CheckpointTs == 0 || span.checkpoint < r.CheckpointTs {
			r.CheckpointTs = span.checkpoint
		}
	}
	for _, span := range w.running {
		count(span)
	}
	for span := range w.busy {
		if !span.prepared {
			count(span)
		}
	}
	r.ResolvedTs = r.CheckpointTs
	return r
}

func (c *simCapture) report() {
	if c.conn == nil || c.conn.broken || (!c.dirty && c.told == c.liveness && len(c.ended) == 0) {
		return
	}
	report := &peerpb.Report{Liveness: int32(c.liveness)}
	if c.work != nil && (c.work.failure == nil || !c.work.told) {
		report.Feeds = append(report.Feeds, c.feedReport())
	}
	for _, key := range c.ended {
		report.Feeds = append(report.Feeds, &peerpb.FeedReport{Feed: key, Stopped: true})
	}
	c.ended, c.told, c.dirty = nil, c.liveness, false
	c.conn.tell(simMessage{report: report})
}

// holds tells whether rows of a span may be written here. One that waits for
// its predecessor of the same capture counts too.
func (c *simCapture) holds(key simKey) bool {
	if !c.alive || c.work == nil || c.work.failure != nil {
		return false
	}
	for _, other := range c.s.touching(key) {
		for span := c.work.spans[other]; span != nil; span = span.after {
			if !span.prepared {
				return true
			}
		}
	}
	return false
}
