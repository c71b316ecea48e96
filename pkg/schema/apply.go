package schema

import (
	"errors"
	"fmt"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

// apply carries out a job and returns what it did, nil when it concerns
// system databases only or nothing that is kept here.
func (c *catalog) apply(j *job) (*model.DDLEvent, error) {
	ev := &model.DDLEvent{
		JobID: j.ID, Type: j.Type, StartTs: j.startTs, CommitTs: j.commitTs,
		Query: j.Query, SQLMode: j.SQLMode, Charset: j.Charset, Collate: j.Collate, BDRRole: j.BDRRole, CDCWriteSource: j.CDCWriteSource,
		Schema: c.schemaName(j.SchemaID, j.SchemaName),
	}
	var err error
	switch j.Type {
	case timodel.ActionCreateSchema, timodel.ActionDropSchema, timodel.ActionModifySchemaCharsetAndCollate,
		timodel.ActionModifySchemaDefaultPlacement, timodel.ActionModifySchemaReadOnly,
		timodel.ActionModifySchemaSoftDeleteAndActiveActive:
		c.applySchema(j, ev)
	case timodel.ActionDropTable, timodel.ActionDropView, timodel.ActionDropSequence:
		c.applyDrop(j, ev)
	case timodel.ActionRenameTable:
		err = c.applyRename(j, ev)
	case timodel.ActionRenameTables:
		err = c.applyRenames(j, ev)
	case timodel.ActionCreateTables:
		c.applyCreates(j, ev)
	case timodel.ActionExchangeTablePartition:
		err = c.applyExchange(j, ev)
	default:
		c.applyTable(j, ev)
	}
	if err != nil {
		return nil, fmt.Errorf("DDL job %d (%s) finished at %d: %w", j.ID, j.Type, j.commitTs, err)
	}
	if concernsSystem(ev) {
		return nil, nil
	}
	return ev, nil
}

func concernsSystem(ev *model.DDLEvent) bool {
	if len(ev.Parts) > 0 {
		return false
	}
	return filter.IsSystemSchema(ev.Schema) && (ev.OldSchema == "" || filter.IsSystemSchema(ev.OldSchema))
}

func (c *catalog) applySchema(j *job, ev *model.DDLEvent) {
	db := j.BinlogInfo.DBInfo
	if db == nil {
		return
	}
	ev.Schema = db.Name.O
	if j.Type == timodel.ActionDropSchema {
		c.dropSchema(j.commitTs, db.ID)
		return
	}
	c.schemas.set(db.ID, j.commitTs, db)
}

func (c *catalog) applyDrop(j *job, ev *model.DDLEvent) {
	ev.Table = j.TableName
	if info := j.BinlogInfo.TableInfo; info != nil {
		ev.Table = info.Name.O
	}
	if ev.PreInfo = c.drop(j.commitTs, j.TableID); ev.PreInfo != nil {
		ev.Table = ev.PreInfo.Name
	}
}

// applyTable is for every kind that tells the table's new description: it
// creates the table, or changes it, or puts another one with a new id in its
// place (truncate, partitioning, replaced views).
func (c *catalog) applyTable(j *job, ev *model.DDLEvent) {
	info := j.BinlogInfo.TableInfo
	if info == nil {
		return
	}
	ev.Table = info.Name.O
	if j.TableID != info.ID {
		ev.PreInfo = c.drop(j.commitTs, j.TableID)
	}
	if ev.PreInfo == nil {
		ev.PreInfo = c.tables.latest(info.ID)
	}
	if ev.PreInfo == nil {
		if old, ok := c.names[tableName{j.SchemaID, info.Name.L}]; ok {
			ev.PreInfo = c.drop(j.commitTs, old)
		}
	}
	ev.Info = c.put(j.commitTs, j.SchemaID, ev.Schema, info)
}

func (c *catalog) applyRename(j *job, ev *model.DDLEvent) error {
	info := j.BinlogInfo.TableInfo
	if info == nil {
		return errors.New("the job has no table")
	}
	ev.Table = info.Name.O
	ev.PreInfo = c.tables.latest(info.ID)
	// A snapshot from the middle of the job has the new name already.
	args, err := argsOf(j, timodel.GetRenameTableArgs)
	if err != nil {
		return err
	}
	ev.OldSchema = c.schemaName(args.OldSchemaID, args.OldSchemaName.O)
	ev.OldTable = oldName(args.OldTableName.O, j.TableName, ev.PreInfo)
	ev.Info = c.put(j.commitTs, j.SchemaID, ev.Schema, info)
	return nil
}

// argsOf decodes the arguments of a job that cannot do without.
func argsOf[T any](j *job, get func(*timodel.Job) (T, error)) (T, error) {
	if len(j.RawArgs) == 0 || string(j.RawArgs) == "null" {
		var none T
		return none, errors.New("the job has no arguments")
	}
	return get(j.Job)
}

// oldName is the name before a rename: what the job says, in the spelling of
// the table if it is the same.
func oldName(arg, fallback string, pre *model.Table) string {
	switch {
	case pre != nil && (arg == "" && fallback == "" || pre.Info.Name.L == fallback):
		return pre.Name
	case arg != "":
		return arg
	}
	return fallback
}

// applyRenames carries out a statement with several renames, in which a table
// may occur more than once. The job has the last state of each.
func (c *catalog) applyRenames(j *job, ev *model.DDLEvent) error {
	args, err := argsOf(j, timodel.GetRenameTablesArgs)
	if err != nil {
		return err
	}
	last := make(map[int64]*timodel.TableInfo, len(j.BinlogInfo.MultipleTableInfos))
	for _, info := range j.BinlogInfo.MultipleTableInfos {
		last[info.ID] = info
	}
	final := make(map[int64]*timodel.RenameTableArgs, len(last))
	for _, r := range args.RenameTableInfos {
		final[r.TableID] = r
	}
	before := make(map[int64]*model.Table, len(last))
	after := make(map[int64]*model.Table, len(last))
	for id := range final {
		if before[id] = c.tables.latest(id); before[id] != nil {
			c.unname(before[id]) // names may go round in a circle
		}
		if last[id] == nil {
			return fmt.Errorf("the job does not describe table %d", id)
		}
	}
	for id, r := range final {
		after[id] = c.put(j.commitTs, r.NewSchemaID, c.schemaName(r.NewSchemaID, ""), last[id])
	}
	for _, r := range args.RenameTableInfos {
		part := partOf(ev, timodel.ActionRenameTable)
		part.OldSchema = c.schemaName(r.OldSchemaID, r.OldSchemaName.O)
		part.OldTable = oldName(r.OldTableName.O, "", before[r.TableID])
		part.Schema, part.Table = c.schemaName(r.NewSchemaID, ""), r.NewTableName.O
		part.PreInfo, part.Info = before[r.TableID], after[r.TableID]
		ev.Parts = append(ev.Parts, part)
	}
	return nil
}

// partOf starts the description of one table's share in a job.
func partOf(ev *model.DDLEvent, kind timodel.ActionType) *model.DDLEvent {
	part := *ev
	part.Type, part.Seq, part.Parts = kind, len(ev.Parts), nil
	return &part
}

func (c *catalog) applyCreates(j *job, ev *model.DDLEvent) {
	for _, info := range j.BinlogInfo.MultipleTableInfos {
		part := partOf(ev, j.Type)
		part.Table = info.Name.O
		part.PreInfo = c.tables.latest(info.ID)
		part.Info = c.put(j.commitTs, j.SchemaID, ev.Schema, info)
		ev.Parts = append(ev.Parts, part)
	}
}

// applyExchange swaps the ids of a partition and a table. The job belongs to
// the table, but describes the partitioned one only.
func (c *catalog) applyExchange(j *job, ev *model.DDLEvent) error {
	args, err := argsOf(j, timodel.GetExchangeTablePartitionArgs)
	if err != nil {
		return err
	}
	info := j.BinlogInfo.TableInfo
	if info == nil || info.GetPartitionInfo() == nil {
		return errors.New("the job does not describe the partitioned table")
	}
	single := partOf(ev, j.Type)
	single.Seq = 1
	single.PreInfo = c.drop(j.commitTs, j.TableID)
	ev.Schema, ev.Table = c.schemaName(args.PTSchemaID, ""), info.Name.O
	ev.PreInfo = c.tables.latest(info.ID)
	ev.Info = c.put(j.commitTs, args.PTSchemaID, ev.Schema, info)
	single.Table = j.TableName
	if single.PreInfo != nil {
		moved := single.PreInfo.Info.Clone()
		moved.ID, moved.ExchangePartitionInfo = args.PartitionID, nil
		single.Table = single.PreInfo.Name
		single.Info = c.put(j.commitTs, j.SchemaID, single.Schema, moved)
	}
	ev.Parts = []*model.DDLEvent{single}
	return nil
}
