package etcdmeta_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/etcdmeta/etcdtest"
	"github.com/tidemark/tidemark/pkg/model"
)

// gate lets through, or holds back, the bytes of one direction.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil while open
	held atomic.Bool   // something waits
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		g.held.Store(true)
		<-shut
	}
}

// gatedConn is how a process looks from outside that is stopped: what it gets
// and what it sends waits.
type gatedConn struct {
	net.Conn
	in, out *gate
}

func (c gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.pass()
	return n, err
}

func (c gatedConn) Write(b []byte) (int, error) {
	c.out.pass()
	return c.Conn.Write(b)
}

// TestInvalidBeforeTheLeaseEnds stops the traffic of a session while an answer
// of etcd is on its way to it. The session must know that it is over before
// etcd lets others in, and may not be fooled by the answer when it comes.
func TestInvalidBeforeTheLeaseEnds(t *testing.T) {
	ctx := t.Context()
	direct := etcdtest.Start(t)
	var in, out gate
	client, err := clientv3.New(clientv3.Config{
		Endpoints: direct.Endpoints(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			return gatedConn{conn, &in, &out}, err
		})},
	})
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	c := etcdmeta.NewClient(client, "default")
	session, err := c.NewSession(ctx, 3*time.Second, "c-1")
	require.NoError(t, err)
	require.NoError(t, session.Register(ctx, &model.CaptureInfo{ID: "c-1", AdvertiseAddr: "a:1"}))
	require.True(t, session.Valid())

	in.close()
	require.Eventually(t, in.held.Load, eventually, tick, "an answer is on its way")
	out.close()
	key := c.Keys().Capture("c-1")
	require.Eventually(t, func() bool {
		resp, err := direct.Get(ctx, key)
		return err == nil && len(resp.Kvs) == 0
	}, eventually, tick, "etcd drops the lease")
	require.False(t, session.Valid(), "others may have been let in")

	in.open() // the answer comes
	out.open()
	select {
	case <-session.Done():
	case <-time.After(eventually):
		require.Fail(t, "the session does not notice")
	}
	require.False(t, session.Valid(), "the answer was about a time long past")
	require.NoError(t, session.Close(ctx))
}

const (
	eventually = 30 * time.Second
	tick       = 10 * time.Millisecond
)
