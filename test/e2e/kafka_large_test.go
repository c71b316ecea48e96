package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/consumer"
	"github.com/tidemark/tidemark/pkg/objstore"
	"github.com/tidemark/tidemark/test/cluster"
)

// TestKafkaLarge sends rows that are too large for Kafka: the consumer reads
// them from the upstream or from files.
func TestKafkaLarge(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	shared.queue.start(ctx, t)
	exec(ctx, t, shared.upDB, "CREATE DATABASE klarge")
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	upstream, err := consumer.OpenMySQL("mysql://root@"+shared.up.TiDB+"/", time.UTC)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, upstream.Close()) })

	var feeds []*queueFeed
	var dirs []string
	start := func(name string, p protocolCase, handle map[string]any, prepare func(*consumer.Options)) {
		f := startQueueFeed(ctx, t, shared, feedOptions{
			name: name, protocol: p, dispatch: dispatchers()["index"], startTs: startTs, rules: []string{"klarge.*"},
			params: "&max-message-bytes=20000", prepare: prepare,
			sink: map[string]any{"kafka_config": map[string]any{"large_message_handle": handle}},
		})
		f.makeDownstream(ctx, t, shared.downs[1].db, "CREATE DATABASE `klarge`")
		feeds = append(feeds, f)
	}
	for _, p := range protocolCases()[:3] {
		start("large-key", p, map[string]any{"large_message_handle_option": config.LargeMessageHandleKeyOnly},
			func(o *consumer.Options) { o.Snapshots = consumer.NewTiDB(upstream) })
		dir := t.TempDir()
		dirs = append(dirs, dir)
		storage := "file://" + dir
		files, err := objstore.OpenClaimCheck(ctx, config.SinkURI(storage))
		require.NoError(t, err)
		t.Cleanup(files.Close)
		start("large-claim", p, map[string]any{
			"large_message_handle_option": config.LargeMessageClaimCheck, "large_message_handle_compression": "lz4",
			"claim_check_storage_uri": storage,
		}, func(o *consumer.Options) {
			o.Files = files
			o.Codec.LargeMessage.Compression = "lz4"
		})
	}

	exec(ctx, t, shared.upDB, "CREATE TABLE klarge.t (id INT PRIMARY KEY, small INT, big MEDIUMBLOB, g INT GENERATED ALWAYS AS (small * 2) STORED)")
	// Nothing that lz4 could make smaller.
	random := "RANDOM_BYTES(1000)" + strings.Repeat(",RANDOM_BYTES(1000)", 30)
	for i := range 8 {
		exec(ctx, t, shared.upDB,
			fmt.Sprintf("INSERT INTO klarge.t (id, small, big) VALUES (%d, %d, REPEAT(RANDOM_BYTES(1000), %d))", i, i, 1+i%2),
			fmt.Sprintf("UPDATE klarge.t SET big = CONCAT(%s) WHERE id = %d", random, i),
			fmt.Sprintf("UPDATE klarge.t SET small = small + 100 WHERE id = %d", i))
	}
	exec(ctx, t, shared.upDB, "UPDATE klarge.t SET id = 100 WHERE id = 1", "DELETE FROM klarge.t WHERE id IN (2, 3)")
	ts := settledTSO(ctx, t, shared)
	for _, f := range feeds {
		f.requireConsumed(ctx, t, shared, ts, []string{"klarge"})
	}
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.NotEmpty(t, files, "nothing was large")
	}
}
