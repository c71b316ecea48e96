package conformance

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConnections opens more connections than a server serves at a time: the
// ones above 1,000 wait until others are closed, and are answered then.
func TestConnections(t *testing.T) {
	const opened, limit = 1100, 1000
	ctx := testContext(t, 2*time.Minute)
	var answered atomic.Int64
	conns := make([]net.Conn, opened)
	served := make(chan int, opened)
	failed := make(chan error, opened)
	for i := range conns {
		var err error
		conns[i], err = (&net.Dialer{}).DialContext(ctx, "tcp", shared.server.Addr)
		require.NoError(t, err)
		defer func() { _ = conns[i].Close() }()
		_, err = fmt.Fprintf(conns[i], "GET /api/v2/health HTTP/1.1\r\nHost: %s\r\n\r\n", shared.server.Addr)
		require.NoError(t, err)
		go func() {
			res, err := http.ReadResponse(bufio.NewReader(conns[i]), nil)
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("connection %d: %s", i, res.Status)
			}
			if err != nil {
				failed <- err
				return
			}
			_ = res.Body.Close()
			answered.Add(1)
			served <- i
		}()
	}
	// Other tests' clients keep some connections of their own.
	require.Eventually(t, func() bool { return answered.Load() >= limit-100 }, time.Minute, 10*time.Millisecond)
	require.Never(t, func() bool { return answered.Load() > limit }, time.Second, 10*time.Millisecond)
	for range opened {
		select {
		case i := <-served:
			require.NoError(t, conns[i].Close())
		case err := <-failed:
			require.NoError(t, err)
		case <-ctx.Done():
			require.FailNow(t, "some connections were never answered", "%d of %d were", answered.Load(), opened)
		}
	}
}
