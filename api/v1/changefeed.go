package v1

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/wire"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service"
)

// sortEngine is what changefeeds of this version name; it chooses nothing.
const sortEngine = "unified"

// ChangefeedConfig is the body of create.
type ChangefeedConfig struct {
	ID                    string      `json:"changefeed_id"`
	StartTs               uint64      `json:"start_ts"`
	TargetTs              uint64      `json:"target_ts"`
	SinkURI               string      `json:"sink_uri"`
	TimeZone              string      `json:"timezone"`
	ForceReplicate        bool        `json:"force_replicate"`
	IgnoreIneligibleTable bool        `json:"ignore_ineligible_table"`
	FilterRules           []string    `json:"filter_rules"`
	IgnoreTxnStartTs      []uint64    `json:"ignore_txn_start_ts"`
	MounterWorkerNum      int         `json:"mounter_worker_num"`
	SinkConfig            *SinkConfig `json:"sink_config"`
	// Namespace is read and ignored: this version knows the default one only.
	Namespace string `json:"namespace"`
}

// SinkConfig has the hyphenated keys of the metadata. It replaces the default
// sink configuration as a whole.
type SinkConfig struct {
	config.SinkConfig
	// Protocal is how the documents of 5.x spell protocol.
	Protocal *string `json:"protocal"`
}

// replicaConfig is what a create asks for.
func (r *ChangefeedConfig) replicaConfig() *config.ReplicaConfig {
	cfg := config.DefaultReplicaConfig()
	cfg.ForceReplicate = r.ForceReplicate
	cfg.IgnoreIneligibleTable = r.IgnoreIneligibleTable
	return r.apply(cfg)
}

// apply sets what both create and update may change; zero means not given.
func (r *ChangefeedConfig) apply(cfg *config.ReplicaConfig) *config.ReplicaConfig {
	if len(r.FilterRules) != 0 {
		cfg.Filter.Rules = r.FilterRules
	}
	if len(r.IgnoreTxnStartTs) != 0 {
		cfg.Filter.IgnoreTxnStartTs = r.IgnoreTxnStartTs
	}
	if r.MounterWorkerNum != 0 {
		cfg.Mounter.WorkerNum = r.MounterWorkerNum
	}
	if r.SinkConfig != nil {
		sink := r.SinkConfig.SinkConfig
		if sink.Protocol == nil {
			sink.Protocol = r.SinkConfig.Protocal
		}
		cfg.Sink = &sink
	}
	return cfg
}

func (a *API) createChangefeed(c *gin.Context) {
	var req ChangefeedConfig
	if !decode(c, &req) {
		return
	}
	_, err := a.service.Create(c.Request.Context(), service.CreateRequest{
		ID:       model.DefaultChangefeedID(req.ID),
		SinkURI:  config.SinkURI(req.SinkURI),
		StartTs:  req.StartTs,
		TargetTs: req.TargetTs,
		Config:   req.replicaConfig(),
		TimeZone: req.TimeZone,
		Engine:   sortEngine,
		EmptyURI: "sink-uri is empty, can't not create a changefeed without sink-uri",
	})
	accepted(c, err)
}

// updateChangefeed shows a decode error bare, without a code.
func (a *API) updateChangefeed(c *gin.Context) {
	id := feedID(c)
	// The state decides before the body is looked at.
	if _, err := a.service.Updatable(c.Request.Context(), id); err != nil {
		middleware.Fail(c, err)
		return
	}
	var req ChangefeedConfig
	if err := wire.Decode(bodyOf(c), &req); err != nil {
		middleware.FailDecode(c, err)
		return
	}
	update := service.UpdateRequest{
		ID: id, TargetTs: req.TargetTs, SinkURI: config.SinkURI(req.SinkURI),
		TargetText: "can not update target-ts:%d less than start-ts:%d",
	}
	if req.changesConfig() {
		update.Config = req.apply
	}
	_, _, err := a.service.Update(c.Request.Context(), update)
	accepted(c, err)
}

// changesConfig tells whether an update touches the configuration.
func (r *ChangefeedConfig) changesConfig() bool {
	return len(r.FilterRules) > 0 || len(r.IgnoreTxnStartTs) > 0 || r.MounterWorkerNum != 0 || r.SinkConfig != nil
}

// accepted answers a write: 202 without a body.
func accepted(c *gin.Context, err error) {
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.Status(http.StatusAccepted)
}

func (a *API) listChangefeeds(c *gin.Context) {
	state := c.Query("state")
	feeds, err := a.service.Changefeeds(c.Request.Context(), "", state)
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	items := make([]wire.Summary, 0, len(feeds))
	for _, f := range feeds {
		if state == string(model.StateWarning) && f.Info.State == model.StatePending {
			continue // unlike in v2 it does not display as a warning here
		}
		item := wire.NewSummary(f)
		if f.Info.State != model.StateNormal {
			item.Error = f.Info.Error
		}
		items = append(items, item)
	}
	c.IndentedJSON(http.StatusOK, items)
}

// ChangefeedDetail is a changefeed in full. Its error and history are never
// filled; the list carries the error.
type ChangefeedDetail struct {
	UpstreamID     uint64            `json:"upstream_id"`
	Namespace      string            `json:"namespace"`
	ID             string            `json:"id"`
	SinkURI        string            `json:"sink_uri"`
	CreateTime     wire.Time         `json:"create_time"`
	StartTs        uint64            `json:"start_ts"`
	ResolvedTs     uint64            `json:"resolved_ts"`
	TargetTs       uint64            `json:"target_ts"`
	CheckpointTSO  uint64            `json:"checkpoint_tso"`
	CheckpointTime wire.Time         `json:"checkpoint_time"`
	Engine         string            `json:"sort_engine,omitempty"`
	State          model.FeedState   `json:"state"`
	Error          *runningError     `json:"error"`
	ErrorHistory   []int64           `json:"error_history"`
	CreatorVersion string            `json:"creator_version"`
	TaskStatus     []wire.TaskStatus `json:"task_status,omitempty"`
}

func (a *API) getChangefeed(c *gin.Context) {
	f, err := a.service.Changefeed(c.Request.Context(), feedID(c))
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.IndentedJSON(http.StatusOK, detailOf(f))
}

func detailOf(f *owner.FeedView) ChangefeedDetail {
	checkpoint := service.Checkpoint(f)
	engine := f.Info.Engine
	if engine == "" {
		engine = sortEngine
	}
	return ChangefeedDetail{
		UpstreamID:     f.Info.UpstreamID,
		Namespace:      f.ID.Namespace,
		ID:             f.ID.ID,
		SinkURI:        wire.SinkURI(f.Info.SinkURI),
		CreateTime:     wire.Time(f.Info.CreateTime.Local()),
		StartTs:        f.Info.StartTs,
		ResolvedTs:     f.ResolvedTs,
		TargetTs:       f.Info.TargetTs,
		CheckpointTSO:  checkpoint,
		CheckpointTime: wire.TimeOfTSO(checkpoint),
		Engine:         engine,
		State:          f.Info.State,
		CreatorVersion: f.Info.CreatorVersion,
		TaskStatus:     wire.NewTasks(f),
	}
}

func (a *API) deleteChangefeed(c *gin.Context) {
	accepted(c, a.service.Remove(c.Request.Context(), feedID(c)))
}

func (a *API) pauseChangefeed(c *gin.Context) {
	accepted(c, a.service.Pause(c.Request.Context(), feedID(c)))
}

func (a *API) resumeChangefeed(c *gin.Context) {
	accepted(c, a.service.Resume(c.Request.Context(), feedID(c)))
}
