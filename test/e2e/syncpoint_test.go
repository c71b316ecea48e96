package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/compare"
	"github.com/tidemark/tidemark/test/workload"
)

const (
	// syncInterval is the least that a changefeed may have.
	syncInterval = 30 * time.Second
	// historySpan is how many moments the history goes through.
	historySpan = 3

	msToTSO = 1 << 18
)

// history is a time of random changes and DDL that goes on beside the first
// tests. A changefeed that starts where it began passes the sync points of that
// time at once, which it would otherwise have to wait for.
type history struct {
	startTs uint64
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // valid once done is closed
}

func historyLoad() workload.Spec {
	return workload.Spec{Schema: "history", Tables: 8, Keys: 300, Workers: 2, Seed: 5, Pause: 100 * time.Millisecond}
}

// beginHistory returns at once; the history ends by itself, or with end.
func beginHistory(ctx context.Context, db *sql.DB) (*history, error) {
	// Snapshots of that time are read at the end.
	if _, err := db.ExecContext(ctx, "SET GLOBAL tidb_gc_life_time = '24h'"); err != nil {
		return nil, err
	}
	ts, err := cluster.TSO(ctx, db)
	if err != nil {
		return nil, err
	}
	h := &history{startTs: ts, done: make(chan struct{})}
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(h.done)
		h.err = writeHistory(ctx, db)
	}()
	return h, nil
}

func (h *history) end() {
	h.cancel()
	<-h.done
}

// await returns the error of a history that is complete.
func (h *history) await(ctx context.Context) error {
	select {
	case <-h.done:
		return h.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func writeHistory(ctx context.Context, db *sql.DB) error {
	load := historyLoad()
	if err := load.Prepare(ctx, db); err != nil {
		return err
	}
	writing, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { _, err := load.Run(writing, db); return err })
	group.Go(func() error {
		defer stop()
		next := time.Now().Truncate(syncInterval)
		for i := range historySpan {
			next = next.Add(syncInterval)
			if err := waitUntil(ctx, next.Add(time.Second)); err != nil {
				return err
			}
			// Allowed whatever another test makes of this cluster in a BDR group.
			if _, err := db.ExecContext(ctx, fmt.Sprintf("ALTER TABLE history.t000 ADD COLUMN extra%d INT DEFAULT %d", i, i)); err != nil {
				return err
			}
		}
		return waitUntil(ctx, time.Now().Add(time.Second))
	})
	return group.Wait()
}

func waitUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func syncConfig(interval string) map[string]any {
	return map[string]any{
		"enable_sync_point": true, "sync_point_interval": interval, "sync_point_retention": "1h",
		"filter": map[string]any{"rules": []string{"history.*"}},
	}
}

// point is a recorded pair.
type point struct{ primary, secondary uint64 }

// points reads what a changefeed has recorded.
func points(ctx context.Context, t *testing.T, id string) []point {
	t.Helper()
	rows, err := shared.downs[0].db.QueryContext(ctx, "SELECT CAST(primary_ts AS UNSIGNED) AS p, CAST(secondary_ts AS UNSIGNED) "+
		"FROM tidb_cdc.syncpoint_v1 WHERE ticdc_cluster_id = 'default' AND changefeed = ? AND LENGTH(primary_ts) = 18 ORDER BY p", id)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var out []point
	for rows.Next() {
		var p point
		require.NoError(t, rows.Scan(&p.primary, &p.secondary))
		out = append(out, p)
	}
	require.NoError(t, rows.Err())
	return out
}

// requireAligned checks that no moment since the start was left out.
func requireAligned(t *testing.T, points []point, interval time.Duration, startTs uint64) {
	t.Helper()
	every := uint64(interval.Milliseconds()) * msToTSO
	require.NotEmpty(t, points)
	require.Equal(t, (startTs/every+1)*every, points[0].primary)
	for i := 1; i < len(points); i++ {
		require.Equal(t, points[i-1].primary+every, points[i].primary)
		require.Greater(t, points[i].secondary, points[i-1].secondary)
	}
}

// requireSamePoints compares both sides at every pair, and tells how often the
// data differed from the pair before.
func requireSamePoints(ctx context.Context, t *testing.T, points []point) (changes int) {
	t.Helper()
	previous := int64(-1)
	for _, p := range points {
		res, err := compare.Databases(ctx, shared.upDB, shared.downs[0].db, compare.Options{
			Schemas: []string{"history"}, SnapshotTs: p.primary, DownstreamTs: p.secondary,
		})
		require.NoError(t, err)
		require.True(t, res.Equal(), "%+v: %s", p, res)
		require.Equal(t, historyLoad().Tables, res.Tables)
		if res.Rows != previous {
			changes++
		}
		previous = res.Rows
	}
	return changes
}

func TestSyncPoints(t *testing.T) {
	ctx := testContext(t, 6*time.Minute)
	api, down := shared.server.API, shared.downs[0]
	exec(ctx, t, down.db, "SET GLOBAL tidb_gc_life_time = '24h'")
	require.NoError(t, shared.history.await(ctx))

	// The interval decides; without sync points nothing is recorded.
	plain := syncConfig("30s")
	plain["enable_sync_point"] = false
	for id, config := range map[string]map[string]any{"sync-off": plain, "sync-45": syncConfig("45s")} {
		now := upstreamNow(ctx, t)
		createFeed(ctx, t, down, id, shared.history.startTs, config)
		require.NoError(t, api.WaitCheckpoint(ctx, id, now))
		require.NoError(t, api.Delete(ctx, id))
		exec(ctx, t, down.db, "DROP DATABASE history")
	}
	slow := points(ctx, t, "sync-45")
	requireAligned(t, slow, 45*time.Second, shared.history.startTs)
	require.Empty(t, points(ctx, t, "sync-off"))

	// Old points of the same changefeed go, others stay.
	exec(ctx, t, down.db, `INSERT INTO tidb_cdc.syncpoint_v1 VALUES
		('default', 'sync-30', '1', '1', NOW() - INTERVAL 61 MINUTE), ('default', 'sync-30', '2', '2', NOW() - INTERVAL 50 MINUTE),
		('default', 'sync-other', '1', '1', NOW() - INTERVAL 61 MINUTE), ('others', 'sync-30', '3', '3', NOW() - INTERVAL 61 MINUTE)`)

	// With writers at work, and through the end of a server and a pause.
	load := historyLoad()
	load.Seed, load.Pause = 6, 5*time.Millisecond
	writing, stop := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { _, err := load.Run(writing, shared.upDB); return err })
	begun := upstreamNow(ctx, t)
	createFeed(ctx, t, down, "sync-30", shared.history.startTs, syncConfig("30s"))
	require.NoError(t, cluster.Until(ctx, "a sync point", func() (bool, error) { return len(points(ctx, t, "sync-30")) > 0, nil }))
	shared.server.Kill()
	require.NoError(t, shared.server.Start(ctx))
	require.NoError(t, api.WaitCheckpoint(ctx, "sync-30", begun))
	require.NoError(t, api.Pause(ctx, "sync-30"))
	require.NoError(t, api.Resume(ctx, "sync-30"))
	exec(ctx, t, shared.upDB, "ALTER TABLE history.t001 ADD COLUMN late INT DEFAULT 3")
	require.NoError(t, cluster.Until(ctx, "a sync point of the present", func() (bool, error) {
		all := points(ctx, t, "sync-30")
		return all[len(all)-1].primary > begun, nil
	}))
	stop()
	require.NoError(t, group.Wait())
	require.NoError(t, api.Pause(ctx, "sync-30"))

	fast := points(ctx, t, "sync-30")
	requireAligned(t, fast, syncInterval, shared.history.startTs)
	require.GreaterOrEqual(t, len(fast), historySpan+1)
	require.GreaterOrEqual(t, requireSamePoints(ctx, t, fast), historySpan, "the data changed from point to point")
	requireSamePoints(ctx, t, slow)
	t.Logf("%d sync points every 30 s, %d every 45 s", len(fast), len(slow))
	require.Equal(t, fmt.Sprint(fast[len(fast)-1].secondary), text(ctx, t, down.db, "SELECT @@GLOBAL.tidb_external_ts"))
	require.Equal(t, "default sync-30 2,default sync-other 1,others sync-30 3", text(ctx, t, down.db,
		"SELECT GROUP_CONCAT(ticdc_cluster_id, ' ', changefeed, ' ', primary_ts ORDER BY primary_ts = 2 DESC, primary_ts) "+
			"FROM tidb_cdc.syncpoint_v1 WHERE LENGTH(primary_ts) = 1"))
}

// TestUnfitForTiDBOnly: what needs TiDB downstream is refused without it.
func TestUnfitForTiDBOnly(t *testing.T) {
	ctx := testContext(t, time.Minute)
	maria := shared.downs[1]
	for _, c := range []struct{ key, uri, text string }{
		{"enable_sync_point", maria.uri, "sync points need TiDB downstream, which " + shared.maria.Addr() + " is not"},
		{"enable_sync_point", "blackhole://", "sink uri scheme is not supported with syncpoint enabledsink uri: blackhole:"},
		{"bdr_mode", maria.uri, "BDR mode needs TiDB v6.5 or later downstream: " + shared.maria.Addr() + " has no variable tidb_cdc_write_source"},
		{"bdr_mode", "blackhole://", "sink uri scheme is not supported in BDR mode, sink uri: blackhole:"},
	} {
		err := shared.server.API.Create(ctx, cluster.Feed{ID: "unfit", SinkURI: c.uri, ReplicaConfig: map[string]any{
			c.key: true, "filter": map[string]any{"rules": []string{"unfit.*"}},
		}})
		var answer *cluster.APIError
		require.ErrorAs(t, err, &answer)
		require.Equal(t, 400, answer.Status)
		require.Equal(t, "CDC:ErrSinkURIInvalid", answer.Code)
		require.Contains(t, answer.Msg, c.text)
	}
}
