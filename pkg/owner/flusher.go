package owner

import (
	"context"
	stderrors "errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
)

// The pause between two writes of checkpoints. etcd is shared with PD, so it
// grows with the number of changefeeds, up to once a second. With few
// changefeeds every round of resolved-ts is stored: readers are shown only
// what is stored, and want it fresh.
const (
	flushGapMin     = 100 * time.Millisecond
	flushGapPerFeed = 10 * time.Millisecond
	flushGapMax     = time.Second
)

// flusher stores the checkpoints of all changefeeds together.
type flusher struct {
	o       *Owner
	mu      sync.Mutex
	pending map[*feed]etcdmeta.StatusWrite
	signal  chan struct{}
}

func newFlusher(o *Owner) *flusher {
	return &flusher{o: o, pending: map[*feed]etcdmeta.StatusWrite{}, signal: make(chan struct{}, 1)}
}

// mark asks for a status to be stored; a later one replaces it.
func (fl *flusher) mark(f *feed, w etcdmeta.StatusWrite) {
	fl.mu.Lock()
	if old, ok := fl.pending[f]; ok && old.Rev > w.Rev {
		w.Rev = old.Rev // a write has succeeded that the feed has not heard of
	}
	fl.pending[f] = w
	fl.mu.Unlock()
	select {
	case fl.signal <- struct{}{}:
	default:
	}
}

// forget drops what is pending: the feed stores it itself.
func (fl *flusher) forget(f *feed) {
	fl.mu.Lock()
	delete(fl.pending, f)
	fl.mu.Unlock()
}

// run stores what is marked until ctx ends.
func (fl *flusher) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-fl.signal:
		}
		n, err := fl.flush(ctx)
		if stderrors.Is(err, errors.ErrNotOwner) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			fl.o.logger.Warn("cannot store checkpoints, will try again", zap.Error(err))
		}
		sleep(ctx, min(max(flushGapMin, time.Duration(n)*flushGapPerFeed), flushGapMax))
	}
}

// flush stores everything pending and tells the feeds.
func (fl *flusher) flush(ctx context.Context) (int, error) {
	fl.mu.Lock()
	taken := fl.pending
	fl.pending = make(map[*feed]etcdmeta.StatusWrite, len(taken))
	fl.mu.Unlock()
	feeds := make([]*feed, 0, len(taken))
	writes := make([]etcdmeta.StatusWrite, 0, len(taken))
	for f, w := range taken {
		feeds, writes = append(feeds, f), append(writes, w)
	}
	revs, err := fl.o.records.WriteStatuses(ctx, writes)
	for i, rev := range revs {
		f, w := feeds[i], writes[i]
		fl.raise(f, w.Rev, rev)
		f.postNews(func() { f.onFlushed(fl.o.ctx, w, rev) })
	}
	return len(writes), err
}

// raise lets a status that was marked meanwhile expect the new revision.
func (fl *flusher) raise(f *feed, from, to int64) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if w, ok := fl.pending[f]; ok && w.Rev == from && to != 0 {
		w.Rev = to
		fl.pending[f] = w
	}
}
