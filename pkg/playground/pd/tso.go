package pd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/pdpb"
)

const (
	logicalBits = 18
	maxLogical  = 1 << logicalBits
	// tsoWindow is how far ahead the clock is reserved in etcd: one write buys so much time of timestamps.
	tsoWindow = 3 * time.Second
)

// oracle hands out timestamps that never go back, not even over a kill: every one lies below a limit that was saved
// before, and a restart begins at that limit.
type oracle struct {
	now   func() time.Time
	saved saver

	mu       sync.Mutex
	physical int64 // milliseconds
	logical  int64
	limit    int64 // physical stays below it
	closed   bool
}

// saver keeps one number.
type saver interface {
	// load returns 0 when nothing was ever saved.
	load(ctx context.Context) (uint64, error)
	// save returns only when the number is kept; after an error it may or may not be.
	save(ctx context.Context, n uint64) error
}

func loadOracle(ctx context.Context, now func() time.Time, saved saver) (*oracle, error) {
	limit, err := saved.load(ctx)
	if err != nil {
		return nil, err
	}
	return &oracle{now: now, saved: saved, physical: int64(limit), limit: int64(limit)}, nil
}

// next reserves count timestamps and returns the last of them.
func (o *oracle) next(ctx context.Context, count uint32) (pdpb.Timestamp, error) {
	if count == 0 || count >= maxLogical {
		return pdpb.Timestamp{}, fmt.Errorf("pd: %d timestamps at once", count)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return pdpb.Timestamp{}, ErrStopped
	}
	physical, logical := o.physical, o.logical+int64(count)
	if now := o.now().UnixMilli(); now > physical {
		physical, logical = now, int64(count)
	} else if logical >= maxLogical {
		physical, logical = physical+1, int64(count)
	}
	if physical >= o.limit {
		limit := physical + tsoWindow.Milliseconds()
		// Not bound to the caller's context: all callers profit, and a half-done write would be worth nothing.
		if err := o.saved.save(context.WithoutCancel(ctx), uint64(limit)); err != nil {
			return pdpb.Timestamp{}, err
		}
		o.limit = limit
	}
	o.physical, o.logical = physical, logical
	return pdpb.Timestamp{Physical: physical, Logical: logical}, nil
}

// release gives back the time that was reserved and not used. No timestamp can be had afterwards.
func (o *oracle) release(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.physical+1 >= o.limit {
		return nil
	}
	return o.saved.save(ctx, uint64(o.physical+1))
}

// compose packs a timestamp into the number that the rest of the cluster knows.
func compose(ts pdpb.Timestamp) uint64 {
	return uint64(ts.Physical)<<logicalBits | uint64(ts.Logical)
}
