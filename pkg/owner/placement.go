package owner

import (
	"slices"
	"strings"

	"github.com/tidemark/tidemark/pkg/model"
)

// placement says which capture has which table. Whatever is asked of it costs
// as much as what changed, not as much as there are tables. A table that its
// capture was told to let go has no place, but is shown there: it may still be
// written there. It knows tables by number: see pieces.
type placement struct {
	tableOf func(number int64) int64
	spots   map[int64]spot
	placed  int // spots that are a place
	held    map[model.CaptureID]*holding
	tasks   []Task // what list made last; nil after a change
}

type spot struct {
	capture model.CaptureID
	leaving bool
}

// holding is what one capture has.
type holding struct {
	placed int
	pieces int // those of placed that are pieces
	shown  int
	sorted []int64 // never modified: readers may have it
	tables []int64 // what sorted is in ids of tables; nil after a change
	// changes are not in sorted yet: true for tables to be added, false for
	// those to be taken out.
	changes map[int64]bool
}

func newPlacement(tableOf func(int64) int64) placement {
	return placement{tableOf: tableOf, spots: map[int64]spot{}, held: map[model.CaptureID]*holding{}}
}

// of returns where a table is placed; empty when it is nowhere.
func (p *placement) of(table int64) model.CaptureID {
	if s := p.spots[table]; !s.leaving {
		return s.capture
	}
	return ""
}

// count is how many tables are placed on a capture.
func (p *placement) count(capture model.CaptureID) int {
	if h := p.held[capture]; h != nil {
		return h.placed
	}
	return 0
}

// shows tells whether a capture has tables, those that it lets go included.
func (p *placement) shows(capture model.CaptureID) bool {
	h := p.held[capture]
	return h != nil && h.shown > 0
}

// countWhole is count without pieces.
func (p *placement) countWhole(capture model.CaptureID) int {
	if h := p.held[capture]; h != nil {
		return h.placed - h.pieces
	}
	return 0
}

// put places a table, whatever was before.
func (p *placement) put(table int64, capture model.CaptureID) {
	p.remove(table)
	h := p.held[capture]
	if h == nil {
		h = &holding{changes: map[int64]bool{}}
		p.held[capture] = h
	}
	p.spots[table] = spot{capture: capture}
	h.change(table, true)
	h.shown++
	h.placed++
	if table < 0 {
		h.pieces++
	}
	p.placed++
	p.tasks = nil
}

// release takes the place away from a table that is being let go.
func (p *placement) release(table int64) {
	s, ok := p.spots[table]
	if !ok || s.leaving {
		return
	}
	p.spots[table] = spot{capture: s.capture, leaving: true}
	h := p.held[s.capture]
	h.placed--
	if table < 0 {
		h.pieces--
	}
	p.placed--
}

// remove forgets a table.
func (p *placement) remove(table int64) {
	s, ok := p.spots[table]
	if !ok {
		return
	}
	p.release(table)
	delete(p.spots, table)
	h := p.held[s.capture]
	h.change(table, false)
	h.shown--
	p.tasks = nil
}

// clear forgets everything that a capture has.
func (p *placement) clear(capture model.CaptureID) {
	h := p.held[capture]
	if h == nil {
		return
	}
	for _, table := range h.list() {
		delete(p.spots, table)
	}
	p.placed -= h.placed
	delete(p.held, capture)
	p.tasks = nil
}

// lists returns the tables of each capture, in order; those that are being let
// go are among them. The lists must not be modified.
func (p *placement) lists() map[model.CaptureID][]int64 {
	lists := make(map[model.CaptureID][]int64, len(p.held))
	for capture, h := range p.held {
		if h.shown > 0 {
			lists[capture] = h.list()
		}
	}
	return lists
}

// list is lists in the form that readers are shown, sorted by capture: a table
// of which a capture has pieces is there once. It is the same list until
// something changes.
func (p *placement) list() []Task {
	if p.tasks == nil {
		p.tasks = make([]Task, 0, len(p.held))
		for capture, h := range p.held {
			if h.shown > 0 {
				p.tasks = append(p.tasks, Task{CaptureID: capture, TableIDs: h.ids(p.tableOf)})
			}
		}
		slices.SortFunc(p.tasks, func(a, b Task) int { return strings.Compare(a.CaptureID, b.CaptureID) })
	}
	return p.tasks
}

// ids is list in ids of tables.
func (h *holding) ids(tableOf func(int64) int64) []int64 {
	numbers := h.list()
	cut := cutNumbers(numbers)
	if cut == 0 {
		return numbers
	}
	if h.tables == nil {
		h.tables = slices.Clone(numbers)
		for i, n := range numbers[:cut] {
			h.tables[i] = tableOf(n)
		}
		slices.Sort(h.tables)
		h.tables = slices.Compact(h.tables)
	}
	return h.tables
}

// cutNumbers counts the pieces in sorted numbers.
func cutNumbers(sorted []int64) int {
	n, _ := slices.BinarySearch(sorted, 0)
	return n
}

// change notes that a table came or went.
func (h *holding) change(table int64, added bool) {
	h.tables = nil
	if _, ok := h.changes[table]; ok { // the opposite of it
		delete(h.changes, table)
		return
	}
	h.changes[table] = added
}

// list brings sorted up to date.
func (h *holding) list() []int64 {
	if len(h.changes) == 0 {
		return h.sorted
	}
	changed := make([]int64, 0, len(h.changes))
	for table := range h.changes {
		changed = append(changed, table)
	}
	slices.Sort(changed)
	merged := make([]int64, 0, h.shown)
	rest := h.sorted
	for _, table := range changed {
		n, found := slices.BinarySearch(rest, table)
		merged = append(merged, rest[:n]...)
		if rest = rest[n:]; found {
			rest = rest[1:]
		}
		if h.changes[table] {
			merged = append(merged, table)
		}
	}
	h.sorted = append(merged, rest...)
	clear(h.changes)
	return h.sorted
}
