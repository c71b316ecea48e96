package v1

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/wire"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func (a *API) rebalanceTables(c *gin.Context) {
	accepted(c, a.service.Rebalance(c.Request.Context(), feedID(c)))
}

// MoveTableRequest is the body of move_table.
type MoveTableRequest struct {
	CaptureID string `json:"capture_id"`
	// TargetCaptureID is how a table of the documents calls CaptureID, which
	// wins.
	TargetCaptureID string `json:"target_capture_id"`
	TableID         int64  `json:"table_id"`
}

// moveTable looks at the body only when the changefeed exists.
func (a *API) moveTable(c *gin.Context) {
	id := feedID(c)
	if _, err := a.service.Changefeed(c.Request.Context(), id); err != nil {
		middleware.Fail(c, err)
		return
	}
	var req MoveTableRequest
	if !decode(c, &req) {
		return
	}
	capture := req.CaptureID
	if capture == "" {
		capture = req.TargetCaptureID
	}
	if !model.ValidID(capture) {
		middleware.Fail(c, errors.ErrAPIInvalidParam.Msg("invalid capture_id: %s", capture))
		return
	}
	accepted(c, a.service.MoveTable(c.Request.Context(), id, req.TableID, capture))
}

// DrainRequest is the body of drain.
type DrainRequest struct {
	CaptureID string `json:"capture_id"`
}

// drainCapture answers a body that does not decode as any other error.
func (a *API) drainCapture(c *gin.Context) {
	var req DrainRequest
	if err := wire.Decode(bodyOf(c), &req); err != nil {
		middleware.Fail(c, wire.InvalidBody(err))
		return
	}
	left, err := a.service.Drain(c.Request.Context(), req.CaptureID)
	if err != nil {
		middleware.FailDrain(c, err)
		return
	}
	c.JSON(http.StatusAccepted, wire.DrainAnswer{CurrentTableCount: left})
}
