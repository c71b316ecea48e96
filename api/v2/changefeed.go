package v2

import (
	stderrors "errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/wire"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service"
)

// ChangefeedConfig is the body of create and update.
type ChangefeedConfig struct {
	Namespace     string         `json:"namespace"`
	ID            string         `json:"changefeed_id"`
	StartTs       uint64         `json:"start_ts"`
	TargetTs      uint64         `json:"target_ts"`
	SinkURI       string         `json:"sink_uri"`
	ReplicaConfig *ReplicaConfig `json:"replica_config"`
	PDConfig
}

// ChangefeedInfo is a changefeed in full.
type ChangefeedInfo struct {
	UpstreamID     uint64             `json:"upstream_id,omitempty"`
	Namespace      string             `json:"namespace,omitempty"`
	ID             string             `json:"id,omitempty"`
	SinkURI        string             `json:"sink_uri,omitempty"`
	CreateTime     time.Time          `json:"create_time"`
	StartTs        uint64             `json:"start_ts,omitempty"`
	TargetTs       uint64             `json:"target_ts,omitempty"`
	AdminJobType   model.AdminJobType `json:"admin_job_type,omitempty"`
	Config         *ReplicaConfig     `json:"config,omitempty"`
	State          model.FeedState    `json:"state,omitempty"`
	Error          *runningError      `json:"error,omitempty"`
	CreatorVersion string             `json:"creator_version,omitempty"`
	ResolvedTs     uint64             `json:"resolved_ts"`
	CheckpointTs   uint64             `json:"checkpoint_ts"`
	CheckpointTime wire.Time          `json:"checkpoint_time"`
	TaskStatus     []wire.TaskStatus  `json:"task_status,omitempty"`
}

// runningError is an error without its time, as the detail object shows it.
type runningError struct {
	Addr    string `json:"addr"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// newInfo describes a stored changefeed; the sink URI is still to be set.
func newInfo(info *etcdmeta.ChangefeedInfo, cfg *config.ReplicaConfig, resolvedTs, checkpointTs uint64) *ChangefeedInfo {
	out := &ChangefeedInfo{
		UpstreamID:     info.UpstreamID,
		Namespace:      info.Namespace,
		ID:             info.ID,
		CreateTime:     info.CreateTime,
		StartTs:        info.StartTs,
		TargetTs:       info.TargetTs,
		AdminJobType:   info.AdminJobType,
		Config:         fromConfig(cfg),
		State:          info.State,
		CreatorVersion: info.CreatorVersion,
		ResolvedTs:     resolvedTs,
		CheckpointTs:   checkpointTs,
		CheckpointTime: wire.TimeOfTSO(checkpointTs),
	}
	if e := info.Error; e != nil && !wire.HidesError(info.State) {
		out.Error = &runningError{Addr: e.Addr, Code: e.Code, Message: e.Message}
	}
	return out
}

// detailOf is what reads of one changefeed show.
func detailOf(f *owner.FeedView) *ChangefeedInfo {
	var cfg *config.ReplicaConfig
	if f.Info.Config != nil {
		cfg = f.Info.Config.FitTo(f.Info.SinkURI)
	}
	out := newInfo(f.Info, cfg, f.ResolvedTs, service.Checkpoint(f))
	out.SinkURI = wire.SinkURI(f.Info.SinkURI)
	out.TaskStatus = wire.NewTasks(f)
	return out
}

func (a *API) createChangefeed(c *gin.Context) {
	req := ChangefeedConfig{ReplicaConfig: defaults()}
	if !decode(c, &req) {
		return
	}
	if req.ID == "" {
		req.ID = service.RandomID()
	}
	info, err := a.service.Create(c.Request.Context(), service.CreateRequest{
		ID:       model.ChangefeedID{Namespace: wire.NamespaceOf(req.Namespace), ID: req.ID},
		SinkURI:  config.SinkURI(req.SinkURI),
		StartTs:  req.StartTs,
		TargetTs: req.TargetTs,
		Config:   req.ReplicaConfig.merged(),
		PD:       req.address(),
		EmptyURI: "sink_uri is empty, cannot create a changefeed without sink_uri",
	})
	if err != nil {
		// This version shows the parser's text alone, and so without a code.
		var rule *service.RuleError
		if stderrors.As(err, &rule) {
			err = rule.Bare()
		}
		middleware.Fail(c, err)
		return
	}
	out := newInfo(info, info.Config, info.StartTs, info.StartTs)
	out.SinkURI = wire.SinkURI(info.SinkURI)
	c.JSON(http.StatusOK, out)
}

// updateChangefeed takes a given configuration as a whole: what it leaves out
// is not taken from the present one.
func (a *API) updateChangefeed(c *gin.Context) {
	id := feedID(c)
	// The state decides before the body is looked at.
	if _, err := a.service.Updatable(c.Request.Context(), id); err != nil {
		middleware.Fail(c, err)
		return
	}
	var req ChangefeedConfig
	if !decode(c, &req) {
		return
	}
	update := service.UpdateRequest{
		ID: id, TargetTs: req.TargetTs, SinkURI: config.SinkURI(req.SinkURI), PD: req.address(),
		TargetText: "can not update target_ts:%d less than start_ts:%d",
	}
	if req.ReplicaConfig != nil {
		update.Config = func(*config.ReplicaConfig) *config.ReplicaConfig { return req.ReplicaConfig.toConfig() }
	}
	info, f, err := a.service.Update(c.Request.Context(), update)
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	out := newInfo(info, info.Config, f.ResolvedTs, service.Checkpoint(f))
	out.SinkURI = wire.SinkURI(info.SinkURI)
	c.JSON(http.StatusOK, out)
}

// ChangefeedCommonInfo is a changefeed in the list.
type ChangefeedCommonInfo = wire.Summary

func (a *API) listChangefeeds(c *gin.Context) {
	namespace := wire.NamespaceOf(c.Query("namespace"))
	feeds, err := a.service.Changefeeds(c.Request.Context(), namespace, c.Query("state"))
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	items := make([]ChangefeedCommonInfo, 0, len(feeds))
	for _, f := range feeds {
		items = append(items, summaryOf(f))
	}
	writeList(c, items)
}

func summaryOf(f *owner.FeedView) ChangefeedCommonInfo {
	item := wire.NewSummary(f)
	switch item.State {
	case model.StatePending:
		item.State = model.StateWarning
	case "":
		item.State = model.StateNormal
	}
	if !wire.HidesError(f.Info.State) {
		if item.Error = f.Info.Error; item.Error == nil {
			item.Error = f.Info.Warning
		}
	}
	return item
}

func (a *API) getChangefeed(c *gin.Context) {
	f, err := a.service.Changefeed(c.Request.Context(), feedID(c))
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, detailOf(f))
}

// getMetaInfo is the one read that shows the sink URI as it was given.
func (a *API) getMetaInfo(c *gin.Context) {
	f, err := a.service.Changefeed(c.Request.Context(), feedID(c))
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	out := detailOf(f)
	out.SinkURI = f.Info.SinkURI.Reveal()
	c.JSON(http.StatusOK, out)
}

// deleteChangefeed succeeds for a changefeed that does not exist.
func (a *API) deleteChangefeed(c *gin.Context) {
	err := a.service.Remove(c.Request.Context(), feedID(c))
	if err != nil && !stderrors.Is(err, errors.ErrChangeFeedNotExists) {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}

func (a *API) pauseChangefeed(c *gin.Context) {
	if err := a.service.Pause(c.Request.Context(), feedID(c)); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}

// ResumeChangefeedConfig is the body of resume.
type ResumeChangefeedConfig struct {
	OverwriteCheckpointTs uint64 `json:"overwrite_checkpoint_ts"`
	PDConfig
}

func (a *API) resumeChangefeed(c *gin.Context) {
	id := feedID(c)
	// The changefeed has to exist before the body is looked at.
	if _, err := a.service.Changefeed(c.Request.Context(), id); err != nil {
		middleware.Fail(c, err)
		return
	}
	var req ResumeChangefeedConfig
	if !decode(c, &req) {
		return
	}
	if err := a.service.ResumeFrom(c.Request.Context(), id, req.OverwriteCheckpointTs, req.address()); err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, empty{})
}

// ChangefeedStatus is the short answer about one changefeed.
type ChangefeedStatus struct {
	State        model.FeedState     `json:"state,omitempty"`
	ResolvedTs   uint64              `json:"resolved_ts"`
	CheckpointTs uint64              `json:"checkpoint_ts"`
	LastError    *model.RunningError `json:"last_error,omitempty"`
	LastWarning  *model.RunningError `json:"last_warning,omitempty"`
	// Stalled is this server's own addition: why the checkpoint stands still.
	Stalled *model.Stall `json:"stalled,omitempty"`
}

func (a *API) getChangefeedStatus(c *gin.Context) {
	f, err := a.service.Changefeed(c.Request.Context(), feedID(c))
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	checkpoint := service.Checkpoint(f)
	c.JSON(http.StatusOK, ChangefeedStatus{
		State:        f.Info.State,
		ResolvedTs:   f.ResolvedTs,
		CheckpointTs: checkpoint,
		LastError:    notOvercome(f.Info.Error, checkpoint),
		LastWarning:  notOvercome(f.Info.Warning, checkpoint),
		Stalled:      f.Stalled,
	})
}

// notOvercome returns an error unless the checkpoint has passed its time.
func notOvercome(e *model.RunningError, checkpointTs uint64) *model.RunningError {
	if e != nil && model.TimeOf(checkpointTs).Before(e.Time) {
		return e
	}
	return nil
}
