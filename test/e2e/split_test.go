package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/validator"
	"github.com/tidemark/tidemark/test/workload"
)

// splitRows is how many rows the split tables have at most.
const splitRows = 1200

// TestTableAcrossNodes spreads two large tables over three captures and writes
// into them while their pieces move, schema changes come, the owner is killed
// and a table is truncated.
func TestTableAcrossNodes(t *testing.T) {
	ctx := testContext(t, 6*time.Minute)
	shared.queue.start(ctx, t)
	c := startCaptures(ctx, t, 3)
	c.queue = shared.queue
	s := c.sharedStack
	exec(ctx, t, s.upDB, "CREATE DATABASE ksplit")
	startTs, err := cluster.TSO(ctx, s.upDB)
	require.NoError(t, err)
	exec(ctx, t, s.upDB,
		"CREATE TABLE ksplit.counters (id BIGINT PRIMARY KEY CLUSTERED, n INT)",
		"CREATE TABLE ksplit.big (id BIGINT PRIMARY KEY CLUSTERED, u BIGINT, v VARCHAR(200), UNIQUE KEY (u))",
		"CREATE TABLE ksplit.small (id BIGINT PRIMARY KEY CLUSTERED, n INT)",
		splitTable("counters", 100), splitTable("big", 100))
	f := startQueueFeed(ctx, t, s, feedOptions{
		name: "across", protocol: protocolCases()[1], dispatch: dispatchers()["index"], startTs: startTs, rules: []string{"ksplit.*"},
		config: map[string]any{"scheduler": map[string]any{"enable_table_across_nodes": true, "region_threshold": 5}},
	})
	f.makeDownstream(ctx, t, s.downs[1].db, "CREATE DATABASE `ksplit`")
	counters, big, small := tableID(ctx, t, s.upDB, "counters"), tableID(ctx, t, s.upDB, "big"), tableID(ctx, t, s.upDB, "small")

	loading, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	var countErr, writeErr error
	writers.Go(func() { countErr = countUp(loading, s.upDB, "ksplit", splitRows) })
	writers.Go(func() { writeErr = scramble(loading, s.upDB) })
	watch := validator.WatchCheckpoints(ctx, s.server.API, []string{f.id})

	c.awaitSpread(f.id, counters, 3)
	c.awaitSpread(f.id, big, 3)
	c.passed(f.id)
	require.Len(t, c.spread(f.id, small), 1, "it has one region")

	list, err := c.list()
	require.NoError(t, err)
	for i := range 10 { // pieces go together, to and fro
		body := map[string]any{"capture_id": list[i%3].ID, "table_id": counters}
		require.NoError(t, c.any().Do(ctx, http.MethodPost, "/api/v1/changefeeds/"+f.id+"/tables/move_table", body, nil))
		c.passed(f.id)
	}
	c.awaitSpread(f.id, counters, 1)
	exec(ctx, t, s.upDB, "ALTER TABLE ksplit.counters ADD INDEX (n)", "ALTER TABLE ksplit.big ADD COLUMN w INT DEFAULT 7")
	c.rebalance(f.id)
	c.awaitSpread(f.id, counters, 3)

	owner, id := c.role(true)
	owner.Kill() // its log does not tell, but it has nothing any more
	c.freezes = append(c.freezes, freeze{owner.Addr, time.Now().UTC()})
	require.NoError(t, cluster.Until(ctx, "the killed capture to be forgotten", func() (bool, error) {
		list, err := c.list()
		return err == nil && len(list) == 2 && !slices.ContainsFunc(list, func(each capture) bool { return each.ID == id }), err
	}))
	c.passed(f.id)
	require.NoError(t, owner.Start(ctx))
	c.await(3)
	c.rebalance(f.id)
	c.awaitSpread(f.id, big, 3)
	_, worker := c.role(false)
	c.drain(worker)
	c.awaitSpread(f.id, big, 2)
	exec(ctx, t, s.upDB, "TRUNCATE TABLE ksplit.big")
	c.passed(f.id)
	require.Empty(t, c.spread(f.id, big), "all pieces of a table that is gone are gone")

	stop()
	writers.Wait()
	require.NoError(t, countErr)
	require.NoError(t, writeErr)
	require.NoError(t, watch.Stop(), "a checkpoint went back")
	s.server, _ = c.role(true)
	f.requireConsumed(ctx, t, s, settledTSO(ctx, t, s), []string{"ksplit"})
	requireHonest(ctx, t, s.queue.broker, f)
	c.requireOneOwnerPerTable()
	for _, table := range []int64{counters, big} {
		require.Equal(t, 1, c.logged(fmt.Sprintf(`"table is cut".*tableID=%d\]`, table)), "another owner keeps the pieces")
	}
}

// logged counts the lines of all servers' logs that match.
func (c *captures) logged(pattern string) (n int) {
	c.t.Helper()
	for _, server := range c.servers {
		log, err := os.ReadFile(server.LogPath())
		require.NoError(c.t, err)
		n += len(regexp.MustCompile(pattern).FindAllIndex(log, -1))
	}
	return n
}

// TestTableAcrossNodesByWrites cuts a table with few regions because much is
// written in it.
func TestTableAcrossNodesByWrites(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	exec(ctx, t, shared.upDB, "CREATE DATABASE ksplit", "CREATE TABLE ksplit.hot (id BIGINT PRIMARY KEY CLUSTERED)",
		splitTable("hot", 250), "INSERT INTO ksplit.hot VALUES (1), (500), (900)")
	id := tableID(ctx, t, shared.upDB, "hot")
	for name, keys := range map[string]int{"hot": 3, "cold": 1_000_000} {
		feed := "writes-" + name
		require.NoError(t, shared.server.API.Create(ctx, cluster.Feed{ID: feed, SinkURI: "blackhole://", ReplicaConfig: map[string]any{
			"filter":    map[string]any{"rules": []string{"ksplit.*"}},
			"scheduler": map[string]any{"enable_table_across_nodes": true, "write_key_threshold": keys},
		}}))
		t.Cleanup(func() { _ = shared.server.API.Delete(context.Background(), feed) })
		ts, err := cluster.TSO(ctx, shared.upDB)
		require.NoError(t, err)
		require.NoError(t, shared.server.API.WaitCheckpoint(ctx, feed, ts))
		placed, err := spreadOf(ctx, shared.server.API, feed, id)
		require.NoError(t, err)
		require.Len(t, placed, 1, "one table of one capture, however it is cut")
	}
	log, err := os.ReadFile(shared.server.LogPath())
	require.NoError(t, err)
	require.Regexp(t, fmt.Sprintf(`table is cut.*changefeed=writes-hot.*tableID=%d.*spans=[23]`, id), string(log))
	require.NotRegexp(t, "table is cut.*changefeed=writes-cold", string(log))
}

// splitTable cuts a table into regions of so many keys.
func splitTable(name string, keys int) string {
	stmt := "SPLIT TABLE ksplit." + name + " BY (0)"
	for at := keys; at < splitRows; at += keys {
		stmt += fmt.Sprintf(", (%d)", at)
	}
	return stmt
}

// tableID is the physical id of a table of the tests here.
func tableID(ctx context.Context, t *testing.T, db *sql.DB, name string) (id int64) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(ctx,
		"SELECT tidb_table_id FROM information_schema.tables WHERE table_schema = 'ksplit' AND table_name = ?", name).Scan(&id))
	return id
}

// scramble inserts, changes and deletes rows of ksplit.big, and gives them new
// keys, which takes them from one piece to another.
func scramble(ctx context.Context, db *sql.DB) error {
	r := rand.New(rand.NewPCG(3, 4))
	running, release := workload.Outliving(ctx)
	defer release()
	for ctx.Err() == nil {
		from, to := r.IntN(splitRows), r.IntN(splitRows)
		stmt := fmt.Sprintf("REPLACE INTO ksplit.big (id, u, v) VALUES (%d, %d, REPEAT('x', %d))", from, r.IntN(splitRows), r.IntN(200))
		switch r.IntN(4) {
		case 0:
			stmt = fmt.Sprintf("UPDATE IGNORE ksplit.big SET id = %d WHERE id = %d", to, from)
		case 1:
			stmt = fmt.Sprintf("DELETE FROM ksplit.big WHERE id = %d", from)
		}
		if _, err := db.ExecContext(running, stmt); err != nil {
			return fmt.Errorf("%s: %w", stmt, err)
		}
	}
	return nil
}

// spread lists the captures that have pieces of a table.
func (c *captures) spread(feed string, table int64) []string {
	c.t.Helper()
	found, err := spreadOf(c.ctx, c.any(), feed, table)
	require.NoError(c.t, err)
	return found
}

func spreadOf(ctx context.Context, api *cluster.API, feed string, table int64) (found []string, err error) {
	var detail struct {
		Tasks []struct {
			Capture string  `json:"capture_id"`
			Tables  []int64 `json:"table_ids"`
		} `json:"task_status"`
	}
	if err := api.Do(ctx, http.MethodGet, "/api/v2/changefeeds/"+feed, nil, &detail); err != nil {
		return nil, err
	}
	for _, task := range detail.Tasks {
		for _, id := range task.Tables {
			if id == table {
				found = append(found, task.Capture)
			}
		}
	}
	return found, nil
}

// awaitSpread waits until so many captures have pieces of a table.
func (c *captures) awaitSpread(feed string, table int64, want int) {
	c.t.Helper()
	require.NoError(c.t, cluster.Until(c.ctx, fmt.Sprintf("table %d on %d captures", table, want), func() (bool, error) {
		found := c.spread(feed, table)
		return len(found) == want, fmt.Errorf("it is on %v", found)
	}))
}

func (c *captures) rebalance(feed string) {
	c.t.Helper()
	require.NoError(c.t, c.any().Do(c.ctx, http.MethodPost, "/api/v1/changefeeds/"+feed+"/tables/rebalance_table", nil, nil))
}

// passed waits until the checkpoints have passed the present.
func (c *captures) passed(feeds ...string) {
	c.t.Helper()
	ts, err := cluster.TSO(c.ctx, c.upDB)
	require.NoError(c.t, err)
	begun := time.Now()
	for _, feed := range feeds {
		require.NoError(c.t, c.any().WaitCheckpoint(c.ctx, feed, ts))
	}
	c.t.Logf("caught up after %s", time.Since(begun).Round(time.Millisecond))
}
