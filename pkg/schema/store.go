package schema

import (
	"context"
	"sort"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// Store is the tables of an upstream in all versions since its floor, and the
// DDLs that made them. It is safe for concurrent use.
type Store struct {
	up     Upstream
	logger *zap.Logger

	resolved atomic.Uint64

	mu      sync.RWMutex // guards what follows
	floor   uint64       // history below is gone
	catalog *catalog
	events  []*model.DDLEvent // by rising CommitTs
	applied map[int64]uint64  // commit-ts of the jobs above floor, by job id
	err     error
	signals map[chan struct{}]struct{}

	queue  queue
	jobs   *jobDecoder
	sub    Subscription
	cancel context.CancelFunc
	done   chan struct{}
}

// openStore loads the snapshot at ts and begins to follow the DDL stream. The
// caller closes the store. A snapshot that is garbage-collected gives
// ErrSnapshotLostByGC.
func openStore(ctx context.Context, up Upstream, ts uint64, logger *zap.Logger) (*Store, error) {
	jobs, err := loadJobTable(ctx, up)
	if err != nil {
		return nil, err
	}
	snap, err := loadSnapshot(ctx, up, ts)
	if err != nil {
		return nil, coded(err, ts)
	}
	runCtx, cancel := context.WithCancel(context.Background())
	s := &Store{
		up: up, logger: logger, floor: ts, catalog: newCatalog(snap), jobs: jobs,
		applied: map[int64]uint64{}, signals: map[chan struct{}]struct{}{},
		cancel: cancel, done: make(chan struct{}),
	}
	s.resolved.Store(ts)
	s.queue.wake = make(chan struct{}, 1)
	go func() {
		defer close(s.done)
		s.run(runCtx)
	}()
	s.sub = up.Subscribe(changes.Options{
		Span: model.TableSpan(jobTableID), StartTs: ts, First: true, Consumer: (*consumer)(s),
	})
	return s, nil
}

// close ends the stream and waits for it.
func (s *Store) close() {
	s.sub.Close()
	s.cancel()
	<-s.done
}

// ResolvedTs says up to which TSO every DDL is in the Store.
func (s *Store) ResolvedTs() uint64 { return s.resolved.Load() }

// Watch returns a channel that gets a signal, coalesced, when ResolvedTs moved
// or the Store failed. cancel ends it.
func (s *Store) Watch() (changed <-chan struct{}, cancel func()) {
	signal := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signals[signal] = struct{}{}
	return signal, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.signals, signal)
	}
}

// WaitResolved returns when every DDL up to ts is in the Store. It fails when
// the Store does, or when ctx ends.
func (s *Store) WaitResolved(ctx context.Context, ts uint64) error {
	changed, cancel := s.Watch()
	defer cancel()
	for s.ResolvedTs() < ts {
		if err := s.Err(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Err is why the Store does not advance any more; nil while it does.
func (s *Store) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.err
}

// TableByPhysicalID returns the table whose rows have the id, which may be a
// partition's, in the version after every DDL with CommitTs <= ts. False when
// there was none, or when that history is no longer kept.
func (s *Store) TableByPhysicalID(id int64, ts uint64) (*model.Table, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if ts < s.floor {
		return nil, false
	}
	t := s.catalog.table(id, ts)
	return t, t != nil
}

// Tables lists the tables, views and sequences after every DDL with
// CommitTs <= ts, without those of system databases, ordered by id.
func (s *Store) Tables(ts uint64) []*model.Table {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.catalog.list(ts)
}

// ChangedTables lists the tables that DDLs with after < CommitTs <= upTo
// created, dropped or changed, as they were after the first ts and as they are
// after the second. It costs as much as there are of them.
func (s *Store) ChangedTables(after, upTo uint64) (before, now []*model.Table) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, id := range s.catalog.tables.changedIn(after, upTo) {
		if t := s.catalog.tables.at(id, after); t != nil {
			before = append(before, t)
		}
		if t := s.catalog.tables.at(id, upTo); t != nil {
			now = append(now, t)
		}
	}
	return before, now
}

// DDLs lists the jobs with after < CommitTs <= upTo, in order. The events are
// shared and must not be changed.
func (s *Store) DDLs(after, upTo uint64) []*model.DDLEvent {
	s.mu.RLock()
	defer s.mu.RUnlock()
	from := sort.Search(len(s.events), func(i int) bool { return s.events[i].CommitTs > after })
	to := sort.Search(len(s.events), func(i int) bool { return s.events[i].CommitTs > upTo })
	if from >= to {
		return nil
	}
	return append([]*model.DDLEvent(nil), s.events[from:to]...)
}

// covers tells whether the Store can serve a holder that needs history from
// ts on.
func (s *Store) covers(ts uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.err == nil && s.floor <= ts
}

// trim forgets history that is not valid at any ts >= floor.
func (s *Store) trim(floor uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is not resolved yet may still change at any TSO.
	floor = min(floor, s.resolved.Load())
	if floor <= s.floor {
		return
	}
	s.floor = floor
	s.catalog.trim(floor)
	n := sort.Search(len(s.events), func(i int) bool { return s.events[i].CommitTs > floor })
	if n > 0 {
		s.events = append([]*model.DDLEvent(nil), s.events[n:]...)
	}
	for id, ts := range s.applied {
		if ts <= floor {
			delete(s.applied, id)
		}
	}
}

// notify signals every watcher; the caller holds mu.
func (s *Store) notify() {
	for signal := range s.signals {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
}

// fail ends the Store's life: it keeps what it has, but does not advance.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		s.logger.Error("schema stream failed", zap.Uint64("resolved-ts", s.resolved.Load()),
			zap.String("code", errors.CodeOf(err)), zap.Error(err))
	}
	s.notify()
}
