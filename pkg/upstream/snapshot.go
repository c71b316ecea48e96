package upstream

import (
	"context"

	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/txnkv/txnsnapshot"
)

// scanBatch is the number of keys that one request of a snapshot scan returns.
const scanBatch = 1024

// Storage reads the cluster's key-value pairs. Keys are raw, without the
// encoding of region boundaries.
type Storage struct{ store *tikv.KVStore }

// Storage is the handle for snapshot reads.
func (u *Upstream) Storage() *Storage { return &Storage{store: u.store} }

// Snapshot is the content at a TSO. It does no I/O yet.
func (s *Storage) Snapshot(ts uint64) *Snapshot {
	snap := s.store.GetSnapshot(ts)
	snap.SetScanBatchSize(scanBatch)
	snap.SetNotFillCache(true)
	return &Snapshot{snap: snap}
}

// Snapshot reads at one TSO. It is not safe for concurrent use.
type Snapshot struct{ snap *txnsnapshot.KVSnapshot }

// Get returns the value of a key, nil when there is none. Store failures are
// retried inside for about 20 s.
func (s *Snapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	entry, err := s.snap.Get(ctx, key)
	if tikverr.IsErrNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return entry.Value, nil
}

// Iter starts a scan of [start, end) in key order; an empty end means no
// bound. Store failures are retried inside for about 20 s per batch.
func (s *Snapshot) Iter(ctx context.Context, start, end []byte) (*Iterator, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	it, err := s.snap.Iter(start, end)
	if err != nil {
		return nil, err
	}
	return &Iterator{ctx: ctx, it: it}, nil
}

// Iterator walks over a scan. Key and Value are valid until Next.
type Iterator struct {
	ctx context.Context
	it  interface {
		Valid() bool
		Key() []byte
		Value() []byte
		Next() error
		Close()
	}
}

// Valid tells whether the iterator stands on a pair.
func (i *Iterator) Valid() bool { return i.it.Valid() }

// Key is the key of the current pair.
func (i *Iterator) Key() []byte { return i.it.Key() }

// Value is the value of the current pair.
func (i *Iterator) Value() []byte { return i.it.Value() }

// Next moves on. The error is the store's, or the context's.
func (i *Iterator) Next() error {
	if err := i.ctx.Err(); err != nil {
		return err
	}
	return i.it.Next()
}

// Close ends the scan.
func (i *Iterator) Close() { i.it.Close() }
