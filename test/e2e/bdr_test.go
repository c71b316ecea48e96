package e2e

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/compare"
)

// member is a cluster of a BDR group, with the server that reads from it.
type member struct {
	name   string
	addr   string // of its TiDB
	db     *sql.DB
	server *cluster.Server
	feed   string // the changefeed that brings its changes to the other one
	// own counts the row changes that users, not changefeeds, made here.
	own int
}

// bdrPair makes the shared upstream and the shared downstream two clusters
// that can replicate to each other.
func bdrPair(ctx context.Context, t *testing.T) (a, b *member) {
	dir := t.TempDir()
	server, err := cluster.StartServer(ctx, cluster.ServerOptions{PD: shared.up.DownstreamPD, Dir: dir, Args: []string{"--tz", "UTC"}})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, server.Stop())
		if t.Failed() {
			keepLog(t, server.LogPath())
		}
	})
	a = &member{name: "a", addr: shared.up.TiDB, db: shared.upDB, server: shared.server, feed: "bdr-a-to-b"}
	b = &member{name: "b", addr: shared.up.Downstream, db: shared.downs[0].db, server: server, feed: "bdr-b-to-a"}
	for i, m := range []*member{a, b} {
		exec(ctx, t, m.db, fmt.Sprintf("SET GLOBAL tidb_source_id = %d", i+2))
		t.Cleanup(func() {
			exec(context.Background(), t, m.db, "SET GLOBAL tidb_source_id = 1", "ADMIN UNSET BDR ROLE")
		})
	}
	return a, b
}

func (m *member) tso(ctx context.Context, t *testing.T) uint64 {
	t.Helper()
	ts, err := cluster.TSO(ctx, m.db)
	require.NoError(t, err)
	return ts
}

// create makes a changefeed that reads from the cluster.
func (m *member) create(ctx context.Context, t *testing.T, id, uri string, startTs uint64, bdr bool, rules ...string) {
	t.Helper()
	require.NoError(t, m.server.API.Create(ctx, cluster.Feed{ID: id, SinkURI: uri, StartTs: startTs, ReplicaConfig: map[string]any{
		"bdr_mode": bdr, "filter": map[string]any{"rules": rules},
	}}))
	t.Cleanup(func() { _ = m.server.API.Delete(context.Background(), id) })
}

// arrived waits until what was committed here is at the other cluster.
func (m *member) arrived(ctx context.Context, t *testing.T) {
	t.Helper()
	require.NoError(t, m.server.API.WaitCheckpoint(ctx, m.feed, m.tso(ctx, t)))
}

// figure adds up a metric of one changefeed.
func (m *member) figure(ctx context.Context, t *testing.T, name, feed string) (sum int) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.server.Addr+"/metrics", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, `changefeed="`+feed+`"`) {
			n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			require.NoError(t, err)
			sum += int(n)
		}
	}
	require.NoError(t, lines.Err())
	return sum
}

// sent is how many rows a changefeed has written.
func (m *member) sent(ctx context.Context, t *testing.T, feed string) int {
	t.Helper()
	return m.figure(ctx, t, "ticdc_sink_batch_row_count_sum", feed)
}

// write runs random transactions on new keys that nobody else writes: those
// behind first that leave the remainder side of 8. It returns the number of row
// changes.
func (m *member) write(ctx context.Context, first, side, txns int) (changes int, err error) {
	c, err := m.db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	r := rand.New(rand.NewPCG(uint64(side), 7))
	there := map[string]bool{}
	for range txns {
		if _, err := c.ExecContext(ctx, "BEGIN"); err != nil {
			return 0, err
		}
		touched := map[string]bool{}
		for range 1 + r.IntN(4) {
			table, key := []string{"t", "u"}[r.IntN(2)], first+8*r.IntN(60)+side
			row := fmt.Sprint(table, key)
			if touched[row] {
				continue // the store keeps one change of a row per transaction
			}
			touched[row] = true
			statement := fmt.Sprintf("INSERT INTO bdr.%s (id, v, s) VALUES (%d, %d, 'from %s')", table, key, r.IntN(1e6), m.name)
			switch {
			case there[row] && r.IntN(3) == 0:
				statement, there[row] = fmt.Sprintf("DELETE FROM bdr.%s WHERE id = %d", table, key), false
			case there[row]:
				statement = fmt.Sprintf("UPDATE bdr.%s SET v = %d, s = CONCAT(s, '.') WHERE id = %d", table, r.IntN(1e6), key)
			default:
				there[row] = true
			}
			if _, err := c.ExecContext(ctx, statement); err != nil {
				return 0, fmt.Errorf("%s: %w", statement, err)
			}
			changes++
		}
		if _, err := c.ExecContext(ctx, "COMMIT"); err != nil {
			return 0, err
		}
	}
	return changes, nil
}

// writeBoth lets users of both clusters write at the same time.
func writeBoth(ctx context.Context, t *testing.T, first, txns int, members ...*member) {
	t.Helper()
	var group errgroup.Group
	counts := make([]int, 8)
	for side := range counts {
		m := members[side%len(members)]
		group.Go(func() (err error) {
			counts[side], err = m.write(ctx, first, side, txns)
			return err
		})
	}
	require.NoError(t, group.Wait())
	for side, n := range counts {
		members[side%len(members)].own += n
	}
}

// requireConverged waits for both directions and compares.
func requireConverged(ctx context.Context, t *testing.T, a, b *member) {
	t.Helper()
	a.arrived(ctx, t)
	b.arrived(ctx, t)
	res, err := compare.Databases(ctx, a.db, b.db, compare.Options{Schemas: []string{"bdr"}})
	require.NoError(t, err)
	require.True(t, res.Equal(), "%s", res)
	require.GreaterOrEqual(t, res.Tables, 2)
	t.Log(res)
	// What came from the other cluster does not go back.
	require.Equal(t, a.own, a.sent(ctx, t, a.feed))
	require.Equal(t, b.own, b.sent(ctx, t, b.feed))
}

const bdrColumns = "(id BIGINT PRIMARY KEY %s, v BIGINT, s VARCHAR(200))"

func TestBDR(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	a, b := bdrPair(ctx, t)
	maria := shared.downs[1]
	watched := a.tso(ctx, t) // by a changefeed that is no part of the group
	for _, db := range []*sql.DB{a.db, b.db} {
		exec(ctx, t, db, "CREATE DATABASE bdr", "CREATE DATABASE bdr_plain",
			"CREATE TABLE bdr.t "+fmt.Sprintf(bdrColumns, "CLUSTERED"), "CREATE TABLE bdr.u "+fmt.Sprintf(bdrColumns, "NONCLUSTERED"),
			"CREATE TABLE bdr_plain.t (id INT PRIMARY KEY)")
	}
	exec(ctx, t, maria.db, "CREATE DATABASE bdr_plain", "CREATE TABLE bdr_plain.t (id INT PRIMARY KEY)")
	a.create(ctx, t, a.feed, "tidb://root@"+b.addr+"/", a.tso(ctx, t), true, "bdr.*")
	b.create(ctx, t, b.feed, "tidb://root@"+a.addr+"/", b.tso(ctx, t), true, "bdr.*", "bdr_plain.*")
	a.create(ctx, t, "bdr-watch", maria.uri, watched, false, "bdr.*")

	writeBoth(ctx, t, 0, 60, a, b)
	requireConverged(ctx, t, a, b)

	// Both sides write the same keys, one after the other.
	for round := range 4 {
		m := []*member{a, b}[round%2]
		for key := range 10 {
			exec(ctx, t, m.db, fmt.Sprintf("INSERT INTO bdr.t (id, v) VALUES (%d, 1) ON DUPLICATE KEY UPDATE v = v + 1", 10000+key))
			m.own++
		}
		m.arrived(ctx, t)
	}
	requireConverged(ctx, t, a, b)
	require.Equal(t, "10 40", text(ctx, t, a.db, "SELECT CONCAT(COUNT(*), ' ', SUM(v)) FROM bdr.t WHERE id >= 10000"))

	requirePlainFeedsMark(ctx, t, a, b)
	requireDDLRoles(ctx, t, a, b)

	// A changefeed outside of the group gets what both have written.
	now := a.tso(ctx, t)
	require.NoError(t, a.server.API.WaitCheckpoint(ctx, "bdr-watch", now))
	res, err := compare.Databases(ctx, a.db, maria.db, compare.Options{Schemas: []string{"bdr"}, SnapshotTs: now})
	require.NoError(t, err)
	require.True(t, res.Equal(), "%s", res)
	all := a.sent(ctx, t, "bdr-watch")
	require.Greater(t, all, a.own)
	require.LessOrEqual(t, all, a.own+b.own, "changes of one key that were brought in one transaction are one change")
}

// requirePlainFeedsMark shows that a changefeed without BDR mode marks what it
// writes, which the group then leaves out, and leaves nothing out itself.
func requirePlainFeedsMark(ctx context.Context, t *testing.T, a, b *member) {
	t.Helper()
	maria := shared.downs[1]
	a.create(ctx, t, "bdr-plain", "tidb://root@"+b.addr+"/", a.tso(ctx, t), false, "bdr_plain.*")
	b.create(ctx, t, "bdr-echo", maria.uri, b.tso(ctx, t), false, "bdr_plain.*")
	exec(ctx, t, a.db, "INSERT INTO bdr_plain.t VALUES (1), (2), (3)")
	require.NoError(t, a.server.API.WaitCheckpoint(ctx, "bdr-plain", a.tso(ctx, t)))
	require.NoError(t, b.server.API.WaitCheckpoint(ctx, "bdr-echo", b.tso(ctx, t)))
	require.Equal(t, "3", text(ctx, t, maria.db, "SELECT COUNT(*) FROM bdr_plain.t"))
	b.arrived(ctx, t)
	require.Equal(t, b.own, b.sent(ctx, t, b.feed), "the mark of any changefeed counts")
}

// requireDDLRoles changes tables: on the primary, on the secondary, and where
// no role is set.
func requireDDLRoles(ctx context.Context, t *testing.T, a, b *member) {
	t.Helper()
	exec(ctx, t, a.db, "ADMIN SET BDR ROLE PRIMARY")
	exec(ctx, t, b.db, "ADMIN SET BDR ROLE SECONDARY")
	exec(ctx, t, a.db, "CREATE TABLE bdr.made (id INT PRIMARY KEY, n INT)", "ALTER TABLE bdr.t ADD COLUMN extra INT DEFAULT 5")
	_, err := b.db.ExecContext(ctx, "CREATE TABLE bdr.refused (id INT PRIMARY KEY)")
	require.ErrorContains(t, err, "bdr role")
	a.arrived(ctx, t)
	exec(ctx, t, b.db, "INSERT INTO bdr.made VALUES (1, 1), (2, 2)", "UPDATE bdr.t SET extra = id WHERE id >= 10000")
	b.own += 12
	writeBoth(ctx, t, 1000, 20, a, b)
	requireConverged(ctx, t, a, b)
	const mark = "SELECT JSON_EXTRACT(job, '$.cdc_write_source') FROM " +
		"(SELECT CONVERT(job_meta USING utf8mb4) AS job FROM mysql.tidb_ddl_history) AS jobs WHERE job LIKE '%\"table_name\":\"made\"%'"
	require.Equal(t, "2", text(ctx, t, b.db, mark), "the source id of the upstream")

	exec(ctx, t, a.db, "ADMIN UNSET BDR ROLE", "CREATE TABLE bdr.here (id INT PRIMARY KEY)")
	exec(ctx, t, b.db, "ADMIN UNSET BDR ROLE", "CREATE TABLE bdr.there (id INT PRIMARY KEY)")
	a.arrived(ctx, t)
	b.arrived(ctx, t)
	const own = "SELECT GROUP_CONCAT(table_name ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'bdr'"
	require.Equal(t, "here,made,t,u", text(ctx, t, a.db, own))
	require.Equal(t, "made,t,there,u", text(ctx, t, b.db, own))
	require.Equal(t, 2, a.figure(ctx, t, "ticdc_sink_ddl_exec_count", a.feed))
	require.Zero(t, b.figure(ctx, t, "ticdc_sink_ddl_exec_count", b.feed))
}
