package middleware

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/service"
)

// unreachable is a cluster whose etcd does not answer.
type unreachable struct{}

func (unreachable) IsOwner() bool { return false }

func (unreachable) OwnerAddress(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func (unreachable) Status() (service.NodeStatus, error) { return service.NodeStatus{}, nil }

// TestNobodyHangsWithoutEtcd: who the owner is cannot be found out, and the
// caller is told so soon.
func TestNobodyHangsWithoutEtcd(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	synctest.Test(t, func(t *testing.T) {
		r := gin.New()
		r.Use(RenderErrors(), ForwardToOwner(unreachable{}, ForwardClient(nil), false))
		r.GET("/", func(*gin.Context) { t.Error("answered here") })
		start := time.Now()
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		require.Equal(t, findOwnerTimeout, time.Since(start))
		require.Equal(t, 500, w.Code)
		require.Contains(t, w.Body.String(), "deadline exceeded")
	})
}

// silent is a cluster whose owner takes connections and says nothing.
type silent struct{ unreachable }

func (silent) OwnerAddress(context.Context) (string, error) { return "owner:8300", nil }

// TestReadsDoNotHangWithoutTheOwner: a cut network closes no connection.
func TestReadsDoNotHangWithoutTheOwner(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	for method, limit := range map[string]time.Duration{"GET": readTimeout, "POST": answerTimeout} {
		synctest.Test(t, func(t *testing.T) {
			client := ForwardClient(nil)
			transport := client.Transport.(*http.Transport)
			defer transport.CloseIdleConnections()
			transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, there) }()
				return here, nil
			}
			r := gin.New()
			r.Use(RenderErrors(), ForwardToOwner(silent{}, client, false))
			r.Handle(method, "/", func(*gin.Context) { t.Error("answered here") })
			start := time.Now()
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
			require.Equal(t, limit, time.Since(start), method)
			require.Equal(t, 500, w.Code)
			require.Contains(t, w.Body.String(), "the owner at owner:8300 has not answered")
		})
	}
}
