package processor

import (
	"context"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sorter"
)

const (
	batchRows  = 512
	batchBytes = 512 << 10

	// burst is how many batches of a span go out before other spans get a turn.
	burst = 16
)

// emitters are the goroutines that emit spans. They start when there is work
// for them, up to the number that the changefeed wants. Processor.mu guards all.
type emitters struct {
	ctx     context.Context // of the run
	queue   []*span
	queued  sync.Cond
	most    int
	running int
	idle    int // of those running
}

func (e *emitters) init(mu sync.Locker, most int) { e.queued.L, e.most = mu, most }

// enqueue hands a span to the emit workers. Processor.mu is held.
func (p *Processor) enqueue(s *span) {
	e := &p.emitters
	e.queue = append(e.queue, s)
	if len(e.queue) > e.idle && e.running < e.most && !p.stopped {
		e.running++
		p.tasks.Go(func() { p.emitSpans(e.ctx) })
		return
	}
	e.queued.Signal()
}

// dequeue waits for a span to emit; nil when the run is over.
func (p *Processor) dequeue() *span {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &p.emitters
	for len(e.queue) == 0 && !p.stopped {
		e.idle++
		e.queued.Wait()
		e.idle--
	}
	if p.stopped {
		return nil
	}
	s := e.queue[0]
	e.queue[0] = nil
	e.queue = e.queue[1:]
	return s
}

// emitSpans is an emit worker. One worker at a time holds a span, which keeps
// its batches in order.
func (p *Processor) emitSpans(ctx context.Context) {
	filter := p.o.rowFilter()
	for {
		s := p.dequeue()
		if s == nil {
			return
		}
		if err := p.emit(ctx, s, filter); err != nil {
			if ctx.Err() == nil {
				p.fail(err)
			}
			return
		}
	}
}

// emit writes a part of what the span may write now.
func (p *Processor) emit(ctx context.Context, s *span, filter RowFilter) error {
	for range burst {
		target, ok := p.targetOf(s)
		if !ok {
			return nil
		}
		l, err := p.next(ctx, s, target)
		if err != nil {
			return err
		}
		if l == nil {
			if p.reached(s, target) {
				return nil
			}
			continue
		}
		if err := p.deliver(ctx, s, l, filter); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.enqueue(s)
	p.mu.Unlock()
	return nil
}

// targetOf tells how far the span goes now; false when it goes nowhere any
// more and the worker has let it go.
func (p *Processor) targetOf(s *span) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state == spanRunning && !p.stopped {
		return s.target, true
	}
	s.emitting = false
	p.mark(s)
	return 0, false
}

// reached takes note that all rows up to target are with the sink. It returns
// true when the worker has let the span go.
func (p *Processor) reached(s *span, target uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state == spanRunning && !p.stopped { // else the buffer is empty because it was dropped
		s.acks.reach(target)
		if s.target > target {
			return false
		}
	}
	s.emitting = false
	p.mark(s)
	return true
}

// lot is the memory of one batch of the sorter, shared by the flights that it
// was cut into.
type lot struct {
	batch  *sorter.Batch
	room   *room
	weight int64
	refs   atomic.Int32
}

func (l *lot) free() {
	if l.refs.Add(-1) > 0 {
		return
	}
	l.batch.Release()
	l.room.leave(l.weight)
}

// next takes a batch out of the span's buffer, nil when none is left. It waits
// while too much is on its way to the sink: what stays in the buffer meanwhile
// can still go to disk.
func (p *Processor) next(ctx context.Context, s *span, upTo uint64) (*lot, error) {
	limits := p.limits
	limits.Bytes = min(limits.Bytes, p.room.size())
	weight, err := p.room.enter(ctx, limits.Bytes)
	if err != nil {
		return nil, err
	}
	b, err := s.rows.Next(upTo, limits)
	if b == nil {
		p.room.leave(weight)
		return nil, err
	}
	if weight, err = p.room.fit(ctx, weight, b.Bytes); err != nil {
		b.Release()
		return nil, err
	}
	l := &lot{batch: b, room: p.room, weight: weight}
	l.refs.Store(1)
	return l, nil
}

// flight is a batch on its way through the sink.
type flight struct {
	batch     model.RowBatch
	span      *span
	lot       *lot
	last      uint64 // commit-ts of the last row
	watermark uint64 // guarded by the tracker
	landed    bool   // guarded by the tracker
	finished  atomic.Bool
}

// done is the batch's acknowledgement.
func (f *flight) done(err error) {
	if !f.finished.CompareAndSwap(false, true) {
		return
	}
	p := f.span.p
	if err != nil {
		p.fail(err)
		f.lot.free()
		return
	}
	for {
		synced := p.synced.Load()
		if f.last <= synced || p.synced.CompareAndSwap(synced, f.last) {
			break
		}
	}
	p.metrics.syncedRows.Add(float64(len(f.batch.Rows)))
	landed := f.span.acks.land(f)
	f.lot.free()
	if landed {
		p.mark(f.span)
	}
}

// deliver hands the rows to the sink, filtered and cut where the table's
// version changes.
func (p *Processor) deliver(ctx context.Context, s *span, l *lot, filter RowFilter) error {
	defer l.free()
	b := l.batch
	p.metrics.sortedRows.Add(float64(len(b.Rows)))
	rows := b.Rows
	if s.skip >= b.Rows[0].CommitTs {
		rows = rows[sort.Search(len(rows), func(i int) bool { return rows[i].CommitTs > s.skip }):]
	}
	for len(rows) > 0 {
		table, n, err := p.cut(s, rows)
		if err != nil {
			return err
		}
		if table != nil {
			lastOfTxn := n < len(rows) || b.LastOfTxn
			kept, last := rows[:n:n], rows[n-1].CommitTs
			if filter != nil {
				if kept, err = filter.Keep(table, kept); err != nil {
					return err
				}
			}
			if len(kept) > 0 {
				lastOfTxn = lastOfTxn || kept[len(kept)-1].CommitTs < last
				if err := p.write(ctx, s, l, table, kept, lastOfTxn); err != nil {
					return err
				}
			}
		}
		rows = rows[n:]
	}
	return nil
}

func (p *Processor) write(ctx context.Context, s *span, l *lot, table *model.Table, rows []model.RawChange, lastOfTxn bool) error {
	last := rows[len(rows)-1].CommitTs
	f := &flight{span: s, lot: l, last: last, watermark: last}
	if !lastOfTxn {
		f.watermark--
	}
	f.batch = model.RowBatch{
		TableID: s.span.TableID, Table: table, Rows: rows,
		ReplicateTs: s.replicateTs, LastOfTxn: lastOfTxn, Done: f.done,
	}
	l.refs.Add(1)
	s.acks.launch(f)
	return p.sink.Write(ctx, &f.batch)
}

// cut returns how many of the rows share the first one's table version, and
// the version; nil when these rows are not replicated.
func (p *Processor) cut(s *span, rows []model.RawChange) (*model.Table, int, error) {
	versionOf := func(i int) *model.Table {
		if t, ok := p.tableAt(s.span.TableID, rows[i].CommitTs-1); ok {
			return t
		}
		return nil
	}
	// A version never comes back, so that equal ends mean one version.
	first, n := versionOf(0), len(rows)
	if first != versionOf(n-1) {
		n = sort.Search(n, func(i int) bool { return versionOf(i) != first })
	}
	switch {
	case first == nil:
		return nil, n, p.checkGone(s)
	case !first.Eligible(p.o.Config.ForceReplicate):
		first = nil
	}
	s.known = true
	return first, n, nil
}

// checkGone tells tables that were dropped or truncated, whose last rows are of
// no use, from those that the schema should know.
func (p *Processor) checkGone(s *span) error {
	if !s.known {
		_, s.known = p.tableAt(s.span.TableID, s.startTs)
	}
	if !s.known {
		return errors.ErrSnapshotTableNotFound.New(s.span.TableID)
	}
	return nil
}
