package sorter

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Span sorts the rows of one key range. Add may be called from several
// goroutines and at the same time as everything else; Next by one at a time.
type Span struct {
	feed *Feed
	id   uint64 // in the order of creation: the first part of keys on disk

	rows     atomic.Int64  // buffered, in memory and on disk
	bytes    atomic.Int64  // charged for those in memory
	added    atomic.Int64  // charged for all that ever came
	draining atomic.Bool   // Next gave rows at its last call
	released atomic.Uint64 // the greatest upTo of Next

	mu     sync.Mutex // guards what Add touches
	fresh  []*chunk   // in the order of arrival
	last   int        // rows in the last chunk of fresh
	spare  []*chunk   // an empty slice to become fresh
	closed bool

	out    sync.Mutex // guards what Next and spill touch; taken before mu
	sorted sorted
	runs   []*diskRun
	merge  *merge // set while rows are read from runs
}

// Add buffers rows. It blocks while the changefeed is far over its quota, or
// the process has no memory left, until rows went to disk. It fails with ErrResolvedTsBroken for a
// row with a CommitTs that Next was called for already, and when the disk
// cannot be written.
func (s *Span) Add(rows []model.RawChange) error {
	released := s.released.Load()
	var size int64
	for i := range rows {
		if rows[i].CommitTs <= released {
			return errors.ErrResolvedTsBroken.Msg("row with commit-ts %d at or below the resolved-ts %d of its span",
				rows[i].CommitTs, released)
		}
		size += charge(&rows[i])
	}
	s.feed.reserve(size)
	s.mu.Lock()
	s.feed.buffered.Add(size)
	if s.closed {
		s.mu.Unlock()
		s.feed.unbuffer(size)
		return nil
	}
	s.append(rows)
	s.rows.Add(int64(len(rows)))
	s.bytes.Add(size)
	s.added.Add(size)
	s.mu.Unlock()
	return s.feed.throttle()
}

func (s *Span) append(rows []model.RawChange) {
	for len(rows) > 0 {
		if len(s.fresh) == 0 || s.last == chunkRows {
			s.fresh = append(s.fresh, s.feed.engine.pools.chunks.get())
			s.last = 0
		}
		n := copy(s.fresh[len(s.fresh)-1][s.last:], rows)
		s.last += n
		rows = rows[n:]
	}
}

// Len is the number of rows that are buffered, duplicates included.
func (s *Span) Len() int64 { return s.rows.Load() }

// Added is what all rows that were ever added were charged with, in bytes.
func (s *Span) Added() int64 { return s.added.Load() }

// Next takes rows with CommitTs <= upTo out of the buffer, in the order of
// commit-ts, start-ts, rank and key, each once. The caller promises that all
// rows up to upTo were added. A nil batch means that none are left; any other
// must be released. An error means that rows could not be written to disk or
// cannot be read from there.
func (s *Span) Next(upTo uint64, limits Limits) (*Batch, error) {
	s.out.Lock()
	defer s.out.Unlock()
	if err := s.feed.failure(); err != nil {
		return nil, err // rows may be gone
	}
	if upTo > s.released.Load() {
		s.released.Store(upTo)
		s.takeFresh()
		s.merge.invalidate()
	}
	b := s.feed.engine.pools.batch(s.feed)
	var err error
	if s.merge != nil || s.runsUpTo(upTo) {
		err = s.fillMerged(b, upTo, limits)
	} else {
		s.fill(b, upTo, limits)
	}
	s.settle(b)
	s.draining.Store(len(b.Rows) > 0)
	if err != nil || len(b.Rows) == 0 {
		b.Release()
		return nil, err
	}
	return b, nil
}

// settle accounts for what left the buffer: the rows of the batch, if there is
// one, and duplicates.
func (s *Span) settle(b *Batch) {
	gone := s.sorted.gone
	s.sorted.gone = tally{}
	s.rows.Add(-gone.rows)
	s.bytes.Add(-gone.bytes)
	s.feed.unbuffer(gone.bytes)
	if b != nil {
		s.feed.lend(b.Bytes)
	}
}

// takeFresh sorts what was added since the last time.
func (s *Span) takeFresh() {
	s.mu.Lock()
	fresh, last := s.fresh, s.last
	s.fresh, s.last = s.spare[:0], 0
	s.mu.Unlock()
	s.sorted.add(fresh, last)
	clear(fresh)
	s.spare = nil
	if cap(fresh) <= trimCap {
		s.spare = fresh[:0]
	}
}

// full tells whether a batch takes no row with the given commit-ts any more.
func (b *Batch) full(commitTs uint64, l Limits) bool {
	n := len(b.Rows)
	if n == 0 || (n < l.Rows && b.Bytes < l.Bytes) {
		return false
	}
	return !l.WholeTxns || b.Rows[n-1].CommitTs != commitTs
}

func (b *Batch) append(c model.RawChange) {
	b.Rows = append(b.Rows, c)
	b.Bytes += charge(&c)
}

// fill moves rows from memory into the batch.
func (s *Span) fill(b *Batch, upTo uint64, limits Limits) {
	for {
		e, ok := s.sorted.peek(upTo)
		if !ok {
			b.LastOfTxn = true
			return
		}
		if b.full(e.commitTs, limits) {
			b.LastOfTxn = b.Rows[len(b.Rows)-1].CommitTs != e.commitTs
			return
		}
		b.append(*s.sorted.row(e.pos))
		s.sorted.take(e)
	}
}

// runsUpTo tells whether a run on disk has rows with CommitTs <= upTo.
func (s *Span) runsUpTo(upTo uint64) bool {
	for _, r := range s.runs {
		if r.next <= upTo {
			return true
		}
	}
	return false
}

// fillMerged moves rows from memory and from runs on disk into the batch.
func (s *Span) fillMerged(b *Batch, upTo uint64, limits Limits) error {
	if s.merge == nil {
		s.merge = &merge{}
	}
	m := s.merge
	if err := m.prepare(s, upTo); err != nil {
		return err
	}
	for {
		src, err := m.first(s, upTo)
		if err != nil {
			return err
		}
		if src == nil {
			b.LastOfTxn = true
			if len(b.Rows) == 0 { // the round is over: give the iterators' memory back
				s.endMerge()
			}
			return nil
		}
		if b.full(src.commitTs(), limits) {
			b.LastOfTxn = b.Rows[len(b.Rows)-1].CommitTs != src.commitTs()
			return nil
		}
		if err := m.take(s, b, upTo); err != nil {
			return err
		}
	}
}

func (s *Span) endMerge() {
	for _, r := range s.runs {
		r.rest()
	}
	s.merge = nil
}

// spill writes all rows in memory as one run, with the span's lock out held,
// and returns the key of the first, nil if there were none.
func (s *Span) spill(w *runWriter) ([]byte, error) {
	s.takeFresh()
	var first []byte
	for {
		e, ok := s.sorted.peek(math.MaxUint64)
		if !ok {
			break
		}
		row := s.sorted.row(e.pos)
		if err := w.add(s.id, row); err != nil {
			return nil, err
		}
		if first == nil {
			first = slices.Clone(w.key)
		}
		s.sorted.take(e)
		s.rows.Add(1) // stays buffered, on disk
	}
	s.settle(nil)
	s.merge.invalidate()
	return first, nil
}

// Close drops everything that is buffered. Rows that are added later are ignored.
func (s *Span) Close() {
	s.feed.forget(s)
	s.out.Lock()
	defer s.out.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for _, c := range s.fresh {
		s.feed.engine.pools.chunks.put(c)
	}
	s.fresh, s.spare = nil, nil
	s.sorted.clear()
	for _, r := range s.runs {
		r.drop()
	}
	s.runs, s.merge = nil, nil
	s.feed.unbuffer(s.bytes.Swap(0))
	s.rows.Store(0)
}
