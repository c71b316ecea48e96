package schema

import (
	"fmt"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

// FilterDDL turns a job into the events that go downstream: none, one or
// several, each with exactly one normalised statement. Jobs of kinds that are
// not replicated and those on tables that the filter leaves out give none, as
// do those on tables that cannot be replicated. An error stops the changefeed:
// a table comes into the filter by a rename (ErrSyncRenameTableFailed) or
// stops being replicable, or the statement cannot be read.
func FilterDDL(ev *model.DDLEvent, f *filter.Filter, forceReplicate bool) ([]*model.DDLEvent, error) {
	var (
		out []*model.DDLEvent
		err error
	)
	switch {
	case !replicated(ev.Type):
		return nil, nil
	case ev.Type == timodel.ActionCreateTables:
		out, err = filterCreates(ev, f, forceReplicate)
	case ev.Type == timodel.ActionRenameTables:
		out, err = filterParts(ev.Parts, f, forceReplicate)
	case ev.Type == timodel.ActionExchangeTablePartition:
		out, err = filterExchange(ev, f, forceReplicate)
	case onSchema(ev.Type):
		if f.MatchSchema(ev.Schema) {
			out = append(out, ev)
		}
	default:
		out, err = filterParts([]*model.DDLEvent{ev}, f, forceReplicate)
	}
	if err != nil {
		return nil, err
	}
	return finished(ev, out, f)
}

// finished copies events, which are shared, and gives them their final
// statement and their place among the events of the job. What event filters
// ignore gives no event, and neither do statements of which nothing is left,
// since they were about placement.
func finished(job *model.DDLEvent, events []*model.DDLEvent, f *filter.Filter) ([]*model.DDLEvent, error) {
	var out []*model.DDLEvent
	for _, ev := range events {
		// Before the statement is parsed: one that cannot be is a reason to ignore it.
		text, err := filterText(job, ev)
		if err != nil {
			return nil, fmt.Errorf("statement of DDL job %d: %w", ev.JobID, err)
		}
		if f.IgnoresDDL(ev, text) {
			continue
		}
		query, err := finalQuery(ev)
		if err != nil {
			return nil, fmt.Errorf("statement of DDL job %d: %w", ev.JobID, err)
		}
		if query == "" {
			continue
		}
		done := *ev
		done.Query, done.Seq = query, len(out)
		out = append(out, &done)
	}
	return out, nil
}

// filterText is what event filters see of a statement: the user's text, or
// where that may be about other tables too, what is made of it for this one.
func filterText(job, ev *model.DDLEvent) (string, error) {
	switch {
	case job.Type == timodel.ActionRenameTables:
		return renameQuery(ev), nil
	case ev.Type == timodel.ActionDropTable, ev.Type == timodel.ActionDropView, ev.Type == timodel.ActionExchangeTablePartition:
		return finalQuery(ev)
	}
	return ev.Query, nil
}

// filterParts keeps the events of tables that are replicated.
func filterParts(parts []*model.DDLEvent, f *filter.Filter, force bool) ([]*model.DDLEvent, error) {
	var out []*model.DDLEvent
	for _, ev := range parts {
		match, err := matchTable(ev, f)
		if err != nil {
			return nil, err
		}
		if !match {
			continue
		}
		keep, err := eligible(ev, force)
		if err != nil {
			return nil, err
		}
		if keep {
			out = append(out, ev)
		}
	}
	return out, nil
}

// matchTable applies the table rules. A renamed table is judged by its old
// name: if only the new one matches, its rows from before are missing.
func matchTable(ev *model.DDLEvent, f *filter.Filter) (bool, error) {
	match := f.MatchTable(ev.Schema, ev.Table)
	if ev.Type != timodel.ActionRenameTable {
		return match, nil
	}
	if f.MatchTable(ev.OldSchema, ev.OldTable) {
		return true, nil
	}
	if match {
		id := int64(0)
		if ev.Info != nil {
			id = ev.Info.ID
		}
		return false, errors.ErrSyncRenameTableFailed.New(id, ev.Query)
	}
	return false, nil
}

// eligible tells whether the table can be replicated. Its DDL goes downstream
// if it could before or can after the change.
func eligible(ev *model.DDLEvent, force bool) (bool, error) {
	before, after := replicable(ev.PreInfo, force), replicable(ev.Info, force)
	if before && !after && ev.Info != nil {
		return false, fmt.Errorf("table `%s`.`%s` has no primary key or unique not-null key any more after DDL [%s]: "+
			"its rows could not be told apart; to go on, set force-replicate=true while the changefeed is paused and resume it",
			ev.Schema, ev.Table, ev.Query)
	}
	return before || after || ev.PreInfo == nil && ev.Info == nil, nil
}

func replicable(t *model.Table, force bool) bool {
	return t != nil && (t.IsView() || t.Eligible(force))
}

// filterCreates gives each table of a batch its own statement.
func filterCreates(ev *model.DDLEvent, f *filter.Filter, force bool) ([]*model.DDLEvent, error) {
	out, err := filterParts(ev.Parts, f, force)
	if err != nil || len(out) == 0 {
		return nil, err
	}
	return splitCreates(ev, out)
}

// filterExchange lets the statement pass when it touches a replicated table:
// rows move between the two tables, so one alone cannot follow.
func filterExchange(ev *model.DDLEvent, f *filter.Filter, force bool) ([]*model.DDLEvent, error) {
	for _, side := range append([]*model.DDLEvent{ev}, ev.Parts...) {
		if f.MatchTable(side.Schema, side.Table) && (replicable(side.PreInfo, force) || replicable(side.Info, force)) {
			return []*model.DDLEvent{ev}, nil
		}
	}
	return nil, nil
}

func onSchema(t timodel.ActionType) bool {
	switch t {
	case timodel.ActionCreateSchema, timodel.ActionDropSchema, timodel.ActionModifySchemaCharsetAndCollate:
		return true
	}
	return false
}

// replicated tells the kinds of job that are carried out downstream. The rest
// is about this cluster only (placement, statistics, TiFlash, locks, ...), or
// about things that are not replicated (sequences, users, ...).
func replicated(t timodel.ActionType) bool {
	switch t {
	case timodel.ActionCreateSchema, timodel.ActionDropSchema, timodel.ActionModifySchemaCharsetAndCollate,
		timodel.ActionCreateTable, timodel.ActionCreateTables, timodel.ActionDropTable, timodel.ActionTruncateTable,
		timodel.ActionRenameTable, timodel.ActionRenameTables, timodel.ActionRecoverTable,
		timodel.ActionModifyTableComment, timodel.ActionModifyTableCharsetAndCollate,
		timodel.ActionCreateView, timodel.ActionDropView,
		timodel.ActionAddTablePartition, timodel.ActionDropTablePartition, timodel.ActionTruncateTablePartition,
		timodel.ActionExchangeTablePartition, timodel.ActionReorganizePartition,
		timodel.ActionAlterTablePartitioning, timodel.ActionRemovePartitioning,
		timodel.ActionAddColumn, timodel.ActionAddColumns, timodel.ActionDropColumn, timodel.ActionDropColumns,
		timodel.ActionModifyColumn, timodel.ActionSetDefaultValue,
		timodel.ActionAddPrimaryKey, timodel.ActionDropPrimaryKey, timodel.ActionAddIndex, timodel.ActionDropIndex,
		timodel.ActionRenameIndex, timodel.ActionAlterIndexVisibility, timodel.ActionRebaseAutoID,
		timodel.ActionAlterTTLInfo, timodel.ActionAlterTTLRemove, timodel.ActionMultiSchemaChange:
		return true
	}
	return false
}
