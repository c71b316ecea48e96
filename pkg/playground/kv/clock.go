package kv

import (
	"context"
	"sync/atomic"
)

// clock hands out the cluster's timestamps and remembers the newest.
type clock struct {
	source func(ctx context.Context) (uint64, error)
	latest atomic.Uint64
}

// tso returns a new timestamp.
func (c *clock) tso(ctx context.Context) (uint64, error) {
	ts, err := c.source(ctx)
	if err != nil {
		return 0, err
	}
	for {
		old := c.latest.Load()
		if old >= ts || c.latest.CompareAndSwap(old, ts) {
			return ts, nil
		}
	}
}

// isPast reports whether the timestamp was handed out before now.
func (c *clock) isPast(ctx context.Context, ts uint64) (bool, error) {
	if ts <= c.latest.Load() {
		return true, nil
	}
	now, err := c.tso(ctx)
	return ts <= now, err
}
