package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/workload"
)

// TestConverge writes with many workers and then cuts their connections in
// the middle of what they do, several times: unfinished transactions must
// neither be lost nor invented.
func TestConverge(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	feeds := createFeeds(ctx, t, shared, "converge", startTs, "converge.*")
	load := workload.Spec{Schema: "converge", Tables: 8, Keys: 300, Workers: 6}
	require.NoError(t, load.Prepare(ctx, shared.upDB))
	for round := range 4 {
		load.Seed = uint64(round)
		loadCtx, stop := context.WithTimeout(ctx, time.Second)
		n, err := load.Run(loadCtx, shared.upDB)
		stop()
		require.NoError(t, err)
		require.Positive(t, n, fmt.Sprintf("round %d wrote nothing", round))
		requireReplicated(ctx, t, shared, feeds, []string{"converge"})
	}
}
