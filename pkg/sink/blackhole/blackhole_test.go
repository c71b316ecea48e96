package blackhole

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

func TestDiscards(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	for _, logger := range []*zap.Logger{nil, zap.New(core)} {
		s := New(sink.Options{Changefeed: model.DefaultChangefeedID("bh"), Logger: logger})
		done := 0
		b := &model.RowBatch{
			TableID: 5, Rows: []model.RawChange{model.NewRawChange(1, 2, []byte("k"), nil, nil)},
			Done: func(err error) {
				require.NoError(t, err)
				done++
			},
		}
		ctx, cancel := context.WithCancel(context.Background())
		require.NoError(t, s.Write(ctx, b))
		require.Equal(t, 1, done)
		require.NoError(t, s.WriteDDL(ctx, &model.DDLEvent{JobID: 3}))
		require.NoError(t, s.WriteWatermark(ctx, 9))
		require.Zero(t, s.Status())
		cancel()
		require.ErrorIs(t, s.Write(ctx, b), context.Canceled)
		require.Equal(t, 1, done)
		s.Close()
	}
	require.Equal(t, 1, logs.FilterMessage("discard rows").Len())
	require.Equal(t, 1, logs.FilterMessage("discard DDL").Len())
}
