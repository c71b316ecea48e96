package peer

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// Worker is the capture's own side: what runs there. Its methods must not block.
type Worker interface {
	// Hello lists everything that runs.
	Hello() *peerpb.Hello
	// Apply takes the orders of one message over.
	Apply(orders []*peerpb.Order)
	// Report tells what changed since the last Hello or Report; nil when nothing did.
	Report() *peerpb.Report
	// Changed signals, coalesced, that Report has something to tell.
	Changed() <-chan struct{}
	// Isolated tells that the owner was not heard for so long that it will give
	// everything that runs here to other captures: it must stop.
	Isolated()
}

// Both ends send something every heartbeat, and cut a stream on which they
// have heard nothing for so many heartbeats: a frozen process or a cut network
// does not close its connections.
const (
	defaultHeartbeat = 2 * time.Second
	missedBeats      = 3
)

// SilenceLimit is how long either end waits for a sign of life.
const SilenceLimit = missedBeats * defaultHeartbeat

// IsolationAfter is how long a capture works on without hearing of the owner,
// GiveUpAfter how long an owner leaves work with a capture that is not
// connected. The first is longer than an election takes; the second is longer
// than the first, both counted from the same break.
func IsolationAfter(sessionTTL time.Duration) time.Duration { return sessionTTL * 3 / 2 }

// GiveUpAfter: see IsolationAfter.
func GiveUpAfter(sessionTTL time.Duration) time.Duration {
	return 2*sessionTTL + SilenceLimit
}

// Target is the owner that a capture has to follow.
type Target struct {
	Capture  model.CaptureID
	Addr     string
	Revision int64 // of the election; a greater one is a later term
}

// reportGap is the least pause between two reports. A round of resolved-ts
// reaches all changefeeds within a few milliseconds: they share a message.
const reportGap = 20 * time.Millisecond

// redialPause is waited between two attempts to reach an owner.
const redialPause = 200 * time.Millisecond

// lastingStream is how long a stream lives that was not refused at once.
const lastingStream = 10 * time.Second

// Link is a capture's end of the stream.
type Link struct {
	worker Worker
	dial   func(addr string) (*grpc.ClientConn, error)
	logger *zap.Logger
	self   model.CaptureID
	// isolation is how long the owner may be silent.
	isolation time.Duration
	heartbeat time.Duration
}

// NewLink connects a worker. dial makes a client connection without waiting
// for it to be up; isolation is when Worker.Isolated is called.
func NewLink(self model.CaptureID, worker Worker, dial func(addr string) (*grpc.ClientConn, error), isolation time.Duration, logger *zap.Logger) *Link {
	return &Link{self: self, worker: worker, dial: dial, isolation: isolation, heartbeat: defaultHeartbeat, logger: logger}
}

// Run follows the owner until ctx ends. Each target replaces the one before;
// one of an earlier term is ignored.
func (l *Link) Run(ctx context.Context, targets <-chan Target) error {
	var current Target
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case target, open := <-targets:
			if !open {
				targets = nil
				continue
			}
			if target == current || target.Revision < current.Revision {
				continue
			}
			stop()
			current = target
			stop = l.follow(ctx, target)
		}
	}
}

// follow keeps a stream to one owner; the function returned ends that and waits.
func (l *Link) follow(ctx context.Context, target Target) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		alone := time.AfterFunc(l.isolation, l.worker.Isolated)
		defer alone.Stop()
		heard := func() { alone.Reset(l.isolation) }
		told := false // an owner that is gone is told of once, not at every attempt
		for ctx.Err() == nil {
			begun := time.Now()
			err := l.attach(ctx, target, heard)
			if ctx.Err() != nil {
				return
			}
			if !told || time.Since(begun) > lastingStream {
				told = true
				l.logger.Info("stream to the owner ended", zap.String("owner", target.Capture),
					zap.String("addr", target.Addr), zap.Error(err))
			}
			timer := time.NewTimer(redialPause)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}()
	return func() { cancel(); <-done }
}

// farewell is how long the last report of a stream may take.
const farewell = time.Second

type clientStream = grpc.BidiStreamingClient[peerpb.CaptureMessage, peerpb.OwnerMessage]

// attach runs one stream until it breaks or ctx ends; then the owner still
// gets a last report.
func (l *Link) attach(ctx context.Context, target Target, heard func()) error {
	conn, err := l.dial(target.Addr)
	if err != nil {
		return fmt.Errorf("dial owner: %w", err)
	}
	defer conn.Close()
	streamCtx, cutStream := context.WithCancel(context.WithoutCancel(ctx))
	defer cutStream()
	openEnded := context.AfterFunc(ctx, cutStream)
	stream, err := peerpb.NewPeerClient(conn).Attach(streamCtx)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	hello := l.worker.Hello()
	hello.CaptureId, hello.OwnerRevision = l.self, target.Revision
	if err := stream.Send(&peerpb.CaptureMessage{Body: &peerpb.CaptureMessage_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if !openEnded() {
		return ctx.Err()
	}
	var receiveErr error
	received := make(chan struct{})
	go func() {
		defer close(received)
		patience := missedBeats * l.heartbeat
		silence := time.AfterFunc(patience, cutStream)
		defer silence.Stop()
		receiveErr = l.receive(stream, target, func() {
			silence.Reset(patience)
			heard()
		})
	}()
	err = l.report(ctx, stream, received)
	if ctx.Err() != nil {
		l.sayFarewell(stream, received)
	}
	cutStream()
	<-received
	if err == nil {
		err = receiveErr
	}
	return err
}

// receive passes orders on until the stream ends.
func (l *Link) receive(stream clientStream, target Target, heard func()) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if msg.OwnerRevision != target.Revision {
			return status.Errorf(codes.FailedPrecondition, "orders of term %d in a stream of term %d", msg.OwnerRevision, target.Revision)
		}
		heard()
		if len(msg.Orders) > 0 {
			l.worker.Apply(msg.Orders)
		}
	}
}

// report sends what changes until the stream or ctx ends; nil when it was the
// other end.
func (l *Link) report(ctx context.Context, stream clientStream, received <-chan struct{}) error {
	gap := time.NewTimer(0)
	defer gap.Stop()
	beat := time.NewTicker(l.heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-received:
			return nil
		case <-beat.C:
			if err := stream.Send(&peerpb.CaptureMessage{}); err != nil {
				return fmt.Errorf("heartbeat: %w", err)
			}
			continue
		case <-l.worker.Changed():
		}
		if err := l.sendReport(stream); err != nil {
			return err
		}
		gap.Reset(reportGap)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gap.C:
		}
	}
}

func (l *Link) sendReport(stream clientStream) error {
	report := l.worker.Report()
	if report == nil {
		return nil
	}
	if err := stream.Send(&peerpb.CaptureMessage{Body: &peerpb.CaptureMessage_Report{Report: report}}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// sayFarewell sends what is left to tell and waits until the owner has it.
func (l *Link) sayFarewell(stream clientStream, received <-chan struct{}) {
	if l.sendReport(stream) != nil || stream.CloseSend() != nil {
		return
	}
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-received:
	case <-timer.C:
	}
}
