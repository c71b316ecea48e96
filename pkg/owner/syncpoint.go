package owner

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// syncPoints are the moments at which the whole changefeed waits until the
// downstream has recorded that it holds what the upstream held then. They are
// the multiples of the interval since the Unix epoch, so that they are the same
// whoever drives the changefeed.
type syncPoints struct {
	every uint64 // as a difference of TSOs; 0: there are none
	next  uint64 // the first that is not known to be recorded
}

// newSyncPoints begins with the first moment at or behind start: no row behind
// start is downstream. The moment at start may have been recorded before.
func newSyncPoints(c *config.ReplicaConfig, start uint64) syncPoints {
	if c.EnableSyncPoint == nil || !*c.EnableSyncPoint {
		return syncPoints{}
	}
	s := syncPoints{every: model.ComposeTSO(c.SyncPointInterval.Milliseconds(), 0), next: start}
	if s.every == 0 {
		return s
	}
	if behind := start % s.every; behind != 0 {
		s.next += s.every - behind
	}
	return s
}

// limit lowers a barrier to the next moment.
func (s *syncPoints) limit(barrier uint64) uint64 {
	if s.every == 0 {
		return barrier
	}
	return min(barrier, s.next)
}

// syncPointDue tells whether everything up to the next moment is downstream,
// DDL at that very TSO included, and nothing else.
func (r *run) syncPointDue() bool {
	s, p := &r.syncPoints, r.planner
	if s.every == 0 || r.f.checkpoint < s.next {
		return false
	}
	return p.next != nil && p.next.ts > s.next || p.next == nil && p.done >= s.next
}

// recordSyncPoint has the moment recorded downstream, in the background. Nothing
// behind it leaves before that is done.
func (r *run) recordSyncPoint() {
	ts := r.syncPoints.next
	r.deliver(model.StallSyncPoint, fmt.Sprintf("sync point %d", ts),
		func(*delivery) error {
			recorder, ok := r.sink.(sink.SyncPointRecorder)
			if !ok {
				return errors.ErrSinkURIInvalid.Msg("the downstream cannot record sync points, sink uri: %s", r.info.SinkURI)
			}
			return recorder.RecordSyncPoint(r.ctx, ts)
		},
		func() {
			r.f.logger.Info("recorded sync point downstream", zap.Uint64("ts", ts))
			r.syncPoints.next += r.syncPoints.every
		})
}
