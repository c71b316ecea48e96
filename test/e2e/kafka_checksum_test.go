package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
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

// sumsOf notes the checksums of the rows that it is given.
type sumsOf struct {
	mu   sync.Mutex
	rows []codec.Event
}

func (s *sumsOf) Rows(_ context.Context, rows []codec.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, rows...)
	return nil
}

func (s *sumsOf) DDL(context.Context, codec.Event) error { return nil }
func (s *sumsOf) Resolved(context.Context, uint64) error { return nil }

func (s *sumsOf) all() []codec.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows
}

// TestKafkaChecksums lets TiDB write row checksums: none may fail to fit, and
// messages show them.
func TestKafkaChecksums(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	shared.queue.start(ctx, t)
	exec(ctx, t, shared.upDB, "CREATE DATABASE ksums",
		"SET GLOBAL tidb_enable_row_level_checksum = ON",
		`CREATE TABLE ksums.t (id VARCHAR(20) PRIMARY KEY, u BIGINT UNSIGNED, f FLOAT, d DOUBLE, n DECIMAL(20,5), dt DATETIME(3),
			ts TIMESTAMP(6) NULL, tm TIME(2), y YEAR, j JSON, b BIT(9), e ENUM('a','b'), s SET('x','y'), bl BLOB, v INT AS (y + 1))`)
	t.Cleanup(func() { exec(context.Background(), t, shared.upDB, "SET GLOBAL tidb_enable_row_level_checksum = OFF") })
	// The switch counts for sessions that begin after it.
	db, err := consumer.OpenMySQL("mysql://root@"+shared.up.TiDB+"/", time.UTC)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	registry := shared.queue.registry
	for name, o := range map[string]codec.Options{
		"protocol=simple":                      {Protocol: config.ProtocolSimple},
		"protocol=simple&encoding-format=avro": {Protocol: config.ProtocolSimple, SimpleFormat: "avro"},
		"protocol=avro&enable-tidb-extension=true&avro-decimal-handling-mode=string&avro-bigint-unsigned-handling-mode=string&schema-registry=" + registry: {
			Protocol: config.ProtocolAvro, EnableTiDBExtension: true, Avro: codec.AvroOptions{Registry: config.SinkURI(registry)}},
	} {
		id := "sums-" + o.Protocol + o.SimpleFormat
		require.NoError(t, shared.server.API.Create(ctx, cluster.Feed{
			ID: id, SinkURI: "kafka://" + shared.queue.broker.Addrs()[0] + "/" + id + "?partition-num=1&" + name, StartTs: startTs,
			ReplicaConfig: map[string]any{
				"filter":    map[string]any{"rules": []string{"ksums.*"}},
				"integrity": map[string]any{"integrity_check_level": "correctness", "corruption_handle_level": "error"},
			},
		}))
		t.Cleanup(func() { _ = shared.server.API.Delete(context.Background(), id) })
		t.Run(id, func(t *testing.T) { checkSums(ctx, t, db, id, o) })
	}
}

func checkSums(ctx context.Context, t *testing.T, db *sql.DB, id string, o codec.Options) {
	stmts := []string{"DELETE FROM ksums.t"}
	for i := range 5 {
		stmts = append(stmts, fmt.Sprintf(`INSERT INTO ksums.t (id, u, f, d, n, dt, ts, tm, y, j, b, e, s, bl) VALUES
			('k%d', 18446744073709551615, 1.5, -2.25, -3.14, '2024-02-29 01:02:03.456', '2024-02-29 01:02:03.456789', '-01:02:03.4', 2024,
			'{"b": [1, null], "a": 1.5}', 5, 'b', 'x,y', x'00ff')`, i))
	}
	stmts = append(stmts, "UPDATE ksums.t SET u = NULL, ts = NOW(6), j = '1'", "DELETE FROM ksums.t WHERE id = 'k0'")
	exec(ctx, t, db, stmts...)
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, id, settledTSO(ctx, t, shared)))

	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	sums := &sumsOf{}
	go func() {
		done <- consumer.Run(run, consumer.Options{
			Brokers: shared.queue.broker.Addrs(), Kafka: kafka.ClientConfig(), Codec: o,
			Pattern: regexp.MustCompile("^" + id + "$"), Refresh: 200 * time.Millisecond, Target: sums,
		})
	}()
	require.NoError(t, cluster.Until(ctx, "rows of "+id, func() (bool, error) {
		select {
		case err := <-done:
			return true, err
		default:
		}
		return len(sums.all()) >= 11, nil
	}))
	cancel()
	<-done
	for _, ev := range sums.all() {
		if o.Protocol == config.ProtocolAvro && len(ev.Row.New) == 0 {
			continue // the key alone
		}
		require.NotNil(t, ev.Row.Checksum)
		require.False(t, ev.Row.Checksum.Corrupted)
		require.Equal(t, 2, ev.Row.Checksum.Version)
		require.Equal(t, len(ev.Row.New) > 0, ev.Row.Checksum.Current != 0)
	}
}
