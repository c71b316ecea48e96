package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// secret is in every sink URI and configuration that the hostile client sends.
const secret = "Hush4711"

// hostile sends made-up requests to every route and looks at what they do.
type hostile struct {
	ctx     context.Context
	t       *testing.T
	rnd     *rand.Rand
	routes  []route
	meta    map[string]string // the metadata before the request
	byClass map[int]int       // answers per hundred of their status
}

// route is a method and a path with parameters in braces.
type route struct{ method, path string }

// TestHostileClient sends random and mutated requests. Whatever they are, the
// server stays up, answers every failure with a reason, writes nothing for
// what it refuses and tells no secret. HOSTILE_SECONDS makes it longer,
// HOSTILE_SEED repeats a run.
func TestHostileClient(t *testing.T) {
	seconds, seed := number(t, "HOSTILE_SECONDS", 12), number(t, "HOSTILE_SEED", 1)
	t.Logf("HOSTILE_SEED=%d", seed)
	ctx := testContext(t, time.Duration(seconds)*time.Second+2*time.Minute)
	h := &hostile{
		ctx: ctx, t: t, rnd: rand.New(rand.NewPCG(uint64(seed), 0)),
		routes: describedRoutes(ctx, t), byClass: map[int]int{},
	}
	logBefore := fileSize(t, shared.server.LogPath())
	require.NoError(t, shared.server.API.Create(ctx, cluster.Feed{ID: "victim", SinkURI: "blackhole://user:" + secret + "@x/"}))
	h.settle()
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	sent := 0
	for ; time.Now().Before(end) && !t.Failed(); sent++ {
		h.attack()
	}
	t.Logf("%d requests, answers per class: %v", sent, h.byClass)
	require.Less(t, h.byClass[0], 1+sent/100, "connections reset")
	require.NoError(t, cluster.Until(ctx, "a healthy server", func() (bool, error) {
		err := shared.server.API.Health(ctx)
		return err == nil, err
	}))
	requireCleanLog(t, logBefore)
	removeFeeds(ctx, t)
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// describedRoutes takes the routes from the server's own description, and adds
// those outside the API.
func describedRoutes(ctx context.Context, t *testing.T) []route {
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	require.NoError(t, shared.server.API.Do(ctx, "GET", "/api/openapi.json", nil, &doc))
	var list []route
	for path, methods := range doc.Paths {
		for method := range methods {
			list = append(list, route{strings.ToUpper(method), path})
		}
	}
	require.Greater(t, len(list), 35)
	for _, path := range []string{"/config", "/debug/info", "/debug/pprof/cmdline", "/metrics", "/swagger/index.html", "/status"} {
		list = append(list, route{"GET", path})
	}
	// The description is a map: a seed must give the same run again.
	sort.Slice(list, func(i, j int) bool { return list[i].path+list[i].method < list[j].path+list[j].method })
	return list
}

// attack sends one request and checks the answer and what it left behind.
func (h *hostile) attack() {
	r := pick(h.rnd, h.routes)
	switch {
	case strings.HasSuffix(r.path, "/resign") && h.rnd.IntN(500) != 0:
		return // each costs a second without an owner
	case strings.Contains(r.path, "pprof"):
		return // profiles take seconds by design
	}
	method, path := r.method, h.fill(r.path)
	if h.rnd.IntN(25) == 0 {
		method = pick(h.rnd, []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "X"})
	}
	if h.rnd.IntN(25) == 0 {
		path = h.mutate(path)
	}
	path = cleanTarget(path) + h.query()
	body := h.body()
	var header []string
	if h.rnd.IntN(20) == 0 && body != "" {
		header = append(header, "Transfer-Encoding: chunked")
	}
	what := fmt.Sprintf("%s %s\n%s", method, path, body)
	a, err := exchange(h.ctx, shared.server.Addr, method, path, header, body)
	if errors.Is(err, syscall.ECONNRESET) {
		// What is no HTTP is answered and hung up on before the body is read.
		h.byClass[0]++
		return
	}
	require.NoError(h.t, err, what)
	h.byClass[a.status/100*100]++
	h.judge(what, method, path, a)
	if strings.HasSuffix(path, "/log") || strings.Contains(path, "/log?") {
		// A later panic must not go unlogged.
		require.NoError(h.t, shared.server.API.Do(h.ctx, "POST", "/api/v2/log", map[string]string{"log_level": "info"}, nil))
	}
}

// judge checks an answer and the metadata after it.
func (h *hostile) judge(what, method, path string, a *answer) {
	if a.status >= 500 && method != "HEAD" {
		// The one empty 5xx that is documented: no store knows the region.
		require.False(h.t, a.body == "" && !(a.status == 503 && strings.Contains(path, "resolve_lock")), "%s\nis answered by %d without a reason", what, a.status)
	}
	if !showsSecrets.MatchString(path) {
		require.NotContains(h.t, a.body, secret, what)
	}
	if method == "GET" || method == "HEAD" {
		return
	}
	if a.status < 400 {
		h.settle()
		return
	}
	require.Equal(h.t, h.meta, h.read(), "%s\nwas refused by %d %s, and yet something was written", what, a.status, a.body)
}

// showsSecrets matches what is documented to tell them: the metadata, and the
// configuration of a changefeed.
var showsSecrets = regexp.MustCompile(`meta_info|unsafe/metadata|debug/info`)

// settle waits until the metadata no longer changes, since the owner carries
// accepted jobs out after the answer.
func (h *hostile) settle() {
	h.meta = h.read()
	require.Eventually(h.t, func() bool {
		now := h.read()
		same := fmt.Sprint(now) == fmt.Sprint(h.meta)
		h.meta = now
		return same
	}, 30*time.Second, 120*time.Millisecond)
}

// read takes a copy of the changefeeds' metadata but for their progress.
func (h *hostile) read() map[string]string { return storedInfo(h.ctx, h.t) }

// fill puts something in for the parameters of a path.
func (h *hostile) fill(path string) string {
	return parameter.ReplaceAllStringFunc(path, func(string) string {
		return pick(h.rnd, []string{"victim", "victim", "other", "a_b", "%2F", "%00", "", "é", strings.Repeat("x", 200), "..", "a%20b", "{}"})
	})
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

func (h *hostile) query() string {
	switch h.rnd.IntN(6) {
	case 0:
		return "?state=" + pick(h.rnd, []string{"all", "", "error", "%zz", "normal&state=all", "\x7f"}[:5])
	case 1:
		return "?namespace=" + pick(h.rnd, []string{"default", "", "x", "a_b", "%2e", "%00"})
	case 2:
		return "?cf-id=" + pick(h.rnd, []string{"victim", "a_b", ""}) + "&admin-job=" + pick(h.rnd, []string{"1", "2", "9", "-1", "x", "99999999999999999999"})
	default:
		return ""
	}
}

// seedBodies are requests that make sense; most of what is sent comes from
// changing them a little.
var seedBodies = []string{
	`{"changefeed_id":"other","sink_uri":"blackhole://u:` + secret + `@h/?sasl-password=` + secret + `"}`,
	`{"changefeed_id":"other","sink_uri":"mysql://root:` + secret + `@127.0.0.1:1/?worker-count=3","start_ts":1,"target_ts":2}`,
	`{"changefeed_id":"other","sink_uri":"kafka://127.0.0.1:1/t?protocol=canal-json&sasl-password=` + secret + `&sasl-user=u"}`,
	`{"changefeed_id":"other","sink_uri":"mysql://root:` + secret + `@a b/","replica_config":{"filter":{"rules":["a.*","!b.*"]}}}`,
	`{"changefeed_id":"other","sink_uri":"s3://b/p?protocol=csv&access-key=a&secret-access-key=` + secret + `&endpoint=http://127.0.0.1:1/"}`,
	`{"sink_uri":"blackhole://","replica_config":{"memory_quota":1,"sync_point_interval":"10m","filter":{"rules":["conf.*"],"event_filters":[{"matcher":["conf.pk"],"ignore_event":["insert"],"ignore_sql":["^drop"],"ignore_insert_value_expr":"id > 3"}]},"mounter":{"worker_num":2},"scheduler":{"region_threshold":-1}}}`,
	`{"sink_uri":"blackhole://","replica_config":{"consistent":{"level":"none","flush_interval":1},"integrity":{"integrity_check_level":"none","corruption_handle_level":"warn"},"sink":{"dispatchers":[{"matcher":["a.*"],"partition":"ts","topic":"x"}],"column_selectors":[{"matcher":["a.b"],"columns":["c"]}],"csv":{"delimiter":","}}}}`,
	`{"changefeed_id":"other","sink_uri":"blackhole://","filter_rules":["a.*"],"ignore_txn_start_ts":[1],"mounter_worker_num":3,"timezone":"UTC","sink_config":{"dispatchers":[{"matcher":["a.*"],"dispatcher":"ts"}],"protocal":"avro"}}`,
	`{"overwrite_checkpoint_ts":1}`,
	`{"capture_id":"x","target_capture_id":"y","table_id":5}`,
	`{"log_level":"debug"}`,
	`{"region_id":1,"ts":2}`,
	`{"id":0}`,
	`{"start_ts":400000000000000000,"sink_uri":"kafka://x/y?protocol=avro","replica_config":{"sink":{"dispatchers":[{"matcher":["conf.*"],"partition":"index-value","index":"i","topic":"{schema}"}]}}}`,
	`"debug"`, `null`, `[]`, `{}`, `0`, ``, `{`, `cf-id=victim&admin-job=1`,
}

// body returns a request's body: a sensible one, one with values changed, or
// one with bytes changed.
func (h *hostile) body() string {
	b := pick(h.rnd, seedBodies)
	switch h.rnd.IntN(4) {
	case 0:
		return b
	case 1:
		// A key that is changed no longer says that its value is a secret.
		return h.mutate(strings.ReplaceAll(b, secret, "x"))
	}
	var v any
	if json.Unmarshal([]byte(b), &v) != nil {
		return b
	}
	out, err := json.Marshal(h.change(v))
	require.NoError(h.t, err)
	return string(out)
}

// change replaces some values of a document by others, of other types too.
func (h *hostile) change(v any) any {
	if h.rnd.IntN(6) == 0 {
		return pick(h.rnd, []any{
			nil, true, false, 0, -1, 1.5, 1e300, json.Number("18446744073709551615"), json.Number("99999999999999999999"),
			"", "x", "*.*", "blackhole://", "a\x00b", strings.Repeat("y", 3000), []any{}, []any{nil}, map[string]any{}, map[string]any{"": nil},
		})
	}
	switch x := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(x) {
			x[k] = h.change(x[k])
		}
	case []any:
		for i := range x {
			x[i] = h.change(x[i])
		}
	}
	return v
}

// mutate changes a few bytes.
func (h *hostile) mutate(s string) string {
	b := []byte(s)
	for range 1 + h.rnd.IntN(3) {
		at := h.rnd.IntN(len(b) + 1)
		switch h.rnd.IntN(3) {
		case 0:
			b = append(b[:at:at], append([]byte{byte(h.rnd.IntN(256))}, b[at:]...)...)
		case 1:
			b = b[:at]
		default:
			if at < len(b) {
				b[at] = byte(h.rnd.IntN(256))
			}
		}
	}
	return string(b)
}

// cleanTarget keeps a path what HTTP calls one; what is none never reaches a
// handler.
func cleanTarget(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c <= ' ' || c == 0x7f || c == '#' || c == '?' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	if !strings.HasPrefix(b.String(), "/") {
		return "/" + b.String()
	}
	return b.String()
}

func pick[T any](rnd *rand.Rand, list []T) T { return list[rnd.IntN(len(list))] }

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func fileSize(t *testing.T, path string) int64 {
	st, err := os.Stat(path)
	require.NoError(t, err)
	return st.Size()
}

// requireCleanLog looks for panics and secrets in what the server has logged
// since an offset.
func requireCleanLog(t *testing.T, offset int64) {
	b, err := os.ReadFile(shared.server.LogPath())
	require.NoError(t, err)
	for _, line := range strings.Split(string(b[offset:]), "\n") {
		require.NotContains(t, line, "panic in an HTTP handler")
		require.False(t, strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "goroutine "), line)
		require.NotContains(t, line, secret)
	}
}
