package owner

import (
	"bytes"
	"slices"
	"sort"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
	"github.com/tidemark/tidemark/pkg/scheduler"
)

// pieces are the spans of the tables that are cut over captures. A run knows
// what it places by numbers: a whole table by its id, a piece by a negative
// number that this run has given it and gives to no other piece. So whole
// tables cost nothing more than without pieces.
type pieces struct {
	spans   map[int64]model.Span // by number
	byTable map[int64][]int64    // numbers of the pieces of a table, in order of keys
	// gaps are cut tables of which a part may have no piece: what other owners
	// have cut is told by captures one by one.
	gaps map[int64]struct{}
	last int64
}

func newPieces() pieces {
	return pieces{spans: map[int64]model.Span{}, byTable: map[int64][]int64{}, gaps: map[int64]struct{}{}}
}

// extra is how many more places there are to give than there are tables. A
// gap counts as a piece that has no place.
func (p *pieces) extra() int { return len(p.spans) - len(p.byTable) + len(p.gaps) }

// table is the table of a number.
func (p *pieces) table(n int64) int64 {
	if n >= 0 {
		return n
	}
	return p.spans[n].TableID
}

// numbers lists what there is of a table: its pieces, or itself.
func (p *pieces) numbers(table int64) []int64 {
	if cut := p.byTable[table]; len(cut) > 0 {
		return cut
	}
	return []int64{table}
}

// wire is the span of a number, as it goes to captures.
func (p *pieces) wire(n int64) *peerpb.Span {
	if n >= 0 {
		return &peerpb.Span{TableId: n}
	}
	return peer.ToSpan(p.spans[n])
}

// find tells the number of a span; false when it is an unknown piece.
func (p *pieces) find(s *peerpb.Span) (int64, bool) {
	if len(s.StartKey) == 0 && len(s.EndKey) == 0 {
		return s.TableId, true
	}
	numbers := p.byTable[s.TableId]
	i := p.search(s.TableId, s.StartKey)
	if i == len(numbers) || !bytes.Equal(p.spans[numbers[i]].StartKey, s.StartKey) || !bytes.Equal(p.spans[numbers[i]].EndKey, s.EndKey) {
		return 0, false
	}
	return numbers[i], true
}

// search is the position of the first piece of a table that does not begin
// before a key.
func (p *pieces) search(table int64, start []byte) int {
	numbers := p.byTable[table]
	return sort.Search(len(numbers), func(i int) bool { return bytes.Compare(p.spans[numbers[i]].StartKey, start) >= 0 })
}

// add gives a piece, which touches no other one, a number.
func (p *pieces) add(s model.Span) int64 {
	p.last--
	p.byTable[s.TableID] = slices.Insert(p.byTable[s.TableID], p.search(s.TableID, s.StartKey), p.last)
	p.spans[p.last] = s
	return p.last
}

// remove takes a piece away. A table without pieces is one that is not cut.
func (p *pieces) remove(n int64) {
	table := p.spans[n].TableID
	delete(p.spans, n)
	left := slices.DeleteFunc(p.byTable[table], func(other int64) bool { return other == n })
	p.byTable[table] = left
	p.gaps[table] = struct{}{}
	if len(left) == 0 {
		delete(p.byTable, table)
		delete(p.gaps, table)
	}
}

// forget takes all pieces of a table away.
func (p *pieces) forget(table int64) {
	for _, n := range p.byTable[table] {
		delete(p.spans, n)
	}
	delete(p.byTable, table)
	delete(p.gaps, table)
}

// fill makes what no piece covers of a cut table pieces of their own.
func (p *pieces) fill(table int64) {
	if _, ok := p.gaps[table]; !ok {
		return
	}
	delete(p.gaps, table)
	known := make([]model.Span, 0, len(p.byTable[table]))
	for _, n := range p.byTable[table] {
		known = append(known, p.spans[n])
	}
	for _, hole := range scheduler.Holes(model.TableSpan(table), known) {
		p.add(hole)
	}
}

// overlapping lists the pieces of a table that have a key in common with a span.
func (p *pieces) overlapping(s model.Span) (found []int64) {
	for _, n := range p.byTable[s.TableID] {
		o := p.spans[n]
		if bytes.Compare(o.StartKey, s.EndKey) < 0 && bytes.Compare(s.StartKey, o.EndKey) < 0 {
			found = append(found, n)
		}
	}
	return found
}

// fields name a number in the log.
func (p *pieces) fields(n int64) []zap.Field {
	fields := []zap.Field{zap.Int64("tableID", p.table(n))}
	if n < 0 {
		start, end := p.spans[n].Borders()
		fields = append(fields, zap.String("startKey", start), zap.String("endKey", end))
	}
	return fields
}
