package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

// endless is a body that never ends: blanks, which any parser skips.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += int64(len(p))
	return len(p), nil
}

// TestEndlessBodies: what a client sends does not fill the memory, and it is
// told why it was refused.
func TestEndlessBodies(t *testing.T) {
	const limit, slack = 16 << 20, 1 << 20
	for _, tt := range []struct {
		method, path, kind string
		status             int
		body               string
	}{
		{"POST", "/api/v1/changefeeds", "", 400, "[CDC:ErrAPIInvalidParam]invalid api parameter: http: request body too large"},
		{"POST", "/api/v2/changefeeds", "", 400, "[CDC:ErrAPIInvalidParam]invalid api parameter: http: request body too large"},
		{"POST", "/api/v2/log", "", 400, "[CDC:ErrAPIInvalidParam]invalid log level: http: request body too large"},
		{"POST", "/admin/log", "", 400, "http: request body too large"},
		{"POST", "/capture/owner/rebalance_trigger", "application/x-www-form-urlencoded", 400, "invalid changefeed id: "},
		{"POST", "/capture/owner/rebalance_trigger", "multipart/form-data; boundary=x", 400, "invalid changefeed id: "},
	} {
		body := &endless{}
		req := httptest.NewRequest(tt.method, tt.path, body)
		req.Header.Set("Content-Type", tt.kind)
		w := httptest.NewRecorder()
		handlerFor(populated()).ServeHTTP(w, req)
		require.Equal(t, tt.status, w.Code, tt.path)
		require.Contains(t, w.Body.String(), tt.body, tt.path)
		require.LessOrEqual(t, body.read, int64(limit+slack), tt.path)
	}
}

// TestEndlessBodyOnItsWayToTheOwner is refused here, whether or not the owner
// reads it.
func TestEndlessBodyOnItsWayToTheOwner(t *testing.T) {
	owner := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer owner.Close()
	url := follower(t, strings.TrimPrefix(owner.URL, "http://"))
	// Little more than the limit, so that the client gets rid of all of it and
	// then listens.
	req, err := http.NewRequest("POST", url+"/api/v2/changefeeds", io.LimitReader(&endless{}, 16<<20+1000))
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, string(text), `"error_code": "CDC:ErrAPIInvalidParam"`)
}

// TestNobodyForwardsToItself: while its term begins or ends, the election names
// a capture that is not the owner yet, or no longer.
func TestNobodyForwardsToItself(t *testing.T) {
	c := servicetest.New()
	c.IsOwner = false
	w := call(handlerFor(c), "GET", "/api/v2/changefeeds", "")
	require.Equal(t, 500, w.Code)
	require.Contains(t, w.Body.String(), `"error_code": "CDC:ErrNotOwner"`)
}
