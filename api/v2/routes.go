package v2

import (
	"net/http"

	"github.com/tidemark/tidemark/api/route"
	"github.com/tidemark/tidemark/api/wire"
)

// Prefix is the path under which the routes are.
const Prefix = "/api/v2"

// Routes lists what the API answers.
func (a *API) Routes() []route.Route {
	return append(append(a.nodeRoutes(), a.feedRoutes()...), a.unsafeRoutes()...)
}

// nodeRoutes are about captures, the cluster and its upstream.
func (a *API) nodeRoutes() []route.Route {
	return []route.Route{
		{Method: http.MethodGet, Path: "/status", Handle: a.status,
			Summary: "The capture that is asked", Answer: wire.Status{}},
		{Method: http.MethodGet, Path: "/health", Handle: a.health, ToOwner: true,
			Summary: "Whether the cluster drives all its changefeeds", Answer: empty{}},
		{Method: http.MethodPost, Path: "/log", Handle: a.setLogLevel,
			Summary: "Set the log level of the capture that is asked", Body: wire.LogLevelReq{}, Answer: empty{}},
		{Method: http.MethodPost, Path: "/tso", Handle: a.tso,
			Summary: "A timestamp of an upstream", Body: UpstreamConfig{}, Answer: Tso{}},
		{Method: http.MethodPost, Path: "/verify_table", Handle: a.verifyTable,
			Summary: "The tables that a configuration would replicate", Body: VerifyTableConfig{}, Answer: Tables{}},
		{Method: http.MethodGet, Path: "/captures", Handle: a.listCaptures, ToOwner: true,
			Summary: "List captures", Answer: listOf[wire.Capture]{}},
		{Method: http.MethodPost, Path: "/captures/:capture_id/drain", Handle: a.drainCapture, ToOwner: true,
			Summary: "Move all tables off a capture; repeat until none is left",
			Status:  http.StatusAccepted, Answer: wire.DrainAnswer{}},
		{Method: http.MethodGet, Path: "/processors", Handle: a.listProcessors, ToOwner: true,
			Summary: "List running changefeeds with every capture", Answer: listOf[wire.Processor]{}},
		{Method: http.MethodGet, Path: "/processors/:changefeed_id/:capture_id", Handle: a.getProcessor, ToOwner: true,
			Summary: "The tables of a changefeed on a capture", Query: []route.Param{wire.NamespaceParam}, Answer: ProcessorDetail{}},
		{Method: http.MethodPost, Path: "/owner/resign", Handle: a.resign, ToOwner: true,
			Summary: "Let another capture become the owner", Answer: empty{}},
	}
}

// feedRoutes are about changefeeds.
func (a *API) feedRoutes() []route.Route {
	const one = "/changefeeds/:changefeed_id"
	namespace := []route.Param{wire.NamespaceParam}
	return []route.Route{
		{Method: http.MethodPost, Path: "/changefeeds", Handle: a.createChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Create a changefeed", Body: ChangefeedConfig{}, Answer: ChangefeedInfo{}},
		{Method: http.MethodGet, Path: "/changefeeds", Handle: a.listChangefeeds, ToOwner: true,
			Summary: "List the changefeeds of a namespace", Query: []route.Param{wire.StateParam, wire.NamespaceParam},
			Answer: listOf[ChangefeedCommonInfo]{}},
		{Method: http.MethodGet, Path: one, Handle: a.getChangefeed, ToOwner: true,
			Summary: "A changefeed in full", Query: namespace, Answer: ChangefeedInfo{}},
		{Method: http.MethodPut, Path: one, Handle: a.updateChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Change a stopped or failed changefeed", Query: namespace, Body: ChangefeedConfig{}, Answer: ChangefeedInfo{}},
		{Method: http.MethodDelete, Path: one, Handle: a.deleteChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Remove a changefeed; one that does not exist is no error", Query: namespace, Answer: empty{}},
		{Method: http.MethodGet, Path: one + "/meta_info", Handle: a.getMetaInfo, ToOwner: true,
			Summary: "A changefeed in full with the secrets of its sink URI", Query: namespace, Answer: ChangefeedInfo{}},
		{Method: http.MethodPost, Path: one + "/pause", Handle: a.pauseChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Stop a changefeed", Query: namespace, Answer: empty{}},
		{Method: http.MethodPost, Path: one + "/resume", Handle: a.resumeChangefeed, ToOwner: true, NeedsUser: true,
			Summary: "Let a changefeed run again, from its checkpoint or another", Query: namespace,
			Body: ResumeChangefeedConfig{}, Answer: empty{}},
		{Method: http.MethodGet, Path: one + "/status", Handle: a.getChangefeedStatus, ToOwner: true,
			Summary: "How far a changefeed is, and why it stands still", Query: namespace, Answer: ChangefeedStatus{}},
		{Method: http.MethodGet, Path: one + "/synced", Handle: a.getSynced, ToOwner: true,
			Summary: "Whether everything written upstream is downstream", Query: namespace,
			Body: VerifyTableConfig{}, OptionalBody: true, Answer: SyncedStatus{}},
	}
}

// unsafeRoutes look behind the scenes, or repair.
func (a *API) unsafeRoutes() []route.Route {
	return []route.Route{
		{Method: http.MethodGet, Path: "/unsafe/metadata", Handle: a.getMetadata, ToOwner: true, NeedsUser: true,
			Summary: "Every key in etcd, credentials included", Answer: []EtcdData{}},
		{Method: http.MethodPost, Path: "/unsafe/resolve_lock", Handle: a.resolveLock, ToOwner: true, NeedsUser: true,
			Summary: "Resolve the stale locks of a region", Body: ResolveLockRequest{}, Answer: empty{}},
		{Method: http.MethodDelete, Path: "/unsafe/service_gc_safepoint", Handle: a.deleteSafePoint, ToOwner: true, NeedsUser: true,
			Summary: "Remove the cluster's GC safe point from PD", Body: UpstreamConfig{}, Answer: empty{}},
	}
}
