// Package peer carries the stream between the captures and the owner: what
// runs where, how far it got, and the owner's orders. It knows the messages
// but not what they mean.
package peer

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// Receiver is the owner, as the hub sees it. Calls for one stream do not
// overlap; calls for different streams do. They must not block.
type Receiver interface {
	// Attached tells that a capture's stream is open and what runs there.
	Attached(c *Conn, hello *peerpb.Hello)
	// Reported delivers what changed on the capture.
	Reported(c *Conn, report *peerpb.Report)
	// Detached tells that the stream is gone; nothing follows for c.
	Detached(c *Conn)
}

// Hub is the owner's end of the streams. Every capture serves one; it refuses
// streams of terms that are not its own.
type Hub struct {
	peerpb.UnimplementedPeerServer
	logger    *zap.Logger
	heartbeat time.Duration

	mu   sync.Mutex
	term *term
	// changed is closed and replaced when a term begins.
	changed chan struct{}
}

// term is one owner's time in office.
type term struct {
	revision int64
	receiver Receiver
	ctx      context.Context // ends with the term
	cancel   context.CancelFunc
	streams  sync.WaitGroup
}

// NewHub makes a hub without an open term.
func NewHub(logger *zap.Logger) *Hub {
	return &Hub{logger: logger, heartbeat: defaultHeartbeat, changed: make(chan struct{})}
}

// Register adds the hub to a gRPC server.
func (h *Hub) Register(s grpc.ServiceRegistrar) { peerpb.RegisterPeerServer(s, h) }

// Open begins the term of the owner with this election revision. The function
// that it returns ends the term: it cuts the streams and waits until the
// receiver has heard of all of them.
func (h *Hub) Open(revision int64, receiver Receiver) (closeTerm func()) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &term{revision: revision, receiver: receiver, ctx: ctx, cancel: cancel}
	h.mu.Lock()
	h.term = t
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		if h.term == t {
			h.term = nil
		}
		h.mu.Unlock()
		cancel()
		t.streams.Wait()
	}
}

// joinPatience is how long a stream waits for its term: captures often hear of
// an election before its winner is ready.
const joinPatience = time.Second

// join waits a while for the term to open and counts the stream in.
func (h *Hub) join(ctx context.Context, revision int64) (*term, error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	for {
		t, changed, err := h.tryJoin(revision)
		if err == nil || status.Code(err) == codes.FailedPrecondition {
			return t, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (h *Hub) tryJoin(revision int64) (t *term, changed <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.term == nil || h.term.revision < revision:
		return nil, h.changed, status.Error(codes.Unavailable, "this capture is not the owner")
	case h.term.revision > revision:
		return nil, nil, status.Errorf(codes.FailedPrecondition, "this owner has revision %d, not %d", h.term.revision, revision)
	}
	h.term.streams.Add(1)
	return h.term, nil, nil
}

// Attach serves one capture's stream.
func (h *Hub) Attach(stream grpc.BidiStreamingServer[peerpb.CaptureMessage, peerpb.OwnerMessage]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "the first message must be Hello")
	}
	t, err := h.join(stream.Context(), hello.OwnerRevision)
	if err != nil {
		return err
	}
	defer t.streams.Done()
	c := newConn(hello.CaptureId, t.revision)
	c.heartbeat = h.heartbeat
	t.receiver.Attached(c, hello)
	err = c.serve(t, stream)
	if stderrors.Is(err, io.EOF) {
		err = nil // the capture has said farewell
	}
	t.receiver.Detached(c)
	h.logger.Info("capture detached", zap.String("capture", c.capture), zap.Error(err))
	return err
}

// sendGap is the least pause between two messages of one stream, in which
// orders and reports pile up into one message.
const sendGap = 5 * time.Millisecond

// Conn is one capture's open stream.
type Conn struct {
	capture   model.CaptureID
	revision  int64
	heartbeat time.Duration

	mu      sync.Mutex
	pending []*peerpb.Order
	// last is the newest pending order of each changefeed.
	last   map[model.ChangefeedID]*peerpb.Order
	signal chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newConn(capture model.CaptureID, revision int64) *Conn {
	return &Conn{
		capture: capture, revision: revision, last: map[model.ChangefeedID]*peerpb.Order{},
		signal: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

// Capture is who is at the other end.
func (c *Conn) Capture() model.CaptureID { return c.capture }

// Send queues an order; it never blocks. Orders to a stream that broke are
// lost: the capture says Hello again. An order that only raises the barrier
// replaces the one before it.
func (c *Conn) Send(order *peerpb.Order) {
	c.mu.Lock()
	c.queue(order)
	c.mu.Unlock()
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// queue adds an order to the pending ones. A barrier-only order joins the last
// one if that is of the same run.
func (c *Conn) queue(order *peerpb.Order) {
	if order.Leave { // it is about no changefeed
		c.pending = append(c.pending, order)
		return
	}
	id := FeedID(order.Feed)
	last := c.last[id]
	barrierOnly := order.Start == nil && !order.Stop && len(order.Add) == 0 && len(order.Remove) == 0
	if barrierOnly && last != nil && !last.Stop && last.Feed.Epoch == order.Feed.Epoch {
		last.BarrierTs, last.Seq = order.BarrierTs, order.Seq
		return
	}
	c.pending = append(c.pending, order)
	c.last[id] = order
}

// Close cuts the stream.
func (c *Conn) Close() { c.once.Do(func() { close(c.closed) }) }

func (c *Conn) take() []*peerpb.Order {
	c.mu.Lock()
	defer c.mu.Unlock()
	orders := c.pending
	c.pending = nil
	clear(c.last)
	return orders
}

// serve moves messages until the stream, the term or the connection ends. It
// returns only after the receiving goroutine has ended too.
func (c *Conn) serve(t *term, stream grpc.BidiStreamingServer[peerpb.CaptureMessage, peerpb.OwnerMessage]) error {
	// The receiver ends when the handler returns and the stream with it, so
	// its last calls are fenced by done.
	received := make(chan error, 1)
	var gate sync.Mutex
	over := false
	patience := missedBeats * c.heartbeat
	silence := time.AfterFunc(patience, c.Close)
	defer silence.Stop()
	go func() {
		for {
			msg, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			silence.Reset(patience)
			gate.Lock()
			if !over && msg.GetReport() != nil {
				t.receiver.Reported(c, msg.GetReport())
			}
			gate.Unlock()
		}
	}()
	err := c.sendLoop(t.ctx, stream, received)
	gate.Lock()
	over = true
	gate.Unlock()
	return err
}

func (c *Conn) sendLoop(term context.Context, stream grpc.BidiStreamingServer[peerpb.CaptureMessage, peerpb.OwnerMessage], received <-chan error) error {
	gap := time.NewTimer(0)
	defer gap.Stop()
	beat := time.NewTicker(c.heartbeat)
	defer beat.Stop()
	if err := stream.Send(&peerpb.OwnerMessage{OwnerRevision: c.revision}); err != nil { // it is accepted
		return fmt.Errorf("greet: %w", err)
	}
	for {
		select {
		case <-c.signal:
		case <-beat.C:
			if err := stream.Send(&peerpb.OwnerMessage{OwnerRevision: c.revision}); err != nil {
				return fmt.Errorf("heartbeat: %w", err)
			}
			continue
		case err := <-received:
			return err
		case <-term.Done():
			return status.Error(codes.Unavailable, "the owner's term has ended")
		case <-c.closed:
			return status.Error(codes.Aborted, "closed by the owner")
		}
		if orders := c.take(); len(orders) > 0 {
			if err := stream.Send(&peerpb.OwnerMessage{OwnerRevision: c.revision, Orders: orders}); err != nil {
				return fmt.Errorf("send orders: %w", err)
			}
		}
		gap.Reset(sendGap)
		select {
		case <-gap.C:
		case <-term.Done():
		}
	}
}
