package kafka

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

// gatedEncoder waits with its first row and counts who does.
type gatedEncoder struct {
	textEncoder
	gate    <-chan struct{}
	waiting *atomic.Int32
	waited  bool
}

func (e *gatedEncoder) AppendRow(ctx context.Context, topic string, ev *codec.RowEvent) error {
	if !e.waited {
		e.waited = true
		e.waiting.Add(1)
		select {
		case <-e.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return e.textEncoder.AppendRow(ctx, topic, ev)
}

// TestEncoderConcurrency: the partitions of a topic are spread over so many
// encoders, which work at the same time.
func TestEncoderConcurrency(t *testing.T) {
	const rows = 200
	for _, encoders := range []int{1, 3} {
		t.Run(fmt.Sprint(encoders), func(t *testing.T) {
			c := newCluster(t, 1, 6)
			o := sinkOptions(t, c, "protocol=open-protocol")
			o.Config.Sink.EncoderConcurrency = &encoders
			o.Config.Sink.DispatchRules = []*config.DispatchRule{{Matcher: []string{"*.*"}, PartitionRule: "index-value"}}
			s := openSink(t, o)
			gate := make(chan struct{})
			var made, waiting atomic.Int32
			s.newEncoder = func(context.Context) (codec.Encoder, error) {
				made.Add(1)
				return &gatedEncoder{gate: gate, waiting: &waiting}, nil
			}
			u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
			var all []model.RawChange
			for i := range rows {
				all = append(all, u.Change(uint64(100+i), 0, nil, []any{i}))
			}
			done := write(t, s, u.Model, all...)
			require.Eventually(t, func() bool { return int(waiting.Load()) == encoders }, eventually, tick)
			close(gate)
			require.NoError(t, acked(t, done))
			require.Equal(t, int32(encoders), made.Load(), "no more than were asked for")
			consume(t, c, topic).await(rows)
		})
	}
}
