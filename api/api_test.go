package api

import (
	"bytes"
	"context"
	"encoding/json"
	stderrors "errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	// Times in answers are local; the documents' vectors are in this zone.
	time.Local = time.FixedZone("", 8*3600)
	flag.Parse()
	// A library of the upstream clients has a goroutine for good.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

func optionsFor(c *servicetest.Cluster) Options {
	return Options{
		Service:  c.Service(),
		Config:   config.DefaultServerConfig(),
		LogLevel: zap.NewAtomicLevel(),
		Gatherer: prometheus.NewRegistry(),
		Logger:   zap.NewNop(),
	}
}

func handlerFor(c *servicetest.Cluster) http.Handler { return NewHandler(optionsFor(c)) }

func call(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, path, r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// dump is an answer as the golden files hold it.
func dump(w *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", w.Code)
	for _, name := range []string{"Content-Type", "Location"} {
		if v := w.Header().Get(name); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintf(&b, "\n%s", w.Body)
	return b.String()
}

// Two changefeeds that show most of what can be shown.
func populated() *servicetest.Cluster {
	c := servicetest.New()
	c.Add(servicetest.Feed("test1", model.StateNormal, "mysql://root:secret@127.0.0.1:3306/?worker-count=16&max-txn-row=5000"))
	f := servicetest.Feed("test2", model.StatePending, "blackhole://")
	f.Status, f.ResolvedTs, f.Tasks = nil, 0, nil
	f.Info.Error = &model.RunningError{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.Local), Addr: servicetest.Address,
		Code: "CDC:ErrMySQLConnectionError", Message: "[CDC:ErrMySQLConnectionError]fail to open MySQL connection",
	}
	retry := time.Date(2026, 1, 2, 3, 4, 25, 0, time.Local)
	f.Stalled = &model.Stall{Since: f.Info.Error.Time, Reason: model.StallBackoff, Detail: "connection refused", RetryAt: &retry}
	c.Add(f)
	return c
}

func TestAnswers(t *testing.T) {
	type change func(*servicetest.Cluster)
	healthy := change(func(*servicetest.Cluster) {})
	two := change(func(c *servicetest.Cluster) {
		c.SetView(func(v *owner.View) {
			v.Captures = append(v.Captures, owner.CaptureView{Info: &model.CaptureInfo{ID: "other", AdvertiseAddr: "127.0.0.1:8302"}})
		})
		f := *servicetest.Feed("test3", model.StateNormal, "blackhole://")
		f.Scheduled, f.Tasks = false, []owner.Task{{CaptureID: "other", TableIDs: []int64{1, 2}}}
		c.Add(&f)
	})
	stopped := change(func(c *servicetest.Cluster) { c.SetState(model.DefaultChangefeedID("test1"), model.StateStopped) })
	oldStore := errors.ErrVersionIncompatible.New("TiKV store 1 is too old")
	tests := []struct {
		name, method, path, body string
		change                   change
	}{
		// The requests of the v1 documents, unchanged.
		{"v1_status", "GET", "/api/v1/status", "", healthy},
		{"v1_health", "GET", "/api/v1/health", "", change(func(c *servicetest.Cluster) {
			c.Add(servicetest.Feed("test2", model.StateNormal, "blackhole://"))
		})},
		{"v1_create", "POST", "/api/v1/changefeeds", `{"changefeed_id":"test5","sink_uri":"blackhole://"}`, healthy},
		{"v1_delete", "DELETE", "/api/v1/changefeeds/test1", "", healthy},
		{"v1_list", "GET", "/api/v1/changefeeds?state=normal", "", healthy},
		{"v1_list_warning", "GET", "/api/v1/changefeeds?state=warning", "", healthy},
		{"v2_list_warning", "GET", "/api/v2/changefeeds?state=warning", "", healthy},
		{"v1_list_all", "GET", "/api/v1/changefeeds", "", healthy},
		{"v1_get", "GET", "/api/v1/changefeeds/test1", "", healthy},
		{"v1_get_pending", "GET", "/api/v1/changefeeds/test2", "", healthy},
		{"v1_pause", "POST", "/api/v1/changefeeds/test1/pause", "", healthy},
		{"v1_resume", "POST", "/api/v1/changefeeds/test1/resume", "", stopped},
		{"v1_processors", "GET", "/api/v1/processors", "", healthy},
		{"v1_processor", "GET", "/api/v1/processors/test1/" + servicetest.CaptureID, "", healthy},
		{"v1_captures", "GET", "/api/v1/captures", "", healthy},
		{"v1_resign", "POST", "/api/v1/owner/resign", "", healthy},
		{"v1_log", "POST", "/api/v1/log", `{"log_level":"debug"}`, healthy},
		// v1 errors.
		{"v1_unhealthy", "GET", "/api/v1/health", "", change(func(c *servicetest.Cluster) {
			c.SetView(func(v *owner.View) { v.Incompatible = stderrors.New("versions") })
		})},
		{"v1_update", "PUT", "/api/v1/changefeeds/test1", `{"mounter_worker_num":32}`, stopped},
		{"v1_update_same", "PUT", "/api/v1/changefeeds/test1", `{"mounter_worker_num":16}`, stopped},
		{"v1_update_running", "PUT", "/api/v1/changefeeds/test1", `{bad`, healthy},
		{"v1_update_bad_body", "PUT", "/api/v1/changefeeds/test1", `{"mounter_worker_num":"x"}`, stopped},
		{"v1_update_target", "PUT", "/api/v1/changefeeds/test1", `{"target_ts":32}`, stopped},
		{"v1_get_unknown", "GET", "/api/v1/changefeeds/nope", "", healthy},
		{"v1_get_bad_id", "GET", "/api/v1/changefeeds/a_b", "", healthy},
		{"v1_delete_unknown", "DELETE", "/api/v1/changefeeds/nope", "", healthy},
		{"v1_create_no_id", "POST", "/api/v1/changefeeds", `{"sink_uri":"blackhole://"}`, healthy},
		{"v1_create_no_uri", "POST", "/api/v1/changefeeds", `{"changefeed_id":"a"}`, healthy},
		{"v1_create_duplicate", "POST", "/api/v1/changefeeds", `{"changefeed_id":"test1","sink_uri":"blackhole://"}`, healthy},
		{"v1_create_bad_rule", "POST", "/api/v1/changefeeds", `{"changefeed_id":"a","sink_uri":"blackhole://","filter_rules":["rule"]}`, healthy},
		{"v1_create_empty_body", "POST", "/api/v1/changefeeds", "", healthy},
		{"v1_create_bad_zone", "POST", "/api/v1/changefeeds", `{"changefeed_id":"a","sink_uri":"blackhole://","timezone":"x/y"}`, healthy},
		{"v1_processor_abnormal", "GET", "/api/v1/processors/test2/" + servicetest.CaptureID, "", healthy},
		{"v1_log_bad_level", "POST", "/api/v1/log", `{"log_level":"loud"}`, healthy},
		{"v1_log_bad_body", "POST", "/api/v1/log", `{"log_level":1}`, healthy},
		{"v1_unready", "GET", "/api/v1/status", "", change(func(c *servicetest.Cluster) { c.IsReady = false })},
		{"v1_unregistered", "GET", "/api/v1/status", "", change(func(c *servicetest.Cluster) { c.Registered = false })},

		// The requests of the v2 documents, unchanged.
		{"v2_status", "GET", "/api/v2/status", "", healthy},
		{"v2_health", "GET", "/api/v2/health", "", healthy},
		{"v2_create", "POST", "/api/v2/changefeeds", `{"changefeed_id":"test5","sink_uri":"blackhole://"}`, healthy},
		{"v2_delete", "DELETE", "/api/v2/changefeeds/test1", "", healthy},
		{"v2_delete_unknown", "DELETE", "/api/v2/changefeeds/nope", "", healthy},
		{"v2_list", "GET", "/api/v2/changefeeds?state=normal", "", healthy},
		{"v2_list_all", "GET", "/api/v2/changefeeds", "", healthy},
		{"v2_list_none", "GET", "/api/v2/changefeeds?namespace=other", "", healthy},
		{"v2_get", "GET", "/api/v2/changefeeds/test1", "", healthy},
		{"v2_get_pending", "GET", "/api/v2/changefeeds/test2", "", healthy},
		{"v2_meta_info", "GET", "/api/v2/changefeeds/test1/meta_info", "", healthy},
		{"v2_pause", "POST", "/api/v2/changefeeds/test1/pause", "", healthy},
		{"v2_resume", "POST", "/api/v2/changefeeds/test1/resume", `{"overwrite_checkpoint_ts":0}`, stopped},
		{"v2_feed_status", "GET", "/api/v2/changefeeds/test1/status", "", healthy},
		{"v2_feed_status_pending", "GET", "/api/v2/changefeeds/test2/status", "", healthy},
		{"v2_processors", "GET", "/api/v2/processors", "", healthy},
		{"v2_processor", "GET", "/api/v2/processors/test1/" + servicetest.CaptureID, "", healthy},
		{"v2_captures", "GET", "/api/v2/captures", "", healthy},
		{"v2_resign", "POST", "/api/v2/owner/resign", "", healthy},
		{"v2_log", "POST", "/api/v2/log", `{"log_level":"debug"}`, healthy},
		{"v2_tso", "POST", "/api/v2/tso", `{}`, healthy},
		// v2 errors.
		{"v2_update", "PUT", "/api/v2/changefeeds/test1", `{"sink_uri":"blackhole://","replica_config":{"filter":{"rules":["a.*"]},"memory_quota":5}}`, stopped},
		{"v2_update_documented", "PUT", "/api/v2/changefeeds/test1", `{"target_ts":32}`, stopped},
		{"v2_update_same", "PUT", "/api/v2/changefeeds/test1", `{}`, stopped},
		{"v2_update_running", "PUT", "/api/v2/changefeeds/test1", `{bad`, healthy},
		{"v2_update_partial_integrity", "PUT", "/api/v2/changefeeds/test1", `{"replica_config":{"integrity":{"integrity_check_level":"none"}}}`, stopped},
		{"v2_update_bad_rule", "PUT", "/api/v2/changefeeds/test1", `{"replica_config":{"filter":{"rules":["rule"]}}}`, stopped},
		{"v2_update_bad_uri", "PUT", "/api/v2/changefeeds/test1", `{"sink_uri":"mysql://h/?protocol=canal"}`, stopped},
		{"v2_update_malformed", "PUT", "/api/v2/changefeeds/test1", ``, stopped},
		{"v2_verify_table", "POST", "/api/v2/verify_table", `{"start_ts":1}`, change(func(c *servicetest.Cluster) {
			c.Tables = []*model.Table{
				{Schema: "b", Name: "keyless", ID: 3, Info: &timodel.TableInfo{}},
				{Schema: "b", Name: "keyed", ID: 2, Info: &timodel.TableInfo{}, HandleKey: []int{0}, PartitionIDs: []int64{4}},
				{Schema: "a", Name: "keyed", ID: 1, Info: &timodel.TableInfo{}, HandleKey: []int{0}},
				{Schema: "mysql", Name: "user", ID: 5, Info: &timodel.TableInfo{}},
			}
		})},
		{"v2_verify_table_none", "POST", "/api/v2/verify_table", `{}`, healthy},
		{"v2_verify_table_bad_rule", "POST", "/api/v2/verify_table", `{"replica_config":{"filter":{"rules":["rule"]}}}`, healthy},
		{"v2_synced", "GET", "/api/v2/changefeeds/test1/synced", "", healthy},
		{"v2_synced_malformed", "GET", "/api/v2/changefeeds/test1/synced", "{", healthy},
		{"v2_delete_safepoint", "DELETE", "/api/v2/unsafe/service_gc_safepoint", "{}", healthy},
		{"v2_get_unknown", "GET", "/api/v2/changefeeds/nope?namespace=ns", "", healthy},
		{"v2_create_no_uri", "POST", "/api/v2/changefeeds", `{}`, healthy},
		{"v2_create_duplicate", "POST", "/api/v2/changefeeds", `{"changefeed_id":"test1","sink_uri":"blackhole://"}`, healthy},
		{"v2_create_future", "POST", "/api/v2/changefeeds", `{"changefeed_id":"a","sink_uri":"blackhole://","start_ts":18446744073709551615}`, healthy},
		{"v2_create_bad_rule", "POST", "/api/v2/changefeeds", `{"changefeed_id":"a","sink_uri":"blackhole://","replica_config":{"filter":{"rules":["rule"]}}}`, healthy},
		{"v2_create_wrong_type", "POST", "/api/v2/changefeeds", `{"replica_config":{"memory_quota":"1"}}`, healthy},
		{"v2_create_malformed", "POST", "/api/v2/changefeeds", `{bad}`, healthy},
		{"v2_create_bad_duration", "POST", "/api/v2/changefeeds", `{"replica_config":{"sync_point_interval":true}}`, healthy},
		{"v2_create_unknown_protocol", "POST", "/api/v2/changefeeds", `{"changefeed_id":"a","sink_uri":"kafka://h/t?protocol=x"}`, healthy},
		{"v2_resume_empty_body", "POST", "/api/v2/changefeeds/test1/resume", "", stopped},
		{"v2_tso_unknown", "POST", "/api/v2/tso", `{"id":7}`, healthy},
		{"v2_processor_abnormal", "GET", "/api/v2/processors/test2/" + servicetest.CaptureID, "", healthy},
		{"v2_processor_unknown_capture", "GET", "/api/v2/processors/test1/nope", "", healthy},
		{"v2_unready", "GET", "/api/v2/health", "", change(func(c *servicetest.Cluster) { c.IsReady = false })},
		{"v2_no_leader", "GET", "/api/v2/captures", "", change(func(c *servicetest.Cluster) { c.IsOwner, c.OwnerCapture = false, "" })},

		// Where tables run.
		{"v1_rebalance", "POST", "/api/v1/changefeeds/test1/tables/rebalance_table", "", healthy},
		{"v1_rebalance_unknown", "POST", "/api/v1/changefeeds/nope/tables/rebalance_table", "", healthy},
		{"v1_move_table", "POST", "/api/v1/changefeeds/test1/tables/move_table", `{"capture_id":"6f19a6d9-0f8c-4dc9-b299-3ba7c0f216f5","table_id":49}`, healthy},
		{"v1_move_table_alias", "POST", "/api/v1/changefeeds/test1/tables/move_table", `{"target_capture_id":"c","table_id":49}`, healthy},
		{"v1_move_table_unknown", "POST", "/api/v1/changefeeds/nope/tables/move_table", `{bad`, healthy},
		{"v1_move_table_bad_body", "POST", "/api/v1/changefeeds/test1/tables/move_table", `{"table_id":"x"}`, healthy},
		{"v1_move_table_bad_capture", "POST", "/api/v1/changefeeds/test1/tables/move_table", `{"capture_id":"a_b","target_capture_id":"c"}`, healthy},
		{"v1_drain", "PUT", "/api/v1/captures/drain", `{"capture_id":"other"}`, two},
		{"v1_drain_bad_body", "PUT", "/api/v1/captures/drain", `{"capture_id":1}`, healthy},
		{"v1_drain_alone", "PUT", "/api/v1/captures/drain", `{"capture_id":"nope"}`, healthy},
		{"v1_drain_unknown", "PUT", "/api/v1/captures/drain", `{}`, two},
		{"v1_drain_owner", "PUT", "/api/v1/captures/drain", `{"capture_id":"` + servicetest.CaptureID + `"}`, two},
		{"v1_drain_old_store", "PUT", "/api/v1/captures/drain", `{"capture_id":"other"}`, func(c *servicetest.Cluster) { two(c); c.StoresErr = oldStore }},
		{"v2_drain_old_store", "POST", "/api/v2/captures/other/drain", "", func(c *servicetest.Cluster) { two(c); c.StoresErr = oldStore }},
		{"v2_drain", "POST", "/api/v2/captures/other/drain", "", two},
		{"v2_drain_alone", "POST", "/api/v2/captures/nope/drain", "", healthy},
		{"v2_drain_unknown", "POST", "/api/v2/captures/a_b/drain", "", two},
		{"v2_drain_owner", "POST", "/api/v2/captures/" + servicetest.CaptureID + "/drain", "", two},
		{"v2_resolve_lock", "POST", "/api/v2/unsafe/resolve_lock", `{"region_id":8,"ts":5}`, healthy},
		{"v2_resolve_lock_unknown", "POST", "/api/v2/unsafe/resolve_lock", `null`, healthy},
		{"v2_resolve_lock_malformed", "POST", "/api/v2/unsafe/resolve_lock", ``, healthy},
		{"v2_delete_safepoint_unknown", "DELETE", "/api/v2/unsafe/service_gc_safepoint", `{"id":7}`, healthy},
		{"v2_delete_safepoint_malformed", "DELETE", "/api/v2/unsafe/service_gc_safepoint", ``, healthy},
		{"v2_tso_pd_failure", "POST", "/api/v2/tso", `{}`, change(func(c *servicetest.Cluster) { c.TSOErr = stderrors.New("pd is down") })},

		// Outside of /api, and what is not there.
		{"legacy_rebalance", "POST", "/capture/owner/rebalance_trigger?cf-id=test1", "", healthy},
		{"legacy_rebalance_bad", "POST", "/capture/owner/rebalance_trigger", "", healthy},
		{"legacy_rebalance_unknown", "POST", "/capture/owner/rebalance_trigger?cf-id=nope", "", healthy},
		{"legacy_rebalance_not_owner", "POST", "/capture/owner/rebalance_trigger", "", change(func(c *servicetest.Cluster) { c.IsOwner = false })},
		{"legacy_move", "POST", "/capture/owner/move_table?cf-id=test1&target-cp-id=c&table-id=7", "", healthy},
		{"legacy_move_bad_capture", "POST", "/capture/owner/move_table?cf-id=test1&target-cp-id=a_b&table-id=7", "", healthy},
		{"legacy_move_bad_table", "POST", "/capture/owner/move_table?cf-id=test1&target-cp-id=c&table-id=x", "", healthy},
		{"legacy_move_unknown", "POST", "/capture/owner/move_table?cf-id=nope&target-cp-id=c&table-id=7", "", healthy},
		{"legacy_status", "GET", "/status", "", healthy},
		{"legacy_config", "GET", "/config", "", healthy},
		{"legacy_log", "POST", "/admin/log", `"debug"`, healthy},
		{"legacy_log_bad", "POST", "/admin/log", `"loud"`, healthy},
		{"legacy_log_empty", "POST", "/admin/log", "", healthy},
		{"legacy_debug_info", "GET", "/debug/info", "", healthy},
		{"legacy_resign", "POST", "/capture/owner/resign", "", healthy},
		{"legacy_resign_not_owner", "POST", "/capture/owner/resign", "", change(func(c *servicetest.Cluster) { c.IsOwner = false })},
		{"legacy_pause", "POST", "/capture/owner/admin?cf-id=test1&admin-job=1", "", healthy},
		{"legacy_admin_bad_job", "POST", "/capture/owner/admin?cf-id=test1&admin-job=x", "", healthy},
		{"legacy_admin_other_job", "POST", "/capture/owner/admin?cf-id=test1&admin-job=4", "", healthy},
		{"legacy_admin_unknown", "POST", "/capture/owner/admin?cf-id=a_b&admin-job=1", "", healthy},
		{"legacy_query", "POST", "/capture/owner/changefeed/query?cf-id=test1", "", healthy},
		{"legacy_query_pending", "POST", "/capture/owner/changefeed/query?cf-id=test2", "", healthy},
		{"legacy_query_unknown", "POST", "/capture/owner/changefeed/query?cf-id=nope", "", change(func(c *servicetest.Cluster) { c.IsOwner = false })},
		{"legacy_query_bad", "POST", "/capture/owner/changefeed/query", "", healthy},
		{"v2_metadata", "GET", "/api/v2/unsafe/metadata", "", healthy},
		{"unknown_route", "GET", "/api/v2/nope", "", healthy},
		{"wrong_method", "PATCH", "/api/v2/changefeeds", "", healthy},
		{"head", "HEAD", "/api/v2/changefeeds", "", healthy},
		{"double_slash", "GET", "/api//v2/changefeeds", "", healthy},
		{"trailing_slash_get", "GET", "/api/v2/changefeeds/?state=all", "", healthy},
		{"trailing_slash_post", "POST", "/api/v2/changefeeds/", `{}`, healthy},
		{"slash_in_id", "GET", "/api/v2/changefeeds/a%2Fb", "", healthy},
	}
	doc := document(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := populated()
			tt.change(c)
			answer := call(handlerFor(c), tt.method, tt.path, tt.body)
			requireDescribed(t, doc, tt.method, tt.path, answer)
			got := dump(answer)
			got = strings.ReplaceAll(got, fmt.Sprintf(`"pid": %d`, os.Getpid()), `"pid": 1`)
			golden := filepath.Join("testdata", tt.name+".golden")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			if tt.name != "v2_meta_info" {
				require.NotContains(t, got, "secret")
			}
		})
	}
}

// TestDocumentedCurl: curl sends the documented header as one of an odd name
// and adds a form type by itself.
func TestDocumentedCurl(t *testing.T) {
	srv := httptest.NewServer(handlerFor(populated()))
	defer srv.Close()
	req, err := http.NewRequest("POST", srv.URL+"/api/v2/changefeeds", strings.NewReader(`{"changefeed_id":"test5","sink_uri":"blackhole://"}`))
	require.NoError(t, err)
	req.Header["'Content-type'"] = []string{"'application/json'"}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := srv.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode)
	srv.Client().CloseIdleConnections()
}

func TestBodiesAreReadTolerantly(t *testing.T) {
	for name, body := range map[string]string{
		"letter case":         `{"CHANGEFEED_ID":"a","Sink_Uri":"blackhole://"}`,
		"unknown keys":        `{"changefeed_id":"a","sink_uri":"blackhole://","nope":1,"replica_config":{"enable_old_value":true}}`,
		"data after":          `{"changefeed_id":"a","sink_uri":"blackhole://"} trash`,
		"null fields":         `{"changefeed_id":"a","sink_uri":"blackhole://","start_ts":null,"replica_config":null}`,
		"null objects inside": `{"changefeed_id":"a","sink_uri":"blackhole://","replica_config":{"filter":null,"sink":null}}`,
		"duration text":       `{"changefeed_id":"a","sink_uri":"blackhole://","replica_config":{"sync_point_interval":"10m","sync_point_retention":3600000000000}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := servicetest.New()
			w := call(handlerFor(c), "POST", "/api/v2/changefeeds", body)
			require.Equal(t, 200, w.Code, w.Body)
			require.NotNil(t, c.Stored(model.DefaultChangefeedID("a")))
		})
	}
	w := call(handlerFor(servicetest.New()), "POST", "/api/v2/changefeeds", "null")
	require.Equal(t, 400, w.Code)
	require.Contains(t, w.Body.String(), "sink_uri is empty", "null is an empty object")
}

func TestReplicaConfigIsMergedIntoDefaults(t *testing.T) {
	c := servicetest.New()
	w := call(handlerFor(c), "POST", "/api/v2/changefeeds", `{"changefeed_id":"a","sink_uri":"mysql://h/",
		"replica_config":{"case_sensitive":true,"sink":{"safe_mode":true,"mysql_config":{"worker_count":3}},
		"consistent":{"max_log_size":1},"filter":{"rules":["a.*"]}}}`)
	require.Equal(t, 200, w.Code, w.Body)
	want := config.DefaultReplicaConfig()
	want.CaseSensitive = true
	safe, workers := true, 3
	want.Sink.SafeMode = &safe
	want.Sink.MySQLConfig = &config.MySQLConfig{WorkerCount: &workers}
	want.Consistent.MaxLogSize = 1
	want.Filter.Rules = []string{"a.*"}
	require.Equal(t, want, c.Stored(model.DefaultChangefeedID("a")).Config)
}

func TestV1SinkConfigReplacesTheDefault(t *testing.T) {
	c := servicetest.New()
	w := call(handlerFor(c), "POST", "/api/v1/changefeeds", `{"changefeed_id":"a","sink_uri":"kafka://h/t",
		"filter_rules":["foo*.*","bar*.*"],"mounter_worker_num":3,
		"sink_config":{"dispatchers":[{"matcher":["test1.*","test2.*"],"dispatcher":"ts"},{"matcher":["test3.*"],"partition":"rowid"}],"protocal":"canal-json"}}`)
	require.Equal(t, 202, w.Code, w.Body)
	cfg := c.Stored(model.DefaultChangefeedID("a")).Config
	require.Equal(t, "canal-json", *cfg.Sink.Protocol)
	require.Equal(t, "ts", cfg.Sink.DispatchRules[0].PartitionRule)
	require.Empty(t, cfg.Sink.DispatchRules[0].DispatcherRule)
	require.Nil(t, cfg.Sink.CSVConfig)
	require.Equal(t, []string{"foo*.*", "bar*.*"}, cfg.Filter.Rules)
	require.Equal(t, 3, cfg.Mounter.WorkerNum)

	w = call(handlerFor(c), "POST", "/api/v1/changefeeds", `{"changefeed_id":"b","sink_uri":"kafka://h/t?protocol=canal",
		"sink_config":{"dispatchers":[{"matcher":["a.*"],"dispatcher":"ts","partition":"table"}]}}`)
	require.Equal(t, 500, w.Code)
	require.Contains(t, w.Body.String(), "CDC:ErrSinkInvalidConfig")
}

func TestRandomIDOnV2(t *testing.T) {
	w := call(handlerFor(servicetest.New()), "POST", "/api/v2/changefeeds", `{"sink_uri":"blackhole://"}`)
	var body struct {
		ID string `json:"id"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.True(t, model.ValidID(body.ID))
	require.Len(t, body.ID, 36)
}

func TestLogLevelIsSet(t *testing.T) {
	o := optionsFor(servicetest.New())
	h := NewHandler(o)
	for _, tt := range []struct {
		path, body string
		want       zapcore.Level
	}{
		{"/api/v1/log", `{"log_level":"DEBUG"}`, zapcore.DebugLevel},
		{"/api/v2/log", `{}`, zapcore.InfoLevel},
		{"/api/v2/log", `null`, zapcore.InfoLevel},
		{"/api/v2/log", `{"log_level":"fatal"}`, zapcore.FatalLevel},
		{"/admin/log", `"warn"`, zapcore.WarnLevel},
	} {
		require.Equal(t, 200, call(h, "POST", tt.path, tt.body).Code)
		require.Equal(t, tt.want, o.LogLevel.Level(), tt.body)
	}
}

func TestPanicIsAnEmpty500(t *testing.T) {
	c := populated()
	o := optionsFor(c)
	broken := c.Options()
	broken.TablesAt = func(context.Context, uint64) ([]*model.Table, func(), error) { panic("boom") }
	o.Service = service.New(broken)
	w := call(NewHandler(o), "POST", "/api/v2/changefeeds", `{"sink_uri":"blackhole://"}`)
	require.Equal(t, 500, w.Code)
	require.Empty(t, w.Body.String())
	require.Empty(t, w.Header().Get("Content-Type"))
}

func TestMetricsAndProfiles(t *testing.T) {
	o := optionsFor(servicetest.New())
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_start_time_seconds"}))
	o.Gatherer = reg
	h := NewHandler(o)
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		w := call(h, method, "/metrics", "")
		require.Equal(t, 200, w.Code, method)
		require.Contains(t, w.Header().Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
	}
	require.Contains(t, call(h, "GET", "/metrics", "").Body.String(), "process_start_time_seconds 0")
	require.Contains(t, call(h, "GET", "/debug/pprof/", "").Body.String(), "goroutine")
	require.Equal(t, 200, call(h, "GET", "/debug/pprof/heap?debug=1", "").Code)
	require.Equal(t, 200, call(h, "GET", "/debug/pprof/cmdline", "").Code)
	require.Equal(t, 404, call(h, "GET", "/debug/pprof/nope", "").Code)
}

func TestAccessLog(t *testing.T) {
	var lines []string
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), writer(func(b []byte) {
		lines = append(lines, string(b))
	}), zapcore.InfoLevel)
	o := optionsFor(populated())
	o.Logger = zap.New(core)
	h := NewHandler(o)
	req := httptest.NewRequest("GET", "/api/v2/changefeeds/nope?namespace=x", nil)
	req.Header.Set("X-client-version", "v8.5.3")
	req.SetBasicAuth("me", "hidden")
	h.ServeHTTP(httptest.NewRecorder(), req)
	require.Len(t, lines, 1)
	for _, want := range []string{`"status":400`, `"method":"GET"`, `"path":"/api/v2/changefeeds/nope"`, `"query":"namespace=x"`,
		`"client-version":"v8.5.3"`, `"username":"me"`, "ErrChangeFeedNotExists", `"duration"`} {
		require.Contains(t, lines[0], want)
	}
	require.NotContains(t, lines[0], "hidden")
	call(h, "GET", "/status", "")
	require.Len(t, lines, 1, "legacy routes are not logged")
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(bytes.Clone(b)); return len(b), nil }
func (w writer) Sync() error                 { return nil }

// TestErrorsKeepTheirStatus walks through the status rule.
func TestErrorsKeepTheirStatus(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{errors.ErrMySQLConnectionError.Wrap(stderrors.New("refused")), 400, "CDC:ErrMySQLConnectionError"},
		{errors.ErrKafkaInvalidConfig.Wrap(errors.ErrMySQLInvalidConfig.New()), 400, "CDC:ErrKafkaInvalidConfig"},
		{errors.ErrKafkaInvalidConfig.New(), 500, "CDC:ErrKafkaInvalidConfig"},
		{stderrors.New("from afar: [CDC:ErrSinkURIInvalid]x"), 400, ""},
		{stderrors.New("plain"), 500, ""},
	} {
		c := servicetest.New()
		c.ProbeErr = tt.err
		w := call(handlerFor(c), "POST", "/api/v2/changefeeds", `{"sink_uri":"blackhole://"}`)
		require.Equal(t, tt.status, w.Code, tt.err)
		var body struct {
			Msg  string `json:"error_msg"`
			Code string `json:"error_code"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
		require.Equal(t, tt.code, body.Code)
		require.Equal(t, tt.err.Error(), body.Msg)
	}
}

// TestPollsAreNotLogged: successful reads are for debugging only.
func TestPollsAreNotLogged(t *testing.T) {
	var lines []string
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), writer(func(b []byte) {
		lines = append(lines, string(b))
	}), zapcore.DebugLevel)
	o := optionsFor(populated())
	o.Logger = zap.New(core)
	h := NewHandler(o)
	call(h, "GET", "/api/v2/changefeeds/test1/status", "")
	call(h, "POST", "/api/v2/changefeeds/test1/pause", "")
	call(h, "GET", "/api/v2/changefeeds/nope", "")
	require.Len(t, lines, 3)
	require.Contains(t, lines[0], `"level":"debug"`)
	require.Contains(t, lines[1], `"level":"info"`)
	require.Contains(t, lines[2], `"level":"info"`)
	require.NotContains(t, lines[1], `"error"`)
	require.Contains(t, lines[2], `"error"`)
}
