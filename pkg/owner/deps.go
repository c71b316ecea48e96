package owner

import (
	"context"
	"time"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
	"github.com/tidemark/tidemark/pkg/sink"
)

// Upstream is the cluster that the changefeeds read from.
type Upstream interface {
	// CurrentTSO asks PD; it fails when PD does not answer.
	CurrentTSO(ctx context.Context) (uint64, error)
	// Now estimates the PD time without asking.
	Now() uint64
	// Silence is how long ago PD answered the last time.
	Silence() time.Duration
	// SetServiceSafePoint returns the least safe point of all services. A TTL
	// of 0 withdraws the service's own one.
	SetServiceSafePoint(ctx context.Context, serviceID string, ttlSeconds int64, ts uint64) (uint64, error)
	// TableRegions lists the regions of a span in order of keys, with what was
	// written in them if written is true. It fails when PD does not know.
	TableRegions(ctx context.Context, span model.Span, written bool) ([]model.TableRegion, error)
}

// Schemas gives access to the versioned schema.
type Schemas interface {
	// Acquire loads the schema at ts and follows its changes until the lease
	// is released. It fails when the snapshot cannot be read, or when ctx ends.
	Acquire(ctx context.Context, ts uint64) (Lease, error)
}

// Lease keeps the schema from its ts on available.
type Lease interface {
	// Schema is what the lease holds.
	Schema() Schema
	// Advance says that history below ts is no longer needed.
	Advance(ts uint64)
	Release()
}

// Schema is the tables and DDLs of an upstream, up to a resolved-ts.
type Schema interface {
	SchemaTables
	// ResolvedTs: every DDL with CommitTs <= it is known.
	ResolvedTs() uint64
	// Watch signals, coalesced, that ResolvedTs or Err changed.
	Watch() (changed <-chan struct{}, cancel func())
	// Err is why the schema will not advance any more, nil while it does.
	Err() error
	// DDLs lists the jobs with after < CommitTs <= upTo, in order.
	DDLs(after, upTo uint64) []*model.DDLEvent
}

// SchemaTables tells which tables there are.
type SchemaTables interface {
	// Tables lists the tables after every DDL with CommitTs <= ts.
	Tables(ts uint64) []*model.Table
	// ChangedTables lists the tables that the DDLs with after < CommitTs <= upTo
	// created, dropped or changed, before and after that.
	ChangedTables(after, upTo uint64) (before, now []*model.Table)
}

// DDLSink is the downstream, as far as the owner writes to it: a sink.Sink.
type DDLSink interface {
	// WriteDDL returns when the DDL is durable downstream. It retries inside;
	// an error is final for this sink.
	WriteDDL(ctx context.Context, ev *model.DDLEvent) error
	// WriteWatermark tells that everything up to ts is downstream. An error is
	// final for this sink.
	WriteWatermark(ctx context.Context, ts uint64) error
	// Status says what the sink waits for.
	Status() sink.Status
	Close()
}

// OpenSink connects to a changefeed's downstream.
type OpenSink func(ctx context.Context, info *etcdmeta.ChangefeedInfo) (DDLSink, error)

// records are the stored changefeeds: an *etcdmeta.OwnerClient, which says what
// the methods and their errors mean.
type records interface {
	GetFeed(ctx context.Context, id model.ChangefeedID) (*etcdmeta.Feed, error)
	ModifyFeed(ctx context.Context, id model.ChangefeedID, modify func(*etcdmeta.Feed) error) (*etcdmeta.Feed, error)
	WriteStatuses(ctx context.Context, writes []etcdmeta.StatusWrite) ([]int64, error)
	RemoveFeed(ctx context.Context, id model.ChangefeedID) (int64, error)
}

// Conn is the open stream to one capture.
type Conn interface {
	// Send queues an order and never blocks; it is lost if the stream breaks.
	Send(order *peerpb.Order)
}

// stream is a Conn as the fleet keeps it: a *peer.Conn.
type stream interface {
	Conn
	Capture() model.CaptureID
	Close()
}

// Clock tells the time. The owner's timers use it only to compute durations.
type Clock func() time.Time
