package consumer

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// second is one second of a TSO.
const second = uint64(1000) << 18

func part(id int32) partition { return partition{topic: "t", id: id} }

func rowEvent(ts uint64, kind model.RowKind, name string) codec.Event {
	return codec.Event{Kind: codec.EventRow, CommitTs: ts, Schema: "d", Table: name, Row: &codec.DecodedRow{Kind: kind}}
}

func insert(ts uint64, name string) codec.Event { return rowEvent(ts, model.RowInsert, name) }

func ddlEvent(ts uint64, query string) codec.Event {
	return codec.Event{Kind: codec.EventDDL, CommitTs: ts, Query: query}
}

func watermark(ts uint64) codec.Event { return codec.Event{Kind: codec.EventWatermark, CommitTs: ts} }

// script feeds a queue and notes what comes out.
type script struct {
	t    *testing.T
	q    queue
	next map[partition]int64
	ends map[partition]int64 // what the brokers say; the position read if absent
}

func newScript(t *testing.T, make func(latest func(partition) (int64, error)) queue, parts int32) *script {
	s := &script{t: t, next: map[partition]int64{}, ends: map[partition]int64{}}
	s.q = make(func(p partition) (int64, error) { return max(s.ends[p], s.next[p]), nil })
	starts := map[partition]int64{}
	for i := range parts {
		starts[part(i)] = 0
	}
	require.NoError(t, s.q.idle(t.Context(), starts))
	return s
}

// send adds one message per event.
func (s *script) send(id int32, events ...codec.Event) {
	for _, ev := range events {
		require.NoError(s.t, s.q.add(message{from: part(id), offset: s.next[part(id)], start: s.next[part(id)], events: []codec.Event{ev}}))
		s.next[part(id)]++
	}
}

// expect takes what is ready and compares it with short texts.
func (s *script) expect(resolved uint64, want ...string) {
	s.t.Helper()
	events, ts, err := s.q.ready(s.t.Context())
	require.NoError(s.t, err)
	var got []string
	for _, ev := range events {
		if ev.Kind == codec.EventDDL {
			got = append(got, ev.Query)
		} else {
			got = append(got, fmt.Sprintf("%s@%d", ev.Table, ev.CommitTs))
		}
	}
	require.Equal(s.t, want, got)
	require.Equal(s.t, resolved, ts)
}

func ordering(latest func(partition) (int64, error)) queue { return newOrdered(latest) }
func arriving(latest func(partition) (int64, error)) queue { return newArrival(latest) }

func TestOrderedWaitsForAllPartitions(t *testing.T) {
	s := newScript(t, ordering, 2)
	s.send(0, insert(10, "a"), insert(30, "c"), watermark(20))
	s.expect(0) // the other partition has said nothing yet
	s.send(1, insert(5, "b"), watermark(15))
	s.expect(15, "b@5", "a@10")
	require.Equal(t, map[partition]int64{part(0): 1, part(1): 2}, s.q.positions())
	s.send(1, insert(25, "d"), watermark(40))
	s.expect(20)
	s.send(0, watermark(50))
	s.expect(40, "d@25", "c@30")
	require.Equal(t, map[partition]int64{part(0): 4, part(1): 4}, s.q.positions())
}

// TestOrderedPositionOfWithheldRows has a decoder that gives nothing of the
// first two messages until it has read the third.
func TestOrderedPositionOfWithheldRows(t *testing.T) {
	s := newScript(t, ordering, 1)
	s.send(0, insert(1, "a"), watermark(5))
	s.expect(5, "a@1")
	for offset := int64(2); offset < 4; offset++ {
		require.NoError(t, s.q.add(message{from: part(0), offset: offset, start: 2, withheld: true}))
		require.Equal(t, map[partition]int64{part(0): 2}, s.q.positions())
	}
	rows := []codec.Event{insert(6, "b"), insert(7, "c")}
	require.NoError(t, s.q.add(message{from: part(0), offset: 4, start: 2, events: rows}))
	require.Equal(t, map[partition]int64{part(0): 2}, s.q.positions(), "the rows came with the messages from 2 on")
	s.next[part(0)] = 5
	s.send(0, watermark(9))
	s.expect(9, "b@6", "c@7")
	require.Equal(t, map[partition]int64{part(0): 6}, s.q.positions())
}

func TestOrderedDropsRepeats(t *testing.T) {
	s := newScript(t, ordering, 1)
	s.send(0, insert(10, "a"), watermark(20))
	s.expect(20, "a@10")
	s.send(0, insert(10, "a"), insert(20, "a"), insert(21, "a"), watermark(20), watermark(30))
	s.expect(30, "a@21")
}

func TestOrderedOneTransaction(t *testing.T) {
	s := newScript(t, ordering, 2)
	s.send(0, insert(10, "new"), watermark(20))
	s.send(1, rowEvent(10, model.RowUpdate, "changed"), rowEvent(10, model.RowDelete, "old"), watermark(20))
	s.expect(20, "old@10", "changed@10", "new@10")
}

// TestOrderedDDL has copies of the schema changes in every partition, three of
// them by one job.
func TestOrderedDDL(t *testing.T) {
	s := newScript(t, ordering, 2)
	for id := range int32(2) {
		s.send(id, insert(10, "before"), ddlEvent(10, "A"), ddlEvent(10, "B"), ddlEvent(10, "A again"), insert(11, "after"), watermark(20))
	}
	s.expect(20, "before@10", "before@10", "A", "B", "A again", "after@11", "after@11")
	// A partition that is found later brings it once more.
	s.send(2, ddlEvent(10, "A"), insert(12, "late"), watermark(20))
	s.expect(20, "late@12")
}

// TestOrderedNewPartition finds one while the others are far ahead: its rows
// are no repeats.
func TestOrderedNewPartition(t *testing.T) {
	s := newScript(t, ordering, 1)
	s.send(0, watermark(100))
	s.expect(100)
	require.NoError(t, s.q.idle(t.Context(), map[partition]int64{part(0): 0, part(1): 0}))
	s.send(0, insert(110, "a"), watermark(120))
	s.expect(0)
	s.send(1, insert(90, "b"), watermark(95))
	s.expect(95, "b@90")
	s.send(1, watermark(120))
	s.expect(120, "a@110")
}

// TestOrderedRetires leaves out a partition that gets nothing any more, and
// takes it back when it does.
func TestOrderedRetires(t *testing.T) {
	s := newScript(t, ordering, 2)
	s.send(0, watermark(second))
	s.send(1, watermark(second))
	s.expect(second)
	s.send(1, insert(100*second, "a"), watermark(101*second))
	s.ends[part(0)] = 5 // there is something that has not been read
	require.NoError(t, s.q.idle(t.Context(), nil))
	require.NoError(t, s.q.idle(t.Context(), map[partition]int64{part(0): 0, part(1): 0}))
	s.expect(second)
	s.ends[part(0)] = 0
	require.NoError(t, s.q.idle(t.Context(), map[partition]int64{part(0): 0, part(1): 0}))
	s.expect(101*second, fmt.Sprintf("a@%d", 100*second))
	s.send(0, insert(102*second, "b"), watermark(103*second))
	s.send(1, watermark(103*second))
	s.expect(103*second, fmt.Sprintf("b@%d", 102*second))
}

func TestArrivalAppliesAtOnce(t *testing.T) {
	s := newScript(t, arriving, 2)
	s.send(0, insert(30, "a"), insert(10, "a"))
	s.expect(0, "a@30", "a@10")
	require.Equal(t, map[partition]int64{part(0): 2, part(1): 0}, s.q.positions())
}

// TestArrivalDDL holds a schema change back until the other partition has given
// what is older.
func TestArrivalDDL(t *testing.T) {
	s := newScript(t, arriving, 2)
	s.ends[part(1)] = 2
	s.send(0, insert(10, "a"), ddlEvent(20, "D"), insert(30, "a"))
	s.expect(0, "a@10")
	require.EqualValues(t, 1, s.q.positions()[part(0)])
	s.send(1, insert(11, "b"))
	s.expect(0, "b@11")
	s.send(1, insert(12, "b"))
	s.expect(0, "b@12", "D", "a@30")
	// What is younger has not to be waited for.
	s.ends[part(1)] = 100
	s.send(0, ddlEvent(40, "E"))
	s.expect(0)
	s.send(1, insert(39, "b"), insert(41, "b"))
	s.expect(0, "b@39", "E", "b@41")
}

// TestArrivalCopies has a copy of the schema change in each partition, and
// rows whose time is too coarse to tell.
func TestArrivalCopies(t *testing.T) {
	s := newScript(t, arriving, 2)
	s.ends[part(1)] = 10
	s.send(0, ddlEvent(20, "D"), insert(19, "after"))
	s.expect(0)
	s.send(1, insert(19, "before"), ddlEvent(20, "D"), insert(19, "after"))
	events, _, err := s.q.ready(t.Context())
	require.NoError(t, err)
	require.Len(t, events, 4)
	require.Equal(t, "before", events[0].Table)
	require.Equal(t, "D", events[1].Query)
	s.send(1, ddlEvent(20, "D"))
	s.expect(0) // a repeat
}
