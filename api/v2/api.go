// Package v2 is the HTTP API under /api/v2: its routes, its wire models and
// nothing else. The use cases are the service's.
package v2

import (
	stderrors "errors"
	"io"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/wire"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
)

// API answers the v2 routes.
type API struct {
	service *service.Service
	level   wire.LevelSetter
}

// New makes the API over a service; level is what POST /log changes.
func New(s *service.Service, level wire.LevelSetter) *API { return &API{service: s, level: level} }

// empty is the body of a success that has nothing to tell.
type empty struct{}

// listOf is how every list is wrapped.
type listOf[T any] struct {
	Total int `json:"total"`
	Items []T `json:"items"`
}

// listItem is an item of a list.
type listItem interface {
	// AppendJSON appends the item to b; it fails for what has no JSON form.
	AppendJSON(b []byte) ([]byte, error)
}

// writeList answers with a listOf the items.
func writeList[T listItem](c *gin.Context, items []T) {
	b := append(make([]byte, 0, listSize(len(items))), `{"total":`...)
	b = strconv.AppendInt(b, int64(len(items)), 10)
	b = append(b, `,"items":[`...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = item.AppendJSON(b); err != nil {
			middleware.Fail(c, err)
			return
		}
	}
	c.Data(http.StatusOK, gin.MIMEJSON+"; charset=utf-8", append(b, "]}"...))
}

// listSize is about how many bytes a list takes.
func listSize(items int) int { return 32 + 192*items }

// PDConfig names another PD cluster; its fields are top-level in the bodies.
type PDConfig struct {
	PDAddrs       []string `json:"pd_addrs,omitempty"`
	CAPath        string   `json:"ca_path"`
	CertPath      string   `json:"cert_path"`
	KeyPath       string   `json:"key_path"`
	CertAllowedCN []string `json:"cert_allowed_cn,omitempty"`
}

func (p PDConfig) address() service.PDAddress {
	return service.PDAddress{
		Endpoints: p.PDAddrs, CAPath: p.CAPath, CertPath: p.CertPath, KeyPath: p.KeyPath, CertAllowedCN: p.CertAllowedCN,
	}
}

// decode reads the body; on failure it has answered already.
func decode(c *gin.Context, v any) bool {
	if err := wire.Decode(bodyOf(c), v); err != nil {
		middleware.FailDecode(c, wire.InvalidBody(err))
		return false
	}
	return true
}

func bodyOf(c *gin.Context) io.Reader {
	if c.Request.Body == nil {
		return http.NoBody
	}
	return c.Request.Body
}

// feedID names the changefeed of the path.
func feedID(c *gin.Context) model.ChangefeedID {
	return model.ChangefeedID{Namespace: wire.NamespaceOf(c.Query("namespace")), ID: c.Param("changefeed_id")}
}

func (a *API) status(c *gin.Context) {
	st, err := a.service.Status()
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.IndentedJSON(http.StatusOK, wire.NewStatus(st))
}

func (a *API) health(c *gin.Context) {
	if err := a.service.Health(); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}

func (a *API) setLogLevel(c *gin.Context) {
	var req wire.LogLevelReq
	if err := wire.Decode(bodyOf(c), &req); err != nil {
		middleware.FailDecode(c, errors.ErrAPIInvalidParam.Msg("invalid log level: %v", err))
		return
	}
	if err := wire.SetLogLevel(a.level, req.Level); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}

// Tso is the answer of POST /tso.
type Tso struct {
	Timestamp int64 `json:"timestamp"` // physical part, Unix milliseconds
	LogicTime int64 `json:"logic_time"`
}

// UpstreamConfig chooses an upstream, by id or by its PD.
type UpstreamConfig struct {
	ID uint64 `json:"id"`
	PDConfig
}

func (a *API) tso(c *gin.Context) {
	var req UpstreamConfig
	if !decode(c, &req) {
		return
	}
	ts, err := a.service.TSO(c.Request.Context(), req.ID, req.address())
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.IndentedJSON(http.StatusOK, Tso{Timestamp: model.PhysicalMs(ts), LogicTime: model.Logical(ts)})
}

func (a *API) listCaptures(c *gin.Context) {
	captures, err := a.service.Captures(c.Request.Context())
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	writeList(c, wire.NewCaptures(captures, a.service.ClusterID()))
}

func (a *API) listProcessors(c *gin.Context) {
	processors, err := a.service.Processors(c.Request.Context())
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	writeList(c, wire.NewProcessors(processors))
}

// ProcessorDetail is one changefeed on one capture.
type ProcessorDetail struct {
	Tables []int64 `json:"table_ids"`
}

func (a *API) getProcessor(c *gin.Context) {
	capture := c.Param("capture_id")
	if !model.ValidID(c.Param("changefeed_id")) {
		middleware.Fail(c, errors.ErrAPIInvalidParam.Msg("invalid changefeed_id: %s", c.Param("changefeed_id")))
		return
	}
	if !model.ValidID(capture) {
		middleware.Fail(c, errors.ErrAPIInvalidParam.Msg("invalid capture_id: %s", capture))
		return
	}
	task, err := a.service.ProcessorTask(c.Request.Context(), feedID(c), capture, refuseAbnormal)
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, ProcessorDetail{Tables: task.TableIDs})
}

// refuseAbnormal is worded as clients know it, the odd word included.
func refuseAbnormal(state model.FeedState) error {
	if state.Running() {
		return nil
	}
	return errors.ErrAPIInvalidParam.Wrap(stderrors.New(
		"changefeed in abnormal state: " + string(state) + ", can'duration get processor of an abnormal changefeed"))
}

func (a *API) resign(c *gin.Context) {
	if err := a.service.Resign(); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}
