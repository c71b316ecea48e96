package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/api/route"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/service"
)

// nodeStatus is the answer of the unversioned /status.
type nodeStatus struct {
	Version string `json:"version"`
	GitHash string `json:"git_hash"`
	ID      string `json:"id"`
	PID     int    `json:"pid"`
	IsOwner bool   `json:"is_owner"`
}

// legacyRoutes are the routes outside /api. Their errors are plain text and
// they are never forwarded.
func legacyRoutes(o Options) []route.Route {
	const text = "text/plain"
	routes := []route.Route{
		{Method: http.MethodGet, Path: "/status", Handle: func(c *gin.Context) { writeStatus(c, o.Service) },
			Summary: "The capture that is asked", Answer: nodeStatus{}},
		{Method: http.MethodGet, Path: "/config", Handle: func(c *gin.Context) { c.JSON(http.StatusOK, o.Config) },
			Summary: "The server's configuration; durations are nanoseconds", Answer: config.ServerConfig{}},
		{Path: "/metrics", Handle: gin.WrapH(promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{})),
			Summary: "Metrics in the format of Prometheus", Text: text},
		{Method: http.MethodPost, Path: "/admin/log", Handle: func(c *gin.Context) { setLogLevel(c, o.LogLevel) },
			Summary: "Set the log level of the capture that is asked; the body is a JSON string", Body: "", Answer: struct{}{}},
		{Method: http.MethodGet, Path: "/debug/info", Handle: func(c *gin.Context) { writeDebugInfo(c, o.Service) },
			NeedsUser: true, Summary: "All that there is in etcd, credentials included, and what runs", Text: text},
	}
	routes = append(routes, ownerRoutes(o.Service)...)
	return append(routes,
		route.Route{Method: http.MethodGet, Path: "/debug/pprof/", Handle: gin.WrapF(pprof.Index),
			Summary: "List of profiles", Text: "text/html"},
		route.Route{Method: http.MethodGet, Path: "/debug/pprof/:profile", Handle: writeProfile,
			Summary: "A profile", Text: "application/octet-stream"},
	)
}

func writeProfile(c *gin.Context) {
	switch name := c.Param("profile"); name {
	case "cmdline":
		pprof.Cmdline(c.Writer, c.Request)
	case "profile":
		pprof.Profile(c.Writer, c.Request)
	case "symbol":
		pprof.Symbol(c.Writer, c.Request)
	case "trace":
		pprof.Trace(c.Writer, c.Request)
	default:
		pprof.Handler(name).ServeHTTP(c.Writer, c.Request)
	}
}

func writeStatus(c *gin.Context, svc *service.Service) {
	st, err := svc.Status()
	if err != nil {
		plainText(c, http.StatusInternalServerError, err)
		return
	}
	writeLegacyJSON(c, "application/json", nodeStatus{
		Version: st.Capture.Version, GitHash: st.Capture.GitHash, ID: st.Capture.ID, PID: st.PID, IsOwner: st.IsOwner,
	})
}

// writeLegacyJSON indents by one space.
func writeLegacyJSON(c *gin.Context, contentType string, v any) {
	body, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		plainText(c, http.StatusInternalServerError, err)
		return
	}
	c.Data(http.StatusOK, contentType, body)
}

// setLogLevel takes the level as a bare JSON string.
func setLogLevel(c *gin.Context, level zap.AtomicLevel) {
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		plainText(c, http.StatusBadRequest, err)
		return
	}
	var name string
	if err := json.Unmarshal(body, &name); err != nil {
		plainText(c, http.StatusBadRequest, errors.ErrAPIInvalidParam.Msg("invalid log level: %v", err))
		return
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		plainText(c, http.StatusBadRequest, errors.ErrAPIInvalidParam.Msg("fail to change log level: %v", err))
		return
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", []byte("{}"))
}

func plainText(c *gin.Context, status int, err error) {
	c.Data(status, "text/plain; charset=utf-8", []byte(fmt.Sprint(err)))
}
