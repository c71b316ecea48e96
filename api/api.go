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
	"github.com/tidemark/tidemark/api/route"
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
	// Login checks the credentials of upstream users. It is needed where
	// Config asks for them.
	Login  middleware.Login
	Logger *zap.Logger
}

// NewHandler makes the handler. It holds idle connections to the owner that
// close by themselves.
func NewHandler(o Options) http.Handler {
	quietGin()
	r := gin.New()
	r.RedirectTrailingSlash = true
	r.Use(middleware.Recover(o.Logger), middleware.LimitBody())

	gates := route.Gates{
		Forward: middleware.ForwardToOwner(o.Service, middleware.ForwardClient(o.ClientTLS), o.ClientTLS != nil),
	}
	if sec := o.Config.Security; sec != nil && sec.ClientUserRequired {
		gates.Login = middleware.RequireUser(sec.ClientAllowedUser, o.Login)
	}
	before := []gin.HandlerFunc{
		middleware.RequireReady(o.Service),
		middleware.LogAccess(o.Logger),
		middleware.RenderErrors(),
	}
	for _, g := range describedGroups(o) {
		group := r.Group(g.prefix)
		if g.versioned {
			group.Use(before...)
		}
		route.Register(group, g.routes, gates)
	}
	return r
}

// group is a set of routes under one prefix.
type group struct {
	name, about, prefix string
	// versioned routes are of /api: they wait for readiness, are logged, and
	// their errors are JSON.
	versioned bool
	routes    []route.Route
}

// groups lists every route but those of the description.
func groups(o Options) []group {
	return []group{
		{name: "v2", about: "API v2", prefix: v2.Prefix, versioned: true, routes: v2.New(o.Service, &o.LogLevel).Routes()},
		{name: "v1", about: "API v1, deprecated", prefix: v1.Prefix, versioned: true, routes: v1.New(o.Service, &o.LogLevel).Routes()},
		{name: "others", about: "Routes without a version, answered by the capture that is asked", routes: legacyRoutes(o)},
	}
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
