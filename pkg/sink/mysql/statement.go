package mysql

import (
	"bytes"
	"database/sql/driver"
	"slices"

	"github.com/tidemark/tidemark/pkg/model"
)

// stmtKind is the kind of the statement that is being written.
type stmtKind uint8

const (
	stmtNone stmtKind = iota
	stmtDelete
	stmtUpdate
	stmtInsert
	stmtReplace
)

// statements turns rows into SQL text in a txn. Adjacent rows of one kind and
// table become one multi-row statement.
type statements struct {
	txn      *txn
	maxRows  int  // rows per INSERT, REPLACE or DELETE
	batch    bool // multi-row statements are allowed
	combine  bool // several updates may become one UPDATE with CASE
	maxComb  int  // rows per such UPDATE
	combSize int  // bytes: rows that are larger on average are not combined

	plan     *tablePlan
	kind     stmtKind // of the open statement
	rows     int      // rows in it
	from     int      // where it starts in the buffer
	firstKey int      // where the first key of a DELETE starts
	key      rowKey
	updates  combined
	usedLax  bool // sql_mode has been changed in this transaction
}

// rowKey is what finds one row: the bare value of a key of one column, else
// a condition over the columns of the key.
type rowKey struct {
	text []byte
	args []any // for the question marks in text
}

// start prepares for a new transaction.
func (w *statements) start(t *txn) {
	w.txn, w.plan, w.kind, w.usedLax = t, nil, stmtNone, false
	w.updates.reset()
}

// table turns to another table version.
func (w *statements) table(p *tablePlan) error {
	err := w.close()
	w.plan = p
	return err
}

// put writes a row, given by the values of plan.write, with INSERT or REPLACE.
func (w *statements) put(kind stmtKind, row []model.Value) error {
	if !w.needsLax(row) {
		return w.putRow(kind, row)
	}
	return w.withLaxMode(func() error { return w.putRow(kind, row) })
}

func (w *statements) putRow(kind stmtKind, row []model.Value) error {
	if err := w.open(kind); err != nil {
		return err
	}
	t := w.txn
	switch {
	case w.rows > 0:
		t.buf = append(t.buf, ",("...)
	case kind == stmtInsert:
		t.buf = append(append(t.buf, w.plan.insert...), '(')
	default:
		t.buf = append(append(t.buf, w.plan.replace...), '(')
	}
	params := t.params && !w.batch
	for n := range row {
		if n > 0 {
			t.buf = append(t.buf, ',')
		}
		w.value(&row[n], w.plan.cols[w.plan.write[n]].class, params)
	}
	t.buf = append(t.buf, ')')
	w.rows++
	return w.closeIfFull(w.batch)
}

// remove deletes the row whose values of plan.where are given.
func (w *statements) remove(key []model.Value) error {
	w.setKey(key, w.txn.params && !(w.batch && w.plan.hasKey))
	return w.removeKey()
}

// removeKey deletes the row that w.key finds. It starts with the single-row
// form and turns it into the multi-row form when a second row comes: `k`=1
// into `k` IN (1,2), and `a`=1 AND `b`=2 into (`a`=1 AND `b`=2) OR (...).
func (w *statements) removeKey() error {
	if err := w.open(stmtDelete); err != nil {
		return err
	}
	t, p := w.txn, w.plan
	switch {
	case w.rows == 0:
		t.buf = append(append(t.buf, p.del...), p.keyEquals...)
		w.firstKey = len(t.buf)
	case p.bareKey:
		if w.rows == 1 {
			t.buf = slices.Replace(t.buf, w.firstKey-1, w.firstKey, []byte(" IN (")...)
		}
		t.buf = append(t.buf, ',')
	default:
		if w.rows == 1 {
			t.buf = append(slices.Insert(t.buf, w.firstKey, '('), ')')
		}
		t.buf = append(t.buf, " OR ("...)
	}
	t.buf = append(t.buf, w.key.text...)
	for _, arg := range w.key.args {
		w.addArg(arg)
	}
	if w.rows > 0 && !p.bareKey {
		t.buf = append(t.buf, ')')
	}
	w.rows++
	return w.closeIfFull(w.batch && p.hasKey)
}

// setKey makes w.key from the values of plan.where.
func (w *statements) setKey(key []model.Value, params bool) {
	w.key.args = w.key.args[:0]
	if !params {
		w.key.text = w.plan.appendKey(w.key.text[:0], key)
		return
	}
	p, buf := w.plan, w.key.text[:0]
	for n, c := range p.where {
		if n > 0 {
			buf = append(buf, " AND "...)
		}
		if !p.bareKey {
			buf = append(buf, p.name(c)...)
			if key[n].IsNull() {
				buf = append(buf, " IS NULL"...)
				continue
			}
			buf = append(buf, '=')
		}
		if arg, ok := argument(&key[n], p.cols[c].keyClass); ok {
			buf = append(buf, '?')
			w.key.args = append(w.key.args, arg)
		} else {
			buf = appendLiteral(buf, &key[n], p.cols[c].keyClass)
		}
		buf = p.appendExact(buf, c, &key[n])
	}
	w.key.text = buf
}

// appendKey writes the values of plan.where as the text of a rowKey. Equal
// keys give equal bytes.
func (p *tablePlan) appendKey(buf []byte, key []model.Value) []byte {
	for n, c := range p.where {
		if n > 0 {
			buf = append(buf, " AND "...)
		}
		if !p.bareKey {
			buf = append(buf, p.name(c)...)
			if key[n].IsNull() {
				buf = append(buf, " IS NULL"...)
				continue
			}
			buf = append(buf, '=')
		}
		buf = appendLiteral(buf, &key[n], p.cols[c].keyClass)
		buf = p.appendExact(buf, c, &key[n])
	}
	return buf
}

// appendExact compares the bytes of a text where equality under its collation
// is not enough to find the right row: 'a' is not 'A', nor 'a '.
func (p *tablePlan) appendExact(buf []byte, c int, v *model.Value) []byte {
	col := &p.cols[c]
	if !col.exact {
		return buf
	}
	content := *v
	if col.char {
		content.B = bytes.TrimRight(content.B, " ")
	}
	buf = append(append(append(buf, " AND CAST(CONVERT("...), p.name(c)...), " USING utf8mb4) AS BINARY)="...)
	return appendLiteral(buf, &content, litText)
}

// open goes on with the open statement if it is of this kind, else closes it
// and starts a new one.
func (w *statements) open(kind stmtKind) error {
	if w.kind == kind {
		return nil
	}
	if err := w.close(); err != nil {
		return err
	}
	w.txn.next()
	w.kind, w.rows, w.from = kind, 0, len(w.txn.buf)
	return nil
}

func (w *statements) closeIfFull(batch bool) error {
	if batch && w.rows < w.maxRows && len(w.txn.buf)-w.from < w.txn.limit {
		return nil
	}
	return w.close()
}

// close ends the open statement.
func (w *statements) close() error {
	kind := w.kind
	w.kind = stmtNone
	switch {
	case kind == stmtNone:
		return nil
	case kind == stmtUpdate:
		return w.closeUpdates()
	case kind == stmtDelete && w.rows == 1:
		w.txn.buf = append(w.txn.buf, " LIMIT 1"...)
	case kind == stmtDelete && w.plan.bareKey:
		w.txn.buf = append(w.txn.buf, ')')
	}
	return w.txn.end()
}

// value writes a literal, or a parameter where that is allowed: only
// statements that never get a second row have parameters, so that the same
// text comes again.
func (w *statements) value(v *model.Value, class litClass, param bool) {
	if param {
		if arg, ok := argument(v, class); ok {
			w.txn.buf = append(w.txn.buf, '?')
			w.addArg(arg)
			return
		}
	}
	w.txn.buf = appendLiteral(w.txn.buf, v, class)
}

func (w *statements) addArg(arg any) {
	w.txn.args = append(w.txn.args, driver.NamedValue{Ordinal: len(w.txn.args) + 1, Value: arg})
}

// needsLax tells rows that strict mode refuses: the upstream may hold the
// empty value of an enum, which has no literal.
func (w *statements) needsLax(row []model.Value) bool {
	for _, n := range w.plan.enums {
		if row[n].Kind == model.KindUint && row[n].N == 0 {
			return true
		}
	}
	return false
}

// withLaxMode writes a statement of its own between two changes of sql_mode.
func (w *statements) withLaxMode(write func() error) error {
	if err := w.sqlMode(sqlModeLax); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	return w.sqlMode(sqlModeStrict)
}

func (w *statements) sqlMode(mode string) error {
	if err := w.close(); err != nil {
		return err
	}
	w.usedLax = true
	w.txn.next()
	w.txn.buf = append(append(w.txn.buf, "SET SESSION sql_mode="...), mode...)
	return w.txn.end()
}
