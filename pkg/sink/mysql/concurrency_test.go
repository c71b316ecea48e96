package mysql

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// TestWorkerCount: rows with different keys are written over so many
// connections at the same time. The URI wins over the configuration.
func TestWorkerCount(t *testing.T) {
	const rows = 40
	for name, test := range map[string]struct {
		parameters string
		configured int
		want       int
	}{
		"one":    {"&worker-count=1", 0, 1},
		"three":  {"&worker-count=3", 5, 3},
		"config": {"", 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.DefaultReplicaConfig()
			if test.configured > 0 {
				c.Sink.MySQLConfig = &config.MySQLConfig{WorkerCount: &test.configured}
			}
			set, err := parseSettings(sink.Options{
				URI: config.SinkURI("mysql://h/?max-txn-row=1" + test.parameters), Config: c, TimeZone: time.UTC,
			})
			require.NoError(t, err)
			gate := make(chan struct{})
			var writing, most atomic.Int32
			f := &fakeServer{answer: func(text string) error {
				if strings.Contains(text, "INSERT") {
					now := writing.Add(1)
					defer writing.Add(-1)
					for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
					}
					select {
					case <-gate:
					case <-t.Context().Done():
					}
				}
				return nil
			}}
			sv := &server{maxPacket: 64 << 20, maxPrepared: -1, hasGBK: true}
			s := newSink(context.Background(), set, sv, f, f, sink.Options{Changefeed: model.DefaultChangefeedID("count")})
			t.Cleanup(s.Close)

			u := newTable(t, 100, "CREATE TABLE db.t (id INT PRIMARY KEY)")
			done := make(chan error, rows)
			written := make(chan error, 1)
			go func() {
				for i := range rows {
					if err := s.Write(t.Context(), &model.RowBatch{
						TableID: u.info.ID, Table: u.table, Rows: []model.RawChange{u.change(uint64(10+i), int64(i), nil, []any{i})},
						LastOfTxn: true, Done: func(err error) { done <- err },
					}); err != nil {
						written <- err
						return
					}
				}
				written <- nil
			}()
			require.Eventually(t, func() bool { return int(writing.Load()) == test.want }, 30*time.Second, time.Millisecond)
			close(gate)
			require.NoError(t, acked(t, written))
			for range rows {
				require.NoError(t, acked(t, done))
			}
			require.Equal(t, test.want, int(most.Load()))
			require.Equal(t, test.want, f.dials)
		})
	}
}
