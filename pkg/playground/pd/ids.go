package pd

import (
	"context"
	"errors"
	"sync"
)

// idBatch is how many IDs one write to etcd reserves.
const idBatch = 1000

// allocator hands out IDs that are unique for as long as the data directory lives.
type allocator struct {
	saved saver

	mu    sync.Mutex
	last  uint64
	limit uint64 // reserved up to here
}

func loadAllocator(ctx context.Context, saved saver) (*allocator, error) {
	limit, err := saved.load(ctx)
	if err != nil {
		return nil, err
	}
	return &allocator{saved: saved, last: limit, limit: limit}, nil
}

// next reserves count IDs in a row and returns the last of them.
func (a *allocator) next(ctx context.Context, count uint32) (uint64, error) {
	if count == 0 {
		return 0, errors.New("pd: no IDs asked for")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.last + uint64(count)
	if last > a.limit {
		limit := last + idBatch
		if err := a.saved.save(context.WithoutCancel(ctx), limit); err != nil {
			return 0, err
		}
		a.limit = limit
	}
	a.last = last
	return last, nil
}
