package schema

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
)

// queue is what the subscription has delivered and the store's goroutine has
// not worked on yet.
type queue struct {
	mu       sync.Mutex
	rows     []model.RawChange
	resolved uint64
	busy     bool // the goroutine works, or has been woken
	ahead    bool // it holds finished jobs above the resolved-ts
	wake     chan struct{}
}

// consumer is the Store as the subscription sees it.
type consumer Store

// OnRows keeps changes of the job table until they are resolved.
func (c *consumer) OnRows(rows []model.RawChange) {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	c.queue.rows = append(c.queue.rows, rows...)
}

// OnResolved lets the store advance: at once when there is no change to apply.
func (c *consumer) OnResolved(ts uint64) {
	s := (*Store)(c)
	q := &s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resolved = ts
	if q.busy {
		return
	}
	if len(q.rows) == 0 && !q.ahead {
		s.advance(ts)
		return
	}
	q.busy = true
	q.wake <- struct{}{} // has room, since the goroutine was idle
}

// OnError ends the stream.
func (c *consumer) OnError(err error) { (*Store)(c).fail(err) }

// advance publishes a resolved-ts.
func (s *Store) advance(ts uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || ts <= s.resolved.Load() {
		return
	}
	s.resolved.Store(ts)
	s.notify()
}

// run applies what arrives, until ctx ends.
func (s *Store) run(ctx context.Context) {
	var pending []job // finished, above resolved-ts
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.queue.wake:
		}
		for more := true; more; {
			s.queue.mu.Lock()
			rows, resolved := s.queue.rows, s.queue.resolved
			s.queue.rows = nil
			s.queue.mu.Unlock()

			var err error
			if pending, err = s.work(ctx, pending, rows, resolved); err != nil {
				if ctx.Err() == nil {
					s.fail(err)
				}
				return
			}
			more = s.settle(resolved, len(pending) > 0)
		}
	}
}

// settle ends a round of work that left jobs ahead of the resolved-ts, or
// did not. It returns true when there is more to do; else the goroutine is
// idle from then on.
func (s *Store) settle(resolved uint64, ahead bool) bool {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	s.queue.ahead = ahead
	s.queue.busy = s.queue.resolved > resolved
	return s.queue.busy
}

// work decodes rows, applies the jobs that are resolved and publishes the
// resolved-ts. It returns the jobs that are still above it.
func (s *Store) work(ctx context.Context, pending []job, rows []model.RawChange, resolved uint64) ([]job, error) {
	for i := range rows {
		j, ok, err := s.jobs.decode(&rows[i])
		if err != nil {
			return nil, err
		}
		if ok {
			pending = append(pending, j)
		}
	}
	sortJobs(pending)
	n := 0
	for ; n < len(pending) && pending[n].commitTs <= resolved; n++ {
		if err := s.applyJob(ctx, &pending[n]); err != nil {
			return nil, err
		}
	}
	s.advance(resolved)
	return append([]job(nil), pending[n:]...), nil
}

// applyJob carries out one job, unless it has been.
func (s *Store) applyJob(ctx context.Context, j *job) error {
	if j.commitTs <= s.resolved.Load() {
		return nil
	}
	var snap *snapshot
	if needsReload(j.Type) {
		var err error
		if snap, err = loadSnapshot(ctx, s.up, j.commitTs); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.applied[j.ID]; ok {
		return nil
	}
	s.applied[j.ID] = j.commitTs
	if snap != nil {
		s.catalog.replace(snap)
	}
	ev, err := s.catalog.apply(j)
	if err != nil {
		return err
	}
	if ev != nil {
		s.events = append(s.events, ev)
		s.logger.Info("DDL job finished", zap.Int64("job-id", j.ID), zap.Stringer("type", j.Type),
			zap.Uint64("commit-ts", j.commitTs), zap.String("schema", ev.Schema), zap.String("table", ev.Table),
			zap.String("query", ev.Query))
	}
	return nil
}
