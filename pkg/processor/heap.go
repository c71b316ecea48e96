package processor

// minHeap keeps spans by one of their timestamps, the least first. Each span
// remembers its place, so that a change costs a few steps only.
type minHeap struct {
	items []*span
	place func(s *span) *int   // where s keeps its place in this heap
	ts    func(s *span) uint64 // what it is ordered by
}

// min is the least timestamp; false when the heap is empty.
func (h *minHeap) min() (uint64, bool) {
	if len(h.items) == 0 {
		return 0, false
	}
	return h.ts(h.items[0]), true
}

func (h *minHeap) push(s *span) {
	h.items = append(h.items, s)
	*h.place(s) = len(h.items) - 1
	h.up(len(h.items) - 1)
}

func (h *minHeap) remove(s *span) {
	i, last := *h.place(s), len(h.items)-1
	h.swap(i, last)
	h.items[last] = nil
	h.items = h.items[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
}

// risen restores the order after the span's timestamp rose.
func (h *minHeap) risen(s *span) { h.down(*h.place(s)) }

func (h *minHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h.ts(h.items[parent]) <= h.ts(h.items[i]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *minHeap) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h.items); c++ {
			if h.ts(h.items[c]) < h.ts(h.items[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *minHeap) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.place(h.items[i]), *h.place(h.items[j]) = i, j
}
