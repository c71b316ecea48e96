// Package v1 is the HTTP API under /api/v1: its routes, its wire models and
// nothing else. It works in the default namespace only, except that its list
// shows all. The use cases are the service's.
package v1

import (
	stderrors "errors"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/wire"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
)

// API answers the v1 routes.
type API struct {
	service *service.Service
	level   wire.LevelSetter
}

// New makes the API over a service; level is what POST /log changes.
func New(s *service.Service, level wire.LevelSetter) *API { return &API{service: s, level: level} }

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
	return model.DefaultChangefeedID(c.Param("changefeed_id"))
}

func (a *API) status(c *gin.Context) {
	st, err := a.service.Status()
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.IndentedJSON(http.StatusOK, wire.NewStatus(st))
}

// health answers 500 for every error, whatever its kind.
func (a *API) health(c *gin.Context) {
	if err := a.service.Health(); err != nil {
		middleware.FailWith(c, http.StatusInternalServerError, err)
		return
	}
	c.Status(http.StatusOK)
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
	c.Status(http.StatusOK)
}

func (a *API) listCaptures(c *gin.Context) {
	captures, err := a.service.Captures(c.Request.Context())
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.IndentedJSON(http.StatusOK, wire.NewCaptures(captures, a.service.ClusterID()))
}

func (a *API) listProcessors(c *gin.Context) {
	processors, err := a.service.Processors(c.Request.Context())
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.IndentedJSON(http.StatusOK, wire.NewProcessors(processors))
}

// ProcessorDetail is one changefeed on one capture. All but the table ids is
// for readers of the 5.x documents: later versions do not send it. A processor
// with an error has ended, so that there is never one to show, and nothing
// reads the count.
type ProcessorDetail struct {
	CheckpointTs uint64        `json:"checkpoint_ts"`
	ResolvedTs   uint64        `json:"resolved_ts"`
	Tables       []int64       `json:"table_ids"`
	Count        uint64        `json:"count"`
	Error        *runningError `json:"error"`
}

type runningError struct {
	Addr    string `json:"addr"`
	Code    string `json:"code"`
	Message string `json:"message"`
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
	c.IndentedJSON(http.StatusOK, ProcessorDetail{
		CheckpointTs: task.CheckpointTs, ResolvedTs: task.ResolvedTs, Tables: task.TableIDs,
	})
}

func refuseAbnormal(state model.FeedState) error {
	if state == "" || state == model.StateNormal {
		return nil
	}
	return errors.ErrAPIInvalidParam.Wrap(stderrors.New(
		"changefeed in abnormal state: " + string(state) + ", can't get processors of an abnormal changefeed"))
}

func (a *API) resign(c *gin.Context) {
	if err := a.service.Resign(); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.Status(http.StatusAccepted)
}
