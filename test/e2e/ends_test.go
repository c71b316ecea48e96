package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// insertIDs inserts rows, each in a transaction, and returns their commit-ts.
func insertIDs(ctx context.Context, t *testing.T, table string, ids ...int) []uint64 {
	t.Helper()
	conn, err := shared.upDB.Conn(ctx)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	var out []uint64
	for _, id := range ids {
		_, err := conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, id))
		require.NoError(t, err)
		var info string
		require.NoError(t, conn.QueryRowContext(ctx, "SELECT @@tidb_last_txn_info").Scan(&info))
		var txn struct {
			CommitTs uint64 `json:"commit_ts"`
		}
		require.NoError(t, json.Unmarshal([]byte(info), &txn))
		require.NotZero(t, txn.CommitTs, info)
		out = append(out, txn.CommitTs)
	}
	return out
}

// TestStartAndTarget: a changefeed carries what was committed after its
// start-ts and until its target-ts, and is then finished at exactly that ts.
func TestStartAndTarget(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	down := shared.downs[1]
	exec(ctx, t, shared.upDB, "CREATE DATABASE ends", "CREATE TABLE ends.t (id INT PRIMARY KEY)")
	exec(ctx, t, down.db, "CREATE DATABASE ends", "CREATE TABLE ends.t (id INT PRIMARY KEY)")
	commits := insertIDs(ctx, t, "ends.t", 1, 2, 3, 4)
	exec(ctx, t, shared.upDB, "CREATE TABLE ends.later (id INT PRIMARY KEY)")
	start, target := commits[0], commits[2]
	require.NoError(t, shared.server.API.Create(ctx, cluster.Feed{
		ID: "ends", SinkURI: down.uri, StartTs: start, TargetTs: target,
		ReplicaConfig: map[string]any{"filter": map[string]any{"rules": []string{"ends.*"}}},
	}))
	t.Cleanup(func() { _ = shared.server.API.Delete(context.Background(), "ends") })
	require.NoError(t, shared.server.API.WaitState(ctx, "ends", "finished"))
	status, err := shared.server.API.Status(ctx, "ends")
	require.NoError(t, err)
	require.Equal(t, target, status.CheckpointTs)
	require.Equal(t, "2,3", text(ctx, t, down.db, "SELECT GROUP_CONCAT(id ORDER BY id) FROM ends.t"))
	require.Equal(t, "1", text(ctx, t, down.db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'ends'"))
}

// TestOverwriteCheckpoint: a resume may send a changefeed back, to write again
// what got lost downstream, and ahead, past what is not wanted.
func TestOverwriteCheckpoint(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	down, api := shared.downs[1], shared.server.API
	exec(ctx, t, shared.upDB, "CREATE DATABASE again", "CREATE TABLE again.t (id INT PRIMARY KEY)")
	exec(ctx, t, down.db, "CREATE DATABASE again", "CREATE TABLE again.t (id INT PRIMARY KEY)")
	createFeed(ctx, t, down, "again", upstreamNow(ctx, t), map[string]any{"filter": map[string]any{"rules": []string{"again.*"}}})
	ids := func() string { return text(ctx, t, down.db, "SELECT GROUP_CONCAT(id ORDER BY id) FROM again.t") }
	resume := func(ts uint64) {
		require.NoError(t, api.Do(ctx, http.MethodPost, "/api/v2/changefeeds/again/resume", map[string]any{"overwrite_checkpoint_ts": ts}, nil))
		require.NoError(t, api.WaitCheckpoint(ctx, "again", upstreamNow(ctx, t)))
	}
	commits := insertIDs(ctx, t, "again.t", 1, 2, 3)
	require.NoError(t, api.WaitCheckpoint(ctx, "again", upstreamNow(ctx, t)))
	require.NoError(t, api.Pause(ctx, "again"))
	require.Equal(t, "1,2,3", ids())
	exec(ctx, t, down.db, "DELETE FROM again.t")
	resume(commits[0])
	require.Equal(t, "2,3", ids(), "what came after it again")

	require.NoError(t, api.Pause(ctx, "again"))
	commits = insertIDs(ctx, t, "again.t", 4, 5)
	resume(commits[0])
	require.Equal(t, "2,3,5", ids(), "what came before it never")
}

// TestSyncedStatus: how long the upstream must have been quiet for a changefeed
// to count as synced is its own matter.
func TestSyncedStatus(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	exec(ctx, t, shared.upDB, "CREATE DATABASE syn", "CREATE TABLE syn.t (id INT PRIMARY KEY)")
	startTs := upstreamNow(ctx, t)
	insertIDs(ctx, t, "syn.t", 1)
	for id, thresholds := range map[string]map[string]any{
		"syn-quick": {"synced_check_interval": 1, "checkpoint_interval": 60},
		"syn-slow":  {"synced_check_interval": 3600, "checkpoint_interval": 60},
	} {
		createFeed(ctx, t, downstream{uri: "blackhole://"}, id, startTs, map[string]any{
			"filter": map[string]any{"rules": []string{"syn.*"}}, "synced_status": thresholds,
		})
	}
	synced := func(id string) bool {
		var out struct {
			Synced bool `json:"synced"`
		}
		require.NoError(t, shared.server.API.Do(ctx, http.MethodGet, "/api/v2/changefeeds/"+id+"/synced", nil, &out))
		return out.Synced
	}
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "syn-slow", upstreamNow(ctx, t)))
	require.NoError(t, cluster.Until(ctx, "to be synced", func() (bool, error) { return synced("syn-quick"), nil }))
	require.False(t, synced("syn-slow"))
}
