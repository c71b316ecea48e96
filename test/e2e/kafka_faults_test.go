package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/factory"
	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/kafka"
	"github.com/tidemark/tidemark/test/validator"
	"github.com/tidemark/tidemark/test/workload"
)

// TestKafkaFaults writes while brokers are killed and come back, and while
// partitions are added and the changefeeds start again. The topics must keep
// what the protocols promise, and the consumers end up equal.
func TestKafkaFaults(t *testing.T) {
	ctx := testContext(t, 10*time.Minute)
	began := time.Now()
	brokers, err := kafka.Start(ctx, t.TempDir(), 3)
	require.NoError(t, err)
	t.Cleanup(brokers.Close)
	t.Logf("three brokers are at work after %s", time.Since(began).Round(time.Millisecond))
	s := *shared
	s.queue = &queue{broker: brokers}

	exec(ctx, t, s.upDB, "CREATE DATABASE kfaults", "CREATE DATABASE kfaultsload")
	startTs, err := cluster.TSO(ctx, s.upDB)
	require.NoError(t, err)
	var feeds []*queueFeed
	for _, p := range protocolCases()[:2] {
		topic := "faults-" + p.name
		require.NoError(t, brokers.CreateTopic(topic, 3, 3, map[string]string{"min.insync.replicas": "2"}))
		f := startQueueFeed(ctx, t, &s, feedOptions{name: "faults", protocol: p, dispatch: dispatchers()["index"],
			startTs: startTs, rules: []string{"kfaults*.*"}, params: "&replication-factor=3", anyPartitions: true})
		f.makeDownstream(ctx, t, s.downs[1].db, "CREATE DATABASE `kfaults`", "CREATE DATABASE `kfaultsload`")
		feeds = append(feeds, f)
	}
	exec(ctx, t, s.upDB, "CREATE TABLE kfaults.counters (id INT PRIMARY KEY, n INT)")
	load := workload.Spec{Schema: "kfaultsload", Tables: 8, Keys: 500, Workers: 1, Seed: 3}
	require.NoError(t, load.Prepare(ctx, s.upDB))
	loading, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	var loadErr, countErr error
	done.Go(func() { _, loadErr = load.Run(loading, s.upDB) })
	done.Go(func() { countErr = countUp(loading, s.upDB, "kfaults", 100) })

	passed := func() {
		t.Helper()
		ts, err := cluster.TSO(ctx, s.upDB)
		require.NoError(t, err)
		began := time.Now()
		for _, f := range feeds {
			require.NoError(t, s.server.API.WaitCheckpoint(ctx, f.id, ts))
		}
		t.Logf("caught up in %s", time.Since(began).Round(time.Millisecond))
	}
	passed()
	rounds := 2
	if os.Getenv("KAFKA_MATRIX") == "full" {
		rounds = 6
	}
	for i := range rounds {
		brokers.Kill(i % 3)
		passed() // two of three are enough
		began := time.Now()
		require.NoError(t, brokers.Run(ctx, i%3))
		t.Logf("the broker is back after %s", time.Since(began).Round(time.Millisecond))
		if i == 1 {
			for _, f := range feeds {
				require.NoError(t, brokers.AddPartitions(f.topic, 6))
				require.NoError(t, s.server.API.Pause(ctx, f.id))
				require.NoError(t, s.server.API.Resume(ctx, f.id))
			}
		}
	}
	passed()
	stop()
	done.Wait()
	require.NoError(t, loadErr)
	require.NoError(t, countErr)
	t.Log("the writers have stopped")

	ts := settledTSO(ctx, t, &s)
	for _, f := range feeds {
		f.requireConsumed(ctx, t, &s, ts, []string{"kfaults", "kfaultsload"})
		requireHonest(ctx, t, brokers, f)
	}
}

// countUp adds one to a random counter out of so many, over and over.
func countUp(ctx context.Context, db *sql.DB, schema string, counters int) error {
	r := rand.New(rand.NewPCG(1, 2))
	running, release := workload.Outliving(ctx)
	defer release()
	for ctx.Err() == nil {
		_, err := db.ExecContext(running, fmt.Sprintf("INSERT INTO %s.counters VALUES (%d, 1) ON DUPLICATE KEY UPDATE n = n + 1", schema, r.IntN(counters)))
		if err != nil && !workload.Expected(err) {
			return err
		}
	}
	return nil
}

// requireHonest reads a topic raw and validates it.
func requireHonest(ctx context.Context, t *testing.T, brokers *kafka.Cluster, f *queueFeed) {
	t.Helper()
	parts, err := brokers.ReadTopic(ctx, f.topic)
	require.NoError(t, err)
	q := validator.NewQueue()
	counters := make(map[string]map[string]bool)
	for id, messages := range parts {
		o := f.p.options
		o.TimeZone = time.UTC
		d, err := factory.NewDecoder(ctx, o)
		require.NoError(t, err)
		for _, m := range messages {
			events, err := d.Decode(ctx, m.Key, m.Value)
			require.NoError(t, err)
			for i := range events {
				q.See(id, &events[i])
				count(counters, &events[i])
			}
		}
	}
	rows, repeats, err := q.Result()
	require.NoError(t, err, f.id)
	require.Positive(t, rows)
	t.Logf("%s: %d partitions, %d rows, %d of them repeats", f.id, len(parts), rows, repeats)
	// Each counter has gone through all numbers from one on.
	require.NotEmpty(t, counters)
	for id, seen := range counters {
		for n := 1; n <= len(seen); n++ {
			require.Contains(t, seen, fmt.Sprint(n), "%s: counter %s", f.id, id)
		}
	}
}

// count notes the values of the counters.
func count(counters map[string]map[string]bool, ev *codec.Event) {
	if ev.Kind != codec.EventRow || ev.Table != "counters" {
		return
	}
	cells := make(map[string]string)
	for _, c := range ev.Row.New {
		cells[c.Name] = fmt.Sprint(c.Value)
	}
	if counters[cells["id"]] == nil {
		counters[cells["id"]] = make(map[string]bool)
	}
	counters[cells["id"]][cells["n"]] = true
}
