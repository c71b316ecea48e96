package middleware

import (
	"context"
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
