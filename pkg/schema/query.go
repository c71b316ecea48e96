package schema

import (
	"fmt"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/schema/statement"
)

// finalQuery writes the statement of one event.
func finalQuery(ev *model.DDLEvent) (string, error) {
	switch ev.Type {
	case timodel.ActionDropTable:
		return "DROP TABLE " + quoted(ev.Schema, ev.Table), nil
	case timodel.ActionDropView:
		return "DROP VIEW " + quoted(ev.Schema, ev.Table), nil
	}
	stmts, err := statement.Parse(ev.Query, ev.SQLMode)
	if err != nil {
		return "", err
	}
	if ev.Type == timodel.ActionRenameTable && !isRenameOf(stmts, ev) {
		return renameQuery(ev), nil
	}
	if len(stmts) != 1 {
		return "", fmt.Errorf("%d statements instead of one: %s", len(stmts), ev.Query)
	}
	if ev.Type == timodel.ActionExchangeTablePartition {
		qualifyExchange(stmts[0], ev)
	}
	return statement.Write(stmts[0])
}

func renameQuery(ev *model.DDLEvent) string {
	return fmt.Sprintf("RENAME TABLE %s TO %s", quoted(ev.OldSchema, ev.OldTable), quoted(ev.Schema, ev.Table))
}

// isRenameOf tells whether the statement is about this one rename and says
// all the names that are needed, so that it can go downstream as it is.
func isRenameOf(stmts []ast.StmtNode, ev *model.DDLEvent) bool {
	if len(stmts) != 1 {
		return false
	}
	var from, to *ast.TableName
	switch stmt := stmts[0].(type) {
	case *ast.RenameTableStmt:
		if len(stmt.TableToTables) != 1 {
			return false
		}
		from, to = stmt.TableToTables[0].OldTable, stmt.TableToTables[0].NewTable
	case *ast.AlterTableStmt:
		if len(stmt.Specs) != 1 || stmt.Specs[0].NewTable == nil {
			return false
		}
		from, to = stmt.Table, stmt.Specs[0].NewTable
	default:
		return false
	}
	// An unqualified name is in the database of the session, which is not known.
	return strings.EqualFold(ev.OldSchema, ev.Schema) || from.Schema.O != "" && to.Schema.O != ""
}

// splitCreates gives each event its statement out of the batch's text.
func splitCreates(batch *model.DDLEvent, events []*model.DDLEvent) ([]*model.DDLEvent, error) {
	stmts, err := statement.Parse(batch.Query, batch.SQLMode)
	if err != nil {
		return nil, fmt.Errorf("statement of DDL job %d: %w", batch.JobID, err)
	}
	byName := make(map[string]ast.StmtNode, len(stmts))
	for _, s := range stmts {
		if create, ok := s.(*ast.CreateTableStmt); ok {
			byName[create.Table.Name.L] = s
		}
	}
	out := make([]*model.DDLEvent, len(events))
	for i, ev := range events {
		s, ok := byName[strings.ToLower(ev.Table)]
		if !ok {
			return nil, fmt.Errorf("DDL job %d has no statement for table `%s`.`%s`", ev.JobID, ev.Schema, ev.Table)
		}
		single := *ev
		single.Query = s.Text()
		out[i] = &single
	}
	return out, nil
}

// qualifyExchange names the databases of both tables: they may differ.
func qualifyExchange(stmt ast.StmtNode, ev *model.DDLEvent) {
	alter, ok := stmt.(*ast.AlterTableStmt)
	if !ok {
		return
	}
	alter.Table.Schema = ast.NewCIStr(ev.Schema)
	for _, spec := range alter.Specs {
		if spec.Tp == ast.AlterTableExchangePartition && spec.NewTable != nil && len(ev.Parts) == 1 {
			spec.NewTable.Schema = ast.NewCIStr(ev.Parts[0].Schema)
		}
	}
}

// quoted is a qualified name in back quotes.
func quoted(schema, table string) string {
	return quote(schema) + "." + quote(table)
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
