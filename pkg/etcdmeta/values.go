package etcdmeta

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// ChangefeedInfo is the intent of one changefeed: what a user asked for and
// the state it is in.
type ChangefeedInfo struct {
	UpstreamID     uint64                `json:"upstream-id"`
	Namespace      string                `json:"namespace"`
	ID             string                `json:"changefeed-id"`
	SinkURI        config.SinkURI        `json:"sink-uri"`
	CreateTime     time.Time             `json:"create-time"`
	StartTs        uint64                `json:"start-ts"`
	TargetTs       uint64                `json:"target-ts"` // 0 is no target
	AdminJobType   model.AdminJobType    `json:"admin-job-type"`
	Engine         string                `json:"sort-engine"`
	SortDir        string                `json:"sort-dir"`
	Config         *config.ReplicaConfig `json:"config"`
	State          model.FeedState       `json:"state"`
	Error          *model.RunningError   `json:"error"`
	Warning        *model.RunningError   `json:"warning"`
	CreatorVersion string                `json:"creator-version"`
	// Epoch tells the runs of a changefeed apart: processors of an older
	// epoch shut down.
	Epoch uint64 `json:"epoch"`
}

// FeedID is the changefeed's full name.
func (i *ChangefeedInfo) FeedID() model.ChangefeedID {
	return model.ChangefeedID{Namespace: i.Namespace, ID: i.ID}
}

// Clone copies the info. Config, Error and Warning are shared: they are
// replaced, never modified.
func (i *ChangefeedInfo) Clone() *ChangefeedInfo {
	c := *i
	return &c
}

// HoldsGC tells whether data that the changefeed still needs must be kept
// upstream: all but finished and removed ones, and those that failed because
// the data is gone already.
func (i *ChangefeedInfo) HoldsGC() bool {
	switch i.State {
	case model.StateFinished, model.StateRemoved:
		return false
	case model.StateFailed:
		return i.Error == nil || !errors.IsGCFastFailCode(i.Error.Code)
	default:
		return true
	}
}

// ChangefeedStatus is how far a changefeed got.
type ChangefeedStatus struct {
	CheckpointTs uint64 `json:"checkpoint-ts"`
	// MinTableBarrierTs is the least TSO at which a DDL may still have to be
	// executed. When it equals the checkpoint, the DDL of that TSO has not
	// been executed for certain. A changefeed that is stopped has sent no row
	// from behind it.
	MinTableBarrierTs uint64             `json:"min-table-barrier-ts"`
	AdminJobType      model.AdminJobType `json:"admin-job-type"`
}

// UpstreamInfo tells how to reach an upstream cluster.
type UpstreamInfo struct {
	ID            uint64   `json:"id"`           // PD cluster id
	PDEndpoints   string   `json:"pd-endpoints"` // comma-separated URLs
	KeyPath       string   `json:"key-path"`
	CertPath      string   `json:"cert-path"`
	CAPath        string   `json:"ca-path"`
	CertAllowedCN []string `json:"cert-allowed-cn"`
}

// decodeInfo parses a stored info. Unknown keys are ignored; what older
// versions did not write is completed from the key.
func decodeInfo(id model.ChangefeedID, value []byte) (*ChangefeedInfo, error) {
	info := &ChangefeedInfo{}
	if err := json.Unmarshal(value, info); err != nil {
		return nil, fmt.Errorf("changefeed info of %s: %w", id, err)
	}
	info.Namespace, info.ID = id.Namespace, id.ID
	if info.Config == nil {
		info.Config = config.DefaultReplicaConfig()
	}
	if info.State == "error" { // written by 5.x to 7.2
		info.State = model.StatePending
	}
	return info, nil
}

// decodeStatus parses a stored status. Versions before 6.5 did not write the
// barrier: then no DDL is in doubt but one at the checkpoint itself.
func decodeStatus(id model.ChangefeedID, value []byte) (*ChangefeedStatus, error) {
	status := &ChangefeedStatus{}
	if err := json.Unmarshal(value, status); err != nil {
		return nil, fmt.Errorf("changefeed status of %s: %w", id, err)
	}
	if status.MinTableBarrierTs == 0 {
		status.MinTableBarrierTs = status.CheckpointTs
	}
	return status, nil
}

func decodeUpstream(id uint64, value []byte) (*UpstreamInfo, error) {
	up := &UpstreamInfo{}
	if err := json.Unmarshal(value, up); err != nil {
		return nil, fmt.Errorf("upstream info of %d: %w", id, err)
	}
	return up, nil
}

func decodeCapture(id model.CaptureID, value []byte) (*model.CaptureInfo, error) {
	c := &model.CaptureInfo{}
	if err := json.Unmarshal(value, c); err != nil {
		return nil, fmt.Errorf("capture info of %s: %w", id, err)
	}
	c.ID = id
	return c, nil
}
