package demo

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNumber(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567", unknown: "-",
	} {
		require.Equal(t, want, number(n))
	}
}

func TestTotal(t *testing.T) {
	require.Equal(t, int64(3), total(map[string]int64{"a": 1, "b": 2}))
	require.Equal(t, unknown, total(map[string]int64{"a": 1, "b": unknown}))
}

func TestPicture(t *testing.T) {
	s := snapshot{
		up:    map[string]int64{"accounts": 1200, "orders": 2, "events": 3},
		down:  map[string]int64{"accounts": 1199, "orders": 2, "events": unknown},
		state: "normal", lag: 120 * time.Millisecond, written: 1500, perSec: 150,
	}
	require.Equal(t, `
  table                 rows up    rows down
  demo.accounts           1,200        1,199
  demo.orders                 2            2
  demo.events                 3            -

  changefeed demo: normal, checkpoint lag 0.12s, 1,500 rows written (150/s)
`, s.table())
	require.Equal(t, "rows up 1,205, rows down -, checkpoint lag 0.12s, state normal\n", s.line())

	s.lag, s.stalled, s.trouble = -1, "sink_retry: connection refused", "bad connection"
	require.Contains(t, s.table(), "checkpoint lag ?")
	require.Contains(t, s.table(), "waits: sink_retry: connection refused")
	require.Contains(t, s.table(), "workload failed: bad connection")
}

func TestRedraw(t *testing.T) {
	out, lines := redraw("a\nb\n", 0)
	require.Equal(t, "\x1b[2Ka\n\x1b[2Kb\n\x1b[J", out)
	require.Equal(t, 2, lines)
	out, lines = redraw(strings.Repeat("x", 200)+"\n", lines)
	require.True(t, strings.HasPrefix(out, "\x1b[2A"), "it begins where the last one began")
	require.Contains(t, out, strings.Repeat("x", width-1)+"\n")
	require.NotContains(t, out, strings.Repeat("x", width))
	require.Equal(t, 1, lines)
}

func TestStatementsAreOfAllKinds(t *testing.T) {
	for _, full := range []bool{false, true} {
		kinds := map[string]int{}
		for range 1000 {
			for _, s := range statements(full) {
				kinds[strings.Fields(s.text)[0]]++
			}
		}
		require.Len(t, kinds, 3)
		if full {
			require.Greater(t, kinds["DELETE"]*2, kinds["INSERT"], "a full table does not grow on")
		}
	}
}

// newDemo has a capture that answers so, and databases that nobody serves.
func newDemo(t *testing.T, capture http.HandlerFunc) *demo {
	t.Helper()
	s := httptest.NewServer(capture)
	t.Cleanup(s.Close)
	db, err := sql.Open("mysql", "root@tcp(127.0.0.1:1)/")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return &demo{
		Options: Options{
			Upstream: "127.0.0.1:4000", Downstream: "127.0.0.1:4001", CDC: strings.TrimPrefix(s.URL, "http://"), Out: io.Discard,
		},
		http: s.Client(), up: db, down: db,
	}
}

func TestCreateChangefeed(t *testing.T) {
	var body string
	d := newDemo(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body = r.Method + " " + r.URL.Path + " " + string(b)
	})
	require.NoError(t, d.createChangefeed(t.Context()))
	require.Equal(t, `POST /api/v2/changefeeds {"changefeed_id":"demo","sink_uri":"tidb://root@127.0.0.1:4001/"}`, body)
}

func TestCreateChangefeedErrors(t *testing.T) {
	answer := func(code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, fmt.Sprintf(`{"error_code": %q}`, code), http.StatusInternalServerError)
		}
	}
	require.NoError(t, newDemo(t, answer("CDC:ErrChangeFeedAlreadyExists")).createChangefeed(t.Context()), "of an earlier run")
	require.ErrorContains(t, newDemo(t, answer("CDC:ErrNotOwner")).createChangefeed(t.Context()), "ErrNotOwner")
}

func TestLook(t *testing.T) {
	checkpoint := uint64(time.Now().Add(-time.Second).UnixMilli()) << tsoLogical
	d := newDemo(t, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/api/v2/changefeeds/demo/status", r.URL.Path)
		_, _ = fmt.Fprintf(w, `{"state":"warning","checkpoint_ts":%d,"stalled":{"reason":"sink","detail":"retry"}}`, checkpoint)
	})
	s := d.look(t.Context())
	require.Equal(t, "warning", s.state)
	require.Equal(t, "sink retry", s.stalled)
	require.InDelta(t, time.Second, s.lag, float64(5*time.Second))
	require.Equal(t, unknown, total(s.up), "a database that does not answer")

	broken := newDemo(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusInternalServerError) })
	s = broken.look(t.Context())
	require.Equal(t, "unknown", s.state)
	require.Equal(t, "?", s.lagText())
}

func TestShowEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := newDemo(t, func(http.ResponseWriter, *http.Request) { cancel() })
	var out strings.Builder
	d.Out = &out
	require.NoError(t, d.show(ctx))
	require.Contains(t, out.String(), "mysql -h 127.0.0.1 -P 4001 -u root")
	require.NotContains(t, out.String(), "rows up")
}
