package mysql

import "github.com/tidemark/tidemark/pkg/model"

// combined holds the rows of an UPDATE with CASE until it is written, since
// its text goes column by column.
type combined struct {
	arena []byte // literals of the written columns and the key, row by row
	ends  []int  // end of each piece in arena
	rows  int
}

func (c *combined) reset() { c.arena, c.ends, c.rows = c.arena[:0], c.ends[:0], 0 }

// piece returns the nth piece of a row that has width pieces.
func (c *combined) piece(row, n, width int) []byte {
	i, from := row*width+n, 0
	if i > 0 {
		from = c.ends[i-1]
	}
	return c.arena[from:c.ends[i]]
}

// change writes an UPDATE of the row that w.key finds to the values of
// plan.write. Rows that keep their key may be combined with others: the
// caller sees to it that no key comes twice in a run.
func (w *statements) change(row []model.Value, keepsKey bool) error {
	switch {
	case w.needsLax(row):
		return w.withLaxMode(func() error { return w.changeOne(row) })
	case keepsKey && w.combinable():
		return w.addCombined(row)
	}
	return w.changeOne(row)
}

// combinable tells whether updates of the table may share a statement.
func (w *statements) combinable() bool { return w.combine && w.batch && w.plan.hasKey }

func (w *statements) changeOne(row []model.Value) error {
	if err := w.close(); err != nil {
		return err
	}
	t, p := w.txn, w.plan
	t.next()
	t.buf = append(t.buf, p.update...)
	for n, i := range p.write {
		if n > 0 {
			t.buf = append(t.buf, ',')
		}
		t.buf = append(append(t.buf, p.name(i)...), '=')
		w.value(&row[n], p.cols[i].class, t.params)
	}
	t.buf = append(append(t.buf, " WHERE "...), p.keyEquals...)
	t.buf = append(t.buf, w.key.text...)
	for _, arg := range w.key.args {
		w.addArg(arg)
	}
	t.buf = append(t.buf, " LIMIT 1"...)
	return t.end()
}

// addCombined collects a row for an UPDATE with CASE.
func (w *statements) addCombined(row []model.Value) error {
	if err := w.open(stmtUpdate); err != nil {
		return err
	}
	c, p := &w.updates, w.plan
	for n, i := range p.write {
		c.arena = appendLiteral(c.arena, &row[n], p.cols[i].class)
		c.ends = append(c.ends, len(c.arena))
	}
	c.arena = append(c.arena, w.key.text...)
	c.ends = append(c.ends, len(c.arena))
	c.rows++
	if c.rows < w.maxComb && len(c.arena) < w.txn.limit {
		return nil
	}
	return w.close()
}

// closeUpdates writes the collected rows: together when there are several
// and they are small, else one by one.
func (w *statements) closeUpdates() error {
	c := &w.updates
	defer c.reset()
	if c.rows > 1 && len(c.arena)/c.rows < w.combSize {
		w.writeCase()
		return w.txn.end()
	}
	for r := range c.rows {
		if r > 0 {
			w.txn.next()
		}
		w.writeSingle(r)
		if err := w.txn.end(); err != nil {
			return err
		}
	}
	return nil
}

func (w *statements) writeSingle(row int) {
	c, p, width := &w.updates, w.plan, len(w.plan.write)+1
	buf := append(w.txn.buf, p.update...)
	for n, i := range p.write {
		if n > 0 {
			buf = append(buf, ',')
		}
		buf = append(append(buf, p.name(i)...), '=')
		buf = append(buf, c.piece(row, n, width)...)
	}
	buf = append(append(buf, " WHERE "...), p.keyEquals...)
	buf = append(buf, c.piece(row, width-1, width)...)
	w.txn.buf = append(buf, " LIMIT 1"...)
}

// writeCase writes SET c=CASE WHEN key THEN value ... END per column. The key
// columns keep their values, so the conditions hold whatever the order of the
// assignments.
func (w *statements) writeCase() {
	c, p, width := &w.updates, w.plan, len(w.plan.write)+1
	buf := append(w.txn.buf, p.update...)
	for n, i := range p.write {
		if n > 0 {
			buf = append(buf, ',')
		}
		buf = append(append(buf, p.name(i)...), "=CASE"...)
		for r := range c.rows {
			buf = append(append(buf, " WHEN "...), p.keyEquals...)
			buf = append(buf, c.piece(r, width-1, width)...)
			buf = append(append(buf, " THEN "...), c.piece(r, n, width)...)
		}
		buf = append(buf, " END"...)
	}
	buf = append(buf, " WHERE "...)
	for r := range c.rows {
		if r > 0 {
			buf = append(buf, " OR "...)
		}
		buf = append(append(buf, '('), p.keyEquals...)
		buf = append(append(buf, c.piece(r, width-1, width)...), ')')
	}
	w.txn.buf = buf
}
