// Package blackhole is the sink that discards everything: the measure of all
// that happens before a sink.
package blackhole

import (
	"context"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// Sink accepts rows and DDL at once and tells them at debug level only.
type Sink struct {
	logger *zap.Logger
	debug  bool // rows are on the hot path: ask the logger once
}

var _ sink.Sink = (*Sink)(nil)

// New makes a blackhole sink. It has nothing that could fail.
func New(o sink.Options) *Sink {
	logger := o.Logger
	if logger == nil {
		logger = zap.NewNop()
	}
	logger = logger.With(zap.Stringer("changefeed", o.Changefeed))
	return &Sink{logger: logger, debug: logger.Core().Enabled(zap.DebugLevel)}
}

// Write discards the batch. It fails only when the context is over.
func (s *Sink) Write(ctx context.Context, b *model.RowBatch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.debug {
		s.logger.Debug("discard rows", zap.Int64("tableID", b.TableID), zap.Int("rows", len(b.Rows)),
			zap.Uint64("commitTs", b.Rows[len(b.Rows)-1].CommitTs))
	}
	b.Done(nil)
	return nil
}

// WriteDDL discards the event.
func (s *Sink) WriteDDL(ctx context.Context, ev *model.DDLEvent) error {
	s.logger.Debug("discard DDL", zap.Int64("jobID", ev.JobID), zap.Uint64("commitTs", ev.CommitTs))
	return ctx.Err()
}

// WriteWatermark does nothing.
func (s *Sink) WriteWatermark(ctx context.Context, _ uint64) error { return ctx.Err() }

// Status is always good.
func (s *Sink) Status() sink.Status { return sink.Status{} }

// Close does nothing: the sink holds nothing.
func (s *Sink) Close() {}
