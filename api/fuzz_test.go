package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

// FuzzCreate: whatever the body, the answer is a documented one, and a
// refusal leaves nothing behind.
func FuzzCreate(f *testing.F) {
	for _, body := range []string{
		`{"changefeed_id":"a","sink_uri":"blackhole://"}`,
		`{"changefeed_id":"a","sink_uri":"mysql://r:p@h/?transaction-atomicity=table","replica_config":{"sink":{"mysql_config":{"worker_count":1}}}}`,
		`{"sink_uri":"kafka://h/t?protocol=simple","replica_config":{"sink":{"kafka_config":{"large_message_handle":{"large_message_handle_option":"claim-check"}}}}}`,
		`{"sink_uri":"file:///x?protocol=csv","replica_config":{"sink":{"csv":{"delimiter":"\n"}}}}`,
		`{"sink_uri":"blackhole://","replica_config":{"consistent":{"level":"eventual","memory_usage":null},"filter":{"event_filters":[null]}}}`,
		`{"sink_uri":"blackhole://","replica_config":{"sink":{"dispatchers":[null],"column_selectors":[null]},"integrity":null}}`,
		`{"start_ts":-1}`, `[]`, `null`, ``,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/api/v1/changefeeds", "/api/v2/changefeeds"} {
			c := servicetest.New()
			w := call(handlerFor(c), "POST", path, body)
			switch w.Code {
			case 200, 202:
				require.NotNil(t, c.StoredUpstream())
			case 400, 500:
				var answer map[string]string
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
				require.Contains(t, answer, "error_code")
				require.NotEmpty(t, answer["error_msg"])
				require.Nil(t, c.StoredUpstream())
				require.Empty(t, c.SafePoints())
			default:
				t.Fatalf("status %d", w.Code)
			}
		}
	})
}

// FuzzRoutes: whatever is asked of whatever route, the answer says something,
// shows no secret, and a refusal has no effect.
func FuzzRoutes(f *testing.F) {
	var routes gin.RoutesInfo
	for _, r := range handlerFor(populated()).(*gin.Engine).Routes() {
		if !strings.HasPrefix(r.Path, "/debug/pprof") && r.Path != "/metrics" && r.Path != "/swagger/*any" {
			routes = append(routes, r)
		}
	}
	for i := range routes {
		f.Add(uint8(i), "test1", servicetest.CaptureID, "state=all&namespace=default", `{"capture_id":"a","table_id":1,"ts":1,"region_id":8}`)
	}
	f.Add(uint8(3), "a b/%", "..", "namespace=%00&state=\xff", `{"capture_id":{},"start_ts":-1}`)
	f.Add(uint8(5), "test1", "", "cf-id=test1&admin-job=9&table-id=x", `[null,"\ud800"]`)
	f.Fuzz(func(t *testing.T, n uint8, feed, capture, query, body string) {
		r := routes[int(n)%len(routes)]
		path := strings.NewReplacer(":changefeed_id", url.PathEscape(feed), ":capture_id", url.PathEscape(capture)).Replace(r.Path)
		c := populated()
		req, err := http.NewRequest(r.Method, "http://cdc"+path, strings.NewReader(body))
		if err != nil {
			t.Skip("no HTTP client would send it")
		}
		req.URL.RawQuery = query
		w := httptest.NewRecorder()
		handlerFor(c).ServeHTTP(w, req)
		require.False(t, w.Code >= 500 && w.Body.Len() == 0, "%s %s", r.Method, path)
		if w.Code >= 400 {
			require.Nil(t, c.StoredUpstream())
			require.Empty(t, c.Jobs())
			require.Empty(t, c.Wishes())
			require.Empty(t, c.Resolved())
			require.Empty(t, c.SafePoints())
		}
		if !strings.HasSuffix(r.Path, "/meta_info") && !strings.Contains(query+body, "secret") {
			require.NotContains(t, w.Body.String(), "secret@") // the sink's password
		}
	})
}

// BenchmarkGet is the read path: the snapshot is encoded, nothing else.
func BenchmarkGet(b *testing.B) {
	h := handlerFor(populated())
	for name, path := range map[string]string{
		"one": "/api/v2/changefeeds/test1", "list": "/api/v2/changefeeds", "health": "/api/v2/health", "v1": "/api/v1/changefeeds/test1",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(h, "GET", path, "")
			}
		})
	}
}

// BenchmarkManyFeeds is the read path with 500 changefeeds, by many clients
// while the owner publishes.
func BenchmarkManyFeeds(b *testing.B) {
	c := servicetest.New()
	for i := range 500 {
		c.Add(servicetest.Feed(fmt.Sprintf("feed-%d", i), model.StateNormal, "mysql://root:p@127.0.0.1:3306/"))
	}
	h := handlerFor(c)
	for name, path := range map[string]string{
		"v1list": "/api/v1/changefeeds", "v2list": "/api/v2/changefeeds", "one": "/api/v2/changefeeds/feed-7", "processors": "/api/v2/processors",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if w := call(h, "GET", path, ""); w.Code != http.StatusOK {
						b.Error(w.Code)
					}
				}
			})
		})
	}
}
