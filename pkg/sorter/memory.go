package sorter

import (
	"bytes"
	"math/bits"
	"slices"
	"sync"
	"unsafe"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// chunkRows is a power of two: a row's place is chunk number and offset.
	chunkBits = 6
	chunkRows = 1 << chunkBits

	// rowOverhead is what a buffered row holds beside itself, in bytes: its
	// entry, a second one while sorting, and the framing of its message.
	rowOverhead = 2*int64(unsafe.Sizeof(entry{})) + 32

	// trimCap is the most entries that an idle span keeps room for.
	trimCap = 512

	// duplicate marks entries of rows that came twice.
	duplicate = ^uint64(0)
)

// chunk holds rows in the order of their arrival.
type chunk [chunkRows]model.RawChange

// chunkPool recycles chunks. Chunks in it are zeroed.
type chunkPool struct{ pool sync.Pool }

func (p *chunkPool) get() *chunk {
	if c, ok := p.pool.Get().(*chunk); ok {
		return c
	}
	return new(chunk)
}

func (p *chunkPool) put(c *chunk) {
	*c = chunk{}
	p.pool.Put(c)
}

// entry stands for a row while sorting: moving 16 bytes is cheaper than
// moving the row.
type entry struct {
	commitTs uint64
	pos      uint64 // chunk number << chunkBits | offset, or duplicate
}

// charge is the memory, in bytes, that a buffered row is charged with.
func charge(c *model.RawChange) int64 { return c.Size() + rowOverhead }

// sorted holds rows in commit order. Rows with one commit-ts are brought into
// order, and duplicates removed, only when they are read: most are in order
// already, and looking at them touches their keys.
type sorted struct {
	pool *chunkPool

	// chunks[i] has the number base+i; nil once all its rows were taken.
	chunks []*chunk
	left   []uint8 // rows of the chunk that were not taken yet
	base   uint64

	order []entry // order[head:] is what is left, by commitTs
	head  int
	fixed int // order[head:fixed] is in full order and free of duplicates but at its end

	scratch []entry
	gone    tally // what was taken or dropped since the owner last looked
}

// tally counts rows and what they were charged with.
type tally struct{ rows, bytes int64 }

func (s *sorted) row(pos uint64) *model.RawChange {
	return &s.chunks[pos>>chunkBits-s.base][pos&(chunkRows-1)]
}

// add takes over chunks that are full but for the last one, which has n rows.
// No row may come with a CommitTs that peek was allowed to return.
func (s *sorted) add(chunks []*chunk, n int) {
	if len(chunks) == 0 {
		return
	}
	s.compact()
	old := len(s.order)
	for i, c := range chunks {
		number := s.base + uint64(len(s.chunks))
		rows := chunkRows
		if i == len(chunks)-1 {
			rows = n
		}
		s.chunks = append(s.chunks, c)
		s.left = append(s.left, uint8(rows))
		for j := range rows {
			s.order = append(s.order, entry{commitTs: c[j].CommitTs, pos: number<<chunkBits | uint64(j)})
		}
	}
	s.sortEntries(s.order[old:])
	s.merge(old)
}

// compact drops what was taken.
func (s *sorted) compact() {
	if s.head == len(s.order) {
		s.trim()
		return
	}
	if s.head > len(s.order)/2 {
		n := copy(s.order, s.order[s.head:])
		s.order, s.fixed, s.head = s.order[:n], max(0, s.fixed-s.head), 0
	}
	gone := 0
	for gone < len(s.chunks) && s.chunks[gone] == nil {
		gone++
	}
	if gone > 0 && gone*2 >= len(s.chunks) {
		s.chunks = slices.Delete(s.chunks, 0, gone)
		s.left = slices.Delete(s.left, 0, gone)
		s.base += uint64(gone)
	}
}

// merge brings the two runs order[head:mid] and order[mid:] together.
func (s *sorted) merge(mid int) {
	if mid == s.head || s.order[mid-1].commitTs <= s.order[mid].commitTs {
		return
	}
	first := s.order[mid].commitTs
	at, _ := slices.BinarySearchFunc(s.order[s.head:mid], first, func(e entry, ts uint64) int {
		if e.commitTs <= ts {
			return -1
		}
		return 1
	})
	at += s.head
	// The new run is normally the shorter one: set it aside and merge from the end.
	s.scratch = append(s.scratch[:0], s.order[mid:]...)
	i, j := mid-1, len(s.scratch)-1
	for k := len(s.order) - 1; j >= 0; k-- {
		if i >= at && s.order[i].commitTs > s.scratch[j].commitTs {
			s.order[k] = s.order[i]
			i--
		} else {
			s.order[k] = s.scratch[j]
			j--
		}
	}
	s.shrinkScratch()
}

// peek returns the next entry that is no duplicate and has commitTs <= upTo.
func (s *sorted) peek(upTo uint64) (entry, bool) {
	for s.head < len(s.order) {
		if s.order[s.head].commitTs > upTo {
			return entry{}, false
		}
		if s.head >= s.fixed {
			s.fixGroup()
		}
		if e := s.order[s.head]; e.pos != duplicate {
			return e, true
		}
		s.head++
	}
	s.trim()
	return entry{}, false
}

// trim keeps an empty, idle span from holding the memory of a busy past.
func (s *sorted) trim() {
	if cap(s.order) > trimCap {
		s.order = nil
	}
	if cap(s.chunks) > trimCap {
		s.chunks, s.left = nil, nil
	}
	s.base += uint64(len(s.chunks))
	s.chunks, s.left, s.order = s.chunks[:0], s.left[:0], s.order[:0]
	s.head, s.fixed = 0, 0
}

// take ends the use of the entry that peek returned.
func (s *sorted) take(e entry) {
	s.head++
	s.drop(e.pos)
}

func (s *sorted) drop(pos uint64) {
	s.gone.rows++
	s.gone.bytes += charge(s.row(pos))
	i := pos>>chunkBits - s.base
	s.left[i]--
	if s.left[i] == 0 {
		s.pool.put(s.chunks[i])
		s.chunks[i] = nil
	}
}

// fixGroup brings the rows with the commit-ts of order[head] into full order
// and moves duplicates to their end.
func (s *sorted) fixGroup() {
	end := s.head + 1
	for end < len(s.order) && s.order[end].commitTs == s.order[s.head].commitTs {
		end++
	}
	s.fixed = end
	group := s.order[s.head:end]
	if len(group) == 1 || s.strictlyRising(group) {
		return
	}
	slices.SortFunc(group, func(a, b entry) int {
		if c := compareRows(s.row(a.pos), s.row(b.pos)); c != 0 {
			return c
		}
		return int(int64(a.pos - b.pos)) // equal rows stay in the order of their arrival
	})
	kept := 1
	for _, e := range group[1:] {
		if sameChange(s.row(group[kept-1].pos), s.row(e.pos)) {
			s.drop(e.pos)
			continue
		}
		group[kept] = e
		kept++
	}
	for i := kept; i < len(group); i++ {
		group[i].pos = duplicate
	}
}

func (s *sorted) strictlyRising(group []entry) bool {
	prev := s.row(group[0].pos)
	for _, e := range group[1:] {
		row := s.row(e.pos)
		if compareRows(prev, row) >= 0 {
			return false
		}
		prev = row
	}
	return true
}

// clear gives everything back.
func (s *sorted) clear() {
	for _, c := range s.chunks {
		if c != nil {
			s.pool.put(c)
		}
	}
	*s = sorted{pool: s.pool}
}

// compareRows orders changes of one span: by commit-ts, start-ts, rank and key.
func compareRows(a, b *model.RawChange) int {
	if c := a.Compare(b); c != 0 {
		return c
	}
	return bytes.Compare(a.Key(), b.Key())
}

// sameChange tells a change that was delivered twice.
func sameChange(a, b *model.RawChange) bool {
	return a.CommitTs == b.CommitTs && a.StartTs == b.StartTs && bytes.Equal(a.Key(), b.Key())
}

const (
	radixBits = 11
	radixMin  = 192 // entries below which comparing is faster
)

// sortEntries sorts by commitTs and keeps the order of arrival.
func (s *sorted) sortEntries(e []entry) {
	lo, hi, rising := e[0].commitTs, e[0].commitTs, true
	for i := 1; i < len(e); i++ {
		ts := e[i].commitTs
		rising = rising && e[i-1].commitTs <= ts
		lo, hi = min(lo, ts), max(hi, ts)
	}
	switch {
	case rising:
	case len(e) < radixMin:
		slices.SortFunc(e, func(a, b entry) int {
			if a.commitTs != b.commitTs {
				if a.commitTs < b.commitTs {
					return -1
				}
				return 1
			}
			return int(int64(a.pos - b.pos))
		})
	default:
		s.scratch = slices.Grow(s.scratch[:0], len(e))[:len(e)]
		radixSort(e, s.scratch, lo, hi)
		s.shrinkScratch()
	}
}

// radixSort sorts e by commitTs, stable, using a buffer of the same length.
// All timestamps lie in [lo, hi].
func radixSort(e, buf []entry, lo, hi uint64) {
	var count [1 << radixBits]uint32
	src, dst := e, buf
	for shift := 0; shift < bits.Len64(hi-lo); shift += radixBits {
		clear(count[:])
		for i := range src {
			count[(src[i].commitTs-lo)>>shift&(1<<radixBits-1)]++
		}
		if count[(src[0].commitTs-lo)>>shift&(1<<radixBits-1)] == uint32(len(src)) {
			continue
		}
		sum := uint32(0)
		for i, n := range count {
			count[i] = sum
			sum += n
		}
		for _, x := range src {
			d := &count[(x.commitTs-lo)>>shift&(1<<radixBits-1)]
			dst[*d] = x
			*d++
		}
		src, dst = dst, src
	}
	if &src[0] != &e[0] {
		copy(e, src)
	}
}

func (s *sorted) shrinkScratch() {
	if cap(s.scratch) > trimCap {
		s.scratch = nil
	}
}
