package v1

import (
	"net/http"

	"github.com/tidemark/tidemark/api/route"
	"github.com/tidemark/tidemark/api/wire"
)

// Prefix is the path under which the routes are.
const Prefix = "/api/v1"

// Routes lists what the API answers.
func (a *API) Routes() []route.Route {
	return append(a.nodeRoutes(), a.feedRoutes()...)
}

// nodeRoutes are about captures and the cluster.
func (a *API) nodeRoutes() []route.Route {
	return []route.Route{
		{Method: http.MethodGet, Path: "/status", Handle: a.status,
			Summary: "The capture that is asked", Answer: wire.Status{}},
		{Method: http.MethodGet, Path: "/health", Handle: a.health, ToOwner: true,
			Summary: "Whether the cluster drives all its changefeeds"},
		{Method: http.MethodPost, Path: "/log", Handle: a.setLogLevel,
			Summary: "Set the log level of the capture that is asked", Body: wire.LogLevelReq{}},
		{Method: http.MethodGet, Path: "/captures", Handle: a.listCaptures, ToOwner: true,
			Summary: "List captures", Answer: []wire.Capture{}},
		{Method: http.MethodPut, Path: "/captures/drain", Handle: a.drainCapture, ToOwner: true,
			Summary: "Move all tables off a capture; repeat until none is left", Body: DrainRequest{},
			Status: http.StatusAccepted, Answer: wire.DrainAnswer{}},
		{Method: http.MethodGet, Path: "/processors", Handle: a.listProcessors, ToOwner: true,
			Summary: "List running changefeeds with every capture", Answer: []wire.Processor{}},
		{Method: http.MethodGet, Path: "/processors/:changefeed_id/:capture_id", Handle: a.getProcessor, ToOwner: true,
			Summary: "The tables of a changefeed on a capture", Answer: ProcessorDetail{}},
		{Method: http.MethodPost, Path: "/owner/resign", Handle: a.resign, ToOwner: true,
			Summary: "Let another capture become the owner", Status: http.StatusAccepted},
	}
}

// feedRoutes are about changefeeds.
func (a *API) feedRoutes() []route.Route {
	const one = "/changefeeds/:changefeed_id"
	return []route.Route{
		{Method: http.MethodGet, Path: "/changefeeds", Handle: a.listChangefeeds, ToOwner: true,
			Summary: "List changefeeds of all namespaces", Query: []route.Param{wire.StateParam}, Answer: []wire.Summary{}},
		{Method: http.MethodPost, Path: "/changefeeds", Handle: a.createChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Create a changefeed", Body: ChangefeedConfig{}, Status: http.StatusAccepted},
		{Method: http.MethodGet, Path: one, Handle: a.getChangefeed, ToOwner: true,
			Summary: "A changefeed in full", Answer: ChangefeedDetail{}},
		{Method: http.MethodPut, Path: one, Handle: a.updateChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Change a stopped or failed changefeed", Body: ChangefeedConfig{}, Status: http.StatusAccepted},
		{Method: http.MethodDelete, Path: one, Handle: a.deleteChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Remove a changefeed", Status: http.StatusAccepted},
		{Method: http.MethodPost, Path: one + "/pause", Handle: a.pauseChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Stop a changefeed", Status: http.StatusAccepted},
		{Method: http.MethodPost, Path: one + "/resume", Handle: a.resumeChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Let a changefeed run again", Status: http.StatusAccepted},
		{Method: http.MethodPost, Path: one + "/tables/rebalance_table", Handle: a.rebalanceTables, ToOwner: true, NeedsUser: true,
			Summary: "Spread a changefeed's tables evenly", Status: http.StatusAccepted},
		{Method: http.MethodPost, Path: one + "/tables/move_table", Handle: a.moveTable, ToOwner: true, NeedsUser: true,
			Summary: "Move a table to a capture", Body: MoveTableRequest{}, Status: http.StatusAccepted},
	}
}
