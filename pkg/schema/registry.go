// Package schema knows the tables of an upstream at every TSO that somebody
// still needs: it loads a snapshot of the meta keys once and follows the
// stream of finished DDL jobs.
package schema

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// Upstream is the cluster that the schema is read from.
type Upstream interface {
	// CurrentTSO asks PD; it fails when PD does not answer.
	CurrentTSO(ctx context.Context) (uint64, error)
	// Get reads a raw key as of ts, nil when there is none. It fails when the
	// store does not answer, or when ts is garbage-collected.
	Get(ctx context.Context, ts uint64, key []byte) ([]byte, error)
	// Scan calls fn for every pair of [start, end) as of ts, in key order.
	// The slices are valid during the call only. fn's error ends the scan.
	// It fails as Get does.
	Scan(ctx context.Context, ts uint64, start, end []byte, fn func(key, value []byte) error) error
	// Subscribe follows the changes of a span; it does not block.
	Subscribe(o changes.Options) Subscription
}

// Subscription is a running change stream.
type Subscription interface {
	// Close returns when no further call reaches the consumer.
	Close()
}

// Registry shares Stores between the changefeeds of this capture. It is safe
// for concurrent use.
type Registry struct {
	up     Upstream
	logger *zap.Logger
	// loading is held by the one Acquire that loads a Store.
	loading chan struct{}

	// step is by how much a lease has to advance before it is looked at whether
	// history can be forgotten: that takes a look at every lease of the Store.
	step uint64

	mu      sync.Mutex // guards what follows
	stores  map[*Store]map[*Lease]struct{}
	waiting map[*request]struct{}
}

// request is an Acquire that waits for a Store.
type request struct {
	ts  uint64
	err error // of a load that failed for every waiting request
}

// trimStep is how much history is kept for nobody. With hundreds of changefeeds
// that advance several times a second it must not be looked for each time.
const trimStep = 10 * time.Second

// NewRegistry makes a registry without any Store yet.
func NewRegistry(up Upstream, logger *zap.Logger) *Registry {
	if logger == nil {
		logger = zap.NewNop()
	}
	return &Registry{
		up: up, logger: logger, loading: make(chan struct{}, 1), step: model.ComposeTSO(trimStep.Milliseconds(), 0),
		stores: map[*Store]map[*Lease]struct{}{}, waiting: map[*request]struct{}{},
	}
}

// Acquire returns a lease on a Store that covers ts and everything after it.
// It loads the snapshot at ts unless a live Store already covers it. It fails
// when the snapshot cannot be read, with the code ErrSnapshotLostByGC when it
// is garbage-collected, or when ctx ends.
func (r *Registry) Acquire(ctx context.Context, ts uint64) (*Lease, error) {
	req := &request{ts: ts}
	if l := r.leaseOrWait(req); l != nil {
		return l, nil
	}
	defer r.leave(req)
	select {
	case r.loading <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-r.loading }()
	if l := r.leaseOrWait(req); l != nil {
		return l, nil
	}
	if err := r.failure(req); err != nil {
		return nil, err
	}
	return r.load(ctx, req)
}

// AcquireKnown is Acquire for who wants to see the tables at ts at once: a
// Store that somebody else loaded may still be behind ts. It waits until every
// DDL up to ts is in the Store, and fails also when the Store does.
func (r *Registry) AcquireKnown(ctx context.Context, ts uint64) (*Lease, error) {
	l, err := r.Acquire(ctx, ts)
	if err != nil {
		return nil, err
	}
	if err := l.store.WaitResolved(ctx, ts); err != nil {
		l.Release()
		return nil, fmt.Errorf("wait for the schema at %d: %w", ts, err)
	}
	return l, nil
}

// load opens a Store early enough for every waiting request: many changefeeds
// start together, and one Store serves them all.
func (r *Registry) load(ctx context.Context, req *request) (*Lease, error) {
	begin := time.Now()
	ts := r.earliest(req)
	store, err := openStore(ctx, r.up, ts, r.logger)
	if err != nil && ts < req.ts && errors.Is(err, cerrors.ErrSnapshotLostByGC) {
		ts = req.ts
		store, err = openStore(ctx, r.up, ts, r.logger)
	}
	if err != nil {
		err = fmt.Errorf("load the schema at %d: %w", ts, err)
		if ctx.Err() == nil && !errors.Is(err, cerrors.ErrSnapshotLostByGC) {
			r.failAll(err)
		}
		return nil, err
	}
	r.logger.Info("schema loaded", zap.Uint64("ts", ts), zap.Int("tables", len(store.catalog.names)),
		zap.Duration("duration", time.Since(begin)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores[store] = map[*Lease]struct{}{}
	return r.lease(store, req.ts), nil
}

// leaseOrWait returns a lease if a live Store covers the request, else it
// puts the request among the waiting ones.
func (r *Registry) leaseOrWait(req *request) *Lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	for store := range r.stores {
		if store.covers(req.ts) {
			return r.lease(store, req.ts)
		}
	}
	r.waiting[req] = struct{}{}
	return nil
}

func (r *Registry) leave(req *request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, req)
}

func (r *Registry) failure(req *request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return req.err
}

// failAll gives every waiting request the error of the load that it waited
// for: the upstream would not answer the next one either.
func (r *Registry) failAll(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for req := range r.waiting {
		req.err = err
	}
}

func (r *Registry) earliest(req *request) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	ts := req.ts
	for other := range r.waiting {
		ts = min(ts, other.ts)
	}
	return ts
}

// lease makes a lease; the caller holds mu.
func (r *Registry) lease(store *Store, ts uint64) *Lease {
	l := &Lease{registry: r, store: store, ts: ts, trimmed: ts}
	r.stores[store][l] = struct{}{}
	return l
}

// Lease keeps the history of a Store from its ts on.
type Lease struct {
	registry *Registry
	store    *Store
	ts       uint64 // guarded by registry.mu, as trimmed
	trimmed  uint64 // ts when the Store was last trimmed because of this lease
}

// Store is what the lease is on.
func (l *Lease) Store() *Store { return l.store }

// Advance says that the holder no longer needs history below ts. A smaller ts
// than before, or one after Release, has no effect. It is cheap: history is
// forgotten from time to time only.
func (l *Lease) Advance(ts uint64) {
	r := l.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if ts <= l.ts {
		return
	}
	l.ts = ts
	if ts >= l.trimmed+r.step {
		l.trimmed = ts
		r.trim(l.store)
	}
}

// trim lets a Store forget what no lease needs; the caller holds mu.
func (r *Registry) trim(store *Store) {
	floor, any := uint64(0), false
	for l := range r.stores[store] {
		if !any || l.ts < floor {
			floor, any = l.ts, true
		}
	}
	if any {
		store.trim(floor)
	}
}

// Release gives the lease back; the last one closes the Store and waits for
// its end. Further calls do nothing.
func (l *Lease) Release() {
	r := l.registry
	r.mu.Lock()
	leases := r.stores[l.store]
	if _, ok := leases[l]; !ok {
		r.mu.Unlock()
		return
	}
	delete(leases, l)
	last := len(leases) == 0
	if last {
		delete(r.stores, l.store)
	} else {
		r.trim(l.store)
	}
	r.mu.Unlock()
	if last {
		l.store.close()
	}
}
