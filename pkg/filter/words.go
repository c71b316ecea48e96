package filter

import (
	"slices"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// kinds are the events that a list of words names.
type kinds struct {
	rows    [model.RowDelete + 1]bool // by model.RowKind
	ddl     []timodel.ActionType
	allDDLs bool
}

// parseKinds reads the words of ignore-event. They are compared as they are
// written; an unknown one is an ErrInvalidIgnoreEventType.
func parseKinds(words []string) (kinds, error) {
	var k kinds
	for _, w := range words {
		switch w {
		case "all dml":
			k.rows[model.RowInsert], k.rows[model.RowUpdate], k.rows[model.RowDelete] = true, true, true
		case "insert":
			k.rows[model.RowInsert] = true
		case "update":
			k.rows[model.RowUpdate] = true
		case "delete":
			k.rows[model.RowDelete] = true
		case "all ddl":
			k.allDDLs = true
		case "alter table":
			for _, word := range alterWords() {
				k.ddl = append(k.ddl, actionsOf(word)...)
			}
		default:
			actions := actionsOf(w)
			if actions == nil {
				return k, errors.ErrInvalidIgnoreEventType.New(w)
			}
			k.ddl = append(k.ddl, actions...)
		}
	}
	return k, nil
}

func (k *kinds) hasDDL(t timodel.ActionType) bool { return k.allDDLs || slices.Contains(k.ddl, t) }

// alterWords are the words that "alter table" stands for.
func alterWords() []string {
	return []string{
		"rename table", "modify table comment", "modify table charset and collate",
		"add table partition", "drop table partition", "truncate table partition", "exchange table partition",
		"reorganize table partition", "alter table partitioning", "remove table partitioning",
		"add column", "drop column", "modify column", "set default value",
		"rebase auto id", "add primary key", "drop primary key",
		"create index", "drop index", "rename index", "alter index visibility",
		"alter ttl info", "alter ttl remove", "multi schema change",
	}
}

// actionsOf returns the kinds of DDL job that a word names, nil for an unknown one.
func actionsOf(word string) []timodel.ActionType {
	one := func(t ...timodel.ActionType) []timodel.ActionType { return t }
	switch word {
	case "create schema", "create database":
		return one(timodel.ActionCreateSchema)
	case "drop schema", "drop database":
		return one(timodel.ActionDropSchema)
	case "modify schema charset and collate":
		return one(timodel.ActionModifySchemaCharsetAndCollate)
	case "create table":
		return one(timodel.ActionCreateTable, timodel.ActionCreateTables)
	case "drop table":
		return one(timodel.ActionDropTable)
	case "truncate table":
		return one(timodel.ActionTruncateTable)
	case "rename table":
		return one(timodel.ActionRenameTable, timodel.ActionRenameTables)
	case "recover table":
		return one(timodel.ActionRecoverTable)
	case "modify table comment":
		return one(timodel.ActionModifyTableComment)
	case "modify table charset and collate":
		return one(timodel.ActionModifyTableCharsetAndCollate)
	case "create view":
		return one(timodel.ActionCreateView)
	case "drop view":
		return one(timodel.ActionDropView)
	case "add table partition":
		return one(timodel.ActionAddTablePartition)
	case "drop table partition":
		return one(timodel.ActionDropTablePartition)
	case "truncate table partition":
		return one(timodel.ActionTruncateTablePartition)
	case "exchange table partition":
		return one(timodel.ActionExchangeTablePartition)
	case "reorganize table partition":
		return one(timodel.ActionReorganizePartition)
	case "alter table partitioning":
		return one(timodel.ActionAlterTablePartitioning)
	case "remove table partitioning":
		return one(timodel.ActionRemovePartitioning)
	}
	return columnActions(word)
}

// columnActions is the part of actionsOf about columns, keys and TTL.
func columnActions(word string) []timodel.ActionType {
	one := func(t ...timodel.ActionType) []timodel.ActionType { return t }
	switch word {
	case "add column":
		return one(timodel.ActionAddColumn, timodel.ActionAddColumns)
	case "drop column":
		return one(timodel.ActionDropColumn, timodel.ActionDropColumns)
	case "modify column":
		return one(timodel.ActionModifyColumn)
	case "set default value":
		return one(timodel.ActionSetDefaultValue)
	case "rebase auto id":
		return one(timodel.ActionRebaseAutoID)
	case "add primary key":
		return one(timodel.ActionAddPrimaryKey)
	case "drop primary key":
		return one(timodel.ActionDropPrimaryKey)
	case "create index":
		return one(timodel.ActionAddIndex)
	case "drop index":
		return one(timodel.ActionDropIndex)
	case "rename index":
		return one(timodel.ActionRenameIndex)
	case "alter index visibility":
		return one(timodel.ActionAlterIndexVisibility)
	case "alter ttl info":
		return one(timodel.ActionAlterTTLInfo)
	case "alter ttl remove":
		return one(timodel.ActionAlterTTLRemove)
	case "multi schema change":
		return one(timodel.ActionMultiSchemaChange)
	}
	return nil
}
