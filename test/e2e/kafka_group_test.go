package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/consumer"
	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/kafka"
)

// TestKafkaGroup stops a consumer that keeps its positions in Kafka: the next
// one goes on behind what was applied.
func TestKafkaGroup(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	shared.queue.start(ctx, t)
	exec(ctx, t, shared.upDB, "CREATE DATABASE kgroup", "CREATE TABLE kgroup.t (id INT PRIMARY KEY)")
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	addrs := shared.queue.broker.Addrs()
	require.NoError(t, shared.server.API.Create(ctx, cluster.Feed{
		ID: "group", StartTs: startTs,
		SinkURI: "kafka://" + addrs[0] + "/group?protocol=canal-json&enable-tidb-extension=true&partition-num=3",
		ReplicaConfig: map[string]any{
			"filter": map[string]any{"rules": []string{"kgroup.*"}},
			"sink":   map[string]any{"dispatchers": []any{map[string]any{"matcher": []string{"*.*"}, "partition": "index-value"}}},
		},
	}))
	t.Cleanup(func() { _ = shared.server.API.Delete(context.Background(), "group") })

	for round := range 3 {
		var want []int64
		for i := range 20 {
			id := round*100 + i
			exec(ctx, t, shared.upDB, fmt.Sprintf("INSERT INTO kgroup.t VALUES (%d)", id))
			want = append(want, int64(id))
		}
		ts := settledTSO(ctx, t, shared)
		require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "group", ts))

		seen := &recorder{until: ts, done: make(chan struct{})}
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			ended <- consumer.Run(running, consumer.Options{
				Brokers: addrs, Kafka: kafka.ClientConfig(), Topics: []string{"group"}, Group: "readers",
				Codec:  codec.Options{Protocol: config.ProtocolCanalJSON, EnableTiDBExtension: true, TimeZone: time.UTC},
				Target: seen, Refresh: 200 * time.Millisecond,
			})
		}()
		select {
		case <-seen.done:
		case err := <-ended:
			require.FailNow(t, "the consumer ended", "%v", err)
		case <-ctx.Done():
			require.FailNow(t, "not everything came", "round %d: %v", round, seen.ids)
		}
		stop()
		require.NoError(t, <-ended)
		slices.Sort(seen.ids)
		require.Equal(t, want, seen.ids, "round %d", round)
	}
}

// recorder notes the ids of rows that would be applied, until a watermark.
type recorder struct {
	until uint64
	done  chan struct{}
	once  sync.Once
	ids   []int64
}

func (r *recorder) Rows(_ context.Context, rows []codec.Event) error {
	for i := range rows {
		r.ids = append(r.ids, rows[i].Row.New[0].Value.(int64))
	}
	return nil
}

func (r *recorder) DDL(context.Context, codec.Event) error { return nil }

func (r *recorder) Resolved(_ context.Context, ts uint64) error {
	if ts >= r.until {
		r.once.Do(func() { close(r.done) })
	}
	return nil
}
