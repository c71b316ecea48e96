package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

// guarded makes a handler that asks for credentials.
func guarded(c *servicetest.Cluster) *gin.Engine {
	o := optionsFor(c)
	o.Config.Security.ClientUserRequired = true
	o.Config.Security.ClientAllowedUser = []string{"root"}
	o.Login = func(_ context.Context, _, password string) error {
		if password != "right" {
			return errors.New("access denied")
		}
		return nil
	}
	return NewHandler(o).(*gin.Engine)
}

// TestWhatNeedsCredentials: these calls, and no others.
func TestWhatNeedsCredentials(t *testing.T) {
	r := guarded(populated())
	var asked []string
	for _, route := range r.Routes() {
		path := strings.NewReplacer(":changefeed_id", "test1", ":capture_id", "c", ":profile", "cmdline", "*any", "/index.html").Replace(route.Path)
		if w := call(r, route.Method, path, ""); w.Code == http.StatusUnauthorized {
			require.Contains(t, w.Body.String(), "CDC:ErrCredentialNotFound")
			asked = append(asked, route.Method+" "+route.Path)
		}
	}
	sort.Strings(asked)
	require.Equal(t, []string{
		"DELETE /api/v1/changefeeds/:changefeed_id",
		"DELETE /api/v2/changefeeds/:changefeed_id",
		"DELETE /api/v2/unsafe/service_gc_safepoint",
		"GET /api/v2/unsafe/metadata",
		"GET /debug/info",
		"POST /api/v1/changefeeds",
		"POST /api/v1/changefeeds/:changefeed_id/pause",
		"POST /api/v1/changefeeds/:changefeed_id/resume",
		"POST /api/v1/changefeeds/:changefeed_id/tables/move_table",
		"POST /api/v1/changefeeds/:changefeed_id/tables/rebalance_table",
		"POST /api/v2/changefeeds",
		"POST /api/v2/changefeeds/:changefeed_id/pause",
		"POST /api/v2/changefeeds/:changefeed_id/resume",
		"POST /api/v2/unsafe/resolve_lock",
		"PUT /api/v1/changefeeds/:changefeed_id",
		"PUT /api/v2/changefeeds/:changefeed_id",
	}, asked)
}

func TestCredentialsOpenTheDoor(t *testing.T) {
	r := guarded(populated())
	for password, want := range map[string]int{"right": http.StatusOK, "wrong": http.StatusUnauthorized} {
		req := httptest.NewRequest("POST", "/api/v2/changefeeds/test1/pause", nil)
		req.SetBasicAuth("root", password)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		require.Equal(t, want, w.Code)
		require.NotContains(t, w.Body.String(), "wrong")
	}
}

// TestTheOwnerChecksCredentials: a follower relays them and asks nobody.
func TestTheOwnerChecksCredentials(t *testing.T) {
	ownerSrv := httptest.NewServer(guarded(populated()))
	defer ownerSrv.Close()
	ownerSrv.Config.SetKeepAlivesEnabled(false)
	url := follower(t, strings.TrimPrefix(ownerSrv.URL, "http://"))
	resp, body := do(t, "POST", url+"/api/v1/changefeeds/test1/pause", "", nil)
	require.Equal(t, 401, resp.StatusCode, body)
	req := httptest.NewRequest("POST", "/", nil)
	req.SetBasicAuth("root", "right")
	resp, body = do(t, "POST", url+"/api/v1/changefeeds/test1/pause", "", req.Header)
	require.Equal(t, 202, resp.StatusCode, body)
}
