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
}

// NewLink connects a worker. dial makes a client connection without waiting
// for it to be up.
func NewLink(self model.CaptureID, worker Worker, dial func(addr string) (*grpc.ClientConn, error), logger *zap.Logger) *Link {
	return &Link{self: self, worker: worker, dial: dial, logger: logger}
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
		told := false // an owner that is gone is told of once, not at every attempt
		for ctx.Err() == nil {
			begun := time.Now()
			err := l.attach(ctx, target)
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
func (l *Link) attach(ctx context.Context, target Target) error {
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
		receiveErr = l.receive(stream, target)
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
func (l *Link) receive(stream clientStream, target Target) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if msg.OwnerRevision != target.Revision {
			return status.Errorf(codes.FailedPrecondition, "orders of term %d in a stream of term %d", msg.OwnerRevision, target.Revision)
		}
		l.worker.Apply(msg.Orders)
	}
}

// report sends what changes until the stream or ctx ends; nil when it was the
// other end.
func (l *Link) report(ctx context.Context, stream clientStream, received <-chan struct{}) error {
	gap := time.NewTimer(0)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-received:
			return nil
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
