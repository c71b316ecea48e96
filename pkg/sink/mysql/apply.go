package mysql

import (
	"unsafe"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// applier turns jobs into the statements of one downstream transaction.
type applier struct {
	decoder *mounter.Decoder
	stmts   statements
	safe    bool // every row is written like a replay

	plans  []*tablePlan
	rows   []rowRef
	key    []model.Value
	row    []model.Value
	seen   map[uint64]struct{} // conflict keys of the present segment
	keys   []byte              // texts of the handle keys of replays
	index  map[string]int      // handle key → position in effect
	effect []effect
	final  []bool // which rows are the last of their handle key
}

// rowRef is one row of the table that is being written.
type rowRef struct {
	change *model.RawChange
	keys   []uint64 // conflict keys
	replay bool     // may have been delivered before, or is written as if
	keeps  bool     // its old key belongs to another row by now
	stale  bool     // its new content must not be written, see overtaken
}

// effect is what becomes of one handle key.
type effect struct {
	key  string
	row  int  // the last row that had this key
	dead bool // no row has it in the end
}

func newApplier(d *mounter.Decoder, safe bool) *applier {
	return &applier{decoder: d, safe: safe, seen: map[uint64]struct{}{}, index: map[string]int{}}
}

// write writes the jobs table by table: rows of different tables do not
// depend on each other. With replay every row may be downstream already.
func (a *applier) write(t *txn, jobs []*job, replay bool) error {
	a.stmts.start(t)
	a.plans = a.plans[:0]
	for n, j := range jobs {
		if n > 0 && j.plan == jobs[n-1].plan || a.written(j.plan) {
			continue
		}
		a.plans = append(a.plans, j.plan)
		a.collect(jobs[n:], j.plan, replay || a.safe)
		if err := a.stmts.table(j.plan); err != nil {
			return err
		}
		if err := a.writeTable(j.plan); err != nil {
			return err
		}
	}
	return a.stmts.close()
}

func (a *applier) written(p *tablePlan) bool {
	for _, q := range a.plans {
		if p == q {
			return true
		}
	}
	return false
}

// collect gathers the rows of one table.
func (a *applier) collect(jobs []*job, p *tablePlan, replay bool) {
	a.rows = a.rows[:0]
	for _, j := range jobs {
		if j.plan != p {
			continue
		}
		for i := range j.rows {
			c := &j.rows[i]
			if c.IsDelete() && len(c.OldValue()) == 0 {
				continue // inserted and deleted by one transaction
			}
			keeps := j.keeps(i)
			a.rows = append(a.rows, rowRef{
				change: c, keys: j.keysOf(i), keeps: keeps, stale: j.stale(i),
				replay: replay || keeps || j.part || c.CommitTs <= j.replicateTs,
			})
		}
	}
}

// writeTable writes a.rows in runs of replays and of rows that are new downstream.
func (a *applier) writeTable(p *tablePlan) error {
	for from := 0; from < len(a.rows); {
		to := from + 1
		for to < len(a.rows) && a.rows[to].replay == a.rows[from].replay {
			to++
		}
		run := a.rows[from:to]
		var err error
		switch {
		case !run[0].replay:
			err = a.writeNew(p, run)
		case p.hasKey:
			err = a.writeReplays(p, run)
		default:
			err = a.replayInOrder(p, run)
		}
		if err != nil {
			return err
		}
		from = to
	}
	return nil
}

// writeNew writes rows that have not been downstream before. Rows without a
// conflict among them are reordered to deletes, updates, inserts, which gives
// long statements.
func (a *applier) writeNew(p *tablePlan, rows []rowRef) error {
	for from := 0; from < len(rows); {
		clear(a.seen)
		to := from
		for to < len(rows) && a.unseen(rows[to].keys) {
			to++
		}
		if err := a.writeSegment(p, rows[from:to]); err != nil {
			return err
		}
		// The next segment has a key of this one: in one UPDATE with CASE the
		// first value of the key would win.
		if err := a.stmts.close(); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// unseen takes keys into the segment; false when one of them is in it.
func (a *applier) unseen(keys []uint64) bool {
	for _, k := range keys {
		if _, ok := a.seen[k]; ok {
			return false
		}
	}
	for _, k := range keys {
		a.seen[k] = struct{}{}
	}
	return true
}

func (a *applier) writeSegment(p *tablePlan, rows []rowRef) error {
	for i := range rows {
		if c := rows[i].change; c.IsDelete() {
			if err := a.remove(p, c); err != nil {
				return err
			}
		}
	}
	for i := range rows {
		if c := rows[i].change; c.IsUpdate() {
			if err := a.update(p, c); err != nil {
				return err
			}
		}
	}
	for i := range rows {
		if c := rows[i].change; c.IsInsert() {
			if err := a.put(p, stmtInsert, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *applier) remove(p *tablePlan, c *model.RawChange) (err error) {
	if a.key, err = a.decoder.DecodeColumns(p.table, c, mounter.Old, p.where, a.key); err != nil {
		return err
	}
	return a.stmts.remove(a.key)
}

func (a *applier) put(p *tablePlan, kind stmtKind, c *model.RawChange) (err error) {
	if a.row, err = a.decoder.DecodeColumns(p.table, c, mounter.New, p.write, a.row); err != nil {
		return err
	}
	return a.stmts.put(kind, a.row)
}

func (a *applier) update(p *tablePlan, c *model.RawChange) error {
	changesKey := false
	var err error
	if !p.rawKey { // the store's key of a row never changes
		if changesKey, err = a.decoder.Changed(p.table, c, p.where); err != nil {
			return err
		}
	}
	if a.key, err = a.decoder.DecodeColumns(p.table, c, mounter.Old, p.where, a.key); err != nil {
		return err
	}
	combine := !changesKey && a.stmts.combinable()
	a.stmts.setKey(a.key, a.stmts.txn.params && !combine)
	if a.row, err = a.decoder.DecodeColumns(p.table, c, mounter.New, p.write, a.row); err != nil {
		return err
	}
	return a.stmts.change(a.row, !changesKey)
}

// writeReplays brings the handle keys of the rows to their last state,
// whatever is downstream: first every key that no row has in the end is
// deleted, then the remaining rows are written with REPLACE.
//
// Rows that are left at the end exist together upstream, so none of them
// takes the place of another in a unique key.
func (a *applier) writeReplays(p *tablePlan, rows []rowRef) error {
	if err := a.findEffects(p, rows); err != nil {
		return err
	}
	a.final = a.final[:0]
	for range rows {
		a.final = append(a.final, false)
	}
	for i := range a.effect {
		e := &a.effect[i]
		if !e.dead {
			a.final[e.row] = true
			continue
		}
		if err := a.removeEffect(p, e, rows); err != nil {
			return err
		}
	}
	for i := range rows {
		if a.final[i] {
			if err := a.put(p, stmtReplace, rows[i].change); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *applier) removeEffect(p *tablePlan, e *effect, rows []rowRef) error {
	if p.rawKey {
		return a.remove(p, rows[e.row].change)
	}
	a.stmts.key.text = append(a.stmts.key.text[:0], e.key...)
	a.stmts.key.args = a.stmts.key.args[:0]
	return a.stmts.removeKey()
}

// findEffects fills a.effect, in the order in which keys are met first.
func (a *applier) findEffects(p *tablePlan, rows []rowRef) error {
	clear(a.index)
	a.effect, a.keys = a.effect[:0], a.keys[:0]
	for i := range rows {
		c := rows[i].change
		if p.rawKey {
			if !rows[i].stale {
				a.setEffect(rows, c.Key(), i, c.IsDelete())
			}
			continue
		}
		changed := c.IsDelete()
		if !changed {
			var err error
			if changed, err = a.decoder.Changed(p.table, c, p.where); err != nil {
				return err
			}
		}
		if changed && !rows[i].keeps {
			if err := a.setKeyEffect(p, rows, mounter.Old, i); err != nil {
				return err
			}
		}
		if !c.IsDelete() && !rows[i].stale {
			if err := a.setKeyEffect(p, rows, mounter.New, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *applier) setKeyEffect(p *tablePlan, rows []rowRef, side mounter.Side, row int) (err error) {
	if a.key, err = a.decoder.DecodeColumns(p.table, rows[row].change, side, p.where, a.key); err != nil {
		return err
	}
	from := len(a.keys)
	a.keys = p.appendKey(a.keys, a.key)
	a.setEffect(rows, a.keys[from:], row, side == mounter.Old)
	return nil
}

// setEffect notes the last state of a key. A key that one row leaves and
// another takes in the same transaction has a row in the end, in whatever
// order the two changes come. The key is not copied: its bytes must stay as
// they are until the next findEffects.
func (a *applier) setEffect(rows []rowRef, key []byte, row int, dead bool) {
	k := unsafe.String(unsafe.SliceData(key), len(key))
	i, ok := a.index[k]
	if !ok {
		a.index[k] = len(a.effect)
		a.effect = append(a.effect, effect{key: k, row: row, dead: dead})
		return
	}
	e := &a.effect[i]
	if dead && !e.dead && sameTxn(rows[e.row].change, rows[row].change) {
		return
	}
	e.row, e.dead = row, dead
}

// release lets go of the rows, whose memory may be gone soon.
func (a *applier) release() {
	clear(a.index)
	clear(a.effect)
	clear(a.rows)
	clear(a.plans)
}

// replayInOrder writes replays of a table without handle key one after the
// other: nothing tells which of them concern the same row.
func (a *applier) replayInOrder(p *tablePlan, rows []rowRef) error {
	for i := range rows {
		c := rows[i].change
		if !c.IsInsert() {
			if err := a.remove(p, c); err != nil {
				return err
			}
		}
		if !c.IsDelete() && !rows[i].stale {
			if err := a.put(p, stmtReplace, c); err != nil {
				return err
			}
		}
	}
	return nil
}
