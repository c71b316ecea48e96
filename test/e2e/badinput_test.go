package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// metadata reads every key of changefeeds, so that a test can see that a
// refused request wrote nothing.
func metadata(ctx context.Context, t *testing.T) map[string]string {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{shared.up.PD}, DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	defer func() { _ = cli.Close() }()
	got, err := cli.Get(ctx, "/tidb/cdc/default/default/", clientv3.WithPrefix())
	require.NoError(t, err)
	out := make(map[string]string)
	for _, kv := range got.Kvs {
		// Running changefeeds move their status.
		if !strings.Contains(string(kv.Key), "/changefeed/status/") {
			out[string(kv.Key)] = string(kv.Value)
		}
	}
	return out
}

// safePoints lists the service safe points of PD, which a refused create must
// not leave behind.
func safePoints(ctx context.Context, t *testing.T) []string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, shared.up.PD+"/pd/api/v1/gc/safepoint", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var body struct {
		Points []struct {
			ServiceID string `json:"service_id"`
		} `json:"service_gc_safe_points"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	var out []string
	for _, p := range body.Points {
		if strings.Contains(p.ServiceID, "-creating-") || strings.Contains(p.ServiceID, "-resuming-") {
			out = append(out, p.ServiceID)
		}
	}
	return out
}

func TestBadInput(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	api := shared.server.API
	// The refused requests are compared with a changefeed that exists.
	require.NoError(t, api.Create(ctx, cluster.Feed{ID: "exists", SinkURI: "blackhole://"}))
	t.Cleanup(func() { _ = api.Delete(context.Background(), "exists") })
	closed := httptest.NewServer(http.NotFoundHandler())
	unreachable := strings.TrimPrefix(closed.URL, "http://")
	closed.Close()
	now, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	future := now + 3600_000<<18
	tidb := "tidb://root@" + shared.up.Downstream + "/"

	cases := []struct {
		name, method, path string
		body               any
		status             int
		code               string
		text               string
	}{
		{"no sink", "POST", "", map[string]any{"changefeed_id": "bad"}, 400, "CDC:ErrSinkURIInvalid", "sink_uri is empty"},
		{"unknown scheme", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": "blackhome://"}, 400, "CDC:ErrSinkURIInvalid", "the sink scheme (blackhome) is not supported"},
		{"unparsable URI", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": "mysql://a b:3306/%zz"}, 400, "CDC:ErrSinkURIInvalid", ""},
		{"unreachable downstream", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": "mysql://root:secret@" + unreachable + "/"}, 400, "CDC:ErrMySQLConnectionError", "fail to open MySQL connection"},
		{"wrong password", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": strings.Replace(tidb, "root@", "root:secret@", 1)}, 400, "CDC:ErrMySQLConnectionError", ""},
		{"bad worker count", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": tidb + "?worker-count=0"}, 400, "CDC:ErrMySQLInvalidConfig", ""},
		{"bad number", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": tidb + "?max-txn-row=many"}, 400, "CDC:ErrMySQLInvalidConfig", ""},
		{"bad time zone", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": tidb + "?time-zone=Mars/Olympus"}, 400, "", ""},
		{"protocol with MySQL", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": tidb + "?protocol=canal-json"}, 400, "CDC:ErrSinkURIInvalid", "incompatible"},
		{"bad atomicity", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": tidb + "?transaction-atomicity=global"}, 400, "CDC:ErrSinkURIInvalid", "global level atomicity is not supported"},
		{"start in the future", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": "blackhole://", "start_ts": future}, 400, "CDC:ErrAPIInvalidParam", "larger than current tso"},
		{"start before GC", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": "blackhole://", "start_ts": 1}, 400, "CDC:ErrStartTsBeforeGC", "GC safepoint"},
		{"target before start", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": "blackhole://", "start_ts": now, "target_ts": now}, 400, "CDC:ErrTargetTsBeforeStartTs", ""},
		{"duplicate id", "POST", "", map[string]any{"changefeed_id": "exists", "sink_uri": "blackhole://"}, 500, "CDC:ErrChangeFeedAlreadyExists", "changefeed already exists, exists"},
		{"bad id", "POST", "", map[string]any{"changefeed_id": "a_b", "sink_uri": "blackhole://"}, 400, "CDC:ErrAPIInvalidParam", "invalid changefeed_id: a_b"},
		{"bad namespace", "POST", "", map[string]any{"changefeed_id": "bad", "namespace": "-", "sink_uri": "blackhole://"}, 400, "CDC:ErrAPIInvalidParam", "invalid namespace: -"},
		{"bad rule", "POST", "", map[string]any{"changefeed_id": "bad", "sink_uri": "blackhole://", "replica_config": map[string]any{"filter": map[string]any{"rules": []string{"a.b.c"}}}}, 500, "", ""},
		{"wrong type", "POST", "", map[string]any{"changefeed_id": 5, "sink_uri": "blackhole://"}, 400, "CDC:ErrAPIInvalidParam", "cannot unmarshal"},
		{"get unknown", "GET", "/nobody", nil, 400, "CDC:ErrChangeFeedNotExists", "changefeed not exists, default/nobody"},
		{"status of unknown", "GET", "/nobody/status", nil, 400, "CDC:ErrChangeFeedNotExists", ""},
		{"pause unknown", "POST", "/nobody/pause", nil, 400, "CDC:ErrChangeFeedNotExists", ""},
		{"resume unknown", "POST", "/nobody/resume", map[string]any{}, 400, "CDC:ErrChangeFeedNotExists", ""},
		{"bad id in path", "GET", "/a_b", nil, 400, "CDC:ErrAPIInvalidParam", "invalid changefeed_id: a_b"},
		{"resume in the future", "POST", "/exists/resume", map[string]any{"overwrite_checkpoint_ts": future}, 400, "CDC:ErrAPIInvalidParam", "larger than current tso"},
		{"resume before GC", "POST", "/exists/resume", map[string]any{"overwrite_checkpoint_ts": 1}, 400, "CDC:ErrStartTsBeforeGC", ""},
	}
	before, pointsBefore := metadata(ctx, t), safePoints(ctx, t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := api.Do(ctx, c.method, "/api/v2/changefeeds"+c.path, c.body, nil)
			var e *cluster.APIError
			require.True(t, errors.As(err, &e), "%v", err)
			require.Equal(t, c.status, e.Status, e.Body)
			if c.code != "" {
				require.Equal(t, c.code, e.Code, e.Body)
			}
			require.Contains(t, e.Msg, c.text)
			require.NotContains(t, e.Body, "secret")
		})
	}
	require.Equal(t, before, metadata(ctx, t), "a refused request wrote metadata")
	require.ElementsMatch(t, pointsBefore, safePoints(ctx, t), "a refused request left a safe point")
}
