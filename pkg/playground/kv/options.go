package kv

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// Defaults of Options.
const (
	DefaultVersion          = "8.5.3"
	DefaultRegionMaxBytes   = 96 << 20
	DefaultRegionMaxKeys    = 960_000
	DefaultResolvedInterval = 200 * time.Millisecond
	DefaultStreamBuffer     = 64 << 20
	defaultSplitInterval    = 2 * time.Second
)

// Options says how to open a Store. The zero value of a field means its default unless noted.
type Options struct {
	// Addr is the host:port to listen on; port 0 picks a free one. It is also the address in the store's metadata,
	// so clients must be able to dial it. Required.
	Addr string
	// DataDir keeps everything across restarts. It is created when missing. Required.
	DataDir string
	// ClusterID must be the same at every open of one DataDir. Required.
	ClusterID uint64

	// TSO returns a new timestamp, greater than all that were handed out before to anyone in the cluster,
	// earlier runs included. Required.
	TSO func(ctx context.Context) (uint64, error)
	// AllocID returns a new ID, unique in the cluster, for stores, regions and peers. Required.
	AllocID func(ctx context.Context) (uint64, error)

	// Version is the TiKV version that the store claims to be, semver without "v".
	Version string
	// RegionMaxBytes and RegionMaxKeys are the size and the number of versions from which on a region is split
	// in the background. A negative value switches the check off.
	RegionMaxBytes int64
	RegionMaxKeys  int64
	// SplitInterval is how often regions are checked for their size.
	SplitInterval time.Duration
	// ResolvedInterval is the time between two resolved-ts of a change feed.
	ResolvedInterval time.Duration
	// StreamBuffer bounds the bytes that wait for a slow reader of one change-feed stream. When live changes
	// exceed it, the requests concerned end with the error "congested".
	StreamBuffer int
	// MemTableBytes is the size of the engine's write buffer.
	MemTableBytes int64

	Logger *zap.Logger
}

func (o *Options) complete() error {
	switch {
	case o.Addr == "":
		return errors.New("kv: no address")
	case o.DataDir == "":
		return errors.New("kv: no data directory")
	case o.ClusterID == 0:
		return errors.New("kv: no cluster ID")
	case o.TSO == nil:
		return errors.New("kv: no source of timestamps")
	case o.AllocID == nil:
		return errors.New("kv: no source of IDs")
	}
	setDefault(&o.Version, DefaultVersion)
	setDefault(&o.RegionMaxBytes, DefaultRegionMaxBytes)
	setDefault(&o.RegionMaxKeys, DefaultRegionMaxKeys)
	setDefault(&o.SplitInterval, defaultSplitInterval)
	setDefault(&o.ResolvedInterval, DefaultResolvedInterval)
	setDefault(&o.StreamBuffer, DefaultStreamBuffer)
	setDefault(&o.MemTableBytes, defaultMemTableBytes)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
