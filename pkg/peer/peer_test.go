package peer

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeWorker notes orders and reports what it is told to.
type fakeWorker struct {
	mu      sync.Mutex
	hellos  int
	orders  []*peerpb.Order
	report  *peerpb.Report
	changed chan struct{}
	alone   int // how often it was told to be isolated
}

func (w *fakeWorker) Isolated() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alone++
}

func (w *fakeWorker) isolated() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alone
}

func newWorker() *fakeWorker { return &fakeWorker{changed: make(chan struct{}, 1)} }

func (w *fakeWorker) Hello() *peerpb.Hello {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hellos++
	return &peerpb.Hello{}
}

func (w *fakeWorker) Apply(orders []*peerpb.Order) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders = append(w.orders, orders...)
}

func (w *fakeWorker) Report() *peerpb.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.report
	w.report = nil
	return r
}

func (w *fakeWorker) Changed() <-chan struct{} { return w.changed }

func (w *fakeWorker) tell(r *peerpb.Report) {
	w.mu.Lock()
	w.report = r
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *fakeWorker) received() []*peerpb.Order {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*peerpb.Order{}, w.orders...)
}

// fakeOwner notes what the hub tells it.
type fakeOwner struct {
	mu      sync.Mutex
	conns   map[model.CaptureID]*Conn
	reports []*peerpb.Report
}

func newOwner() *fakeOwner { return &fakeOwner{conns: map[model.CaptureID]*Conn{}} }

func (o *fakeOwner) Attached(c *Conn, _ *peerpb.Hello) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conns[c.Capture()] = c
}

func (o *fakeOwner) Reported(_ *Conn, r *peerpb.Report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports = append(o.reports, r)
}

func (o *fakeOwner) Detached(c *Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns[c.Capture()] == c {
		delete(o.conns, c.Capture())
	}
}

func (o *fakeOwner) conn(id model.CaptureID) *Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns[id]
}

type network struct {
	hub                  *Hub
	listener             *bufconn.Listener
	isolation, heartbeat time.Duration
	frozen               atomic.Bool // nothing comes through, and no connection breaks
}

// icyConn is a connection over which nothing comes while the network is frozen.
type icyConn struct {
	net.Conn
	n *network
}

func (c icyConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.n.frozen.Load() {
			return n, err
		}
	}
}

func newNetwork(t *testing.T) *network {
	n := &network{hub: NewHub(zap.NewNop()), listener: bufconn.Listen(1 << 20), isolation: time.Minute, heartbeat: defaultHeartbeat}
	server := grpc.NewServer()
	n.hub.Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(n.listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	return n
}

func (n *network) dial(string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 100 * time.Millisecond}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := n.listener.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			return icyConn{conn, n}, nil
		}))
}

// link runs a link until the test ends.
func (n *network) link(t *testing.T, id model.CaptureID, w Worker) chan<- Target {
	targets := make(chan Target)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l := NewLink(id, w, n.dial, n.isolation, zap.NewNop())
		l.heartbeat = n.heartbeat
		_ = l.Run(ctx, targets)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return targets
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 30*time.Second, 2*time.Millisecond, what)
}

// A capture that hears nothing of the owner, although no connection breaks, is
// told to stop once; when the owner is back all goes on.
func TestFrozenNetwork(t *testing.T) {
	n, owner, worker := newNetwork(t), newOwner(), newWorker()
	const heartbeat = 200 * time.Millisecond
	n.hub.heartbeat, n.heartbeat = heartbeat, heartbeat
	n.isolation = 10 * heartbeat // the stream is cut before that
	closeTerm := n.hub.Open(7, owner)
	defer closeTerm()
	n.link(t, "c1", worker) <- Target{Capture: "owner", Addr: "a", Revision: 7}
	eventually(t, "attached", func() bool { return owner.conn("c1") != nil })
	begun := time.Now()
	eventually(t, "a quiet stream lives on", func() bool { return time.Since(begun) > n.isolation+heartbeat })
	require.Zero(t, worker.isolated())
	var first *Conn
	eventually(t, "attached still", func() bool { first = owner.conn("c1"); return first != nil })

	n.frozen.Store(true)
	eventually(t, "isolated", func() bool { return worker.isolated() == 1 })
	n.frozen.Store(false)
	eventually(t, "attached again", func() bool { c := owner.conn("c1"); return c != nil && c != first })
	require.Equal(t, 1, worker.isolated())
}

func TestStream(t *testing.T) {
	n, owner, worker := newNetwork(t), newOwner(), newWorker()
	closeTerm := n.hub.Open(7, owner)
	defer closeTerm()
	n.link(t, "c-1", worker) <- Target{Capture: "o", Addr: "o:1", Revision: 7}
	eventually(t, "attached", func() bool { return owner.conn("c-1") != nil })

	owner.conn("c-1").Send(&peerpb.Order{Feed: FeedKey(model.DefaultChangefeedID("f"), 1), Seq: 1, Stop: true})
	eventually(t, "order", func() bool { return len(worker.received()) == 1 })
	worker.tell(&peerpb.Report{Liveness: 1})
	eventually(t, "report", func() bool {
		owner.mu.Lock()
		defer owner.mu.Unlock()
		return len(owner.reports) == 1 && owner.reports[0].Liveness == 1
	})
}

// A stream of another term is refused, and the capture keeps trying; it comes
// through when that term begins.
func TestTermsAreFenced(t *testing.T) {
	n, first, second, worker := newNetwork(t), newOwner(), newOwner(), newWorker()
	closeFirst := n.hub.Open(7, first)
	targets := n.link(t, "c-1", worker)
	targets <- Target{Capture: "o", Addr: "o:1", Revision: 8}
	eventually(t, "it tries", func() bool { worker.mu.Lock(); defer worker.mu.Unlock(); return worker.hellos > 0 })
	require.Nil(t, first.conn("c-1"))
	closeFirst()
	closeSecond := n.hub.Open(8, second)
	defer closeSecond()
	eventually(t, "attached to its term", func() bool { return second.conn("c-1") != nil })

	// An older owner does not get the capture back.
	targets <- Target{Capture: "o", Addr: "o:1", Revision: 7}
	targets <- Target{Capture: "o", Addr: "o:1", Revision: 8}
	require.NotNil(t, second.conn("c-1"))
}

func TestClosedStreamComesBack(t *testing.T) {
	n, owner, worker := newNetwork(t), newOwner(), newWorker()
	closeTerm := n.hub.Open(7, owner)
	n.link(t, "c-1", worker) <- Target{Capture: "o", Addr: "o:1", Revision: 7}
	eventually(t, "attached", func() bool { return owner.conn("c-1") != nil })
	old := owner.conn("c-1")
	old.Close()
	eventually(t, "attached again", func() bool { c := owner.conn("c-1"); return c != nil && c != old })
	closeTerm()
	require.Nil(t, owner.conn("c-1"), "the end of the term has told of every stream")
}

// What happened just before the end still reaches the owner.
func TestFarewell(t *testing.T) {
	n, owner, worker := newNetwork(t), newOwner(), newWorker()
	closeTerm := n.hub.Open(7, owner)
	defer closeTerm()
	ctx, cancel := context.WithCancel(t.Context())
	targets, done := make(chan Target, 1), make(chan struct{})
	targets <- Target{Capture: "o", Addr: "o:1", Revision: 7}
	go func() {
		defer close(done)
		_ = NewLink("c-1", worker, n.dial, time.Minute, zap.NewNop()).Run(ctx, targets)
	}()
	eventually(t, "attached", func() bool { return owner.conn("c-1") != nil })
	worker.mu.Lock()
	worker.report = &peerpb.Report{Liveness: 1}
	worker.mu.Unlock()
	cancel()
	<-done
	owner.mu.Lock()
	defer owner.mu.Unlock()
	require.Len(t, owner.reports, 1)
}

// Barriers come several times a second for every changefeed: one that was not
// sent yet is replaced.
func TestBarriersMerge(t *testing.T) {
	c := newConn("c-1", 1)
	f, g := model.DefaultChangefeedID("f"), model.DefaultChangefeedID("g")
	add := []*peerpb.SpanStart{{Span: &peerpb.Span{TableId: 1}, CheckpointTs: 5}}
	c.Send(&peerpb.Order{Feed: FeedKey(f, 1), Seq: 1, Add: add, BarrierTs: 10})
	c.Send(&peerpb.Order{Feed: FeedKey(g, 1), BarrierTs: 10})
	c.Send(&peerpb.Order{Feed: FeedKey(f, 1), Seq: 1, BarrierTs: 20})
	c.Send(&peerpb.Order{Feed: FeedKey(g, 1), BarrierTs: 20})
	c.Send(&peerpb.Order{Feed: FeedKey(f, 1), Stop: true})
	c.Send(&peerpb.Order{Feed: FeedKey(f, 2), BarrierTs: 30})
	orders := c.take()
	require.Len(t, orders, 4)
	require.Equal(t, uint64(20), orders[0].BarrierTs)
	require.Len(t, orders[0].Add, 1)
	require.Equal(t, uint64(20), orders[1].BarrierTs)
	require.True(t, orders[2].Stop)
	require.Equal(t, uint64(2), orders[3].Feed.Epoch, "another run's barrier stays on its own")
}

func TestConversions(t *testing.T) {
	part := model.Span{TableID: 3, StartKey: []byte("a"), EndKey: []byte("b")}
	require.Equal(t, part, FromSpan(ToSpan(part)))
	whole := ToSpan(model.TableSpan(3))
	require.Empty(t, whole.StartKey, "a whole table costs only its id")
	require.Equal(t, model.TableSpan(3), FromSpan(whole))

	at := time.UnixMilli(1767225600123)
	stall := &model.Stall{Since: at, Reason: model.StallSink, Detail: "x", RetryAt: &at}
	require.Equal(t, stall, FromStall(ToStall(stall)))
	require.Nil(t, FromStall(ToStall(nil)))
	id := model.ChangefeedID{Namespace: "n", ID: "f"}
	require.Equal(t, id, FeedID(FeedKey(id, 3)))
}
