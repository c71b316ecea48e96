package owner

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// trouble lets something happen.
func (s *sim) trouble() {
	happenings := []struct {
		weight int
		happen func()
	}{
		{6, s.breakStream}, {2, s.cutOff}, {3, s.freeze}, {2, s.kill}, {3, s.join}, {2, s.changeOwner},
		{15, s.moveTables}, {3, s.rebalance}, {1, s.drain}, {2, s.leave}, {2, s.createTable}, {2, s.dropTable},
		{1, s.alterTable}, {1, s.pause}, {1, s.failRun}, {1, s.warn},
	}
	total := 0
	for _, h := range happenings {
		total += h.weight
	}
	n := s.rng.Intn(total)
	for _, h := range happenings {
		if n -= h.weight; n < 0 {
			h.happen()
			return
		}
	}
}

// living lists the captures that live; those that were not drained only.
func (s *sim) living(undrained bool) []*simCapture {
	var living []*simCapture
	for _, c := range s.captures {
		if c.alive && (!undrained || !c.drained) {
			living = append(living, c)
		}
	}
	return living
}

func (s *sim) anyone() *simCapture {
	living := s.living(false)
	return living[s.rng.Intn(len(living))]
}

func (s *sim) within(d time.Duration) time.Duration { return time.Duration(s.rng.Int63n(int64(d))) }

func (s *sim) breakStream() {
	if c := s.anyone(); c.conn != nil {
		s.counts.Breaks++
		c.conn.shatter()
	}
}

// cutOff keeps a capture from the owner for up to a minute; its key stays.
func (s *sim) cutOff() {
	c := s.anyone()
	if c.conn != nil {
		s.counts.Breaks++
		c.conn.shatter()
		c.conn = nil
		c.dialAt = s.now.Add(s.within(time.Minute))
	}
}

// freeze stops a capture for less than its lease lasts. One that is frozen for
// longer is as one that is killed: it can write nothing when it wakes.
func (s *sim) freeze() {
	s.counts.Freezes++
	c := s.anyone()
	d := s.within(simTTL)
	c.frozen = s.now.Add(d)
	if d > simPatience && c.conn != nil {
		c.conn.shatter()
		c.conn.ownerEnds = s.now.Add(simPatience)
		c.conn.captureEnd = c.frozen
	}
}

func (s *sim) kill() {
	c := s.anyone()
	if undrained := s.living(true); len(undrained) == 1 && undrained[0] == c || len(s.living(false)) == 1 {
		return
	}
	s.counts.Kills++
	c.alive = false
	if c.conn != nil {
		c.conn.shatter()
	}
	c.keyEnds = s.now.Add(s.within(simTTL))
}

func (s *sim) join() {
	if len(s.living(false)) >= s.o.captures {
		return
	}
	s.counts.Joins++
	s.named++
	c := &simCapture{s: s, id: fmt.Sprintf("c-%03d", s.named), alive: true, target: s.owner(), heard: s.now, dialAt: s.now.Add(s.within(time.Second))}
	s.captures = append(s.captures, c)
	s.keys[c.id] = &model.CaptureInfo{ID: c.id, AdvertiseAddr: c.id + ":1", Version: "v8.5.3"}
	s.owner().stale = true
}

// changeOwner elects another owner. The old one is dead, has not heard of it,
// or was frozen and will wake.
func (s *sim) changeOwner() {
	old := s.owner()
	switch s.rng.Intn(3) {
	case 0:
		old.end()
	case 1:
		old.until = s.now.Add(s.within(5 * time.Second))
	default:
		old.frozen = s.now.Add(s.within(2 * simTTL))
		old.until = old.frozen.Add(s.within(time.Second))
	}
	s.newTerm()
}

// moveTables is done in half of the stories: what a user has moved stays until
// captures come or go.
func (s *sim) moveTables() {
	if s.o.seed%2 == 0 {
		return
	}
	for range 1 + s.rng.Intn(4) {
		if len(s.tables) > 0 {
			s.counts.Moves++
			table := s.tables[s.rng.Intn(len(s.tables))].ID
			s.arrange(Arrangement{Kind: ArrangeMove, ID: feedID, Table: table, Capture: s.anyone().id})
		}
	}
}

func (s *sim) rebalance() { s.arrange(Arrangement{Kind: ArrangeRebalance, ID: feedID}) }

// arrange tells the owner a wish; that of an owner whose term is over is lost.
func (s *sim) arrange(wish Arrangement) { _ = s.owner().o.Arrange(wish) }

func (s *sim) drain() {
	if undrained := s.living(true); len(undrained) > 2 {
		s.counts.Drains++
		c := undrained[s.rng.Intn(len(undrained))]
		c.drained = true
		s.arrange(Arrangement{Kind: ArrangeDrain, Capture: c.id})
	}
}

// leave ends a drained capture in an orderly way.
func (s *sim) leave() {
	living := s.living(false)
	for _, c := range living {
		if c.liveness == model.LivenessStopping && !c.isFrozen() && len(living) > 1 {
			s.stop(c)
			return
		}
	}
}

// stop ends the runs first, then says farewell and takes the key away.
func (s *sim) stop(c *simCapture) {
	if c.work != nil {
		c.work.next = nil
		c.finish()
	}
	c.report()
	c.alive = false
	c.keyEnds = s.now.Add(s.within(time.Second))
	if c.conn != nil && !c.conn.broken {
		c.conn.broken, c.conn.ownerEnds = true, s.now.Add(s.o.latency)
	}
}

func (s *sim) createTable() {
	id := int64(len(s.created))
	s.counts.DDLs++
	ts := s.defineTables(append(slices.Clone(s.tables), table(id, fmt.Sprintf("t%d", id))))
	s.delivered = append(s.delivered, slices.Repeat([]uint64{ts}, s.cells)...)
	s.created, s.dropped = append(s.created, ts), append(s.dropped, 0)
	s.schema.advance(s.ts, ddl(ts, createTable, "CREATE TABLE"))
}

func (s *sim) dropTable() {
	if len(s.tables) < 2 {
		return
	}
	s.counts.DDLs++
	i := s.rng.Intn(len(s.tables))
	id := s.tables[i].ID
	ts := s.defineTables(slices.Delete(slices.Clone(s.tables), i, i+1))
	s.dropped[id] = ts
	s.schema.advance(s.ts, ddl(ts, dropTable, "DROP TABLE"))
}

// alterTable is a DDL that changes no set of tables.
func (s *sim) alterTable() {
	s.counts.DDLs++
	ts := s.defineTables(s.tables)
	s.schema.advance(s.ts, ddl(ts, createTable, "ALTER TABLE"))
}

// defineTables sets the tables from a TSO on that nobody has seen yet.
func (s *sim) defineTables(all []*model.Table) (ts uint64) {
	s.ts += simStep
	ts = s.ts - simStep/2
	s.tables = all
	s.schema.define(ts, all...)
	return ts
}

// failRun ends a capture's run with an error that a retry cures, sometimes just
// before its stream breaks.
func (s *sim) failRun() {
	c := s.anyone()
	if c.work == nil || c.work.stopping || c.work.failure != nil || c.isFrozen() {
		return
	}
	s.counts.Failures++
	c.work.failure, c.work.told = &peerpb.Failure{Code: "CDC:ErrProcessorUnknown", Message: "the sink broke"}, false
	if c.conn != nil && s.rng.Intn(2) == 0 {
		s.counts.Breaks++
		c.conn.shatter()
	}
}

// warn and the next warn begin and end the complaints of a sink.
func (s *sim) warn() {
	c := s.anyone()
	switch {
	case c.work == nil:
	case c.work.warning != nil:
		c.work.warning = nil
	default:
		s.counts.Warnings++
		c.work.warning = &peerpb.Failure{Code: "CDC:ErrMySQLTxnError", Message: fmt.Sprintf("trouble %d", s.counts.Warnings)}
	}
}

// pause and the next pause stop the changefeed and let it go on.
func (s *sim) pause() {
	s.counts.Pauses++
	s.paused = !s.paused
	s.submit()
}

func (s *sim) submit() {
	job := Job{ID: feedID, Type: model.AdminResume}
	if s.paused {
		job.Type = model.AdminStop
	}
	term := s.owner()
	term.feed.post(func() {
		if err := term.feed.onJob(term.o.ctx, job); err != nil && term.o.ctx.Err() == nil {
			s.logger.Info("a job failed")
		}
	})
}

// makePeace ends all trouble.
func (s *sim) makePeace() {
	s.paused = false
	s.submit()
	for _, c := range s.living(false) {
		c.frozen = time.Time{}
		if c.dialAt.After(s.now) {
			c.dialAt = s.now
		}
	}
	s.join()
	if s.counts.Moves > 0 {
		s.breakStream()
	}
}

// retire lets the drained captures go.
func (s *sim) retire() {
	if len(s.living(true)) == 0 {
		s.join()
	}
	for _, c := range s.living(false) {
		if c.liveness == model.LivenessStopping {
			s.stop(c)
		}
	}
}
