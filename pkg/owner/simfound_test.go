package owner

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// stage is the simulation's owner with captures that only do what a test says:
// what the simulation has found is played again on it.
type stage struct {
	*sim
	term *simTerm
	info map[model.CaptureID]*model.CaptureInfo
}

func newStage(t *testing.T, tables int, captures ...model.CaptureID) *stage {
	return stageOf(newSim(t, simOptions{seed: 1, tables: tables}, false), captures...)
}

func stageOf(s *sim, captures ...model.CaptureID) *stage {
	st := &stage{sim: s, term: s.owner(), info: map[model.CaptureID]*model.CaptureInfo{}}
	for _, id := range captures {
		st.register(id)
	}
	return st
}

func (s *stage) register(id model.CaptureID) {
	s.info[id] = &model.CaptureInfo{ID: id, Version: "v8.5.3"}
	s.term.o.fleet.update(s.info, s.now)
}

// turn lets the owner do what it can do now.
func (s *stage) turn() {
	for range 5 {
		s.background()
		s.foreground()
	}
}

func (s *stage) background() {
	tasks := s.term.tasks
	s.term.tasks = nil
	for _, task := range tasks {
		task()
	}
}

func (s *stage) foreground() {
	for _, fn := range s.term.feed.box.take() {
		fn()
	}
	s.term.feed.step(s.term.o.ctx)
}

// noted is the stream of a capture that notes its orders.
type noted struct {
	id     model.CaptureID
	orders []*peerpb.Order
}

func (n *noted) Capture() model.CaptureID { return n.id }
func (n *noted) Close()                   {}
func (n *noted) Send(order *peerpb.Order) { n.orders = append(n.orders, order) }
func (n *noted) last() (seq uint64)       { return n.orders[len(n.orders)-1].Seq }

func spansOf(tables []int64) (spans []*peerpb.Span) {
	for _, id := range tables {
		spans = append(spans, &peerpb.Span{TableId: id})
	}
	return spans
}

// added lists what the orders after the first n add, and whether only to collect.
func (n *noted) added(after int) map[int64]bool {
	added := map[int64]bool{}
	for _, order := range n.orders[after:] {
		for _, a := range order.Add {
			added[a.Span.TableId] = a.Prepare
		}
	}
	return added
}

func (s *stage) key() *peerpb.FeedKey { return peer.FeedKey(feedID, s.term.feed.info.Epoch) }

// attach opens a stream; the capture runs the changefeed if it holds tables.
func (s *stage) attach(id model.CaptureID, applied, checkpoint uint64, held ...int64) *noted {
	conn := &noted{id: id}
	hello := &peerpb.Hello{CaptureId: id}
	if applied > 0 {
		hello.Feeds = []*peerpb.FeedReport{{Feed: s.key(), Applied: applied, CheckpointTs: checkpoint, ResolvedTs: checkpoint, Held: spansOf(held)}}
	}
	s.term.o.fleet.attached(conn, hello)
	s.turn()
	return conn
}

func (s *stage) report(conn *noted, r *peerpb.FeedReport) {
	if r.Feed == nil {
		r.Feed = s.key()
	}
	s.term.o.fleet.reported(conn, &peerpb.Report{Feeds: []*peerpb.FeedReport{r}})
	s.turn()
}

// The order that gave a table to its capture was lost, and it was to move on.
func TestMovesOnFromWhereItNeverWas(t *testing.T) {
	s := newStage(t, 1, "a", "b")
	s.attach("b", 0, 0)
	s.attach("a", 0, 0)
	run := s.term.feed.run
	from := run.place.of(1)
	to := map[model.CaptureID]model.CaptureID{"a": "b", "b": "a"}[from]
	require.NoError(t, s.term.o.Arrange(Arrangement{Kind: ArrangeMove, ID: feedID, Table: 1, Capture: to}))
	s.turn()
	require.Len(t, run.arr.moves, 1)
	s.attach(from, 0, 0) // without the table
	require.Equal(t, []Task{{CaptureID: to, TableIDs: []int64{1}}}, run.place.list())
	require.Equal(t, 1, run.place.count(to), "it counts for the checkpoint")
}

// A table that its capture was letting go when a new owner came goes on.
func TestLetGoForAnEarlierOwner(t *testing.T) {
	s := newStage(t, 2, "a")
	conn := s.attach("a", 50, 1000, 1, 2)
	require.Empty(t, conn.added(0))
	s.schema.advance(1100)
	s.report(conn, &peerpb.FeedReport{Applied: 50, CheckpointTs: 1050, Removed: []*peerpb.SpanStart{{Span: &peerpb.Span{TableId: 1}, CheckpointTs: 1000}}})
	require.Equal(t, map[int64]bool{1: false}, conn.added(0))
	require.EqualValues(t, 1000, s.term.feed.checkpoint, "table 1 is nowhere yet")
	for i := range s.delivered {
		s.delivered[i] = 1050
	}
	s.report(conn, &peerpb.FeedReport{Applied: conn.last(), CheckpointTs: 1050})
	require.EqualValues(t, 1050, s.term.feed.checkpoint)
}

// A run was told to end, and the present one has its epoch: the end is heard.
func TestRunEndsAfterTheNextBegan(t *testing.T) {
	s := newStage(t, 1, "a")
	s.term.feed.draining["a"] = s.term.feed.info.Epoch
	conn := s.attach("a", 5, 1000, 1)
	require.Len(t, conn.orders, 1)
	require.True(t, conn.orders[0].Stop)
	require.Empty(t, conn.added(0), "not before the end of the first")
	s.report(conn, &peerpb.FeedReport{Stopped: true})
	require.Equal(t, map[int64]bool{1: false}, conn.added(1))
}

// Where it cannot be stored that a DDL was executed, the next owner executes
// it again: until then no row from behind it may go.
func TestNoBarrierBehindAnUnstoredDDL(t *testing.T) {
	s := newStage(t, 2, "a")
	conn := s.attach("a", 0, 0)
	ts := s.defineTables(s.tables)
	s.schema.advance(s.ts, ddl(ts, createTable, "ALTER TABLE"))
	for i := range s.delivered {
		s.delivered[i] = ts
	}
	s.foreground()
	s.term.o.fleet.reported(conn, &peerpb.Report{Feeds: []*peerpb.FeedReport{{Feed: s.key(), Applied: conn.last(), CheckpointTs: ts}}})
	s.foreground()
	require.NotNil(t, s.term.feed.run.delivery)
	s.background() // downstream has it
	s.newTerm()
	s.foreground()
	for _, order := range conn.orders {
		require.LessOrEqual(t, order.BarrierTs, ts)
	}
}

// The report of an error was lost with its stream: the next stream begins with it.
func TestErrorToldOnAttach(t *testing.T) {
	s := newStage(t, 1, "a")
	conn := s.attach("a", 0, 0)
	epoch := s.term.feed.info.Epoch
	s.term.o.fleet.detached(conn)
	s.term.o.fleet.attached(&noted{id: "a"}, &peerpb.Hello{CaptureId: "a", Feeds: []*peerpb.FeedReport{{
		Feed: s.key(), Applied: conn.last(), CheckpointTs: 1000, Held: spansOf([]int64{1}),
		Error: &peerpb.Failure{Code: "CDC:ErrProcessorUnknown", Message: "the sink broke"},
	}}})
	s.turn()
	require.Equal(t, "the sink broke", s.stored.Info.Error.Message)
	require.NotEqual(t, epoch, s.term.feed.info.Epoch, "it starts again")
}

// twoOf is a stage whose only table runs on a and could run on b.
func twoOf(t *testing.T) (s *stage, a, b *noted) {
	s = newStage(t, 1, "a", "b")
	a = s.attach("a", 5, 1000, 1)
	b = s.attach("b", 0, 0)
	require.Equal(t, "a", s.term.feed.run.place.of(1))
	return s, a, b
}

func (s *stage) wish(t *testing.T, wish Arrangement) {
	wish.ID = feedID
	require.NoError(t, s.term.o.Arrange(wish))
	s.turn()
}

// A wish to move a table to or from a capture whose stream has just broken
// waits until that is back, or given up.
func TestMoveWaitsForStream(t *testing.T) {
	move := Arrangement{Kind: ArrangeMove, Table: 1, Capture: "b"}
	t.Run("of the target", func(t *testing.T) {
		s, _, b := twoOf(t)
		s.term.o.fleet.detached(b)
		s.wish(t, move)
		require.Empty(t, s.term.feed.run.arr.moves)
		back := s.attach("b", 0, 0)
		require.Equal(t, map[int64]bool{1: true}, back.added(0))
	})
	t.Run("of the source", func(t *testing.T) {
		s, a, b := twoOf(t)
		s.term.o.fleet.detached(a)
		s.wish(t, move)
		require.Empty(t, b.added(0))
		s.attach("a", 5, 1000, 1)
		require.Equal(t, map[int64]bool{1: true}, b.added(0))
	})
	t.Run("of one that is given up", func(t *testing.T) {
		s, _, b := twoOf(t)
		s.term.o.fleet.detached(b)
		s.wish(t, move)
		require.Len(t, s.term.feed.wishes, 1)
		s.now = s.now.Add(peer.GiveUpAfter(simTTL))
		s.term.o.fleet.sweep(s.now)
		s.turn()
		require.Empty(t, s.term.feed.wishes)
	})
}

// What users want is kept while the run is about to begin; not when the
// changefeed is paused.
func TestWishesWaitForTheRun(t *testing.T) {
	s, a, _ := twoOf(t)
	f := s.term.feed
	s.wish(t, Arrangement{Kind: ArrangeMove, Table: 1, Capture: "c"})
	require.Empty(t, f.wishes, "nobody is called so")
	require.NoError(t, f.onJob(s.term.o.ctx, Job{ID: feedID, Type: model.AdminStop}))
	s.foreground()
	s.wish(t, Arrangement{Kind: ArrangeMove, Table: 1, Capture: "b"})
	require.Empty(t, f.wishes)

	f.closing++ // the earlier run
	require.NoError(t, f.onJob(s.term.o.ctx, Job{ID: feedID, Type: model.AdminResume}))
	s.wish(t, Arrangement{Kind: ArrangeMove, Table: 1, Capture: "b"})
	s.wish(t, Arrangement{Kind: ArrangeRebalance})
	require.Len(t, f.wishes, 2)
	f.closing--
	s.report(a, &peerpb.FeedReport{Feed: peer.FeedKey(feedID, f.draining["a"]), Stopped: true})
	require.Empty(t, f.wishes)
	_, moves := f.run.arr.moves[1]
	require.True(t, moves || f.run.place.of(1) == "b")
}

// A capture that is to be drained while it is not connected hears of it when it
// comes back, as does one that did not get the order.
func TestDrainReachesReturningCapture(t *testing.T) {
	s, _, b := twoOf(t)
	s.term.o.fleet.detached(b)
	s.wish(t, Arrangement{Kind: ArrangeDrain, Capture: "b"})
	leaves := func(conn *noted) (n int) {
		for _, order := range conn.orders {
			if order.Leave {
				n++
			}
		}
		return n
	}
	again := s.attach("b", 0, 0)
	require.Equal(t, 1, leaves(again))
	s.term.o.fleet.detached(again)
	last := &noted{id: "b"}
	s.term.o.fleet.attached(last, &peerpb.Hello{CaptureId: "b", Liveness: int32(model.LivenessStopping)})
	require.Zero(t, leaves(last), "it knows")
}

// A changefeed is paused when the schema was loaded and before its DDLs were
// looked at: the one at the checkpoint is still to be executed.
func TestPausedBeforeTheFirstDDLIsSeen(t *testing.T) {
	s := newStage(t, 1, "a")
	s.attach("a", 0, 0)
	f := s.term.feed
	require.NoError(t, f.onJob(s.term.o.ctx, Job{ID: feedID, Type: model.AdminStop}))
	require.Equal(t, &etcdmeta.ChangefeedStatus{CheckpointTs: 1000, MinTableBarrierTs: 1001, AdminJobType: model.AdminStop}, s.stored.Status)

	require.NoError(t, f.onJob(s.term.o.ctx, Job{ID: feedID, Type: model.AdminResume, OverwriteCheckpointTs: 1000}))
	s.background() // the end of the run
	s.foreground() // another begins
	s.background() // its schema is loaded
	for _, fn := range f.box.take() {
		fn()
	}
	require.NotNil(t, f.run.planner)
	require.NoError(t, f.onJob(s.term.o.ctx, Job{ID: feedID, Type: model.AdminStop}))
	require.Equal(t, &etcdmeta.ChangefeedStatus{CheckpointTs: 1000, MinTableBarrierTs: 1000, AdminJobType: model.AdminStop}, s.stored.Status)
}

// unwilling fails to remove a changefeed, so many times.
type unwilling struct {
	simRecords
	failures int
}

func (r *unwilling) RemoveFeed(context.Context, model.ChangefeedID) (int64, error) {
	if r.failures--; r.failures >= 0 {
		return 0, errors.New("etcd does not answer")
	}
	return 9, nil
}

// What is left of a changefeed whose info is gone is removed, even if that
// fails at first: nothing tells of it again.
func TestRestIsRemovedInTheEnd(t *testing.T) {
	s, a, _ := twoOf(t)
	s.term.o.records = &unwilling{simRecords{s.term}, 1}
	f := s.term.feed
	f.onRecord(s.term.o.ctx, nil)
	require.True(t, f.removed)
	require.True(t, a.orders[len(a.orders)-1].Stop)
	require.Nil(t, s.term.o.find(feedID))
}

// A capture that connects long after it was registered gets its share.
func TestLateCaptureTakesItsShare(t *testing.T) {
	s := newStage(t, 4, "a")
	conn := s.attach("a", 0, 0)
	s.report(conn, &peerpb.FeedReport{Applied: conn.last(), CheckpointTs: 1000})
	s.register("b")
	s.now = s.now.Add(20 * time.Second)
	s.turn()
	late := s.attach("b", 0, 0)
	s.now = s.now.Add(20 * time.Second)
	s.turn()
	require.Len(t, late.added(0), 2)
}
