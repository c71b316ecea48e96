package mysql

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/format"
	timysql "github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	// The parser makes literals through this package's hooks.
	_ "github.com/pingcap/tidb/pkg/types/parser_driver"
)

// withoutVectors turns VECTOR columns of a statement into LONGTEXT, for
// databases that do not know the type.
func withoutVectors(query string) (string, error) {
	stmt, err := parser.New().ParseOneStmt(query, "", "")
	if err != nil {
		return "", err
	}
	changed := false
	column := func(c *ast.ColumnDef) {
		if c.Tp != nil && c.Tp.GetType() == timysql.TypeTiDBVectorFloat32 {
			c.Tp = types.NewFieldType(timysql.TypeLongBlob)
			c.Tp.SetCharset(timysql.UTF8MB4Charset)
			c.Tp.SetCollate(timysql.UTF8MB4DefaultCollation)
			changed = true
		}
	}
	switch s := stmt.(type) {
	case *ast.CreateTableStmt:
		for _, c := range s.Cols {
			column(c)
		}
	case *ast.AlterTableStmt:
		for _, spec := range s.Specs {
			for _, c := range spec.NewColumns {
				column(c)
			}
		}
	}
	if !changed {
		return query, nil
	}
	var b strings.Builder
	flags := format.DefaultRestoreFlags | format.RestoreTiDBSpecialComment | format.RestoreStringEscapeBackslash
	if err := stmt.Restore(format.NewRestoreCtx(flags, &b)); err != nil {
		return "", err
	}
	return b.String(), nil
}
