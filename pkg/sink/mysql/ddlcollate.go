package mysql

import (
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	timysql "github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/schema/statement"
)

// withCollations adds the collations that a statement leaves to the server:
// those of TiDB compare bytes where MySQL and MariaDB would take letters in
// any case for equal, so that unique keys collide. A statement that names all
// of them, or cannot be read, stays as it is.
func withCollations(ev *model.DDLEvent, query string) string {
	switch ev.Type {
	case timodel.ActionCreateSchema, timodel.ActionModifySchemaCharsetAndCollate,
		timodel.ActionCreateTable, timodel.ActionCreateTables, timodel.ActionModifyTableCharsetAndCollate,
		timodel.ActionAddColumn, timodel.ActionAddColumns, timodel.ActionModifyColumn, timodel.ActionMultiSchemaChange:
	default:
		return query
	}
	stmts, err := statement.Parse(query, 0)
	if err != nil || len(stmts) != 1 {
		return query
	}
	c := collations{}
	if ev.Info != nil {
		c.table = ev.Info.Info
	}
	if !c.add(stmts[0]) {
		return query
	}
	text, err := statement.Write(stmts[0])
	if err != nil {
		return query
	}
	return text
}

// collations are those of a table as a DDL leaves it.
type collations struct {
	table *timodel.TableInfo // nil in DDL of databases
}

// add completes a statement; false when there was nothing to do.
func (c collations) add(stmt ast.StmtNode) (changed bool) {
	switch s := stmt.(type) {
	case *ast.CreateDatabaseStmt:
		s.Options, changed = c.ofDatabase(s.Options)
	case *ast.AlterDatabaseStmt:
		s.Options, changed = c.ofDatabase(s.Options)
	case *ast.CreateTableStmt:
		if s.ReferTable != nil || c.table == nil {
			return false
		}
		changed = c.ofColumns(s.Cols)
		if has(s.Options, ast.TableOptionCollate) || c.table.Charset == "" || c.table.Collate == "" {
			return changed
		}
		if !has(s.Options, ast.TableOptionCharset) {
			s.Options = append(s.Options, &ast.TableOption{Tp: ast.TableOptionCharset, StrValue: c.table.Charset})
		}
		s.Options = append(s.Options, &ast.TableOption{Tp: ast.TableOptionCollate, StrValue: c.table.Collate})
		return true
	case *ast.AlterTableStmt:
		if c.table == nil {
			return false
		}
		for _, spec := range s.Specs {
			changed = c.ofColumns(spec.NewColumns) || changed
			if has(spec.Options, ast.TableOptionCharset) && !has(spec.Options, ast.TableOptionCollate) && c.table.Collate != "" {
				spec.Options = append(spec.Options, &ast.TableOption{Tp: ast.TableOptionCollate, StrValue: c.table.Collate})
				changed = true
			}
		}
	}
	return changed
}

func has(options []*ast.TableOption, tp ast.TableOptionType) bool {
	for _, o := range options {
		if o.Tp == tp {
			return true
		}
	}
	return false
}

// ofDatabase adds the collation of a charset. New databases for which nothing
// is said take that of the session.
func (collations) ofDatabase(options []*ast.DatabaseOption) ([]*ast.DatabaseOption, bool) {
	name := ""
	for _, o := range options {
		switch o.Tp {
		case ast.DatabaseOptionCollate:
			return options, false
		case ast.DatabaseOptionCharset:
			name = o.Value
		}
	}
	collation, err := charset.GetDefaultCollation(name)
	if name == "" || err != nil {
		return options, false
	}
	return append(options, &ast.DatabaseOption{Tp: ast.DatabaseOptionCollate, Value: collation}), true
}

// ofColumns adds the collations of columns that have a charset of their own.
func (c collations) ofColumns(columns []*ast.ColumnDef) (changed bool) {
	for _, def := range columns {
		if def.Tp == nil || def.Tp.GetCharset() == "" || def.Tp.GetCharset() == charset.CharsetBin ||
			def.Tp.GetCollate() != "" || timysql.HasBinaryFlag(def.Tp.GetFlag()) || namesCollation(def) {
			continue
		}
		for _, column := range c.table.Columns {
			if strings.EqualFold(column.Name.O, def.Name.Name.O) && column.GetCollate() != "" {
				def.Tp.SetCollate(column.GetCollate())
				changed = true
			}
		}
	}
	return changed
}

func namesCollation(def *ast.ColumnDef) bool {
	for _, o := range def.Options {
		if o.Tp == ast.ColumnOptionCollate {
			return true
		}
	}
	return false
}
