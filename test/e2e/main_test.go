// Package e2e tests the whole system: real servers driven over HTTP, an
// embedded upstream, a second TiDB and a MariaDB server as downstreams.
package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/compare"
	"github.com/tidemark/tidemark/test/mariadb"
)

// shared is the stack that tests use which do no harm to it.
type sharedStack struct {
	up     *cluster.Upstream
	server *cluster.Server
	maria  *mariadb.Server
	upDB   *sql.DB
	downs  []downstream
	queue  *queue
	// history is what happened upstream since the tests began.
	history *history
}

// downstream is one place to replicate to.
type downstream struct {
	name string // tidb or mariadb
	uri  string
	db   *sql.DB
}

var shared *sharedStack

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "tidemark-e2e-")
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	shared, err = startShared(ctx, dir)
	if err != nil {
		return 1, fmt.Errorf("%w (logs in %s)", err, dir)
	}
	code := m.Run()
	shared.history.end()
	if err := shared.server.Stop(); err != nil {
		return 1, err
	}
	shared.queue.close()
	shared.up.Close()
	shared.maria.Close()
	if code == 0 {
		_ = os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "e2e: logs are in", dir)
	}
	return code, nil
}

func startShared(ctx context.Context, dir string) (*sharedStack, error) {
	s := &sharedStack{queue: &queue{}}
	var err error
	if s.maria, err = mariadb.Start(ctx, dir+"/mariadb"); err != nil {
		return nil, err
	}
	if s.up, err = cluster.StartUpstream(ctx, cluster.UpstreamOptions{Dir: dir, Downstream: true}); err != nil {
		return nil, err
	}
	if s.server, err = cluster.StartServer(ctx, cluster.ServerOptions{PD: s.up.PD, Dir: dir, Args: []string{"--tz", "UTC"}}); err != nil {
		return nil, err
	}
	if s.upDB, err = s.up.OpenUp(); err != nil {
		return nil, err
	}
	if s.downs, err = downstreams(s.up, s.maria); err != nil {
		return nil, err
	}
	s.history, err = beginHistory(ctx, s.upDB)
	return s, err
}

func downstreams(up *cluster.Upstream, maria *mariadb.Server) ([]downstream, error) {
	tidb, err := up.OpenDown()
	if err != nil {
		return nil, err
	}
	m, err := cluster.OpenMySQL(maria.Addr(), "root", "")
	if err != nil {
		return nil, err
	}
	const zone = "&time-zone="
	return []downstream{
		{"tidb", "tidb://root@" + up.Downstream + "/?worker-count=8" + zone, tidb},
		{"mariadb", "mysql://root@" + maria.Addr() + "/?worker-count=8&has-vector-type=true" + zone, m},
	}, nil
}

// testContext ends with the test or after limit, whichever comes first.
func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// exec runs statements on a database, one after the other, in one session.
func exec(ctx context.Context, t *testing.T, db *sql.DB, stmts ...string) {
	t.Helper()
	c, err := db.Conn(ctx)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	for _, s := range stmts {
		_, err := c.ExecContext(ctx, s)
		require.NoError(t, err, "%.300s", s)
	}
}

// createFeeds makes one changefeed per downstream for the filter rules and
// returns their ids.
func createFeeds(ctx context.Context, t *testing.T, s *sharedStack, name string, startTs uint64, rules ...string) []string {
	t.Helper()
	var ids []string
	for _, d := range s.downs {
		id := name + "-" + d.name
		require.NoError(t, s.server.API.Create(ctx, cluster.Feed{
			ID: id, SinkURI: d.uri, StartTs: startTs,
			ReplicaConfig: map[string]any{"filter": map[string]any{"rules": forDown(d.name, rules)}},
		}))
		ids = append(ids, id)
		t.Cleanup(func() {
			_ = s.server.API.Delete(context.Background(), id)
		})
	}
	return ids
}

// requireReplicated waits until every feed has caught up with the upstream's
// present and then holds both sides against each other.
func requireReplicated(ctx context.Context, t *testing.T, s *sharedStack, feeds []string, schemas []string, ignore ...string) {
	t.Helper()
	ts := settledTSO(ctx, t, s)
	for i, id := range feeds {
		require.NoError(t, s.server.API.WaitCheckpoint(ctx, id, ts))
		res, err := compare.Databases(ctx, s.upDB, s.downs[i].db, compare.Options{Schemas: schemas, SnapshotTs: ts, Ignore: ignore})
		require.NoError(t, err)
		require.True(t, res.Equal(), "%s at %d: %s", s.downs[i].name, ts, res)
		require.NotZero(t, res.Tables, "nothing was compared")
		t.Logf("%s: %s", s.downs[i].name, res)
	}
}

// settledTSO returns a TSO that nothing unfinished can end up below, or beside.
func settledTSO(ctx context.Context, t *testing.T, s *sharedStack) uint64 {
	t.Helper()
	// A transaction whose client is gone may still be committing: what it
	// commits after ts would be seen downstream only.
	require.NoError(t, cluster.Until(ctx, "open transactions to end", func() (bool, error) {
		var open int
		err := s.upDB.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.tidb_trx WHERE session_id <> CONNECTION_ID()").Scan(&open)
		return err == nil && open == 0, err
	}))
	ts, err := cluster.TSO(ctx, s.upDB)
	require.NoError(t, err)
	return ts
}

// forDown keeps the rules that hold for a kind of downstream; those that begin
// with "tidb:" or "mariadb:" hold for that kind alone.
func forDown(kind string, rules []string) []string {
	var out []string
	for _, r := range rules {
		only, rest, tagged := strings.Cut(r, ":")
		switch {
		case !tagged:
			out = append(out, r)
		case only == kind:
			out = append(out, rest)
		}
	}
	return out
}
