package conformance

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/test/cluster"
)

// leastCases is how many exchanges the scripts must hold at least.
const leastCases = 250

// settleLimit bounds how long a step marked @eventually is repeated.
const settleLimit = 15 * time.Second

// TestReference runs the scripts below testdata in the order of their names.
// Within a script each step builds on those before it.
func TestReference(t *testing.T) {
	ctx := testContext(t, 5*time.Minute)
	r := newRunner(ctx, t, map[string]*cluster.Server{"a": shared.server})
	r.runFiles(ctx, t, "testdata/[0-9]*.http")
	require.NoError(t, r.background.Wait())
	require.GreaterOrEqual(t, countCases(t), leastCases)
	removeFeeds(ctx, t)
}

// countCases counts the exchanges in all scripts.
func countCases(t *testing.T) int {
	files, err := filepath.Glob("testdata/*.http")
	require.NoError(t, err)
	n := 0
	for _, f := range files {
		steps, err := readScript(f)
		require.NoError(t, err)
		for _, s := range steps {
			if !s.isFixture() {
				n++
			}
		}
	}
	t.Logf("%d cases", n)
	return n
}

// runner plays scripts against servers.
type runner struct {
	nodes      map[string]*cluster.Server
	vars       vars
	background errgroup.Group
}

// newRunner learns what scripts may name: addresses, ids and versions.
func newRunner(ctx context.Context, t *testing.T, nodes map[string]*cluster.Server) *runner {
	t.Helper()
	r := &runner{nodes: nodes, vars: vars{
		"pd":         strings.TrimPrefix(shared.up.PD, "http://"),
		"tidb":       shared.up.TiDB,
		"downstream": shared.up.Downstream,
		"kafka":      shared.kafka.ListenAddrs()[0],
		"closed":     shared.closed,
		"dir":        shared.dir,
		"epoch":      time.UnixMilli(0).Format("2006-01-02 15:04:05.000"),
	}}
	for name, server := range nodes {
		var st struct {
			Version string `json:"version"`
			GitHash string `json:"git_hash"`
			ID      string `json:"id"`
			PID     int    `json:"pid"`
		}
		require.NoError(t, server.API.Do(ctx, "GET", "/api/v2/status", nil, &st))
		r.vars["addr-"+name] = server.Addr
		r.vars["capture-"+name] = st.ID
		r.vars["pid-"+name] = strconv.Itoa(st.PID)
		r.vars["version"], r.vars["git-hash"] = st.Version, st.GitHash
	}
	pd := cluster.NewAPI(r.vars["pd"])
	var upstream struct {
		ID uint64 `json:"id"`
	}
	require.NoError(t, pd.Do(ctx, "GET", "/pd/api/v1/cluster", nil, &upstream))
	r.vars["upstream"] = strconv.FormatUint(upstream.ID, 10)
	var regions struct {
		Regions []struct {
			ID uint64 `json:"id"`
		} `json:"regions"`
	}
	require.NoError(t, pd.Do(ctx, "GET", "/pd/api/v1/regions", nil, &regions))
	r.vars["region"] = strconv.FormatUint(regions.Regions[0].ID, 10)
	return r
}

func (r *runner) runFiles(ctx context.Context, t *testing.T, pattern string) {
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		steps, err := readScript(file)
		require.NoError(t, err)
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			for _, s := range steps {
				t.Run(s.name(), func(t *testing.T) { r.run(ctx, t, s) })
			}
		})
	}
}

// run plays one step. It refreshes the clock's values first: {{now}} is the
// upstream's current TSO, {{future}} one an hour ahead.
func (r *runner) run(ctx context.Context, t *testing.T, s *step) {
	if s.isFixture() {
		require.NoError(t, r.prepare(ctx, s))
		return
	}
	now, err := r.now(ctx)
	require.NoError(t, err)
	r.vars["now"] = strconv.FormatUint(now, 10)
	r.vars["future"] = strconv.FormatUint(now+3600_000<<18, 10)
	server := r.nodes[s.node]
	require.NotNil(t, server, "no node %s", s.node)
	try := func() error {
		a, err := s.send(ctx, server.Addr, r.vars)
		if err != nil {
			return err
		}
		return s.check(a, r.vars)
	}
	switch {
	case s.background:
		known := maps.Clone(r.vars)
		r.background.Go(func() error {
			a, err := s.send(ctx, server.Addr, known)
			if err == nil {
				err = s.check(a, known)
			}
			if err != nil {
				return fmt.Errorf("%s:%d: %w", s.file, s.line, err)
			}
			return nil
		})
	case !s.eventually:
		err = try()
	default:
		limited, cancel := context.WithTimeout(ctx, settleLimit)
		defer cancel()
		err = cluster.Until(limited, "the answer", func() (bool, error) {
			err := try()
			return err == nil, err
		})
	}
	if err != nil {
		t.Fatalf("%s:%d: %s %s: %v", s.file, s.line, s.method, s.path, err)
	}
}

// prepare plays a step that is no request.
func (r *runner) prepare(ctx context.Context, s *step) error {
	if s.method == "SQL" {
		_, err := shared.upDB.ExecContext(ctx, s.path)
		return err
	}
	value, err := r.vars.expand(s.body)
	if err != nil {
		return err
	}
	_, err = shared.etcd.Put(ctx, s.path, value)
	return err
}

// now returns the upstream's current TSO.
func (r *runner) now(ctx context.Context) (uint64, error) {
	var tso struct {
		Timestamp uint64 `json:"timestamp"`
		LogicTime uint64 `json:"logic_time"`
	}
	if err := r.nodes["a"].API.Do(ctx, "POST", "/api/v2/tso", map[string]any{}, &tso); err != nil {
		return 0, fmt.Errorf("ask for a TSO: %w", err)
	}
	return tso.Timestamp<<18 | tso.LogicTime, nil
}
