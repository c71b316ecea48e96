package api

import (
	"context"
	stderrors "errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/route"
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

// ownerRoutes are the actions of the time before API v1. Parameters come as
// form or query; the default namespace is meant.
func ownerRoutes(svc *service.Service) []route.Route {
	feed := route.Param{Name: "cf-id", About: "the changefeed"}
	return []route.Route{
		{Method: http.MethodPost, Path: "/capture/owner/resign", Handle: func(c *gin.Context) { finish(c, svc.Resign()) },
			Summary: "Let another capture become the owner", Answer: done{}},
		{Method: http.MethodPost, Path: "/capture/owner/admin", Handle: func(c *gin.Context) { legacyAdmin(c, svc) },
			Summary: "Stop, resume or remove a changefeed", Answer: done{},
			Form: []route.Param{feed, {Name: "admin-job", About: "1 stops, 2 resumes, 3 removes"}}},
		{Method: http.MethodPost, Path: "/capture/owner/rebalance_trigger", Handle: func(c *gin.Context) { legacyRebalance(c, svc) },
			Summary: "Spread a changefeed's tables evenly", Form: []route.Param{feed}, Answer: done{}},
		{Method: http.MethodPost, Path: "/capture/owner/move_table", Handle: func(c *gin.Context) { legacyMove(c, svc) },
			Summary: "Move a table to a capture", Answer: done{},
			Form: []route.Param{feed, {Name: "target-cp-id", About: "the capture"}, {Name: "table-id", About: "the table"}}},
		{Method: http.MethodPost, Path: "/capture/owner/changefeed/query", Handle: func(c *gin.Context) { legacyQuery(c, svc) },
			Summary: "A changefeed's state, as any capture reads it in etcd", Form: []route.Param{feed}, Answer: legacyFeed{}},
	}
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
	if !svc.IsOwner() {
		finish(c, errors.ErrNotOwner.New())
		return
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

func legacyRebalance(c *gin.Context, svc *service.Service) {
	if id, ok := ownFeed(c, svc); ok {
		finish(c, svc.Rebalance(c.Request.Context(), id))
	}
}

func legacyMove(c *gin.Context, svc *service.Service) {
	id, ok := ownFeed(c, svc)
	if !ok {
		return
	}
	target, text := formValue(c, "target-cp-id"), formValue(c, "table-id")
	if !model.ValidID(target) {
		plainText(c, http.StatusBadRequest, errors.ErrAPIInvalidParam.Msg("invalid target capture id: %s", target))
		return
	}
	table, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		plainText(c, http.StatusBadRequest, errors.ErrAPIInvalidParam.Msg("invalid tableID: %s", text))
		return
	}
	finish(c, svc.MoveTable(c.Request.Context(), id, table, target))
}

// ownFeed reads the changefeed's id on the owner; where it is false, the
// request was answered.
func ownFeed(c *gin.Context, svc *service.Service) (model.ChangefeedID, bool) {
	if !svc.IsOwner() {
		finish(c, errors.ErrNotOwner.New())
		return model.ChangefeedID{}, false
	}
	id := formValue(c, "cf-id")
	if !model.ValidID(id) {
		plainText(c, http.StatusBadRequest, errors.ErrAPIInvalidParam.Msg("invalid changefeed id: %s", id))
		return model.ChangefeedID{}, false
	}
	return model.DefaultChangefeedID(id), true
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
