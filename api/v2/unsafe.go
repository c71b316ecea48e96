package v2

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/wire"
)

// EtcdData is one key of the metadata.
type EtcdData struct {
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"`
}

// getMetadata shows all, credentials included.
func (a *API) getMetadata(c *gin.Context) {
	list, err := a.service.Dump(c.Request.Context())
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	out := make([]EtcdData, 0, len(list))
	for _, kv := range list {
		out = append(out, EtcdData(kv))
	}
	c.IndentedJSON(http.StatusOK, out)
}

// ResolveLockRequest is the body of resolve_lock.
type ResolveLockRequest struct {
	RegionID uint64 `json:"region_id"`
	Ts       uint64 `json:"ts"` // locks of transactions up to here
	PDConfig
}

func (a *API) resolveLock(c *gin.Context) {
	var req ResolveLockRequest
	if !decode(c, &req) {
		return
	}
	if err := a.service.ResolveLocks(c.Request.Context(), req.RegionID, req.Ts, req.address()); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}

func (a *API) deleteSafePoint(c *gin.Context) {
	var req UpstreamConfig
	if !decode(c, &req) {
		return
	}
	if err := a.service.DeleteSafePoint(c.Request.Context(), req.ID, req.address()); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}

func (a *API) drainCapture(c *gin.Context) {
	left, err := a.service.Drain(c.Request.Context(), c.Param("capture_id"))
	if err != nil {
		middleware.FailDrain(c, err)
		return
	}
	c.JSON(http.StatusAccepted, wire.DrainAnswer{CurrentTableCount: left})
}
