package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// API is a client of the HTTP API, version 2.
type API struct {
	base string
	http *http.Client
}

// NewAPI returns a client of the server at host:port.
func NewAPI(addr string) *API {
	return &API{base: "http://" + addr, http: &http.Client{Timeout: 60 * time.Second}}
}

// APIError is an answer with an error status.
type APIError struct {
	Status int
	Code   string `json:"error_code"`
	Msg    string `json:"error_msg"`
	Body   string
}

func (e *APIError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Status, e.Body) }

// Do sends a request; in, if not nil, as JSON, and decodes the answer into out.
// An answer with status 400 or above is an *APIError.
func (a *API) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		e := &APIError{Status: resp.StatusCode, Body: string(b)}
		_ = json.Unmarshal(b, e)
		return e
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// Stalled is why a checkpoint stands still.
type Stalled struct {
	Since   time.Time  `json:"since"`
	Reason  string     `json:"reason"`
	Detail  string     `json:"detail"`
	RetryAt *time.Time `json:"retry_at"`
}

// FeedError is a changefeed's error or warning.
type FeedError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Status is the answer of GET /changefeeds/{id}/status.
type Status struct {
	State        string     `json:"state"`
	ResolvedTs   uint64     `json:"resolved_ts"`
	CheckpointTs uint64     `json:"checkpoint_ts"`
	LastError    *FeedError `json:"last_error"`
	LastWarning  *FeedError `json:"last_warning"`
	Stalled      *Stalled   `json:"stalled"`
}

// Feed is what tests say and read of a changefeed.
type Feed struct {
	ID            string         `json:"changefeed_id"`
	SinkURI       string         `json:"sink_uri"`
	StartTs       uint64         `json:"start_ts,omitempty"`
	TargetTs      uint64         `json:"target_ts,omitempty"`
	ReplicaConfig map[string]any `json:"replica_config,omitempty"`
}

// Health returns nil when the cluster is healthy.
func (a *API) Health(ctx context.Context) error {
	return a.Do(ctx, http.MethodGet, "/api/v2/health", nil, nil)
}

// Create makes a changefeed.
func (a *API) Create(ctx context.Context, f Feed) error {
	return a.Do(ctx, http.MethodPost, "/api/v2/changefeeds", f, nil)
}

// Pause stops a changefeed and waits until it shows as stopped.
func (a *API) Pause(ctx context.Context, id string) error {
	if err := a.Do(ctx, http.MethodPost, "/api/v2/changefeeds/"+id+"/pause", nil, nil); err != nil {
		return err
	}
	return a.WaitState(ctx, id, "stopped")
}

// Resume starts a changefeed again.
func (a *API) Resume(ctx context.Context, id string) error {
	return a.Do(ctx, http.MethodPost, "/api/v2/changefeeds/"+id+"/resume", map[string]any{}, nil)
}

// Delete removes a changefeed.
func (a *API) Delete(ctx context.Context, id string) error {
	return a.Do(ctx, http.MethodDelete, "/api/v2/changefeeds/"+id, nil, nil)
}

// Status reads a changefeed's state and progress.
func (a *API) Status(ctx context.Context, id string) (*Status, error) {
	var s Status
	err := a.Do(ctx, http.MethodGet, "/api/v2/changefeeds/"+id+"/status", nil, &s)
	return &s, err
}

// WaitState waits until a changefeed is in the state.
func (a *API) WaitState(ctx context.Context, id, state string) error {
	return until(ctx, id+" to be "+state, func() (bool, error) {
		s, err := a.Status(ctx, id)
		if err != nil {
			return false, err
		}
		return s.State == state, fmt.Errorf("state %s, error %+v", s.State, s.LastError)
	})
}

// WaitCheckpoint waits until a changefeed's checkpoint has reached ts.
func (a *API) WaitCheckpoint(ctx context.Context, id string, ts uint64) error {
	return until(ctx, fmt.Sprintf("checkpoint of %s to reach %d", id, ts), func() (bool, error) {
		s, err := a.Status(ctx, id)
		if err != nil {
			return false, err
		}
		if s.State == "failed" {
			return false, fmt.Errorf("failed: %+v", s.LastError)
		}
		return s.CheckpointTs >= ts, fmt.Errorf("state %s, checkpoint %d, stalled %+v, error %+v, warning %+v",
			s.State, s.CheckpointTs, s.Stalled, s.LastError, s.LastWarning)
	})
}

// Until waits for a condition that the caller states.
func Until(ctx context.Context, what string, cond func() (bool, error)) error {
	return until(ctx, what, cond)
}

// Placement asks which capture has which tables of a changefeed.
func (a *API) Placement(ctx context.Context, feed string) (map[int64]string, error) {
	var detail struct {
		Tasks []struct {
			Capture string  `json:"capture_id"`
			Tables  []int64 `json:"table_ids"`
		} `json:"task_status"`
	}
	if err := a.Do(ctx, http.MethodGet, "/api/v2/changefeeds/"+feed, nil, &detail); err != nil {
		return nil, err
	}
	placed := map[int64]string{}
	for _, task := range detail.Tasks {
		for _, table := range task.Tables {
			placed[table] = task.Capture
		}
	}
	return placed, nil
}
