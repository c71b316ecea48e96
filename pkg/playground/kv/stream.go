package kv

import (
	"context"
	"sync"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// messageBytes is the size from which on a message is sent and another one begun. A single row may exceed it.
	messageBytes = 1 << 20
	// scanQueueBytes is how much a stream's scans let wait for the reader.
	scanQueueBytes = 4 << 20
	// smallEvent is the size up to which an event is copied to the end of the message before it.
	smallEvent = 64 << 10
)

// message waits in the queue of a stream. Several events share a message, a resolved-ts has one of its own.
type message struct {
	data     *[]byte
	pooled   bool // handed over by a scan, in a buffer that is used again
	resolved bool
}

// stream is one EventFeed call: the queue of what it sends, and its subscriptions.
type stream struct {
	ctx context.Context
	// batchResolved is set for clients that take one resolved-ts message for many regions.
	batchResolved bool
	// perRequest is set when a resolved-ts names the request, in streams that many subscriptions share.
	perRequest bool
	limit      int
	buffers    *bufferPool

	// requests is guarded by feed.mu.
	requests map[uint64]*request

	scans scanQueue

	mu       sync.Mutex
	changed  *sync.Cond // the queue became shorter or longer, a subscription or the stream ended
	queue    []message
	queued   int  // bytes in queue
	scanned  int  // those of them that scans handed over
	resolved int  // resolved-ts messages in queue
	stopped  bool // nothing is sent any more
	err      error
}

// request holds the subscriptions of one request ID.
type request struct {
	id    uint64
	parts []*requestRegion
	index map[uint64]*requestRegion // by region
}

// requestRegion is what one request has of one region. It is one subscription, except that after a merge a client may
// have asked for two parts of the region that resulted.
type requestRegion struct {
	requestID uint64
	regionID  uint64
	request   *request
	subs      []*subscription
	resolved  uint64
}

func newStream(ctx context.Context, limit int, buffers *bufferPool) *stream {
	s := &stream{ctx: ctx, limit: limit, buffers: buffers, requests: make(map[uint64]*request)}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// pushLive appends complete events, or reports false when the reader is too far behind. It does not keep the bytes.
func (s *stream) pushLive(events []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued-s.scanned > s.limit {
		return false
	}
	s.appendEvents(events)
	return true
}

// pushError appends an error event, even to a full queue.
func (s *stream) pushError(regionID, requestID uint64, e *cdcpb.Error) error {
	event, err := appendErrorEvent(nil, regionID, requestID, e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appendEvents(event)
	return nil
}

// pushScan appends the events of a scan, a part of data, which it takes over. It waits for room, and reports false
// when the subscription or the stream ended.
func (s *stream) pushScan(sub *subscription, data *[]byte, events []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.awaitRoom(sub) {
		s.buffers.Put(data)
		return false
	}
	if len(events) <= smallEvent {
		s.appendEvents(events)
		s.buffers.Put(data)
		return true
	}
	*data = events
	s.append(message{data: data, pooled: true})
	return true
}

// pushResolved appends a complete resolved-ts message.
func (s *stream) pushResolved(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.append(message{data: &data, resolved: true})
}

// resolvedWaits reports whether the reader has yet to take a resolved-ts.
func (s *stream) resolvedWaits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resolved > 0
}

func (s *stream) appendEvents(events []byte) {
	if n := len(s.queue); n > 0 && !s.stopped {
		last := &s.queue[n-1]
		if !last.resolved && !last.pooled && len(*last.data)+len(events) <= messageBytes {
			*last.data = append(*last.data, events...)
			s.queued += len(events)
			return
		}
	}
	data := append([]byte(nil), events...)
	s.append(message{data: &data})
}

func (s *stream) append(m message) {
	if s.stopped {
		return
	}
	s.queue = append(s.queue, m)
	s.queued += len(*m.data)
	if m.pooled {
		s.scanned += len(*m.data)
	}
	if m.resolved {
		s.resolved++
	}
	s.changed.Broadcast()
}

// wake lets waiting scans look at their subscription.
func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// stop ends the stream with a status. The first one counts.
func (s *stream) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped, s.err = true, err
		s.queue, s.queued, s.scanned = nil, 0, 0
	}
	s.changed.Broadcast()
}

// take waits for the next message; ok is false when the stream was stopped.
func (s *stream) take() (m message, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.stopped {
		s.changed.Wait()
	}
	if s.stopped {
		return message{}, false
	}
	m = s.queue[0]
	s.queue[0] = message{}
	s.queue = s.queue[1:]
	s.queued -= len(*m.data)
	if m.pooled {
		s.scanned -= len(*m.data)
	}
	if m.resolved {
		s.resolved--
	}
	s.changed.Broadcast()
	return m, true
}

// send sends messages until the stream is stopped, and returns the status to end it with.
func (s *stream) send(sendMsg func(any) error) error {
	release := context.AfterFunc(s.ctx, func() { s.stop(status.FromContextError(s.ctx.Err()).Err()) })
	defer release()
	for {
		m, ok := s.take()
		if !ok {
			return s.status()
		}
		wire := wireMessage{data: m.data}
		if m.pooled {
			wire.pool = s.buffers
		}
		if err := sendMsg(wire); err != nil {
			s.stop(status.Error(codes.Unavailable, err.Error()))
		}
	}
}

func (s *stream) status() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// part returns what the stream has of a region for a request, nil when nothing.
func (s *stream) part(requestID, regionID uint64) *requestRegion {
	if r := s.requests[requestID]; r != nil {
		return r.index[regionID]
	}
	return nil
}

// addSub makes the subscription one of the stream.
func (s *stream) addSub(sub *subscription, requestID, regionID uint64) {
	r := s.requests[requestID]
	if r == nil {
		r = &request{id: requestID, index: make(map[uint64]*requestRegion)}
		s.requests[requestID] = r
	}
	p := r.index[regionID]
	if p == nil {
		p = &requestRegion{requestID: requestID, regionID: regionID, request: r, resolved: sub.checkpoint}
		r.index[regionID] = p
		r.parts = append(r.parts, p)
	}
	p.subs = append(p.subs, sub)
	sub.part = p
}

// remove takes a subscription out of its stream.
func (p *requestRegion) remove(s *subscription) {
	p.subs = without(p.subs, s)
	if len(p.subs) > 0 {
		return
	}
	delete(p.request.index, p.regionID)
	p.request.parts = without(p.request.parts, p)
	if len(p.request.parts) == 0 {
		delete(s.stream.requests, p.requestID)
	}
}

// without returns the slice without one element, in no particular order.
func without[T comparable](list []T, element T) []T {
	for i, e := range list {
		if e == element {
			var zero T
			last := len(list) - 1
			list[i], list[last] = list[last], zero
			return list[:last]
		}
	}
	return list
}

// waitForRoom waits until a scan may add events, and reports false when the subscription or the stream ended.
func (s *stream) waitForRoom(sub *subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awaitRoom(sub)
}

func (s *stream) awaitRoom(sub *subscription) bool {
	for s.queued > scanQueueBytes && !s.stopped && !sub.ended.Load() {
		s.changed.Wait()
	}
	return !s.stopped && !sub.ended.Load()
}
