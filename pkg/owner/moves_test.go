package owner

import (
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func (c *cluster) move(table int64, to *fakeCapture) {
	require.NoError(c.t, c.owner.Arrange(Arrangement{Kind: ArrangeMove, ID: feedID, Table: table, Capture: to.id}))
}

// placed is where the tables are, as readers see it.
func (c *cluster) placed() map[model.CaptureID]int {
	n := map[model.CaptureID]int{}
	for _, task := range c.view().Tasks {
		if len(task.TableIDs) > 0 {
			n[task.CaptureID] = len(task.TableIDs)
		}
	}
	return n
}

// moving tells whether a table is on its way.
func (c *cluster) moving() bool {
	answer := make(chan bool, 1)
	feed := c.owner.find(feedID)
	feed.post(func() { answer <- len(feed.run.arr.moves) > 0 })
	return <-answer
}

// twoCaptures is a changefeed whose only table runs on the first capture.
func twoCaptures(t *testing.T) (c *cluster, a, b *fakeCapture) {
	c = newCluster(t, newFakeSchema(200, table(1, "a")))
	a = c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	b = c.addCapture("c-b")
	eventually(t, "both are there", func() bool { return len(c.owner.View().Captures) == 2 && c.owner.View().Captures[1].Connected })
	return c, a, b
}

// A table goes on at its new place from where it came to at the old one, and
// only after the old one has let go.
func TestMoveTable(t *testing.T) {
	c, a, b := twoCaptures(t)
	b.with(func() { b.unready = true })
	c.move(1, b)
	eventually(t, "collected", func() bool { return len(b.prepares(feedID)) == 1 })
	c.schema.advance(300)
	c.waitCheckpoint(300) // nothing waits for the new one
	require.Equal(t, map[model.CaptureID]int{"c-a": 1}, c.placed())

	a.with(func() { a.clinging = true })
	b.with(func() { b.unready = false })
	a.waitGoing(t)
	c.schema.advance(400)
	c.shift.Store(int64(stallAfter))
	eventually(t, "the reason is told", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling && s.Detail == "table 1 moves from c-a:1 to c-b:1"
	})
	require.Empty(t, b.tables(feedID))
	require.Equal(t, map[model.CaptureID]int{"c-a": 1}, c.placed(), "until it has let go")

	a.with(func() { a.clinging = false })
	eventually(t, "handed over", func() bool { return len(b.tables(feedID)) == 1 })
	require.Contains(t, []uint64{300, 400}, b.tables(feedID)[1], "as far as the old one came")
	c.waitCheckpoint(400)
	require.Empty(t, a.tables(feedID))
	require.Equal(t, map[model.CaptureID]int{"c-b": 1}, c.placed())
}

// waitGoing waits until the capture was asked to let a table go.
func (c *fakeCapture) waitGoing(t *testing.T) {
	eventually(t, "asked to let go", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.runs[feedID].going) == 1
	})
}

// Wishes that make no sense are dropped.
func TestUselessMoves(t *testing.T) {
	c, a, b := twoCaptures(t)
	for _, m := range []struct {
		table int64
		to    model.CaptureID
	}{{1, "c-a"}, {1, "nobody"}, {7, "c-b"}} {
		require.NoError(t, c.owner.Arrange(Arrangement{Kind: ArrangeMove, ID: feedID, Table: m.table, Capture: m.to}))
	}
	require.NoError(t, c.owner.Arrange(Arrangement{Kind: ArrangeMove, ID: model.DefaultChangefeedID("other"), Table: 1, Capture: "c-b"}))
	c.schema.advance(300)
	c.waitCheckpoint(300)
	require.Len(t, a.tables(feedID), 1)
	require.Empty(t, b.prepares(feedID))
	require.Zero(t, b.starts)
}

// Users see a capture as connected a little before its changefeeds have heard
// of it: a wish of that moment is kept.
func TestMoveToCaptureNotHeardYet(t *testing.T) {
	c, _, b := twoCaptures(t)
	feed := c.owner.find(feedID)
	var conn Conn
	feed.post(func() {
		conn = feed.conns["c-b"]
		delete(feed.conns, "c-b")
	})
	c.move(1, b)
	require.False(t, c.moving())
	feed.post(func() { feed.conns["c-b"] = conn })
	eventually(t, "moved", func() bool { return c.placed()["c-b"] == 1 && !c.moving() })
}

// Whatever is lost while a table moves: it goes on somewhere, from no later
// than where it came to, and only in one place.
func TestMoveLoses(t *testing.T) {
	tests := []struct {
		name    string
		leaving bool // the old capture is already letting go
		lose    func(c *cluster, a, b *fakeCapture)
		place   model.CaptureID // empty: either
		start   uint64          // 0: nowhere
	}{
		{"the target, collecting", false, func(c *cluster, _, b *fakeCapture) { c.kill(b) }, "c-a", 100},
		{"the target, taking over", true, func(c *cluster, a, b *fakeCapture) {
			c.kill(b)
			a.with(func() { a.clinging = false })
		}, "c-a", 200},
		{"the source, collecting", false, func(c *cluster, a, _ *fakeCapture) { c.kill(a) }, "c-b", 200},
		{"the source, letting go", true, func(c *cluster, a, _ *fakeCapture) { c.kill(a) }, "c-b", 200},
		{"the source's stream, collecting", false, func(c *cluster, a, b *fakeCapture) {
			c.detach(a)
			b.with(func() { b.unready = false })
			c.attach(a)
		}, "c-b", 200},
		{"the source's stream, letting go", true, func(c *cluster, a, _ *fakeCapture) {
			c.detach(a)
			a.with(func() { a.clinging = false })
			c.attach(a)
		}, "c-b", 200},
		{"the target's stream, collecting", false, func(c *cluster, _, b *fakeCapture) {
			c.detach(b)
			c.attach(b)
		}, "", 100},
		{"the target's stream, taking over", true, func(c *cluster, a, b *fakeCapture) {
			c.detach(b)
			a.with(func() { a.clinging = false })
			eventually(c.t, "let go", func() bool { return len(a.tables(feedID)) == 0 || c.placed()["c-a"] == 1 })
			c.attach(b)
		}, "", 200},
		{"the owner, collecting", false, func(c *cluster, a, b *fakeCapture) { c.changeOwner(a, b) }, "c-a", 100},
		{"the owner, letting go", true, func(c *cluster, a, b *fakeCapture) {
			a.with(func() { a.clinging = false })
			c.changeOwner(a, b)
		}, "", 200},
		{"the table", false, func(c *cluster, _, _ *fakeCapture) {
			c.schema.define(250)
			c.schema.advance(300, ddl(250, dropTable, "DROP TABLE `db`.`a`"))
		}, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, a, b := twoCaptures(t)
			b.with(func() { b.unready = true })
			if tt.leaving {
				a.with(func() { a.clinging = true })
				b.with(func() { b.unready = false })
			}
			c.move(1, b)
			if tt.leaving {
				a.waitGoing(t)
			} else {
				eventually(t, "collected", func() bool { return len(b.prepares(feedID)) == 1 })
			}
			tt.lose(c, a, b)
			c.schema.advance(300)
			c.waitCheckpoint(300)
			if tt.start == 0 {
				eventually(t, "dropped everywhere", func() bool {
					return len(a.tables(feedID))+len(b.tables(feedID))+len(b.prepares(feedID)) == 0
				})
				return
			}
			place := tt.place
			var tables map[model.CaptureID]map[int64]uint64
			eventually(t, "it has come to rest", func() bool {
				if c.moving() {
					return false
				}
				for id := range c.placed() {
					place = id
				}
				tables = map[model.CaptureID]map[int64]uint64{"c-a": a.tables(feedID), "c-b": b.tables(feedID)}
				return len(tables[place]) == 1
			})
			if tt.place != "" {
				require.Equal(t, tt.place, place)
			}
			require.Equal(t, map[model.CaptureID]int{place: 1}, c.placed())
			require.Contains(t, []uint64{tt.start, 200, 300}, tables[place][1], "or it came further in time")
			if c.lost == "" || c.lost == place {
				return
			}
			for id, held := range tables {
				if id != place && id != c.lost {
					require.Empty(t, held)
				}
			}
		})
	}
}

func TestDrain(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, tables(100)...))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	guard := newGuard(t, a, b)
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(200)
	require.Len(t, b.tables(feedID), 50)
	require.NoError(t, c.owner.Arrange(Arrangement{Kind: ArrangeDrain, Capture: "c-b"}))
	eventually(t, "all tables are elsewhere", func() bool { return len(a.tables(feedID)) == 100 && c.placed()["c-b"] == 0 })
	require.Empty(t, b.tables(feedID))
	c.schema.define(250, tables(120)...)
	c.schema.advance(300, ddl(250, createTable, "CREATE TABLE ..."))
	c.waitCheckpoint(300)
	require.Len(t, a.tables(feedID), 120, "new tables do not go there either")
	require.Empty(t, b.tables(feedID))
	guard.check()
}

// A capture that joins gets its share after a while, or when a user wants it.
func TestBalance(t *testing.T) {
	for _, byUser := range []bool{true, false} {
		c := newCluster(t, newFakeSchema(200, tables(99)...))
		a := c.addCapture("c-a")
		c.startOwner(a)
		c.create()
		c.waitCheckpoint(200)
		b, d := c.addCapture("c-b"), c.addCapture("c-d")
		guard := newGuard(t, a, b, d)
		eventually(t, "known", func() bool { return len(c.owner.View().Captures) == 3 && c.owner.View().Captures[2].Connected })
		if byUser {
			require.NoError(t, c.owner.Arrange(Arrangement{Kind: ArrangeRebalance, ID: feedID}))
		} else {
			c.schema.advance(210)
			c.waitCheckpoint(210)
			require.Len(t, a.tables(feedID), 99)
			c.shift.Store(int64(time.Minute))
			c.schema.advance(220)
		}
		eventually(t, "even", func() bool {
			p := c.placed()
			return p["c-a"] == 33 && p["c-b"] == 33 && p["c-d"] == 33
		})
		c.schema.advance(300)
		c.waitCheckpoint(300)
		require.Len(t, b.tables(feedID), 33)
		guard.check()
	}
}

// Moves at random while captures are cut off: no table is ever delivered in
// two places, and the checkpoint goes on.
func TestRandomMoves(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, tables(40)...))
	captures := []*fakeCapture{c.addCapture("c-a"), c.addCapture("c-b"), c.addCapture("c-d")}
	guard := newGuard(t, captures...)
	c.startOwner(captures...)
	c.create()
	c.waitCheckpoint(200)
	rng := rand.New(rand.NewSource(3))
	for ts := uint64(201); ts < 260; ts++ {
		for range 10 {
			c.move(1+rng.Int63n(40), captures[rng.Intn(3)])
		}
		if ts%10 == 0 {
			cut := captures[rng.Intn(3)]
			c.detach(cut)
			c.attach(cut)
		}
		if ts%29 == 0 {
			c.changeOwner(captures...)
		}
		c.schema.advance(ts)
		eventually(t, "the checkpoint goes on", func() bool { v := c.view(); return v != nil && v.Status.CheckpointTs >= ts-5 })
	}
	c.waitCheckpoint(259)
	guard.check()
	total := 0
	for _, f := range captures {
		total += len(f.tables(feedID))
	}
	require.Equal(t, 40, total)
}

// guard notices tables that two captures deliver at a time.
type guard struct {
	t        *testing.T
	captures []*fakeCapture
	mu       sync.Mutex
	doubles  []int64
}

func newGuard(t *testing.T, captures ...*fakeCapture) *guard {
	g := &guard{t: t, captures: captures}
	for _, f := range captures {
		f.with(func() { f.overlap = g.begins })
	}
	return g
}

// begins is called with the lock of one capture: of the others only what can
// be had without waiting is looked at, which is enough over many tables.
func (g *guard) begins(table int64, by *fakeCapture) {
	for _, f := range g.captures {
		if f == by || !f.mu.TryLock() {
			continue
		}
		if r := f.runs[feedID]; r != nil {
			if _, ok := r.spans[table]; ok {
				g.mu.Lock()
				g.doubles = append(g.doubles, table)
				g.mu.Unlock()
			}
		}
		f.mu.Unlock()
	}
}

func (g *guard) check() {
	g.mu.Lock()
	defer g.mu.Unlock()
	require.Empty(g.t, g.doubles, "delivered in two places")
}
