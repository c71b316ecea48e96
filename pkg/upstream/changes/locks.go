package changes

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// lockBatch bounds the regions that are cleaned in one round.
	lockBatch = 1024
	// lockTimeout bounds the cleaning of one region.
	lockTimeout = 20 * time.Second
)

// stale is a part whose resolved-ts stands still, with the whole region that
// it lies in: a lock on any key of the region, an index key for instance,
// holds back what the region can promise.
type stale struct {
	p      *part
	region Region
	target uint64
}

// runLocks looks for spans whose resolved-ts stands still and resolves the
// locks that dead transactions may have left in their regions.
func (c *Client) runLocks(ctx context.Context) {
	tick := time.NewTicker(c.cfg.LockInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range c.staleParts() {
			if ctx.Err() != nil {
				return
			}
			c.resolveLocks(ctx, s)
		}
	}
}

// staleParts lists the live regions of spans that stand still for too long.
func (c *Client) staleParts() []stale {
	now, pdNow := time.Now(), c.cfg.Now()
	age := model.ComposeTSO(c.cfg.LockAge.Milliseconds(), 0)
	c.mu.Lock()
	subs := make([]*Subscription, 0, len(c.subs))
	for s := range c.subs {
		subs = append(subs, s)
	}
	c.mu.Unlock()
	var out []stale
	for _, s := range subs {
		if len(out) >= lockBatch {
			break
		}
		s.mu.Lock()
		if now.Sub(s.advanced) >= c.cfg.LockAge && pdNow > s.resolved+age {
			target := s.resolved + age
			for i, p := range s.frontier.parts {
				if p.ready && s.frontier.ts[i] < target && now.Sub(p.cleaned) >= c.cfg.LockRepeat {
					p.cleaned = now
					out = append(out, stale{p, p.region, target})
				}
			}
		}
		s.mu.Unlock()
	}
	return out
}

func (c *Client) resolveLocks(ctx context.Context, s stale) {
	sub := s.p.sub
	start, end := rawKey(s.region.Start), rawKey(s.region.End)
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	met, err := c.cfg.Locks.Resolve(ctx, start, end, s.target)
	fields := []zap.Field{zap.Int64("table", sub.o.Span.TableID), zap.Uint64("upTo", s.target)}
	if err != nil {
		c.cfg.Logger.Warn("resolving stale locks failed", append(fields, zap.Error(err))...)
		return
	}
	if met == 0 {
		return
	}
	c.cfg.Logger.Info("resolved-ts stands still on locks", append(fields, zap.Int("locks", met))...)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if s.p.ready && s.p.slot >= 0 && sub.frontier.ts[s.p.slot] < s.target {
		s.p.reason, s.p.since = ReasonLock, sub.advanced
		s.p.detail = fmt.Sprintf("%d locks of unfinished transactions up to %d", met, s.target)
	}
}
