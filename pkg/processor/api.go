// Package processor runs one changefeed on this capture: it subscribes to the
// row changes of its spans, sorts them, hands them to the sink and tells how
// far every span is delivered.
package processor

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sorter"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// Changes is the source of row changes. FromClient makes one of a changes.Client.
type Changes interface {
	// Subscribe starts a subscription. It never blocks and cannot fail: what
	// goes wrong later is told to the consumer.
	Subscribe(o changes.Options) Subscription
}

// Subscription is one running subscription.
type Subscription interface {
	// Close ends it; after it returns, its consumer is not called any more.
	Close()
	// Status is a cheap snapshot.
	Status() changes.Status
}

// Schemas gives access to table versions. FromRegistry makes one of a schema.Registry.
type Schemas interface {
	// Acquire returns the schema history from ts on. It reads a snapshot of
	// the upstream and fails when that is gone or unreachable.
	Acquire(ctx context.Context, ts uint64) (SchemaLease, error)
}

// SchemaLease keeps schema history for its holder.
type SchemaLease interface {
	// Store returns the table versions.
	Store() SchemaStore
	// Advance tells that history below ts is no longer needed.
	Advance(ts uint64)
	// Release gives the history up. The store is not used after it.
	Release()
}

// SchemaStore holds the versions of all tables. Its methods are safe for
// concurrent use.
type SchemaStore interface {
	// ResolvedTs tells up to which commit-ts every DDL is known.
	ResolvedTs() uint64
	// Watch returns a coalesced signal of ResolvedTs or Err changing.
	Watch() (changed <-chan struct{}, cancel func())
	// Err is the reason why ResolvedTs will never rise again, nil while it may.
	Err() error
	// TableByPhysicalID returns the version of a table or partition that is
	// valid after every DDL with CommitTs <= ts, false when there is none.
	TableByPhysicalID(id int64, ts uint64) (*model.Table, bool)
}

// Clock gives timestamps of the upstream. *upstream.Upstream implements it.
type Clock interface {
	// CurrentTSO asks PD for a new TSO. An error means that it may be tried again.
	CurrentTSO(ctx context.Context) (uint64, error)
}

// RowFilter drops rows that the changefeed does not want. It is not safe for
// concurrent use.
type RowFilter interface {
	// Keep returns the rows to deliver, all of one table version, in the front
	// of the same memory. An error ends the run.
	Keep(t *model.Table, rows []model.RawChange) ([]model.RawChange, error)
}

// Options set a Processor up. Everything without a default is required.
type Options struct {
	ID       model.ChangefeedID
	Epoch    uint64                // of the run; for logs only
	Config   *config.ReplicaConfig // completed with defaults
	SinkURI  config.SinkURI        // tells the transaction atomicity; NewSink dials
	TargetTs uint64                // rows with a greater CommitTs stay; 0: no end

	Changes Changes
	Schemas Schemas
	Clock   Clock
	Sorter  *sorter.Engine
	// NewSink connects the sink; Run closes it. Its error ends Run.
	NewSink func(ctx context.Context) (sink.Sink, error)
	// NewRowFilter makes a filter for a goroutine that emits; nil keeps every row.
	NewRowFilter func() RowFilter

	Logger     *zap.Logger           // nil logs nothing
	Registerer prometheus.Registerer // nil registers nothing
	Now        func() time.Time      // wall clock; nil: time.Now
	StallAfter time.Duration         // how long a checkpoint must stand still before Progress says why: 3 s
}

func (o *Options) rowFilter() RowFilter {
	if o.NewRowFilter == nil {
		return nil
	}
	return o.NewRowFilter()
}

// SpanStart is a span and the checkpoint-ts from which it is replicated:
// rows with a greater commit-ts are yet to be delivered.
type SpanStart struct {
	Span         model.Span
	CheckpointTs uint64
	// Prepare collects the rows and delivers none, until the span is added
	// again without it, with a CheckpointTs that is not below this one. So a
	// span can move while the capture that has it goes on.
	Prepare bool
}

// Progress tells how far a changefeed is on this capture. Without spans the
// timestamps mean nothing.
type Progress struct {
	// Spans are held: those that are being removed included, those that are
	// only prepared not.
	Spans int
	// CheckpointTs is the least over the spans: every row up to it is durable
	// downstream. It never regresses for a set of spans.
	CheckpointTs uint64
	// ResolvedTs is the greatest checkpoint that can be reached with what is
	// known now: it is bounded by the barrier and the schema.
	ResolvedTs uint64
	// PullerResolvedTs is the least over what the subscriptions tell.
	PullerResolvedTs uint64
	// LastCommitTs is the greatest commit-ts of a row that is durable
	// downstream; 0 before the first one.
	LastCommitTs uint64
	// Removed are spans that RemoveSpans has let go since the last call of
	// Progress, with their final checkpoints: nothing of them will be written
	// by this processor any more. A checkpoint of 0 means that the span was
	// not here. Each is told once.
	Removed []SpanStart
	// Prepared are spans added with Prepare that have caught up with the
	// present and are ready to be added for good. Each is told once.
	Prepared []model.Span
	// Stall says why CheckpointTs stands still; nil while it moves.
	Stall *model.Stall
	// Warning is the sink's trouble while that is why CheckpointTs stands
	// still and the sink tries on; else nil. It has no address.
	Warning *model.RunningError
}
