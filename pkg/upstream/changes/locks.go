package changes

import (
	"context"
	"time"

	"github.com/tikv/client-go/v2/util/codec"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
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
		case now := <-tick.C:
			c.clock.Store(now.UnixNano())
		}
		if c.cfg.Locks == nil || c.cfg.Now == nil {
			continue
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
		s.mu.Lock()
		if now.Sub(s.advanced) >= c.cfg.LockAge && pdNow > s.resolved+age {
			target := s.resolved + age
			for _, p := range s.ranges {
				if p.ready && p.resolved < target && now.Sub(p.cleaned) >= c.cfg.LockRepeat {
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
	span := s.p.sub.o.Span
	start, end := rawKey(s.region.Start, nil), rawKey(s.region.End, nil)
	met, err := c.cfg.Locks.Resolve(ctx, start, end, s.target)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			c.cfg.Logger.Warn("resolving locks failed", zap.Int64("table", span.TableID), zap.Error(err))
		}
	case met > 0:
		c.cfg.Logger.Info("resolved stale locks", zap.Int64("table", span.TableID), zap.Int("locks", met))
		s.p.sub.mu.Lock()
		if s.p.ready {
			s.p.reason, s.p.since, s.p.detail = ReasonLock, time.Now(), "an unfinished transaction holds locks"
		}
		s.p.sub.mu.Unlock()
	}
}

// rawKey decodes a region border; what is none is replaced by the span's.
func rawKey(encoded, fallback []byte) []byte {
	if len(encoded) == 0 {
		return fallback
	}
	if _, raw, err := codec.DecodeBytes(encoded, nil); err == nil {
		return raw
	}
	return fallback
}
