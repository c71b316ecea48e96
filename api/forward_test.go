package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

// follower makes a capture that is not the owner; the owner is at addr.
func follower(t *testing.T, addr string) string {
	t.Helper()
	c := servicetest.New()
	c.IsOwner = false
	c.OwnerCapture = "owner-1"
	c.SetView(func(v *owner.View) {
		v.Captures = []owner.CaptureView{{Info: &model.CaptureInfo{ID: "owner-1", AdvertiseAddr: addr}}}
	})
	srv := httptest.NewServer(handlerFor(c))
	t.Cleanup(srv.Close)
	return srv.URL
}

func do(t *testing.T, method, url, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	for k, v := range header {
		req.Header[k] = v
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

func TestForwardsToTheOwner(t *testing.T) {
	var seen *http.Request
	cluster := populated()
	inner := handlerFor(cluster)
	ownerSrv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header()["X-Twice"] = []string{"a", "b"}
		inner.ServeHTTP(w, r)
		// The follower's idle connection must not outlive the test.
		w.Header().Set("Connection", "close")
	}))
	defer ownerSrv.Close()
	ownerSrv.Config.SetKeepAlivesEnabled(false)
	url := follower(t, strings.TrimPrefix(ownerSrv.URL, "http://"))

	header := http.Header{"'Content-type'": {"'application/json'"}, "Authorization": {"Basic eDp5"}}
	resp, body := do(t, "POST", url+"/api/v2/changefeeds?x=%20y", `{"changefeed_id":"f","sink_uri":"blackhole://"}`, header)
	require.Equal(t, 200, resp.StatusCode, body)
	require.NotNil(t, cluster.Stored(model.DefaultChangefeedID("f")))
	require.Equal(t, "/api/v2/changefeeds?x=%20y", seen.RequestURI)
	require.Equal(t, servicetest.CaptureID, seen.Header.Get("TiCDC-ForwardFromCapture"))
	require.Equal(t, "1", seen.Header.Get("TiCDC-ForwardTimes"))
	require.Equal(t, "Basic eDp5", seen.Header.Get("Authorization"))
	require.Contains(t, seen.Header, "'content-Type'")
	require.Equal(t, []string{"b"}, resp.Header.Values("X-Twice"))

	resp, body = do(t, "GET", url+"/api/v1/changefeeds/nope", "", nil)
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, body, "CDC:ErrChangeFeedNotExists")
	require.Equal(t, "application/json; charset=utf-8", resp.Header.Get("Content-Type"))

	resp, _ = do(t, "POST", url+"/api/v1/changefeeds/test1/pause", "", nil)
	require.Equal(t, 202, resp.StatusCode)

	_, body = do(t, "GET", url+"/api/v2/status", "", nil)
	require.Contains(t, body, `"is_owner": false`, "the follower answers itself")
	_, body = do(t, "POST", url+"/api/v2/tso", "{}", nil)
	require.Contains(t, body, "timestamp")
}

func TestForwardLimit(t *testing.T) {
	ownerSrv := httptest.NewServer(handlerFor(populated()))
	defer ownerSrv.Close()
	ownerSrv.Config.SetKeepAlivesEnabled(false)
	url := follower(t, strings.TrimPrefix(ownerSrv.URL, "http://"))
	for times, want := range map[string]int{"2": 200, "3": 500, "x": 500, "-1": 500} {
		resp, body := do(t, "GET", url+"/api/v2/changefeeds", "", http.Header{"Ticdc-Forwardtimes": {times}})
		require.Equal(t, want, resp.StatusCode, times)
		if want == 500 {
			require.Contains(t, body, `"error_code": "ErrRequestForwardErr"`)
		}
	}
}

func TestForwardToNobody(t *testing.T) {
	dead := httptest.NewServer(nil)
	dead.Close()
	url := follower(t, strings.TrimPrefix(dead.URL, "http://"))
	resp, body := do(t, "GET", url+"/api/v2/changefeeds", "", nil)
	require.Equal(t, 500, resp.StatusCode)
	require.Contains(t, body, `"error_code": ""`)
	require.Contains(t, body, "connection refused")
}
