package schema

import (
	"fmt"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/format"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	_ "github.com/pingcap/tidb/pkg/types/parser_driver" // literals in statements

	"github.com/tidemark/tidemark/pkg/model"
)

// restoreFlags is how statements are written: what only TiDB knows stands in
// comments that only TiDB reads, placement is left out, and expired rows are
// deleted upstream only.
const restoreFlags = format.RestoreKeyWordUppercase | format.RestoreNameBackQuotes | format.RestoreStringSingleQuotes |
	format.RestoreTiDBSpecialComment | format.SkipPlacementRuleForRestore | format.RestoreWithTTLEnableOff

// finalQuery writes the statement of one event.
func finalQuery(ev *model.DDLEvent) (string, error) {
	switch ev.Type {
	case timodel.ActionDropTable:
		return "DROP TABLE " + quoted(ev.Schema, ev.Table), nil
	case timodel.ActionDropView:
		return "DROP VIEW " + quoted(ev.Schema, ev.Table), nil
	}
	stmts, err := parse(ev.Query, ev.SQLMode)
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
	return restore(stmts[0])
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
	stmts, err := parse(batch.Query, batch.SQLMode)
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

func parse(query string, mode mysql.SQLMode) ([]ast.StmtNode, error) {
	p := parser.New()
	p.SetSQLMode(mode)
	stmts, _, err := p.ParseSQL(query)
	if err != nil {
		return nil, fmt.Errorf("parse %q: %w", query, err)
	}
	return stmts, nil
}

func restore(stmt ast.StmtNode) (string, error) {
	stmt.Accept(escaper{})
	var b strings.Builder
	if err := stmt.Restore(format.NewRestoreCtx(restoreFlags, &b)); err != nil {
		return "", fmt.Errorf("write out %q: %w", stmt.Text(), err)
	}
	return b.String(), nil
}

// escaper doubles the backslashes in strings that are written as they are:
// comments, and elements of enums and sets. Literals need no such help.
type escaper struct{}

// Enter implements ast.Visitor.
func (escaper) Enter(n ast.Node) (ast.Node, bool) {
	switch n := n.(type) {
	case *ast.TableOption:
		n.StrValue = escape(n.StrValue)
	case *ast.IndexOption:
		n.Comment = escape(n.Comment)
	case *ast.ColumnDef:
		if n.Tp == nil {
			break
		}
		for i, e := range n.Tp.GetElems() {
			n.Tp.SetElem(i, escape(e))
		}
	case *ast.PartitionOptions:
		escapeDefinitions(n.Definitions)
	case *ast.AlterTableSpec:
		escapeDefinitions(n.PartDefinitions)
	}
	return n, false
}

// Leave implements ast.Visitor.
func (escaper) Leave(n ast.Node) (ast.Node, bool) { return n, true }

func escapeDefinitions(definitions []*ast.PartitionDefinition) {
	for _, d := range definitions {
		for _, o := range d.Options {
			o.StrValue = escape(o.StrValue)
		}
	}
}

func escape(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }

// quoted is a qualified name in back quotes.
func quoted(schema, table string) string {
	return quote(schema) + "." + quote(table)
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
