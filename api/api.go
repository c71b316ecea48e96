// Package api assembles everything that the server answers over HTTP: API v1
// and v2, the legacy routes, metrics and profiles.
package api

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"github.com/tidemark/tidemark/api/middleware"
	v1 "github.com/tidemark/tidemark/api/v1"
	v2 "github.com/tidemark/tidemark/api/v2"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/service"
)

// maxConnections is how many HTTP connections are served at a time; more wait
// to be accepted.
const maxConnections = 1000

// connTimeout bounds reading a request and writing its answer.
const connTimeout = 10 * time.Minute

// Options wires the HTTP handler. Every field is required unless it says
// otherwise.
type Options struct {
	Service  *service.Service
	Config   *config.ServerConfig // shown by GET /config
	LogLevel zap.AtomicLevel      // changed by POST .../log
	Gatherer prometheus.Gatherer  // shown by /metrics
	// ClientTLS is for forwarding requests to the owner; nil forwards in plain.
	ClientTLS *tls.Config
	Logger    *zap.Logger
}

// NewHandler makes the handler. It holds idle connections to the owner that
// close by themselves.
func NewHandler(o Options) http.Handler {
	quietGin()
	r := gin.New()
	r.RedirectTrailingSlash = true
	r.Use(middleware.Recover(o.Logger))

	forward := middleware.ForwardToOwner(o.Service, middleware.ForwardClient(o.ClientTLS), o.ClientTLS != nil)
	gate := []gin.HandlerFunc{
		middleware.RequireReady(o.Service),
		middleware.LogAccess(o.Logger),
		middleware.RenderErrors(),
	}
	v1.Register(r.Group("/api/v1", gate...), v1.New(o.Service, &o.LogLevel), forward)
	v2.Register(r.Group("/api/v2", gate...), v2.New(o.Service, &o.LogLevel), forward)
	registerLegacy(r, o)
	return r
}

// NewServer wraps a handler with the server's limits.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadTimeout: connTimeout, WriteTimeout: connTimeout}
}

// LimitListener accepts as many HTTP connections as the server serves at a time.
func LimitListener(l net.Listener) net.Listener { return netutil.LimitListener(l, maxConnections) }

// quietGin keeps gin from writing its own lines to stdout.
func quietGin() {
	if gin.Mode() == gin.DebugMode {
		gin.SetMode(gin.ReleaseMode)
	}
}
