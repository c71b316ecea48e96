// Package schema knows the tables of an upstream at every TSO that somebody
// still needs: it loads a snapshot of the meta keys once and follows the
// stream of finished DDL jobs.
package schema

import (
	"context"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// Upstream is the cluster that the schema is read from.
type Upstream interface {
	// CurrentTSO asks PD; it fails when PD does not answer.
	CurrentTSO(ctx context.Context) (uint64, error)
	// Get reads a raw key as of ts, nil when there is none.
	Get(ctx context.Context, ts uint64, key []byte) ([]byte, error)
	// Scan calls fn for every pair of [start, end) as of ts, in key order.
	// The slices are valid during the call only. fn's error ends the scan.
	Scan(ctx context.Context, ts uint64, start, end []byte, fn func(key, value []byte) error) error
	// Subscribe follows the changes of a span; it does not block.
	Subscribe(o changes.Options) Subscription
}

// Subscription is a running change stream.
type Subscription interface {
	// Close returns when no further call reaches the consumer.
	Close()
}

// Registry shares Stores between the changefeeds of this capture.
type Registry struct{}

// NewRegistry makes a registry without any store yet.
func NewRegistry(up Upstream, logger *zap.Logger) *Registry { return &Registry{} }

// Acquire returns a lease on a Store that covers ts and everything after it.
// It loads the snapshot at ts unless a live Store already covers it. It fails
// when the snapshot cannot be read, or when ctx ends.
func (r *Registry) Acquire(ctx context.Context, ts uint64) (*Lease, error) { return &Lease{}, nil }

// Lease keeps the history of a Store from its ts on.
type Lease struct{}

// Store is what the lease is on.
func (l *Lease) Store() *Store { return nil }

// Advance says that the holder no longer needs history below ts.
func (l *Lease) Advance(ts uint64) {}

// Release gives the lease back; the last one closes the Store.
func (l *Lease) Release() {}

// Store is the multi-version set of tables of an upstream.
type Store struct{}

// ResolvedTs says up to which TSO every DDL is in the Store.
func (s *Store) ResolvedTs() uint64 { return 0 }

// Watch returns a channel that gets a signal, coalesced, when ResolvedTs moved
// or the Store failed. cancel ends it.
func (s *Store) Watch() (changed <-chan struct{}, cancel func()) { return nil, func() {} }

// Err is why the Store does not advance any more; nil while it does.
func (s *Store) Err() error { return nil }

// TableByPhysicalID returns the version of a table, or of a partition's table,
// after every DDL with CommitTs <= ts. False when there was none.
func (s *Store) TableByPhysicalID(id int64, ts uint64) (*model.Table, bool) { return nil, false }

// Tables lists the tables, views and sequences after every DDL with
// CommitTs <= ts, without those of system databases, ordered by id.
func (s *Store) Tables(ts uint64) []*model.Table { return nil }

// DDLs lists the jobs with after < CommitTs <= upTo, in order.
func (s *Store) DDLs(after, upTo uint64) []*model.DDLEvent { return nil }

// FilterDDL turns a job into the events that go downstream: none, one or
// several. An error stops the changefeed.
func FilterDDL(ev *model.DDLEvent, f *filter.Filter, forceReplicate bool) ([]*model.DDLEvent, error) {
	return nil, nil
}
