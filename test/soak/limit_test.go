//go:build soak

package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/mariadb"
	"github.com/tidemark/tidemark/test/workload"
)

const (
	processLimit = 1 << 30              // what the server is told to stay below
	residentMost = processLimit * 3 / 2 // what the kernel may count
)

// TestProcessLimit lets ten changefeeds catch up at once with the same 2,000,000
// changes (or LIMIT_CHANGES), eight of them to blackhole, one to MariaDB and
// one to TiDB. None has a quota that would help. The process must stay small
// and all must finish.
func TestProcessLimit(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 110*time.Minute)
	defer cancel()
	dir := t.TempDir()
	maria, err := mariadb.Start(ctx, dir+"/mariadb")
	require.NoError(t, err)
	t.Cleanup(maria.Close)
	up, err := cluster.StartUpstream(ctx, cluster.UpstreamOptions{Dir: dir, Downstream: true})
	require.NoError(t, err)
	t.Cleanup(up.Close)
	file := filepath.Join(dir, "server.toml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "gc-tuner-memory-threshold = %d\n", processLimit), 0o600))
	server, err := cluster.StartServer(ctx, cluster.ServerOptions{PD: up.PD, Dir: dir, Args: []string{"--config", file}})
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	upDB, err := up.OpenUp()
	require.NoError(t, err)

	load := workload.Bulk{Schema: "memory", Tables: 10, Changes: changes(t, "LIMIT_CHANGES", 2_000_000)}
	startTs, err := cluster.TSO(ctx, upDB)
	require.NoError(t, err)
	begin := time.Now()
	uris := map[string]string{
		"mariadb": "mysql://root@" + maria.Addr() + "/",
		"tidb":    "tidb://root@" + up.Downstream + "/",
	}
	for i := len(uris); i < 10; i++ {
		uris[fmt.Sprintf("blackhole-%d", i)] = "blackhole://"
	}
	for id, uri := range uris {
		require.NoError(t, server.API.Create(ctx, feedOf(id, uri, startTs, 0)))
	}
	require.NoError(t, load.Prepare(ctx, upDB))
	preparedTs, err := cluster.TSO(ctx, upDB)
	require.NoError(t, err)
	// Paused they hold GC back, so that the history outlives the load.
	for id := range uris {
		require.NoError(t, server.API.WaitCheckpoint(ctx, id, preparedTs))
		require.NoError(t, server.API.Pause(ctx, id))
	}
	require.NoError(t, load.Run(ctx, upDB))
	endTs, err := cluster.TSO(ctx, upDB)
	require.NoError(t, err)
	t.Logf("%d changes written in %s", load.Total(), time.Since(begin).Round(time.Second))

	require.NoError(t, server.Stop())
	require.NoError(t, server.Start(ctx))
	begin = time.Now()
	for id := range uris {
		require.NoError(t, server.API.Resume(ctx, id))
	}
	var feeds errgroup.Group
	for id := range uris {
		feeds.Go(func() error {
			err := server.API.WaitCheckpoint(ctx, id, endTs)
			t.Logf("%s: %s", id, time.Since(begin).Round(time.Second))
			return err
		})
	}
	require.NoError(t, feeds.Wait())
	usage, err := server.Usage()
	require.NoError(t, err)
	t.Logf("all caught up in %s with %s of CPU; peak memory %d MiB", time.Since(begin).Round(time.Second), usage.CPU, usage.PeakRSS>>20)
	logMetrics(ctx, t, server)
	require.Less(t, usage.PeakRSS, int64(residentMost))

	mariaDB, err := cluster.OpenMySQL(maria.Addr(), "root", "")
	require.NoError(t, err)
	requireRows(ctx, t, mariaDB, load)
	downDB, err := up.OpenDown()
	require.NoError(t, err)
	requireRows(ctx, t, downDB, load)
}

// logMetrics tells what the server itself has counted.
func logMetrics(ctx context.Context, t *testing.T, server *cluster.Server) {
	t.Helper()
	for _, name := range []string{
		"ticdc_sorter_memory_limit_bytes", "ticdc_sorter_memory_peak_bytes", "ticdc_sorter_memory_waits_total",
		"ticdc_sorter_spilled_bytes_total", "go_memstats_heap_sys_bytes",
	} {
		v, err := server.Metric(ctx, name)
		require.NoError(t, err)
		t.Logf("%s: %.0f", name, v)
	}
}
