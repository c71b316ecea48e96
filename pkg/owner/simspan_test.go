package owner

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// simKey is a span of the simulation: the cells from, to of a table.
type simKey struct {
	table    int64
	from, to int
}

func (k simKey) String() string { return fmt.Sprintf("table %d [%d, %d)", k.table, k.from, k.to) }

// of is what is delivered of a span, by cell.
func (s *sim) of(k simKey) []uint64 {
	first := int(k.table) * s.cells
	return s.delivered[first+k.from : first+k.to]
}

// border is the raw key at which a cell begins.
func (s *sim) border(table int64, cell int) []byte {
	whole := model.TableSpan(table)
	switch cell {
	case 0:
		return whole.StartKey
	case s.cells:
		return whole.EndKey
	}
	return append(whole.StartKey, byte(cell))
}

// regions is what PD says: a third of the tables has a region per cell, of
// others PD knows nothing.
func (s *sim) regions(table int64) ([]model.TableRegion, error) {
	switch {
	case table%7 == 0:
		return nil, errors.New("PD does not know")
	case table%3 != 1:
		return make([]model.TableRegion, 1), nil
	}
	list := make([]model.TableRegion, s.cells)
	for i := range list {
		list[i].Start = s.border(table, i)
	}
	return list, nil
}

func (s *sim) wire(k simKey) *peerpb.Span {
	if k.from == 0 && k.to == s.cells {
		return &peerpb.Span{TableId: k.table}
	}
	return &peerpb.Span{TableId: k.table, StartKey: s.border(k.table, k.from), EndKey: s.border(k.table, k.to)}
}

func (s *sim) key(span *peerpb.Span) simKey {
	if len(span.StartKey) == 0 && len(span.EndKey) == 0 {
		return simKey{span.TableId, 0, s.cells}
	}
	return simKey{span.TableId, s.cell(span.StartKey), s.cell(span.EndKey)}
}

func (s *sim) cell(key []byte) int {
	switch last := key[len(key)-1]; {
	case len(key) == 12:
		return int(last)
	case last == 's':
		return s.cells
	}
	return 0
}

// touching lists all spans that have a cell in common with one.
func (s *sim) touching(k simKey) (keys []simKey) {
	for from := range k.to {
		for to := max(from, k.from) + 1; to <= s.cells; to++ {
			keys = append(keys, simKey{k.table, from, to})
		}
	}
	return keys
}

// bound is how far everything is downstream truly, and which table is there.
func (s *sim) bound() (bound uint64, last int) {
	bound = math.MaxUint64
	for cell, ts := range s.delivered {
		table := cell / s.cells
		if dropped := s.dropped[table]; ts < bound && (dropped == 0 || ts < dropped) {
			bound, last = ts, table
		}
	}
	return bound, last
}

// begin is called when a capture begins to deliver a span.
func (s *sim) begin(c *simCapture, key simKey, ts uint64) {
	s.counts.Begins++
	if key.to-key.from < s.cells {
		s.counts.Pieces++
	}
	for _, other := range s.captures {
		if other != c && other.holds(key) {
			s.fail("%v begins on %s while %s holds it", key, c.id, other.id)
		}
	}
	for _, delivered := range s.of(key) {
		if ts > delivered && s.dropped[key.table] == 0 {
			s.fail("%v begins on %s at %d, but its rows after %d are not delivered", key, c.id, ts, delivered)
		}
	}
}

// deliver is called when a capture has delivered the rows of a span in
// (from, to].
func (s *sim) deliver(c *simCapture, key simKey, from, to uint64) {
	cells := s.of(key)
	for i, delivered := range cells {
		if from > delivered {
			s.fail("rows of %v in (%d, %d] are lost on %s", key, delivered, from, c.id)
		}
		cells[i] = max(delivered, to)
	}
}

// uneven says what is wrong with where the spans run: they cover every table,
// and of the whole tables, as of the pieces of each other table, no capture
// has two more than another.
func (s *sim) uneven(r *run) string {
	loads := map[int64]map[model.CaptureID]int{0: {}} // by cut table; 0: whole ones
	covered := map[int64]int{}
	for _, table := range s.tables {
		if len(r.pieces.byTable[table.ID]) > 0 {
			loads[table.ID] = map[model.CaptureID]int{}
		}
	}
	alive := s.living(false)
	for _, c := range alive {
		if c.work == nil {
			continue
		}
		for key, span := range c.work.spans {
			n, known := r.pieces.find(s.wire(key))
			if !known || span.prepared || span.leaving || span.after != nil || r.place.of(n) != c.id {
				return fmt.Sprintf("%v is not placed well on %s", key, c.id)
			}
			covered[key.table] += key.to - key.from
			if n < 0 {
				loads[key.table][c.id]++
			} else {
				loads[0][c.id]++
			}
		}
	}
	for _, table := range s.tables {
		if covered[table.ID] != s.cells {
			return fmt.Sprintf("of table %d run %d cells", table.ID, covered[table.ID])
		}
	}
	for table, load := range loads {
		for _, c := range alive {
			load[c.id] += 0 // so that who has none counts too
		}
		counts := slices.Sorted(maps.Values(load))
		if counts[len(counts)-1]-counts[0] > 1 {
			return fmt.Sprintf("of table %d captures have %v spans", table, counts)
		}
	}
	return ""
}
