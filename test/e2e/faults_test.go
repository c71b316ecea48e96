package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/mariadb"
	"github.com/tidemark/tidemark/test/validator"
	"github.com/tidemark/tidemark/test/workload"
)

// faultChanges is how many row changes the fault test writes. FAULT_CHANGES
// raises it; `make soak` runs it with 1,000,000.
func faultChanges(t *testing.T) int64 {
	text := os.Getenv("FAULT_CHANGES")
	if text == "" {
		return 100_000
	}
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return n
}

// startOwn starts a stack that a test may break. shape may change the server's
// options.
func startOwn(ctx context.Context, t *testing.T, shape ...func(*cluster.ServerOptions)) *sharedStack {
	t.Helper()
	dir := t.TempDir()
	s := &sharedStack{}
	var err error
	s.maria, err = mariadb.Start(ctx, dir+"/mariadb")
	require.NoError(t, err)
	t.Cleanup(s.maria.Close)
	s.up, err = cluster.StartUpstream(ctx, cluster.UpstreamOptions{Dir: dir, Downstream: true})
	require.NoError(t, err)
	t.Cleanup(s.up.Close)
	s.server, err = cluster.StartServer(ctx, shaped(cluster.ServerOptions{PD: s.up.PD, Dir: dir}, shape))
	require.NoError(t, err)
	t.Cleanup(func() {
		s.server.Kill()
		if t.Failed() {
			keepLog(t, s.server.LogPath())
		}
	})
	s.upDB, err = s.up.OpenUp()
	require.NoError(t, err)
	s.downs, err = downstreams(s.up, s.maria)
	require.NoError(t, err)
	return s
}

func shaped(o cluster.ServerOptions, shape []func(*cluster.ServerOptions)) cluster.ServerOptions {
	for _, do := range shape {
		do(&o)
	}
	return o
}

// keepLog copies a log out of the test's directory, which is removed.
func keepLog(t *testing.T, path string) {
	t.Helper()
	keepLogAs(t, path, t.Name())
}

func keepLogAs(t *testing.T, path, name string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	out := fmt.Sprintf("%s/tidemark-%s.log", os.TempDir(), name)
	if os.WriteFile(out, b, 0o644) == nil {
		t.Log("the server's log is kept in", out)
	}
}

// TestFaults writes while the server is killed, changefeeds are paused and
// resumed, regions split, downstreams go away and PD restarts. At the end
// nothing may be missing, and no checkpoint may ever have gone back.
func TestFaults(t *testing.T) {
	ctx := testContext(t, 15*time.Minute)
	s := startOwn(ctx, t)
	load := workload.Spec{Schema: "faults", Tables: 50, Keys: 5000, Changes: faultChanges(t), Workers: 4,
		Seed: uint64(time.Now().UnixNano()), Done: new(atomic.Int64)}
	t.Logf("seed %d", load.Seed)
	startTs, err := cluster.TSO(ctx, s.upDB)
	require.NoError(t, err)
	feeds := createFeeds(ctx, t, s, "faults", startTs, "faults.*")
	watch := validator.WatchCheckpoints(ctx, s.server.API, feeds)
	require.NoError(t, load.Prepare(ctx, s.upDB))

	var written int64
	var loadErr error
	var done sync.WaitGroup
	loading := make(chan struct{})
	done.Go(func() {
		defer close(loading)
		written, loadErr = load.Run(ctx, s.upDB)
	})
	splitting, stopSplitting := context.WithCancel(ctx)
	done.Go(func() { splitRegions(splitting, s.upDB, load) })

	faults := []func(){
		func() { s.server.Kill(); require.NoError(t, s.server.Start(ctx)) },
		func() {
			for _, id := range feeds {
				require.NoError(t, s.server.API.Pause(ctx, id))
				require.NoError(t, s.server.API.Resume(ctx, id))
			}
		},
		func() { require.NoError(t, s.up.RestartPD(ctx)) },
		func() { s.maria.Kill(); require.NoError(t, s.maria.Run(ctx)) },
		func() { require.NoError(t, s.server.Stop()); require.NoError(t, s.server.Start(ctx)) },
	}
	// Twice through the faults, each followed by a tenth of the changes.
	for round := range 2 * len(faults) {
		faults[round%len(faults)]()
		enough := load.Changes * int64(round+1) / int64(2*len(faults))
		require.NoError(t, cluster.Until(ctx, "more changes", func() (bool, error) {
			select {
			case <-loading:
				return true, nil
			default:
				return load.Done.Load() >= enough, nil
			}
		}))
	}
	stopSplitting()
	done.Wait()
	require.NoError(t, loadErr)
	require.Positive(t, written)
	t.Logf("%d row changes written", written)
	requireReplicated(ctx, t, s, feeds, []string{"faults"})
	require.NoError(t, watch.Stop(), "a checkpoint went back")
}

// splitRegions splits tables at random keys until the context ends.
func splitRegions(ctx context.Context, db *sql.DB, load workload.Spec) {
	r := rand.New(rand.NewPCG(load.Seed, 99))
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		table := workload.TableName(r.IntN(load.Tables))
		// Tables with other keys refuse this form: that is fine.
		_, _ = db.ExecContext(ctx, fmt.Sprintf("SPLIT TABLE %s.%s BY (%d)", load.Schema, table, r.Int64N(load.Keys)))
	}
}

// TestDownstreamDown keeps a downstream away for half a minute: the API says
// why the checkpoint stands still, and everything arrives afterwards.
func TestDownstreamDown(t *testing.T) {
	ctx := testContext(t, 6*time.Minute)
	s := startOwn(ctx, t)
	s.downs = s.downs[1:] // MariaDB alone
	load := workload.Spec{Schema: "away", Tables: 6, Keys: 500, Workers: 2, Seed: 7}
	startTs, err := cluster.TSO(ctx, s.upDB)
	require.NoError(t, err)
	feeds := createFeeds(ctx, t, s, "away", startTs, "away.*")
	watch := validator.WatchCheckpoints(ctx, s.server.API, feeds)
	require.NoError(t, load.Prepare(ctx, s.upDB))
	loadCtx, stop := context.WithCancel(ctx)
	finished := make(chan error, 1)
	go func() {
		_, err := load.Run(loadCtx, s.upDB)
		finished <- err
	}()
	before, err := cluster.TSO(ctx, s.upDB)
	require.NoError(t, err)
	require.NoError(t, s.server.API.WaitCheckpoint(ctx, feeds[0], before))

	s.maria.Kill()
	down := time.Now()
	reasons := make(map[string]bool)
	require.NoError(t, cluster.Until(ctx, "half a minute and an explanation", func() (bool, error) {
		st, err := s.server.API.Status(ctx, feeds[0])
		if err != nil {
			return false, err
		}
		if st.Stalled != nil {
			reasons[st.Stalled.Reason] = true
		}
		return time.Since(down) > 30*time.Second && (reasons["sink-retrying"] || reasons["retry-backoff"]), fmt.Errorf("reasons seen: %v", reasons)
	}))
	t.Logf("reasons seen: %v", reasons)
	require.NoError(t, s.maria.Run(ctx))
	stop()
	require.NoError(t, <-finished)
	requireReplicated(ctx, t, s, feeds, []string{"away"})
	require.NoError(t, watch.Stop())
}
