package dispatch

import (
	"fmt"
	"slices"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Plan is how rows of one table version are dispatched. It is immutable.
type Plan struct {
	Topic string
	// Table is what encoders see: the version itself, or, where a column
	// selector matches, a version with the selected columns only.
	Table *model.Table

	full     *model.Table
	selected []int // positions in full.Columns; nil when all are
	method   method
	base     Hash     // of the table's name
	keys     []int    // positions in full.Columns that the hash covers
	names    [][]byte // of keys
	// split are the positions whose change makes a delete and an insert of an
	// update; nil when updates stay whole.
	split []int
}

// Plan makes the plan of a table version. Errors: ErrDispatcherFailed when a
// rule's index or columns are not there, ErrColumnSelectorFailed when a
// selector takes too much away.
func (r *Rules) Plan(t *model.Table) (*Plan, error) {
	rule := r.ruleOf(t.Schema, t.Name)
	p := &Plan{Topic: r.Topic(t.Schema, t.Name), Table: t, full: t, method: rule.method}
	p.base.Write([]byte(t.Schema), []byte(t.Name))
	if r.splitUpdates {
		for i := range t.Columns {
			if t.Columns[i].Flag&(model.FlagHandleKey|model.FlagUniqueKey) != 0 {
				p.split = append(p.split, i)
			}
		}
	}
	var err error
	if p.keys, err = rule.keyColumns(t); err != nil {
		return nil, err
	}
	if err := r.selectColumns(p, rule); err != nil {
		return nil, err
	}
	for _, i := range p.keys {
		p.names = append(p.names, []byte(t.Columns[i].Name))
	}
	return p, nil
}

// PerRow tells whether the rows of the table may go to several partitions.
func (p *Plan) PerRow() bool { return p.method == byTs || len(p.keys) > 0 }

// keyColumns are the columns that the rule's hash covers, as positions. They
// are found by column, not by place in TiDB's list, where virtual columns count.
func (rule rule) keyColumns(t *model.Table) ([]int, error) {
	switch {
	case rule.method == byColumns:
		return columnsByName(t, rule.columns)
	case rule.method == byIndex && rule.index != "":
		return columnsOfIndex(t, rule.index)
	case rule.method == byIndex:
		keys := slices.Clone(t.HandleKey)
		slices.Sort(keys)
		return keys, nil
	}
	return nil, nil
}

func columnsByName(t *model.Table, names []string) ([]int, error) {
	var out []int
	for _, name := range names {
		at := slices.IndexFunc(t.Info.Columns, func(c *timodel.ColumnInfo) bool {
			return c.State == timodel.StatePublic && strings.EqualFold(c.Name.O, name)
		})
		if at < 0 {
			return nil, errors.ErrDispatcherFailed.New(fmt.Sprintf(
				"columns not found when verify the table, table: %s.%s, columns: %v", t.Schema, t.Name, names))
		}
		if i := positionOf(t, at); i >= 0 { // virtual columns are in no row
			out = append(out, i)
		}
	}
	return out, nil
}

func columnsOfIndex(t *model.Table, name string) ([]int, error) {
	at := slices.IndexFunc(t.Info.Indices, func(x *timodel.IndexInfo) bool {
		return x.State == timodel.StatePublic && strings.EqualFold(x.Name.O, name)
	})
	if at < 0 {
		return nil, errors.ErrDispatcherFailed.New(fmt.Sprintf(
			"index not found when verify the table, table: %s.%s, index: %s", t.Schema, t.Name, name))
	}
	index := t.Info.Indices[at]
	if !index.Unique && !index.Primary {
		return nil, errors.ErrDispatcherFailed.New(fmt.Sprintf(
			"index is not unique when verify the table, table: %s.%s, index: %s", t.Schema, t.Name, name))
	}
	var out []int
	for _, c := range index.Columns {
		if i := positionOf(t, c.Offset); i >= 0 {
			out = append(out, i)
		}
	}
	return out, nil
}

// positionOf finds the column with an offset in TiDB's list; -1 when rows do
// not hold it.
func positionOf(t *model.Table, offset int) int {
	return slices.IndexFunc(t.Columns, func(c model.Column) bool { return c.Offset == offset })
}

// selectColumns applies the first column selector that matches. A rule by the
// handle key covers what is left of that; the columns that other rules name
// must be there.
func (r *Rules) selectColumns(p *Plan, rule rule) error {
	t := p.full
	at := slices.IndexFunc(r.selectors, func(s selector) bool { return s.tables.MatchTable(t.Schema, t.Name) })
	if at < 0 {
		return nil
	}
	keep := make([]int, 0, len(t.Columns))
	moved := make([]int, len(t.Columns)) // position in full -> position in the selection, -1 when dropped
	for i := range t.Columns {
		moved[i] = -1
		if r.selectors[at].columns.MatchColumn(t.Columns[i].Name) {
			moved[i] = len(keep)
			keep = append(keep, i)
		}
	}
	if len(keep) == len(t.Columns) {
		return nil
	}
	dropped := func(i int) bool { return moved[i] < 0 }
	if rule.method == byIndex && rule.index == "" {
		p.keys = slices.DeleteFunc(p.keys, dropped)
	}
	for _, i := range p.keys {
		if dropped(i) {
			return errors.ErrColumnSelectorFailed.Wrap(fmt.Errorf(
				"column %s of table %s.%s is needed for its partition rule", t.Columns[i].Name, t.Schema, t.Name))
		}
	}
	p.selected, p.Table = keep, reduce(t, keep, moved)
	if len(p.Table.Indexes) == 0 {
		return errors.ErrColumnSelectorFailed.Wrap(fmt.Errorf(
			"neither the primary key nor a unique index of table %s.%s is selected", t.Schema, t.Name))
	}
	return nil
}

// reduce copies a table version with some of its columns and the unique
// indexes that are complete with them.
func reduce(t *model.Table, keep, moved []int) *model.Table {
	out := *t
	out.Columns = make([]model.Column, len(keep))
	for to, from := range keep {
		out.Columns[to] = t.Columns[from]
	}
	out.Indexes, out.HandleKey = nil, nil
	for _, x := range t.Indexes {
		if columns, whole := move(x.Columns, moved); whole {
			x.Columns = columns
			out.Indexes = append(out.Indexes, x)
			if x.NotNull && (out.HandleKey == nil || len(columns) < len(out.HandleKey)) {
				out.HandleKey = columns
			}
		}
	}
	if key, whole := move(t.HandleKey, moved); whole && len(key) > 0 {
		out.HandleKey = key
	}
	for i := range out.Columns { // a part of a key that is not whole is none
		out.Columns[i].Flag &^= model.FlagHandleKey
	}
	for _, i := range out.HandleKey {
		out.Columns[i].Flag |= model.FlagHandleKey
	}
	return &out
}

// move translates positions; false when one of them is gone.
func move(positions, moved []int) ([]int, bool) {
	out := make([]int, len(positions))
	for i, p := range positions {
		if moved[p] < 0 {
			return nil, false
		}
		out[i] = moved[p]
	}
	return out, true
}
