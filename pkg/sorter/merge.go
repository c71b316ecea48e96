package sorter

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// source is one of the sorted runs that are merged: a run on disk or, where
// run is nil, the rows in memory.
type source struct {
	run   *diskRun
	entry entry  // of the next row in memory
	key   []byte // disk key of the next row
}

func (s *source) commitTs() uint64 { return binary.BigEndian.Uint64(s.key[8:]) }

// merge reads the runs of a span as one. A nil merge is one that was not begun.
type merge struct {
	heap  []*source // the least key first
	last  []byte    // key of the row that was taken last
	mem   source
	stale bool // runs or rows came: the heap must be made anew
	begun bool
}

func (m *merge) invalidate() {
	if m != nil {
		m.stale = true
	}
}

// prepare puts every source with rows up to upTo into the heap.
func (m *merge) prepare(s *Span, upTo uint64) error {
	if m.begun && !m.stale {
		return nil
	}
	m.heap = m.heap[:0]
	for _, r := range slices.Clone(s.runs) {
		if r.next > upTo {
			continue
		}
		if err := r.open(); err != nil {
			return err
		}
		if err := m.push(s, &source{run: r}, upTo); err != nil {
			return err
		}
	}
	if err := m.push(s, &m.mem, upTo); err != nil {
		return err
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	m.begun, m.stale = true, false
	return nil
}

// push appends a source to the unordered heap if it has rows up to upTo.
func (m *merge) push(s *Span, src *source, upTo uint64) error {
	if src.load(s, upTo) {
		m.heap = append(m.heap, src)
	}
	return nil
}

// load reads the key of the source's next row. It returns false when there is
// none up to upTo; a run that has ended is dropped.
func (src *source) load(s *Span, upTo uint64) bool {
	if src.run == nil {
		e, ok := s.sorted.peek(upTo)
		if ok {
			src.entry = e
			src.key = appendDiskKey(src.key[:0], s.id, s.sorted.row(e.pos))
		}
		return ok
	}
	src.key = src.run.key
	if src.key == nil {
		s.runs = slices.DeleteFunc(s.runs, func(r *diskRun) bool { return r == src.run })
		src.run.drop()
		return false
	}
	return src.run.next <= upTo
}

// first returns the source of the next row, without its duplicates; nil when
// there is none up to upTo.
func (m *merge) first(s *Span, upTo uint64) (*source, error) {
	for len(m.heap) > 0 {
		src := m.heap[0]
		if !bytes.Equal(src.key, m.last) {
			return src, nil
		}
		if err := m.skip(s, upTo); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// skip goes beyond the first row of the heap.
func (m *merge) skip(s *Span, upTo uint64) error {
	src := m.heap[0]
	if src.run == nil {
		s.sorted.take(src.entry)
	} else {
		if err := src.run.advance(); err != nil {
			return err
		}
		s.rows.Add(-1)
	}
	if !src.load(s, upTo) {
		n := len(m.heap) - 1
		m.heap[0] = m.heap[n]
		m.heap = m.heap[:n]
	}
	m.down(0)
	return nil
}

// take moves the first row of the heap into the batch.
func (m *merge) take(s *Span, b *Batch, upTo uint64) error {
	src := m.heap[0]
	if src.run == nil {
		b.append(*s.sorted.row(src.entry.pos))
	} else {
		row, err := decodeRow(src.key, src.run.value, b.record(recordLen(src.key, src.run.value)))
		if err != nil {
			return err
		}
		b.append(row)
	}
	m.last = append(m.last[:0], src.key...)
	return m.skip(s, upTo)
}

// down restores the heap below i.
func (m *merge) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(m.heap); c++ {
			if bytes.Compare(m.heap[c].key, m.heap[least].key) < 0 {
				least = c
			}
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}
