package api

import (
	"context"
	stderrors "errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/wire"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
)

// done is the answer of a legacy action.
type done struct {
	Status  bool   `json:"status"`
	Message string `json:"message"`
}

// registerOwnerRoutes adds the actions of the time before API v1. Parameters
// come as form or query; the default namespace is meant.
func registerOwnerRoutes(g *gin.RouterGroup, svc *service.Service) {
	g.POST("/resign", func(c *gin.Context) { finish(c, svc.Resign()) })
	g.POST("/admin", func(c *gin.Context) { legacyAdmin(c, svc) })
	g.POST("/changefeed/query", func(c *gin.Context) { legacyQuery(c, svc) })
}

// finish answers an action that the owner took or refused.
func finish(c *gin.Context, err error) {
	if err != nil {
		plainText(c, http.StatusInternalServerError, err)
		return
	}
	writeLegacyJSON(c, "application/json; charset=utf-8", done{Status: true})
}

// formValue reads a parameter of the form or of the query.
func formValue(c *gin.Context, name string) string { return c.Request.FormValue(name) }

func legacyAdmin(c *gin.Context, svc *service.Service) {
	actions := map[string]func(context.Context, model.ChangefeedID) error{
		"1": svc.Pause, "2": svc.Resume, "3": svc.Remove,
	}
	job := formValue(c, "admin-job")
	act, ok := actions[job]
	if !ok {
		plainText(c, http.StatusBadRequest, errors.ErrAPIInvalidParam.Msg("invalid admin job type: %s", job))
		return
	}
	id := model.DefaultChangefeedID(formValue(c, "cf-id"))
	err := act(c.Request.Context(), id)
	if stderrors.Is(err, errors.ErrAPIInvalidParam) {
		// These routes do not know of a pattern for ids.
		err = errors.ErrChangeFeedNotExists.New(id)
	}
	finish(c, err)
}

// legacyFeed is the answer of the legacy query.
type legacyFeed struct {
	State      string              `json:"state"`
	TSO        uint64              `json:"tso"`
	Checkpoint string              `json:"checkpoint"`
	Error      *model.RunningError `json:"error"`
}

// legacyQuery reads the metadata, and so works on any capture.
func legacyQuery(c *gin.Context, svc *service.Service) {
	id := formValue(c, "cf-id")
	if !model.ValidID(id) {
		plainText(c, http.StatusBadRequest, errors.ErrAPIInvalidParam.Msg("invalid changefeed id: %s", id))
		return
	}
	feed, err := svc.Stored(c.Request.Context(), model.DefaultChangefeedID(id))
	var out legacyFeed
	switch {
	case err == nil:
		out.State = string(feed.Info.State)
		if feed.Info.State != model.StateNormal {
			out.Error = feed.Info.Error
		}
		if feed.Status != nil {
			out.TSO = feed.Status.CheckpointTs
			out.Checkpoint = wire.TimeOfTSO(out.TSO).String()
		}
	case !stderrors.Is(err, errors.ErrChangeFeedNotExists):
		plainText(c, http.StatusInternalServerError, err)
		return
	}
	writeLegacyJSON(c, "application/json; charset=utf-8", out)
}

// writeDebugInfo is for people, and for scripts that wait until its last
// section is there.
func writeDebugInfo(c *gin.Context, svc *service.Service) {
	ctx := c.Request.Context()
	var b strings.Builder
	b.WriteString("\n\n*** owner info ***:\n\n")
	if svc.IsOwner() {
		feeds, err := svc.Changefeeds(ctx, "", "all")
		if err != nil {
			fmt.Fprintf(&b, "failed to get info: %v\n", err)
		}
		for _, f := range feeds {
			fmt.Fprintf(&b, "changefeed %s: state %s, checkpoint %d, resolved %d, sink %s\n",
				f.ID, f.Info.State, service.Checkpoint(f), f.ResolvedTs, f.Info.SinkURI)
		}
		b.WriteString("\n\n*** processors info ***:\n\n")
		for _, f := range feeds {
			for _, t := range f.Tasks {
				fmt.Fprintf(&b, "changefeed %s, capture %s: tables %v\n", f.ID, t.CaptureID, t.TableIDs)
			}
		}
	} else {
		b.WriteString("this capture is not the owner\n\n\n*** processors info ***:\n\n")
	}
	b.WriteString("\n\n*** etcd info ***:\n\n")
	list, err := svc.Dump(ctx)
	if err != nil {
		fmt.Fprintf(&b, "failed to get info: %v\n", err)
	}
	for _, kv := range list {
		fmt.Fprintf(&b, "%s\n\t%s\n\n", kv.Key, kv.Value)
	}
	c.Data(http.StatusOK, "text/plain; charset=utf-8", []byte(b.String()))
}
