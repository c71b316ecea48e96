package owner

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// The simulation drives the owner's feed, run and fleet with a clock, captures
// and a network of its own, in one goroutine and without waiting. Every seed is
// another story of lost, frozen and new captures, broken streams, owners that
// die or do not know yet that they are none any more, moves, DDLs and, in two
// of three stories, sync points.
//
//	TIDEMARK_SIM_SEEDS=1000 go test -run TestSimulation ./pkg/owner
//	TIDEMARK_SIM_SEED=17    go test -v -run TestSimulation ./pkg/owner # one, with the owner's log
//	TIDEMARK_SIM_LARGE=20   go test -v -run TestSimulationLarge ./pkg/owner # seeds with 100,000 tables on 50 captures
//
// A seed gives nearly the same story every time: what the owner does in the
// order of a map differs.
const (
	simTTL      = 10 * time.Second
	simTick     = 250 * time.Millisecond
	simStep     = 1 << 15 // TSO per tick
	simPatience = 6 * time.Second
	// simInterval is between two sync points: 40 ticks.
	simInterval = 5 * time.Millisecond
)

type simOptions struct {
	seed     int64
	tables   int
	captures int // at most
	ticks    int // of trouble
	// latency bounds that of a message, slowness that of a capture's own work,
	// redial the pause after a break.
	latency, slowness, redial time.Duration
	events                    int // of a thousand ticks
	limit                     int // ticks until peace has to be reached
	syncPoints                bool
	cells                     int // regions of the tables that are cut; 0: tables are not cut
}

func TestSimulation(t *testing.T) {
	first, seeds := 1, 200
	if n, err := strconv.Atoi(os.Getenv("TIDEMARK_SIM_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.Atoi(os.Getenv("TIDEMARK_SIM_SEED")); err == nil {
		first, seeds = n, 1
	}
	var total simCounts
	for seed := first; seed < first+seeds; seed++ {
		shape := rand.New(rand.NewSource(int64(seed)))
		o := simOptions{
			seed: int64(seed), tables: 1 + shape.Intn(30), captures: 2 + shape.Intn(5), ticks: 400,
			latency: time.Duration(1+shape.Intn(1000)) * time.Millisecond, slowness: time.Duration(1+shape.Intn(2000)) * time.Millisecond,
			redial: time.Duration(1+shape.Intn(3000)) * time.Millisecond, events: 50 + shape.Intn(400), limit: 1200,
			syncPoints: seed%3 != 0,
		}
		if shape.Intn(2) == 0 {
			o.cells, o.syncPoints = 12, false
		}
		s := newSim(t, o, seeds == 1)
		s.run()
		total.add(s.counts)
	}
	t.Logf("%d seeds: %+v", seeds, total)
}

// simLarge are the options of a large story. In two of three tables are cut.
func simLarge(seed int64, tables, captures int) simOptions {
	shape := rand.New(rand.NewSource(seed))
	cells := 0
	if seed%3 != 0 {
		cells = 6
	}
	return simOptions{
		cells: cells,
		seed:  seed, tables: tables, captures: captures, ticks: 400,
		latency: time.Duration(1+shape.Intn(600)) * time.Millisecond, slowness: time.Duration(1+shape.Intn(600)) * time.Millisecond,
		redial: time.Duration(1+shape.Intn(2000)) * time.Millisecond, events: 50 + shape.Intn(400), limit: 10_000,
	}
}

func TestSimulationLarge(t *testing.T) {
	tables, captures, first, seeds := 1000, 10, 1, 3
	if n, err := strconv.Atoi(os.Getenv("TIDEMARK_SIM_LARGE")); err == nil {
		tables, captures, seeds = 100_000, 50, n
	}
	if n, err := strconv.Atoi(os.Getenv("TIDEMARK_SIM_SEED")); err == nil {
		first, seeds = n, 1
	}
	var total simCounts
	begun := time.Now()
	for seed := first; seed < first+seeds; seed++ {
		s := newSim(t, simLarge(int64(seed), tables, captures), false)
		s.run()
		total.add(s.counts)
		if seeds > 10 && (seed-first+1)%50 == 0 {
			t.Logf("%d seeds in %s: %+v", seed-first+1, time.Since(begun).Round(time.Second), total)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d seeds of %d tables on up to %d captures in %s, %d MiB from the system: %+v", seeds, tables, captures,
		time.Since(begun).Round(time.Millisecond), m.Sys>>20, total)
}

var simEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// simCounts says what happened, so that one can see that it did.
type simCounts struct {
	Begins, Pieces, Breaks, Freezes, Kills, Joins, Owners, Moves, Drains, DDLs, Pauses, SyncPoints, Failures, Warnings int
}

func (c *simCounts) add(o simCounts) {
	c.Begins += o.Begins
	c.Pieces += o.Pieces
	c.Breaks += o.Breaks
	c.Freezes += o.Freezes
	c.Kills += o.Kills
	c.Joins += o.Joins
	c.Owners += o.Owners
	c.Moves += o.Moves
	c.Drains += o.Drains
	c.DDLs += o.DDLs
	c.Pauses += o.Pauses
	c.SyncPoints += o.SyncPoints
	c.Failures += o.Failures
	c.Warnings += o.Warnings
}

// sim is a cluster with one changefeed.
type sim struct {
	t        *testing.T
	o        simOptions
	rng      *rand.Rand
	logger   *zap.Logger
	now      time.Time
	tick     int
	ts       uint64
	upstream *fakeUpstream
	schema   *fakeSchema
	tables   []*model.Table // as of now
	counts   simCounts
	paused   bool

	captures []*simCapture
	keys     map[model.CaptureID]*model.CaptureInfo // in etcd
	terms    []*simTerm                             // the last one is in office
	named    int

	stored *etcdmeta.Feed
	rev    int64

	// delivered is up to where every row of a cell is downstream truly. A table
	// has cells side by side, each of which may be a region; it is at its id
	// times cells. created and dropped say when the table was, by its id.
	cells                       int
	delivered, created, dropped []uint64
	executed                    uint64 // the last DDL
	recorded                    uint64 // the last sync point
}

func newSim(t *testing.T, o simOptions, verbose bool) *sim {
	s := &sim{
		t: t, o: o, rng: rand.New(rand.NewSource(o.seed)), logger: zap.NewNop(), now: simEpoch, ts: 1000,
		upstream: &fakeUpstream{now: 1_000_000}, keys: map[model.CaptureID]*model.CaptureInfo{},
	}
	if verbose {
		s.logger = zaptest.NewLogger(t, zaptest.WrapOptions(zap.WithClock(simClock{s})))
	}
	s.tables = tables(int64(o.tables))
	s.cells = max(o.cells, 1)
	s.upstream.regions = s.regions
	s.delivered = make([]uint64, (o.tables+1)*s.cells)
	s.created, s.dropped = make([]uint64, o.tables+1), make([]uint64, o.tables+1)
	for i := range s.delivered {
		s.delivered[i] = s.ts
	}
	s.dropped[0] = 1 // there is no table 0
	s.schema = newFakeSchema(s.ts, s.tables...)
	replica := config.DefaultReplicaConfig()
	replica.CheckGCSafePoint = false // it would take another goroutine
	interval := simInterval
	replica.EnableSyncPoint, replica.SyncPointInterval = &o.syncPoints, &interval
	uri := config.SinkURI("mysql://h/")
	if o.cells > 0 {
		replica.Scheduler.EnableTableAcrossNodes, replica.Scheduler.RegionThreshold = true, 4
		uri = "blackhole://"
	}
	s.stored = &etcdmeta.Feed{ID: feedID, InfoRev: 1, Info: &etcdmeta.ChangefeedInfo{
		UpstreamID: 1, Namespace: feedID.Namespace, ID: feedID.ID, SinkURI: uri, StartTs: s.ts,
		Config: replica, State: model.StateNormal, Epoch: 7,
	}}
	s.rev = 1
	s.newTerm()
	return s
}

type simClock struct{ s *sim }

func (c simClock) Now() time.Time                         { return c.s.now }
func (c simClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func (s *sim) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d, tick %d: %s", s.o.seed, s.tick, fmt.Sprintf(format, args...))
}

// run tells the story: trouble, then peace.
func (s *sim) run() {
	defer func() {
		for _, term := range s.terms {
			term.end()
		}
	}()
	for range 1 + s.rng.Intn(s.o.captures) {
		s.join()
	}
	for range s.o.ticks {
		if s.rng.Intn(1000) < s.o.events {
			s.trouble()
		}
		s.step()
	}
	s.makePeace()
	calm := s.ts
	why := ""
	for range s.o.limit {
		if why = s.unsettled(calm); why == "" {
			break
		}
		s.retire()
		s.step()
	}
	if why != "" {
		s.fail("not settled: %s; %s", why, s.describe())
	}
}

// step lets a tick pass.
func (s *sim) step() {
	s.tick++
	s.now = s.now.Add(simTick)
	s.ts += simStep
	s.schema.advance(s.ts)
	for _, c := range s.captures {
		if !c.alive && s.keys[c.id] != nil && !s.now.Before(c.keyEnds) {
			delete(s.keys, c.id)
			s.owner().stale = true
		}
		c.tick()
	}
	s.captures = slices.DeleteFunc(s.captures, func(c *simCapture) bool { return !c.alive && s.keys[c.id] == nil })
	for _, term := range s.terms {
		term.tick()
	}
	s.terms = slices.DeleteFunc(s.terms, func(term *simTerm) bool { return term.over })
	s.check()
}

func (s *sim) owner() *simTerm { return s.terms[len(s.terms)-1] }

// check looks at what must hold at any time.
func (s *sim) check() {
	bound, table := s.bound()
	for _, term := range s.terms {
		f := term.feed
		if f.checkpoint < term.checkpoint {
			s.fail("the checkpoint went back from %d to %d", term.checkpoint, f.checkpoint)
		}
		term.checkpoint = f.checkpoint
		if f.checkpoint > bound {
			s.fail("the checkpoint is %d, but rows of table %d after %d are not delivered; %s", f.checkpoint, table, bound, s.describe())
		}
		if state := f.state(); state == model.StateFailed || state == model.StateFinished {
			s.fail("the changefeed is %s", state)
		}
	}
}

// unsettled says what is still wrong after the trouble; empty when nothing is.
func (s *sim) unsettled(calm uint64) string {
	r := s.owner().feed.run
	if len(s.terms) > 1 || r == nil || r.planner == nil {
		return "the run has not begun"
	}
	if s.stored.CheckpointTs() <= calm {
		return fmt.Sprintf("the checkpoint is %d", s.stored.CheckpointTs())
	}
	if len(r.arr.moves) > 0 || len(r.arr.plan) > 0 || !r.scheduled() {
		return fmt.Sprintf("%d moves, %d planned, scheduled %t", len(r.arr.moves), len(r.arr.plan), r.scheduled())
	}
	return s.uneven(r)
}

// describe tells what the owner knows, compared with what is.
func (s *sim) describe() string {
	var b strings.Builder
	f := s.owner().feed
	fmt.Fprintf(&b, "checkpoint %d, fleet settled %t, heard all %t, draining %v", f.checkpoint,
		f.o.fleet.snapshot().settled, f.heardAll(f.o.fleet.snapshot()), f.draining)
	if f.run == nil || f.run.planner == nil {
		return b.String()
	}
	fmt.Fprintf(&b, ", barrier %d, %d of %d tables placed", f.run.barrier, f.run.place.placed, len(f.run.planner.tables))
	for table, m := range f.run.arr.moves {
		fmt.Fprintf(&b, "\n  move %d: %+v", table, *m)
	}
	for id, w := range f.run.works {
		fmt.Fprintf(&b, "\n  work %s: connected %t, started %t, %d tables, last change %d, progress %v", id, w.conn != nil, w.started, f.run.place.count(id), w.lastChange, w.progress)
	}
	_, last := s.bound()
	for _, n := range f.run.pieces.numbers(int64(last)) {
		fmt.Fprintf(&b, "\n  %v is placed on %q", s.key(f.run.pieces.wire(n)), f.run.place.of(n))
	}
	for _, c := range s.captures {
		fmt.Fprintf(&b, "\n  capture %s: alive %t, attached %t", c.id, c.alive, c.conn != nil)
		if c.work != nil {
			for _, key := range s.touching(simKey{int64(last), 0, s.cells}) {
				if span := c.work.spans[key]; span != nil {
					fmt.Fprintf(&b, ", its span %+v", *span)
				}
			}
			fmt.Fprintf(&b, ", stopping %t, %d spans, applied %d, barrier %d", c.work.stopping, len(c.work.spans), c.work.applied, c.work.barrier)
		}
	}
	return b.String()
}

// simTerm is an owner. After another was elected it may go on for a while.
type simTerm struct {
	s          *sim
	o          *Owner
	feed       *feed
	rev        int64
	conns      []*simConn
	attached   map[*simConn]struct{}
	tasks      []func()
	stale      bool // registrations have changed
	frozen     time.Time
	until      time.Time // zero while in office
	swept      time.Time
	checkpoint uint64
	over       bool
	unseen     []*etcdmeta.Feed // what the watch has not told yet; nil: another owner is elected
	blind      bool             // the watch tells nothing
}

func (s *sim) newTerm() {
	s.counts.Owners++
	s.rev++
	term := &simTerm{s: s, rev: s.rev, attached: map[*simConn]struct{}{}, checkpoint: s.stored.CheckpointTs()}
	o := New(Options{
		Self: model.CaptureInfo{ID: "owner"}, UpstreamID: 1, Upstream: s.upstream, Schemas: s.schema, FilterDDL: passDDL,
		OpenSink:   func(context.Context, *etcdmeta.ChangefeedInfo) (DDLSink, error) { return simSink{term}, nil },
		SessionTTL: simTTL, BalanceInterval: 10 * time.Second, Clock: func() time.Time { return s.now },
		Random: s.rng.Float64, Logger: s.logger.With(zap.Int64("term", s.rev)),
	})
	for _, old := range s.terms {
		old.unseen, old.blind = append(old.unseen, nil), old.blind || s.rng.Intn(2) == 0
	}
	o.records = simRecords{term}
	o.spawn = func(_ *sync.WaitGroup, fn func()) { term.tasks = append(term.tasks, fn) }
	o.ctx, o.cancel = context.WithCancelCause(context.Background())
	o.fleet.begin(&etcdmeta.State{Captures: s.registered()}, s.now)
	term.o, term.feed = o, newFeed(o, s.stored)
	term.feed.timer = time.NewTimer(time.Hour) // nobody reads it
	o.feeds[feedID] = term.feed
	s.terms = append(s.terms, term)
	term.feed.step(o.ctx) // before anyone attaches
	for _, c := range s.captures {
		c.next, c.switchAt = term, s.now.Add(time.Duration(s.rng.Int63n(int64(5*time.Second))))
	}
}

func (s *sim) registered() map[model.CaptureID]*model.CaptureInfo {
	keys := make(map[model.CaptureID]*model.CaptureInfo, len(s.keys))
	for id, info := range s.keys {
		keys[id] = info
	}
	return keys
}

// tick is what an owner does at a time.
func (term *simTerm) tick() {
	s := term.s
	if term.over || s.now.Before(term.frozen) {
		return
	}
	if !term.until.IsZero() && s.now.After(term.until) || term.o.ctx.Err() != nil {
		term.end()
		return
	}
	if term.stale && term.until.IsZero() && s.rng.Intn(2) == 0 {
		term.stale = false
		term.o.fleet.update(s.registered(), s.now)
	}
	term.watch()
	for _, conn := range term.conns {
		term.receive(conn)
	}
	term.conns = slices.DeleteFunc(term.conns, func(conn *simConn) bool { return conn.ownerLeft })
	if s.now.Sub(term.swept) >= time.Second {
		term.swept = s.now
		term.o.fleet.sweep(s.now)
	}
	if len(term.tasks) > 0 && s.rng.Intn(2) == 0 {
		task := term.tasks[0]
		term.tasks = term.tasks[1:]
		task()
	}
	if s.rng.Intn(10) < 7 {
		for _, fn := range term.feed.box.take() {
			fn()
		}
		term.feed.step(term.o.ctx)
	}
	if s.rng.Intn(10) < 3 {
		_, _ = term.o.flusher.flush(term.o.ctx) // it is over when that fails, which is noticed later
	}
}

func (term *simTerm) receive(conn *simConn) {
	s := term.s
	for _, m := range s.due(&conn.up) {
		if m.hello != nil {
			term.attached[conn] = struct{}{}
			term.o.fleet.attached(conn, m.hello)
		} else {
			term.o.fleet.reported(conn, m.report)
		}
	}
	if conn.closed && !conn.broken {
		conn.shatter()
		conn.ownerEnds = s.now
	}
	if conn.broken && !s.now.Before(conn.ownerEnds) {
		conn.ownerLeft = true
		if _, ok := term.attached[conn]; ok {
			delete(term.attached, conn)
			term.o.fleet.detached(conn)
		}
	}
}

// end is the end of a term: its streams break, and nothing of it goes on.
func (term *simTerm) end() {
	if term.over {
		return
	}
	term.over = true
	term.feed.leave()
	term.feed.timer.Stop()
	term.o.cancel(nil)
	for _, conn := range term.conns {
		conn.shatter()
	}
}

// simSink looks at what is downstream when a DDL is executed.
type simSink struct{ term *simTerm }

func (k simSink) WriteDDL(ctx context.Context, ev *model.DDLEvent) error {
	s := k.term.s
	if ctx.Err() != nil || k.term.rev != s.owner().rev {
		return context.Canceled
	}
	if ev.CommitTs < s.executed {
		s.fail("DDL %d is executed behind %d", ev.CommitTs, s.executed)
	}
	s.executed = ev.CommitTs
	for cell, ts := range s.delivered {
		table := cell / s.cells
		gone := s.dropped[table] != 0 && s.dropped[table] < ev.CommitTs
		if !gone && s.created[table] < ev.CommitTs && ts != ev.CommitTs {
			s.fail("table %d is delivered up to %d when the DDL of %d is executed; %s", table, ts, ev.CommitTs, s.describe())
		}
	}
	return nil
}

// RecordSyncPoint looks whether the downstream is what the upstream was then:
// every row and DDL up to there, and none from behind it.
func (k simSink) RecordSyncPoint(ctx context.Context, at uint64) error {
	s := k.term.s
	if ctx.Err() != nil || k.term.rev != s.owner().rev {
		return context.Canceled
	}
	every := model.ComposeTSO(simInterval.Milliseconds(), 0)
	if s.recorded == 0 {
		s.recorded = every * (1000 / every) // the start is at 1000
	}
	if at <= s.recorded {
		return nil
	}
	if at != s.recorded+every {
		s.fail("sync point %d comes after %d", at, s.recorded)
	}
	for _, job := range s.schema.DDLs(0, at) {
		if job.CommitTs > s.executed {
			s.fail("the DDL of %d is not executed at the sync point %d", job.CommitTs, at)
		}
	}
	if s.executed > at {
		s.fail("the DDL of %d is executed before the sync point %d", s.executed, at)
	}
	for cell, ts := range s.delivered {
		table := cell / s.cells
		gone := s.dropped[table] != 0 && s.dropped[table] <= at
		if !gone && s.created[table] <= at && ts != at {
			s.fail("table %d is delivered up to %d at the sync point %d; %s", table, ts, at, s.describe())
		}
	}
	s.recorded = at
	s.counts.SyncPoints++
	return nil
}

func (simSink) WriteWatermark(context.Context, uint64) error { return nil }
func (simSink) Status() sink.Status                          { return sink.Status{} }
func (simSink) Close()                                       {}
