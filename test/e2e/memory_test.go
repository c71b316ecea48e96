package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/workload"
)

// TestMemoryOfAllChangefeeds lets ten changefeeds catch up at once with a table
// whose history alone is larger than what the process may hold of it, and
// nothing of which can be delivered before all of it is there. What the server
// accounts for must stay below its limit, and every row must arrive.
// test/soak measures the process itself.
func TestMemoryOfAllChangefeeds(t *testing.T) {
	const feeds, processLimit = 10, 64 << 20
	ctx := testContext(t, 5*time.Minute)
	dir := t.TempDir()
	file := filepath.Join(dir, "cdc.toml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "gc-tuner-memory-threshold = %d\n", processLimit), 0o600))
	server, err := cluster.StartServer(ctx, cluster.ServerOptions{
		PD: shared.up.PD, Dir: dir, Name: "small", Args: []string{"--cluster-id", "small", "--config", file},
	})
	require.NoError(t, err)
	defer func() {
		if t.Failed() {
			keepLog(t, server.LogPath())
		}
		require.NoError(t, server.Stop())
	}()
	metric := func(name string, labels ...string) int {
		v, err := server.Metric(ctx, name, labels...)
		require.NoError(t, err)
		return int(v)
	}

	load := workload.Bulk{Schema: "memory_of_all", Tables: 1, Changes: 50_000, TextBytes: 400}
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	require.NoError(t, load.Prepare(ctx, shared.upDB))
	require.NoError(t, load.Run(ctx, shared.upDB))
	endTs := settledTSO(ctx, t, shared)
	var ids []string
	for i := range feeds {
		uri := "blackhole://"
		if i == 0 {
			uri = shared.downs[1].uri
		}
		id := fmt.Sprintf("memory-%d", i)
		require.NoError(t, server.API.Create(ctx, cluster.Feed{
			ID: id, SinkURI: uri, StartTs: startTs,
			ReplicaConfig: map[string]any{"filter": map[string]any{"rules": []string{load.Schema + ".*"}}},
		}))
		ids = append(ids, id)
	}
	for _, id := range ids {
		require.NoError(t, server.API.WaitCheckpoint(ctx, id, endTs))
		require.GreaterOrEqual(t, metric("ticdc_sink_table_sink_total_rows_count", `changefeed="`+id+`"`), load.Total())
	}
	var rows int
	require.NoError(t, shared.downs[1].db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+load.Schema+"."+workload.TableName(0)).Scan(&rows))
	require.Equal(t, load.RowsLeft(), rows)

	limit, peak := metric("ticdc_sorter_memory_limit_bytes"), metric("ticdc_sorter_memory_peak_bytes")
	require.Equal(t, processLimit/2, limit)
	require.Greater(t, peak, limit/4, "the limit was not far away")
	require.LessOrEqual(t, peak, limit)
	require.Positive(t, metric("ticdc_sorter_spilled_bytes_total"), "rows had to make room")
	usage, err := server.Usage()
	require.NoError(t, err)
	t.Logf("%d of %d MiB accounted for at most, %d MiB went to disk, streams waited %d times, peak memory of the process %d MiB",
		peak>>20, limit>>20, metric("ticdc_sorter_spilled_bytes_total")>>20, metric("ticdc_sorter_memory_waits_total"), usage.PeakRSS>>20)
	for _, id := range ids {
		require.NoError(t, server.API.Delete(ctx, id))
	}
}
