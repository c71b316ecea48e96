package owner

import (
	"bytes"
	"errors"
	"math/rand"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// cutStage is a stage with tables of twelve cells, every third of which is cut.
// The owner waits for the captures.
func cutStage(t *testing.T, tables int, captures ...model.CaptureID) *stage {
	s := stageOf(newSim(t, simOptions{seed: 1, tables: tables, cells: 12}, false), captures...)
	s.term.o.fleet.begin(&etcdmeta.State{Captures: s.info}, s.now)
	return s
}

// adds and removes list what the orders to a capture were about.
func (s *stage) adds(n *noted) (keys []simKey) {
	for _, order := range n.orders {
		for _, a := range order.Add {
			keys = append(keys, s.sim.key(a.Span))
		}
	}
	return keys
}

func (s *stage) removes(n *noted) (keys []simKey) {
	for _, order := range n.orders {
		for _, span := range order.Remove {
			keys = append(keys, s.sim.key(span))
		}
	}
	return keys
}

func (s *stage) attachHolding(id model.CaptureID, keys ...simKey) *noted {
	report := &peerpb.FeedReport{Feed: s.key(), Applied: 50, CheckpointTs: 1000, ResolvedTs: 1000}
	for _, k := range keys {
		report.Held = append(report.Held, s.wire(k))
	}
	conn := &noted{id: id}
	s.term.o.fleet.attached(conn, &peerpb.Hello{CaptureId: id, Feeds: []*peerpb.FeedReport{report}})
	s.turn()
	return conn
}

// Tables are cut when they find their first place; those of which PD knows
// nothing, and small ones, stay whole. Readers are shown tables.
func TestTablesAreCut(t *testing.T) {
	s := cutStage(t, 7, "a", "b")
	a, b := s.attach("a", 0, 0), s.attach("b", 0, 0)
	keys := append(s.adds(a), s.adds(b)...)
	pieces := map[int64]int{}
	for _, k := range keys {
		pieces[k.table]++
	}
	require.Equal(t, map[int64]int{1: 6, 2: 1, 3: 1, 4: 6, 5: 1, 6: 1, 7: 1}, pieces, "three for each capture")
	run := s.term.feed.run
	require.True(t, run.scheduledOn("a", "b", 1, 4))
	whole := 0
	for _, task := range run.place.list() {
		require.Subset(t, task.TableIDs, []int64{1, 4})
		require.True(t, slices.IsSorted(task.TableIDs))
		whole += len(task.TableIDs) - 2
	}
	require.Equal(t, 5, whole)
}

// scheduledOn tells whether both captures have as many pieces of each table.
func (r *run) scheduledOn(a, b model.CaptureID, tables ...int64) bool {
	for _, table := range tables {
		counts := map[model.CaptureID]int{}
		for _, n := range r.pieces.byTable[table] {
			counts[r.place.of(n)]++
		}
		if counts[a] != counts[b] || counts[a] == 0 {
			return false
		}
	}
	return true
}

// A new owner takes the pieces over as they are and gives out what is missing.
func TestNewOwnerKeepsPieces(t *testing.T) {
	s := cutStage(t, 1, "a", "b", "c")
	a := s.attachHolding("a", simKey{1, 6, 9}, simKey{1, 0, 2})
	b := s.attachHolding("b", simKey{1, 9, 11})
	run := s.term.feed.run
	require.Empty(t, append(s.adds(a), s.adds(b)...), "the third may have the rest")
	require.False(t, run.covered())
	c := s.attach("c", 0, 0)
	require.ElementsMatch(t, []simKey{{1, 2, 6}, {1, 11, 12}}, append(append(s.adds(a), s.adds(b)...), s.adds(c)...))
	require.True(t, run.covered())

	// One that was given up for lost comes back with a piece that has gone to others.
	s.register("d")
	d := s.attachHolding("d", simKey{1, 1, 3}, simKey{1, 0, 12})
	require.ElementsMatch(t, []simKey{{1, 1, 3}, {1, 0, 12}}, s.removes(d))
	require.Zero(t, run.place.count("d"))
	require.Len(t, run.pieces.byTable[1], 5)
}

// What others hold comes before the owner's own idea of how to cut a table.
func TestHeldPiecesComeFirst(t *testing.T) {
	s := cutStage(t, 1, "a")
	run := s.term.feed.run
	s.turn()
	for _, key := range []simKey{{1, 0, 4}, {1, 4, 8}, {1, 8, 12}} {
		run.pieces.add(model.Span{TableID: 1, StartKey: s.border(1, key.from), EndKey: s.border(1, key.to)})
	}
	a := s.attachHolding("a", simKey{1, 3, 5})
	require.ElementsMatch(t, []simKey{{1, 0, 3}, {1, 5, 8}, {1, 8, 12}}, s.adds(a))

	s = cutStage(t, 1, "a")
	run = s.term.feed.run
	s.turn()
	run.pieces.add(model.Span{TableID: 1, StartKey: s.border(1, 0), EndKey: s.border(1, 4)})
	a = s.attachHolding("a", simKey{1, 0, 12})
	require.Empty(t, s.adds(a))
	require.Empty(t, run.pieces.spans, "the table is whole")
}

// A user moves all pieces of a table; dropped, all of them go.
func TestPiecesGoTogether(t *testing.T) {
	s := cutStage(t, 2, "a", "b")
	a, b := s.attach("a", 0, 0), s.attach("b", 0, 0)
	for _, conn := range []*noted{a, b} {
		s.report(conn, &peerpb.FeedReport{Applied: conn.last(), CheckpointTs: 1000})
	}
	run := s.term.feed.run
	require.NoError(t, s.term.o.Arrange(Arrangement{Kind: ArrangeMove, ID: feedID, Table: 1, Capture: "b"}))
	s.turn()
	require.Len(t, run.arr.moves, 3)
	ts := s.defineTables(s.tables[1:])
	s.schema.advance(s.ts, ddl(ts, dropTable, "DROP TABLE"))
	for i := range s.delivered {
		s.delivered[i] = ts
	}
	s.turn()
	for _, conn := range []*noted{a, b} {
		s.report(conn, &peerpb.FeedReport{Applied: conn.last(), CheckpointTs: ts})
	}
	s.turn()
	require.Empty(t, run.arr.moves)
	require.Empty(t, run.pieces.spans)
	require.Zero(t, run.pieces.extra())
	require.Len(t, run.place.spots, 1)
	require.Len(t, s.removes(a), 3)
	require.Len(t, s.removes(b), 6, "its own and those that it was to get")
}

// However the pieces that captures hold lie, they are joined to a whole cover
// without gap or overlap, and none that has a place is touched.
func TestPiecesJoinToACover(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for range 500 {
		s := cutStage(t, 1)
		run := s.term.feed.run
		for range rng.Intn(8) {
			from := rng.Intn(12)
			key := simKey{1, from, from + 1 + rng.Intn(12-from)}
			before := len(run.place.spots)
			n, ok := run.adopt(s.wire(key))
			if ok && !run.busy(n) && rng.Intn(3) > 0 {
				run.place.put(n, "a")
				before++
			}
			require.Len(t, run.place.spots, before)
		}
		if whole := run.place.of(1); whole != "" {
			require.Empty(t, run.pieces.byTable)
			continue
		}
		if len(run.pieces.byTable[1]) == 0 {
			continue
		}
		placed := len(run.place.spots)
		run.pieces.fill(1)
		at := model.TableSpan(1).StartKey
		for _, n := range run.pieces.byTable[1] {
			span := run.pieces.spans[n]
			require.Equal(t, at, span.StartKey)
			require.Negative(t, bytes.Compare(span.StartKey, span.EndKey))
			at = span.EndKey
			found, known := run.pieces.find(run.pieces.wire(n))
			require.True(t, known)
			require.Equal(t, n, found)
			if run.busy(n) {
				placed--
			}
		}
		require.Equal(t, model.TableSpan(1).EndKey, at)
		require.Zero(t, placed, "every place is one of a piece")
		require.Equal(t, len(run.pieces.byTable[1])-1, run.pieces.extra())
	}
}

// Without PD tables stay whole, and the changefeed does not wait for an answer
// about each of them.
func TestPDIsNotAskedInVain(t *testing.T) {
	s := cutStage(t, 100, "a")
	var asked atomic.Int64
	s.upstream.regions = func(int64) ([]model.TableRegion, error) {
		asked.Add(1)
		return nil, errors.New("PD does not answer")
	}
	a := s.attach("a", 0, 0)
	require.Len(t, s.adds(a), 100)
	require.Empty(t, s.term.feed.run.pieces.spans)
	require.Less(t, asked.Load(), int64(3*lookups))
}
