package schema

import (
	"slices"
	"sort"
)

// history is the values that one thing had over time. The zero value of T
// means that it did not exist.
type history[T comparable] struct {
	versions []version[T] // by rising ts
}

type version[T comparable] struct {
	ts    uint64
	value T
}

// at returns the value after every change with a ts <= ts.
func (h *history[T]) at(ts uint64) T {
	for i := len(h.versions) - 1; i >= 0; i-- {
		if h.versions[i].ts <= ts {
			return h.versions[i].value
		}
	}
	var none T
	return none
}

// latest returns the newest value.
func (h *history[T]) latest() T {
	if len(h.versions) == 0 {
		var none T
		return none
	}
	return h.versions[len(h.versions)-1].value
}

// set adds the value that is valid from ts on; ts must not be before the
// newest version's.
func (h *history[T]) set(ts uint64, value T) {
	if n := len(h.versions); n > 0 && h.versions[n-1].ts == ts {
		h.versions[n-1].value = value
		return
	}
	h.versions = append(h.versions, version[T]{ts, value})
}

// trim forgets what is not valid at any ts >= floor. It returns false when
// nothing that matters is left.
func (h *history[T]) trim(floor uint64) bool {
	first := 0
	for first+1 < len(h.versions) && h.versions[first+1].ts <= floor {
		first++
	}
	h.versions = append([]version[T](nil), h.versions[first:]...)
	var none T
	return len(h.versions) > 1 || len(h.versions) == 1 && (h.versions[0].ts > floor || h.versions[0].value != none)
}

// histories is the histories of all things of one kind, by id.
type histories[T comparable] struct {
	byID map[int64]*history[T]
	// changed lists, by rising ts, what trim has to look at.
	changed []change
}

type change struct {
	ts uint64
	id int64
}

func newHistories[T comparable]() histories[T] {
	return histories[T]{byID: map[int64]*history[T]{}}
}

func (s *histories[T]) at(id int64, ts uint64) T {
	if h, ok := s.byID[id]; ok {
		return h.at(ts)
	}
	var none T
	return none
}

func (s *histories[T]) latest(id int64) T {
	if h, ok := s.byID[id]; ok {
		return h.latest()
	}
	var none T
	return none
}

func (s *histories[T]) set(id int64, ts uint64, value T) {
	h, ok := s.byID[id]
	if !ok {
		h = &history[T]{}
		s.byID[id] = h
	}
	h.set(ts, value)
	s.changed = append(s.changed, change{ts, id})
}

// start sets the value that a thing had when the history began.
func (s *histories[T]) start(id int64, ts uint64, value T) {
	s.byID[id] = &history[T]{versions: []version[T]{{ts, value}}}
}

// changedIn lists what was changed after a ts and up to another, each once.
func (s *histories[T]) changedIn(after, upTo uint64) []int64 {
	from := sort.Search(len(s.changed), func(i int) bool { return s.changed[i].ts > after })
	var ids []int64
	for _, c := range s.changed[from:] {
		if c.ts > upTo {
			break
		}
		ids = append(ids, c.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// trim forgets what is not valid at any ts >= floor. It costs as much as
// there were changes since the last time.
func (s *histories[T]) trim(floor uint64) {
	n := 0
	for ; n < len(s.changed) && s.changed[n].ts <= floor; n++ {
		id := s.changed[n].id
		if h, ok := s.byID[id]; ok && !h.trim(floor) {
			delete(s.byID, id)
		}
	}
	if n > 0 {
		s.changed = append([]change(nil), s.changed[n:]...)
	}
}
