package upstream

import (
	"context"
	"time"

	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
)

const (
	safePointTries    = 9
	safePointBackoff  = time.Second
	safePointMaxPause = 10 * time.Second
)

// SetServiceSafePoint protects everything after ts from garbage collection
// for ttlSeconds under the name of a service, and returns the least safepoint
// of all services. A TTL of 0 removes the service's safepoint. PD failures
// are retried 9 times from 1 s; then the error is ErrUpdateServiceSafepointFailed.
func (u *Upstream) SetServiceSafePoint(ctx context.Context, serviceID string, ttlSeconds int64, ts uint64) (uint64, error) {
	var least uint64
	err := retry(ctx, safePointTries, safePointBackoff, safePointMaxPause, func() error {
		var err error
		//lint:ignore SA1019 classic clusters keep service safepoints; barriers are per keyspace
		least, err = u.pd.UpdateServiceGCSafePoint(ctx, serviceID, ttlSeconds, ts)
		if err != nil {
			u.cfg.Logger.Warn("cannot set the service GC safepoint",
				zap.String("service", serviceID), zap.Uint64("ts", ts), zap.Error(err))
		}
		return err
	})
	if err != nil {
		return 0, cerrors.ErrUpdateServiceSafepointFailed.Wrap(err)
	}
	return least, nil
}

// retry calls f up to tries times with doubling pauses. It ends early with
// the last error when the context is done.
func retry(ctx context.Context, tries int, pause, maxPause time.Duration, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == tries {
			return err
		}
		if !sleep(ctx, pause) {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

// sleep waits for d and returns false when the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
