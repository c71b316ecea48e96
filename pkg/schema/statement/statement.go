// Package statement reads DDL statements and writes them in the form in which
// they go downstream.
package statement

import (
	"fmt"
	"strings"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/format"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	_ "github.com/pingcap/tidb/pkg/types/parser_driver" // literals in statements
)

// restoreFlags is how statements are written: what only TiDB knows stands in
// comments that only TiDB reads, placement is left out, and expired rows are
// deleted upstream only.
const restoreFlags = format.RestoreKeyWordUppercase | format.RestoreNameBackQuotes | format.RestoreStringSingleQuotes |
	format.RestoreTiDBSpecialComment | format.SkipPlacementRuleForRestore | format.RestoreWithTTLEnableOff

// Parse reads the statements of a text.
func Parse(query string, mode mysql.SQLMode) ([]ast.StmtNode, error) {
	p := parser.New()
	p.SetSQLMode(mode)
	stmts, _, err := p.ParseSQL(query)
	if err != nil {
		return nil, fmt.Errorf("parse %q: %w", query, err)
	}
	return stmts, nil
}

// Write gives the text of a statement. The statement is not usable afterwards.
func Write(stmt ast.StmtNode) (string, error) {
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
