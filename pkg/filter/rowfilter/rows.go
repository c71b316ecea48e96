// Package rowfilter drops row changes as the event filters of a changefeed
// say. It is apart from package filter because it needs TiDB's expressions,
// which are large: only the server links them.
package rowfilter

import (
	stderrors "errors"
	"time"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/filter/expr"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// maxVerdicts bounds the table versions that a Rows remembers.
const maxVerdicts = 1024

// Rows drops single row changes. It is not safe for concurrent use: every
// worker has its own. A nil Rows keeps every row.
type Rows struct {
	filter   *filter.Filter
	zone     *time.Location
	decoder  *mounter.Decoder
	verdicts map[*model.Table]*verdict
	last     *verdict
}

// verdict is what the filter says about the rows of a table version.
type verdict struct {
	table *model.Table
	conditions
	keepAll bool
}

// conditions drop rows by kind, or by what is in them.
type conditions struct {
	drop                                 [model.RowDelete + 1]bool
	insert, updateOld, updateNew, delete []*expr.Condition
}

func (c *conditions) empty() bool {
	return c.drop == [len(c.drop)]bool{} && len(c.insert)+len(c.updateOld)+len(c.updateNew)+len(c.delete) == 0
}

// New prepares the filtering of rows for one worker; nil when no setting is
// about rows. Expressions see timestamps in zone.
func New(f *filter.Filter, zone *time.Location) *Rows {
	if !f.FiltersRows() {
		return nil
	}
	return &Rows{filter: f, zone: zone, decoder: mounter.NewBinaryJSONDecoder(zone), verdicts: map[*model.Table]*verdict{}}
}

// Check looks at the expressions of a filter: their syntax
// (ErrInvalidFilterExpression) and, for the tables that they are for, the
// columns in them (ErrExpressionColumnNotFound).
func Check(f *filter.Filter, tables []*model.Table) error {
	texts := f.Expressions()
	if len(texts) == 0 {
		return nil
	}
	for _, text := range texts {
		// The parser's words would be about a statement around the text.
		if expr.Check(text) != nil {
			return errors.ErrExpressionParseFailed.New(text)
		}
	}
	for _, t := range tables {
		if t.IsView() || t.IsSequence() || !f.MatchTable(t.Schema, t.Name) {
			continue
		}
		if _, err := conditionsOf(f, t, time.UTC); err != nil {
			return err
		}
	}
	return nil
}

// Keep returns the rows of one table version that are replicated, in the front
// of the same memory. Errors: ErrInvalidFilterExpression and
// ErrExpressionColumnNotFound when an expression does not fit the table,
// ErrFailedToFilterDML when it cannot be computed for a row.
func (r *Rows) Keep(t *model.Table, rows []model.RawChange) ([]model.RawChange, error) {
	if r == nil {
		return rows, nil
	}
	v, err := r.verdictOn(t)
	if err != nil {
		return nil, err
	}
	if v.keepAll && !r.filter.IgnoresTxns() {
		return rows, nil
	}
	kept := 0
	for i := range rows {
		drop, err := r.drops(v, &rows[i])
		if err != nil {
			return nil, err
		}
		if drop {
			continue
		}
		if kept != i {
			rows[kept] = rows[i]
		}
		kept++
	}
	return rows[:kept], nil
}

func (r *Rows) drops(v *verdict, c *model.RawChange) (bool, error) {
	if r.filter.IgnoresTxn(c.StartTs) {
		return true, nil
	}
	if v.keepAll {
		return false, nil
	}
	switch {
	case c.IsInsert():
		return r.judge(v, c, model.RowInsert, mounter.New, v.insert)
	case c.IsUpdate():
		drop, err := r.judge(v, c, model.RowUpdate, mounter.Old, v.updateOld)
		if drop || err != nil {
			return drop, err
		}
		return r.judge(v, c, model.RowUpdate, mounter.New, v.updateNew)
	case len(c.OldValue()) > 0:
		return r.judge(v, c, model.RowDelete, mounter.Old, v.delete)
	}
	return false, nil // inserted and deleted by one transaction
}

func (r *Rows) judge(v *verdict, c *model.RawChange, kind model.RowKind, side mounter.Side, list []*expr.Condition) (bool, error) {
	if v.drop[kind] {
		return true, nil
	}
	for _, cond := range list {
		holds, err := cond.Holds(r.decoder, v.table, c, side)
		if err != nil {
			return false, failed(v.table, c, err)
		}
		if holds {
			return true, nil
		}
	}
	return false, nil
}

// failed says which row it was without showing its values.
func failed(t *model.Table, c *model.RawChange, cause error) error {
	if errors.CodeOf(cause) != "" {
		return cause // the row could not be decoded
	}
	return errors.ErrFailedToFilterDML.Wrap(cause, t.Schema+"."+t.Name, c.CommitTs)
}

func (r *Rows) verdictOn(t *model.Table) (*verdict, error) {
	if r.last != nil && r.last.table == t {
		return r.last, nil
	}
	v, ok := r.verdicts[t]
	if !ok {
		c, err := conditionsOf(r.filter, t, r.zone)
		if err != nil {
			return nil, err
		}
		v = &verdict{table: t, conditions: c, keepAll: c.empty()}
		if len(r.verdicts) >= maxVerdicts {
			clear(r.verdicts)
		}
		r.verdicts[t] = v
	}
	r.last = v
	return v, nil
}

// conditionsOf prepares the rules for a table.
func conditionsOf(f *filter.Filter, t *model.Table, zone *time.Location) (conditions, error) {
	var c conditions
	for _, rule := range f.RowRules(t.Schema, t.Name) {
		for kind, drop := range rule.Drop {
			c.drop[kind] = c.drop[kind] || drop
		}
		for _, x := range []struct {
			text string
			list *[]*expr.Condition
		}{
			{rule.Insert, &c.insert}, {rule.UpdateOld, &c.updateOld}, {rule.UpdateNew, &c.updateNew}, {rule.Delete, &c.delete},
		} {
			if x.text == "" {
				continue
			}
			cond, err := expr.Compile(x.text, t, zone)
			if err != nil {
				return c, misfit(err, t, x.text)
			}
			*x.list = append(*x.list, cond)
		}
	}
	return c, nil
}

// misfit gives an error of an expression its code.
func misfit(err error, t *model.Table, text string) error {
	var unknown *expr.UnknownColumnError
	if stderrors.As(err, &unknown) {
		return errors.ErrExpressionColumnNotFound.New(unknown.Column, t.Schema+"."+t.Name, text)
	}
	return errors.ErrExpressionParseFailed.Wrap(err, text)
}
