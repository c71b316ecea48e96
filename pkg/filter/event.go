package filter

import (
	"regexp"
	"slices"
	"strings"

	tfilter "github.com/pingcap/tidb/pkg/util/table-filter"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// eventFilter drops some events of the tables that it matches.
type eventFilter struct {
	cfg     *config.EventFilterConfig
	matcher tfilter.Filter
	kinds   kinds
	sql     *regexp.Regexp // nil: none
	sqlErr  error          // why the patterns do not compile
}

// newEventFilter compiles an entry. As in TiCDC 8.5, its matcher minds case
// whatever case-sensitive says, and patterns that do not compile take
// ignore-event out of force with them.
func newEventFilter(cfg *config.EventFilterConfig) (*eventFilter, error) {
	e := &eventFilter{cfg: cfg}
	var err error
	if e.matcher, err = tfilter.Parse(cfg.Matcher); err != nil {
		return nil, errors.ErrFilterRuleInvalid.Wrap(err, cfg.Matcher)
	}
	if e.kinds, err = parseKinds(cfg.IgnoreEvent); err != nil {
		return nil, err
	}
	if len(cfg.IgnoreSQL) > 0 {
		e.sql, e.sqlErr = regexp.Compile("(?i)" + strings.Join(cfg.IgnoreSQL, "|"))
	}
	if e.sqlErr != nil {
		e.kinds = kinds{}
	}
	return e, nil
}

func (e *eventFilter) dropsRows() bool {
	return e.kinds.rows != [len(e.kinds.rows)]bool{} || len(e.expressions()) > 0
}

// expressions are the texts that are set.
func (e *eventFilter) expressions() []string {
	var out []string
	for _, text := range []string{
		e.cfg.IgnoreInsertValueExpr, e.cfg.IgnoreUpdateNewValueExpr, e.cfg.IgnoreUpdateOldValueExpr, e.cfg.IgnoreDeleteValueExpr,
	} {
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

// ignoresDDL judges one statement. The text is the user's, where there is one
// for this table alone.
func (e *eventFilter) ignoresDDL(ev *model.DDLEvent, text string) bool {
	schema, table := ev.Schema, ev.Table
	if ev.OldSchema != "" || ev.OldTable != "" {
		schema, table = ev.OldSchema, ev.OldTable
	}
	if table == "" && !e.matcher.MatchSchema(schema) || table != "" && !e.matcher.MatchTable(schema, table) {
		return false
	}
	return e.kinds.hasDDL(ev.Type) || e.sql != nil && e.sql.MatchString(text)
}

// IgnoresDDL tells whether a DDL that concerns replicated tables stays away
// from the downstream, by its start-ts or an event filter. A rename is judged
// by the old name. The text is what ignore-sql looks at: the user's statement,
// or where that is about several tables, the one of this table.
func (f *Filter) IgnoresDDL(ev *model.DDLEvent, text string) bool {
	if f.IgnoresTxn(ev.StartTs) {
		return true
	}
	for _, e := range f.events {
		if e.ignoresDDL(ev, text) {
			return true
		}
	}
	return false
}

// RowRule is what one event filter says about the rows of a table.
type RowRule struct {
	Drop [model.RowDelete + 1]bool // by model.RowKind: whatever is in the row
	// SQL conditions under which a row is dropped; empty: none.
	Insert, UpdateOld, UpdateNew, Delete string
}

// RowRules are the rules for the rows of a table.
func (f *Filter) RowRules(schema, table string) []RowRule {
	var out []RowRule
	for _, e := range f.events {
		if e.dropsRows() && e.matcher.MatchTable(schema, table) {
			out = append(out, RowRule{
				Drop: e.kinds.rows, Insert: e.cfg.IgnoreInsertValueExpr, UpdateOld: e.cfg.IgnoreUpdateOldValueExpr,
				UpdateNew: e.cfg.IgnoreUpdateNewValueExpr, Delete: e.cfg.IgnoreDeleteValueExpr,
			})
		}
	}
	return out
}

// FiltersRows tells whether any row could be dropped, by a rule or with its
// transaction.
func (f *Filter) FiltersRows() bool {
	return f.IgnoresTxns() || slices.ContainsFunc(f.events, (*eventFilter).dropsRows)
}

// Expressions are the SQL conditions of all event filters.
func (f *Filter) Expressions() []string {
	var out []string
	for _, e := range f.events {
		out = append(out, e.expressions()...)
	}
	return out
}

// CheckPatterns looks at ignore-sql, which New takes as it is. An error is an
// ErrFilterRuleInvalid.
func (f *Filter) CheckPatterns() error {
	for _, e := range f.events {
		if e.sqlErr != nil {
			return errors.ErrFilterRuleInvalid.Wrap(e.sqlErr, e.cfg.IgnoreSQL)
		}
	}
	return nil
}
