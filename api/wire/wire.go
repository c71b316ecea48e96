// Package wire holds the conventions that both API versions share: how bodies
// are decoded and how times are written.
package wire

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/tidemark/tidemark/api/openapi"
	"github.com/tidemark/tidemark/api/route"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service"
)

// timeLayout has no zone: times are in the server's local one.
const timeLayout = "2006-01-02 15:04:05.000"

// Time is a point in time as the API writes it; the zero value is "never".
type Time time.Time

// TimeOfTSO is the wall-clock time of a TSO.
func TimeOfTSO(tso uint64) Time { return Time(model.TimeOf(tso)) }

// String writes milliseconds and no zone.
func (t Time) String() string { return time.Time(t).Format(timeLayout) }

// MarshalJSON writes String's text.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.appendJSON(make([]byte, 0, len(timeLayout)+2)), nil
}

func (t Time) appendJSON(b []byte) []byte {
	b = append(b, '"')
	b = time.Time(t).AppendFormat(b, timeLayout)
	return append(b, '"')
}

// JSONSchema implements openapi.Describer.
func (Time) JSONSchema() openapi.Schema {
	return openapi.Schema{Type: "string", Description: "server's local time, 2006-01-02 15:04:05.000"}
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, err := time.ParseInLocation(timeLayout, s, time.Local)
	*t = Time(parsed)
	return err
}

// Decode reads the first JSON value of a body, whatever its type is said to
// be. Unknown keys and what follows the value are ignored; an empty body is
// the error io.EOF.
func Decode(body io.Reader, v any) error { return json.NewDecoder(body).Decode(v) }

// InvalidBody is how a decode error is told to the client.
func InvalidBody(err error) error { return errors.ErrAPIInvalidParam.Wrap(err) }

// LogLevelReq is the body that sets the log level.
type LogLevelReq struct {
	Level string `json:"log_level"`
}

// LevelSetter is a log level that can be changed; zap's AtomicLevel is one.
type LevelSetter interface {
	// UnmarshalText fails for a word that is no level.
	UnmarshalText(text []byte) error
}

// SetLogLevel applies a request; no level means info.
func SetLogLevel(level LevelSetter, name string) error {
	if name == "" {
		name = "info"
	}
	if err := level.UnmarshalText([]byte(strings.ToLower(name))); err != nil {
		return errors.ErrAPIInvalidParam.Msg("fail to change log level: %s", name)
	}
	return nil
}

// Status is the answer of both versions' /status.
type Status struct {
	Version   string         `json:"version"`
	GitHash   string         `json:"git_hash"`
	ID        string         `json:"id"`
	ClusterID string         `json:"cluster_id"`
	PID       int            `json:"pid"`
	IsOwner   bool           `json:"is_owner"`
	Liveness  model.Liveness `json:"liveness"`
}

// NewStatus describes the node.
func NewStatus(st service.NodeStatus) Status {
	return Status{
		Version: st.Capture.Version, GitHash: st.Capture.GitHash, ID: st.Capture.ID,
		ClusterID: st.ClusterID, PID: st.PID, IsOwner: st.IsOwner, Liveness: st.Liveness,
	}
}

// Capture is a registered capture, as both versions list it.
type Capture struct {
	ID        string `json:"id"`
	IsOwner   bool   `json:"is_owner"`
	Address   string `json:"address"`
	ClusterID string `json:"cluster_id"`
}

// NewCaptures lists captures; the list is never nil.
func NewCaptures(captures []owner.CaptureView, clusterID string) []Capture {
	list := make([]Capture, 0, len(captures))
	for _, c := range captures {
		list = append(list, Capture{
			ID: c.Info.ID, IsOwner: c.IsOwner, Address: c.Info.AdvertiseAddr, ClusterID: clusterID,
		})
	}
	return list
}

// DrainAnswer says how far draining a capture is.
type DrainAnswer struct {
	CurrentTableCount int `json:"current_table_count"` // tables still there
}

// Processor is a running changefeed on a capture, as both versions list it.
type Processor struct {
	Namespace    string `json:"namespace"`
	ChangefeedID string `json:"changefeed_id"`
	CaptureID    string `json:"capture_id"`
}

// NewProcessors lists processors; the list is never nil.
func NewProcessors(processors []service.Processor) []Processor {
	list := make([]Processor, 0, len(processors))
	for _, p := range processors {
		list = append(list, Processor{Namespace: p.ID.Namespace, ChangefeedID: p.ID.ID, CaptureID: p.Capture})
	}
	return list
}

// Summary is one changefeed in the lists of both versions.
type Summary struct {
	UpstreamID     uint64              `json:"upstream_id"`
	Namespace      string              `json:"namespace"`
	ID             string              `json:"id"`
	State          model.FeedState     `json:"state"`
	CheckpointTSO  uint64              `json:"checkpoint_tso"`
	CheckpointTime Time                `json:"checkpoint_time"`
	Error          *model.RunningError `json:"error"`
}

// NewSummary describes a changefeed without its error, which the versions
// show by different rules.
func NewSummary(f *owner.FeedView) Summary {
	s := Summary{UpstreamID: f.Info.UpstreamID, Namespace: f.ID.Namespace, ID: f.ID.ID, State: f.Info.State}
	if f.Status != nil {
		s.CheckpointTSO = f.Status.CheckpointTs
		s.CheckpointTime = TimeOfTSO(f.Status.CheckpointTs)
	}
	return s
}

// TaskStatus are the tables of a changefeed on one capture.
type TaskStatus struct {
	CaptureID string  `json:"capture_id"`
	TableIDs  []int64 `json:"table_ids,omitempty"`
}

// NewTasks lists where a changefeed's tables are. Only normal changefeeds
// show it.
func NewTasks(f *owner.FeedView) []TaskStatus {
	if f.Info.State != model.StateNormal {
		return nil
	}
	tasks := make([]TaskStatus, 0, len(f.Tasks))
	for _, t := range f.Tasks {
		tasks = append(tasks, TaskStatus{CaptureID: t.CaptureID, TableIDs: t.TableIDs})
	}
	return tasks
}

// HidesError tells the states in which a stored error is of no concern.
func HidesError(s model.FeedState) bool {
	switch s {
	case "", model.StateNormal, model.StateStopped, model.StateFinished, model.StateRemoved:
		return true
	default:
		return false
	}
}

// SinkURI shows a sink URI: parsed and written again, secrets masked; "" for
// a text that is no URI.
func SinkURI(uri config.SinkURI) string {
	if _, err := url.Parse(uri.Reveal()); err != nil {
		return ""
	}
	return uri.String()
}

// The parameters that several routes take from the query.
var (
	StateParam = route.Param{Name: "state", About: "only changefeeds in this state; `all` shows every one, " +
		"nothing leaves out finished and removed ones"}
	NamespaceParam = route.Param{Name: "namespace", About: "the changefeed's namespace, `default` unless given"}
)

// NamespaceOf is the namespace that a request asks for.
func NamespaceOf(query string) string {
	if query == "" {
		return model.DefaultNamespace
	}
	return query
}
