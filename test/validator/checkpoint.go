// Package validator checks promises of the change stream while tests inject
// faults.
package validator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemark/tidemark/test/cluster"
)

// pollInterval is how often the API is asked.
const pollInterval = 20 * time.Millisecond

// Checkpoints watches that no checkpoint ever goes back.
type Checkpoints struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu   sync.Mutex
	last map[string]uint64
	errs []error
}

// WatchCheckpoints begins to watch changefeeds through the API. Calls that
// fail, because a server is down, are no offence.
func WatchCheckpoints(ctx context.Context, api *cluster.API, feeds []string) *Checkpoints {
	ctx, cancel := context.WithCancel(ctx)
	c := &Checkpoints{cancel: cancel, last: make(map[string]uint64)}
	c.done.Go(func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, id := range feeds {
				if s, err := api.Status(ctx, id); err == nil {
					c.See(id, s.CheckpointTs)
				}
			}
		}
	})
	return c
}

// See takes one observation.
func (c *Checkpoints) See(feed string, ts uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.last[feed]; ts < last {
		c.errs = append(c.errs, fmt.Errorf("checkpoint of %s went from %d back to %d", feed, last, ts))
	}
	c.last[feed] = max(ts, c.last[feed])
}

// Stop ends the watch and returns what was seen to be wrong.
func (c *Checkpoints) Stop() error {
	c.cancel()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.errs...)
}
