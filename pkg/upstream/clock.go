package upstream

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
)

// clock estimates PD time between samples from the monotonic local clock, so
// that reading it costs nothing and works while PD is away.
type clock struct {
	fetch    func(context.Context) (uint64, error)
	interval time.Duration
	logger   *zap.Logger
	last     atomic.Pointer[clockSample]
}

type clockSample struct {
	tso uint64
	at  time.Time
}

func newClock(fetch func(context.Context) (uint64, error), interval time.Duration, logger *zap.Logger) *clock {
	return &clock{fetch: fetch, interval: interval, logger: logger}
}

// sample asks PD once.
func (c *clock) sample(ctx context.Context) error {
	tso, err := c.fetch(ctx)
	if err != nil {
		return err
	}
	c.last.Store(&clockSample{tso: tso, at: time.Now()})
	return nil
}

// run samples until the context ends. Failures are logged once per outage:
// meanwhile the estimate goes on.
func (c *clock) run(ctx context.Context) {
	tick := time.NewTicker(c.interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.sample(ctx)
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			c.logger.Warn("cannot read the PD clock, estimating", zap.Error(err))
		case err == nil && failing:
			c.logger.Info("the PD clock answers again")
		}
		failing = err != nil
	}
}

// now is the estimate; 0 before the first sample.
func (c *clock) now() uint64 {
	s := c.last.Load()
	if s == nil {
		return 0
	}
	elapsed := time.Since(s.at).Milliseconds()
	if elapsed <= 0 {
		return s.tso
	}
	return model.ComposeTSO(model.PhysicalMs(s.tso)+elapsed, 0)
}

// CurrentTSO asks PD for a new TSO.
func (u *Upstream) CurrentTSO(ctx context.Context) (uint64, error) {
	physical, logical, err := u.pd.GetTS(ctx)
	if err != nil {
		return 0, fmt.Errorf("get TSO from PD: %w", err)
	}
	return model.ComposeTSO(physical, logical), nil
}

// Now is PD time as estimated from the last sample, as a TSO. It does no I/O.
func (u *Upstream) Now() uint64 { return u.clock.now() }

// Silence is how long ago PD answered the last time. While all is well it is
// below the time between two samples of the clock.
func (u *Upstream) Silence() time.Duration {
	s := u.clock.last.Load()
	if s == nil {
		return 0
	}
	return time.Since(s.at)
}
