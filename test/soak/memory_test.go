//go:build soak

// Package soak holds long tests, run by hand: `make soak`.
package soak

import (
	"context"
	"database/sql"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/mariadb"
	"github.com/tidemark/tidemark/test/workload"
)

const (
	memoryQuota = 128 << 20 // of each changefeed
	memoryLimit = 1 << 30   // of the server's process
)

// changes is how many row changes are caught up with: what the variable says,
// or else the default.
func changes(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// TestMemory lets changefeeds with a small memory quota catch up with a long
// history of few tables, most of which is unresolved at once. The server must
// stay small, and the rows must all arrive.
func TestMemory(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 110*time.Minute)
	defer cancel()
	dir := t.TempDir()
	maria, err := mariadb.Start(ctx, dir+"/mariadb")
	require.NoError(t, err)
	t.Cleanup(maria.Close)
	up, err := cluster.StartUpstream(ctx, cluster.UpstreamOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(up.Close)
	server, err := cluster.StartServer(ctx, cluster.ServerOptions{PD: up.PD, Dir: dir})
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	db, err := up.OpenUp()
	require.NoError(t, err)

	load := workload.Bulk{Schema: "memory", Tables: 2, Changes: changes(t, "MEMORY_CHANGES", 5_000_000)}
	startTs, err := cluster.TSO(ctx, db)
	require.NoError(t, err)
	begin := time.Now()
	// The history must outlive the load: a paused changefeed holds GC back.
	createPaused(ctx, t, server.API, "holder", "blackhole://", startTs)
	require.NoError(t, load.Prepare(ctx, db))
	require.NoError(t, load.Run(ctx, db))
	endTs, err := cluster.TSO(ctx, db)
	require.NoError(t, err)
	t.Logf("%d changes written in %s", load.Total(), time.Since(begin).Round(time.Second))

	for name, uri := range map[string]string{
		"blackhole": "blackhole://",
		"mariadb":   "mysql://root@" + maria.Addr() + "/",
	} {
		t.Run(name, func(t *testing.T) {
			createPaused(ctx, t, server.API, name, uri, startTs)
			require.NoError(t, server.Stop())
			require.NoError(t, server.Start(ctx))
			require.NoError(t, server.ResetPeak())
			begin := time.Now()
			require.NoError(t, server.API.Resume(ctx, name))
			require.NoError(t, server.API.WaitCheckpoint(ctx, name, endTs))
			usage, err := server.Usage()
			require.NoError(t, err)
			t.Logf("caught up in %s with %s of CPU; peak memory %d MiB", time.Since(begin).Round(time.Second), usage.CPU, usage.PeakRSS>>20)
			require.Less(t, usage.PeakRSS, int64(memoryLimit))
		})
	}
	mariaDB, err := cluster.OpenMySQL(maria.Addr(), "root", "")
	require.NoError(t, err)
	requireRows(ctx, t, mariaDB, load)
}

// createPaused makes a changefeed and pauses it.
func createPaused(ctx context.Context, t *testing.T, api *cluster.API, id, uri string, startTs uint64) {
	t.Helper()
	require.NoError(t, api.Create(ctx, feedOf(id, uri, startTs, memoryQuota)))
	require.NoError(t, api.Pause(ctx, id))
}

// feedOf is a changefeed of the loads here; a quota of 0 means the default.
func feedOf(id, uri string, startTs, quota uint64) cluster.Feed {
	return cluster.Feed{
		ID: id, SinkURI: uri, StartTs: startTs,
		ReplicaConfig: map[string]any{
			"memory_quota": quota,
			"filter":       map[string]any{"rules": []string{"memory.*"}},
		},
	}
}

// requireRows holds the number of rows downstream against what the load leaves.
func requireRows(ctx context.Context, t *testing.T, db *sql.DB, load workload.Bulk) {
	t.Helper()
	for i := range load.Tables {
		var n int
		require.NoError(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+load.Schema+"."+workload.TableName(i)).Scan(&n))
		require.Equal(t, load.RowsLeft(), n)
	}
}
