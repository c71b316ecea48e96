package owner

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
	"github.com/tidemark/tidemark/pkg/scheduler"
)

// A move costs a scan at its new place, so not all tables of a changefeed move
// at a time: so many, or a share of all its tables if that is more. A capture
// of a large changefeed is drained about as fast as one of a small one.
const (
	minMoves   = 32
	movesShare = 32
)

// maxMoves is how many tables move at a time.
func (r *run) maxMoves() int { return max(minMoves, len(r.planner.tables)/movesShare) }

// move is a table on its way. The new capture collects its rows first, while
// the old one goes on. Then the old one lets go, and the new one goes on from
// where that came to. No two captures ever deliver the table.
type move struct {
	from model.CaptureID
	to   model.CaptureID // empty when it was lost while from was letting go
	// ready says that to has caught up, leaving that from was told to let go.
	ready, leaving bool
	order          uint64 // by which from was told
}

// arrangement is what a run knows about tables that should be elsewhere.
type arrangement struct {
	moves map[int64]*move
	// plan are moves that wait for others to end. They are looked at again
	// before they begin.
	plan []scheduler.Move
	// due says that the placement has to be looked at, balance that a user
	// wants it to be even.
	due, balance bool
	// balanceAt is when it is looked at whether the tables are spread evenly;
	// zero while nothing has changed since the last time.
	balanceAt time.Time
}

// disturb notes that captures came, went or changed.
func (r *run) disturb() {
	r.arr.plan, r.arr.due = nil, true
	r.unsettle()
}

// unsettle notes that tables may not be spread evenly any more.
func (r *run) unsettle() {
	if r.arr.balanceAt.IsZero() {
		r.arr.balanceAt = r.f.o.clock().Add(r.f.o.balanceEvery)
	}
}

// grant does what users want. What they are shown is ahead of what is known
// here: a capture may not have been heard of yet, tables may have no place, the
// run may just have begun. So a wish is not judged before all that is over.
func (r *run) grant() {
	wishes := r.f.wishes
	fleet := r.f.o.fleet.snapshot()
	if len(wishes) == 0 || !r.covered() || !r.f.heardAll(fleet) {
		return
	}
	r.f.wishes = nil
	for _, wish := range wishes {
		switch {
		case wish.Kind == ArrangeRebalance:
			r.arr.balance, r.arr.due = true, true
		case r.undecided(wish, fleet):
			r.f.wishes = append(r.f.wishes, wish)
		default:
			r.grantMove(wish)
		}
	}
}

// undecided tells whether one of the captures that a move is about lost its
// stream a moment ago: it comes back or is given up.
func (r *run) undecided(wish Arrangement, fleet *fleetView) bool {
	return fleet.members[wish.Capture].awaited ||
		slices.ContainsFunc(r.pieces.numbers(wish.Table), func(n int64) bool { return fleet.members[r.place.of(n)].awaited })
}

func (r *run) grantMove(wish Arrangement) {
	for _, n := range r.pieces.numbers(wish.Table) {
		m := scheduler.Move{Table: n, From: r.place.of(n), To: wish.Capture}
		if r.mayMove(m) {
			r.begin(m)
		} else {
			r.f.logger.Info("move ignored", append(r.pieces.fields(n), zap.String("to", wish.Capture))...)
		}
	}
}

// rearrange begins the moves that the present situation asks for.
func (r *run) rearrange() {
	r.grant()
	a := &r.arr
	if !a.due && len(a.plan) == 0 && (a.balanceAt.IsZero() || r.f.o.clock().Before(a.balanceAt)) {
		return
	}
	fleet := r.f.o.fleet.snapshot()
	if !r.covered() || !r.f.heardAll(fleet) {
		return // first every table gets a place
	}
	if len(a.plan) == 0 {
		r.replan(fleet)
	}
	for len(a.plan) > 0 && len(a.moves) < r.maxMoves() {
		next := a.plan[0]
		a.plan = a.plan[1:]
		if r.mayMove(next) {
			r.begin(next)
		}
	}
	a.due = a.due || len(a.moves) > 0 && len(a.plan) == 0 // look again when they have ended
}

// replan looks at the whole placement.
func (r *run) replan(fleet *fleetView) {
	a := &r.arr
	if len(a.moves) > 0 {
		return
	}
	a.due = false
	groups := r.groups()
	for _, g := range groups {
		a.plan = append(a.plan, scheduler.Drain(g.placed, r.candidates(fleet, g.table))...)
	}
	if len(a.plan) > 0 {
		return
	}
	now := r.f.o.clock()
	timely := !a.balanceAt.IsZero() && !now.Before(a.balanceAt)
	switch {
	case !a.balance && !timely:
	case fleet.someStopping(): // it may go and come back: no tables are moved to and fro
		a.balance = false
		if timely {
			a.balanceAt = now.Add(r.f.o.balanceEvery)
		}
	default:
		for _, g := range groups {
			a.plan = append(a.plan, scheduler.Balance(g.placed, r.candidates(fleet, g.table))...)
		}
		a.balance, a.balanceAt = len(a.plan) > 0, time.Time{} // until nothing is left to do
	}
}

// candidates are the captures that take pieces of a table, or with table 0
// whole tables.
func (r *run) candidates(fleet *fleetView, table int64) []scheduler.Capture {
	load := r.place.countWhole
	if table != 0 {
		pieces := map[model.CaptureID]int{}
		for _, n := range r.pieces.byTable[table] {
			pieces[r.place.of(n)]++
		}
		load = func(capture model.CaptureID) int { return pieces[capture] }
	}
	var candidates []scheduler.Capture
	for id, m := range fleet.members {
		if !m.takesTables() {
			continue
		}
		candidates = append(candidates, scheduler.Capture{ID: id, Load: load(id), Rank: rank(r.f.id, id, table)})
	}
	return candidates
}

// rank orders captures in another way for each changefeed and cut table, so
// that changefeeds with few tables do not all run on the first capture.
func rank(feed model.ChangefeedID, capture model.CaptureID, table int64) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, feed.Namespace+"/"+feed.ID+"/"+capture) // never fails
	if table != 0 {
		_, _ = io.WriteString(h, "/"+strconv.FormatInt(table, 10))
	}
	return h.Sum64()
}

// mayMove tells whether a move makes sense now. As in TiCDC, one that does not
// is dropped without an error.
func (r *run) mayMove(m scheduler.Move) bool {
	if r.planner == nil || m.From == "" || r.place.of(m.Table) != m.From || m.From == m.To || r.arr.moves[m.Table] != nil {
		return false
	}
	fleet := r.f.o.fleet.snapshot()
	return fleet.members[m.To].takesTables() && r.works[m.From].conn != nil && r.f.heardAll(fleet)
}

// begin has the new capture collect the table's rows.
func (r *run) begin(m scheduler.Move) {
	r.arr.moves[m.Table] = &move{from: m.From, to: m.To}
	r.f.logger.Info("table moves", append(r.pieces.fields(m.Table), zap.String("from", m.From), zap.String("to", m.To))...)
	w, order := r.orderTo(m.To, r.f.o.fleet.snapshot().members[m.To].conn)
	if order == nil {
		return
	}
	order.Add = []*peerpb.SpanStart{{Span: r.pieces.wire(m.Table), CheckpointTs: r.f.checkpoint, Prepare: true}}
	w.send(order)
}

// onPrepared hears that captures are ready to take tables over.
func (r *run) onPrepared(capture model.CaptureID, spans []*peerpb.Span) {
	for _, span := range spans {
		table, known := r.pieces.find(span)
		if m := r.arr.moves[table]; known && m != nil && m.to == capture {
			m.ready = true
			r.letGo(table, m)
		}
	}
}

// letGo takes a table from the capture that has it.
func (r *run) letGo(table int64, m *move) {
	w := r.works[m.from]
	if !m.ready || m.leaving || w == nil || w.conn == nil {
		return
	}
	m.leaving = true
	r.place.release(table)
	m.order = r.removeAt(w, r.pieces.wire(table))
}

// onRemoved hears how far captures came with tables that they let go.
func (r *run) onRemoved(capture model.CaptureID, report *peerpb.FeedReport) {
	var again []int64
	for _, s := range report.Removed {
		table, known := r.pieces.find(s.Span)
		m := r.arr.moves[table]
		switch {
		case !known: // of a table that is not replicated any more
		case m != nil && m.leaving && m.from == capture:
			if report.Applied >= m.order { // else it is about an earlier order
				r.complete(table, m, s.CheckpointTs)
			}
		case r.place.of(table) == capture: // it was letting go when it attached
			again = append(again, table)
		}
	}
	if len(again) > 0 {
		r.startAgain(r.works[capture], again)
	}
}

// startAgain lets a capture go on with tables that are placed there. Those
// that run are not touched by it.
func (r *run) startAgain(w *work, tables []int64) {
	order := r.order()
	for _, table := range tables {
		order.Add = append(order.Add, &peerpb.SpanStart{Span: r.pieces.wire(table), CheckpointTs: r.f.checkpoint})
	}
	r.change(w, order)
}

// complete lets the new capture go on from ts. If that is lost, the table has
// no place, which makes it a new table.
func (r *run) complete(table int64, m *move, ts uint64) {
	delete(r.arr.moves, table)
	r.place.remove(table)
	w := r.works[m.to]
	if w == nil || w.conn == nil {
		r.arr.due = true
		return
	}
	order := r.order()
	order.Add = []*peerpb.SpanStart{{Span: r.pieces.wire(table), CheckpointTs: max(ts, r.f.checkpoint)}}
	r.place.put(table, m.to)
	r.change(w, order)
}

// cancelMove ends the move of a table that is not replicated any more.
func (r *run) cancelMove(table int64) {
	m := r.arr.moves[table]
	delete(r.arr.moves, table)
	if m != nil && r.works[m.to] != nil {
		r.removeAt(r.works[m.to], r.pieces.wire(table))
	}
}

// removeAt orders a capture to let spans go and returns the order's number.
func (r *run) removeAt(w *work, spans ...*peerpb.Span) uint64 {
	order := r.order()
	order.Remove = spans
	r.change(w, order)
	return order.Seq
}

// movesLost reacts to the loss of a capture.
func (r *run) movesLost(capture model.CaptureID) {
	for table, m := range r.arr.moves {
		switch {
		case m.from == capture:
			r.complete(table, m, r.f.checkpoint)
		case m.to == capture && m.leaving:
			m.to = ""
		case m.to == capture:
			delete(r.arr.moves, table)
		}
	}
}

// movesAttached compares the moves with what a capture has that has come back:
// orders and answers may have been lost.
func (r *run) movesAttached(capture model.CaptureID, w *work, held map[int64]struct{}, prepared []*peerpb.Span) {
	collects := map[int64]struct{}{}
	var strays []*peerpb.Span
	for _, span := range prepared {
		table, known := r.pieces.find(span)
		if m := r.arr.moves[table]; !known || m == nil || m.to != capture {
			strays = append(strays, span)
			continue
		}
		collects[table] = struct{}{}
	}
	for table, m := range r.arr.moves {
		_, holds := held[table]
		_, collecting := collects[table]
		switch {
		case m.from == capture && !holds: // how far it came, if it ever began, is not known
			r.complete(table, m, r.f.checkpoint)
		case m.from == capture:
			m.leaving = false
			r.letGo(table, m)
		case m.to == capture && collecting: // whether it is ready was told once
			m.ready = true
			r.letGo(table, m)
		case m.to == capture && m.leaving:
			m.to = ""
		case m.to == capture:
			delete(r.arr.moves, table)
		}
	}
	if len(strays) > 0 {
		r.removeAt(w, strays...)
	}
}

// orderTo makes an order for a capture that may not have begun the run yet;
// nil when it cannot.
func (r *run) orderTo(capture model.CaptureID, conn Conn) (*work, *peerpb.Order) {
	w := r.works[capture]
	if w == nil {
		w = &work{}
		r.works[capture] = w
	}
	w.conn = conn
	order := r.order()
	if !w.started {
		info, err := json.Marshal(r.info)
		if err != nil {
			r.failure = fmt.Errorf("encode changefeed info: %w", err)
			return w, nil
		}
		order.Start, w.started = info, true
	}
	return w, order
}

// send passes an order on if the capture is connected. If it is not, what it
// does is compared with what it should do when it comes back.
func (w *work) send(order *peerpb.Order) {
	if w.conn != nil {
		w.conn.Send(order)
	}
}
