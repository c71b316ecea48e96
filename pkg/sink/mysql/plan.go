package mysql

import (
	"slices"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	timysql "github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/util/collate"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/schema/statement"
)

// tablePlan is what can be prepared once per table version: the constant
// pieces of its statements and how its rows are told apart.
type tablePlan struct {
	table *model.Table

	ident   []byte // column names, quoted, one after the other
	cols    []colPlan
	write   []int // columns that are written: all but generated ones
	enums   []int // positions in write of the enum columns
	where   []int // columns that find a row: the handle key, else all; see keyColumns
	hasKey  bool  // where is a key
	bareKey bool  // and has one column
	insert  []byte
	replace []byte
	del     []byte
	update  []byte
	// keyEquals is `k`= before the bare value of a key of one column; else empty.
	keyEquals []byte
	// unique are the columns of all unique keys; uniqueAt gives each column's
	// position in it.
	unique   []int
	uniqueAt []int

	// rawKey says that the raw row key identifies a row exactly as the handle
	// key does, so that rows are told apart without decoding them.
	rawKey bool
	// onlyKey says that no unique key but the handle key exists: a row can
	// only be in the way of itself.
	onlyKey bool

	// globalKey says that a unique key spans partitions, whose rows come in
	// any order. All of them are written like replays; see overtaken.
	globalKey bool

	// exchanges says that rows of one transaction may take unique values from
	// each other, in an order that single statements cannot follow. A part of
	// such a transaction is written like replays.
	exchanges bool

	conflict conflictMode
}

type colPlan struct {
	class     litClass
	keyClass  litClass // in conditions
	identFrom int      // the quoted name, in tablePlan.ident
	identTo   int
	collation string // of character columns, else empty
	// exact says that rows are found by this column among rows that differ
	// only in what the collation ignores.
	exact bool
	char  bool // without trailing spaces downstream
}

// conflictMode says how the conflict keys of a row are found.
type conflictMode uint8

const (
	conflictRawKey  conflictMode = iota // hash of the raw row key
	conflictColumns                     // hashes of every unique key's values
	conflictTable                       // all rows of the table conflict
)

// newTablePlan prepares a table for a downstream, which may have a JSON type
// that is more than text.
func newTablePlan(t *model.Table, jsonType bool) *tablePlan {
	p := &tablePlan{table: t, cols: make([]colPlan, len(t.Columns))}
	for i := range t.Columns {
		c := &t.Columns[i]
		cp := &p.cols[i]
		cp.class = classOf(c)
		if cp.keyClass = cp.class; c.Type == timysql.TypeJSON && jsonType {
			cp.keyClass = litJSON
		}
		cp.identFrom = len(p.ident)
		p.ident = appendIdent(p.ident, c.Name)
		cp.identTo = len(p.ident)
		if isCharacter(c) {
			cp.collation = c.FieldType.GetCollate()
		}
		if !c.Has(model.FlagGenerated) {
			if c.Type == timysql.TypeEnum {
				p.enums = append(p.enums, len(p.write))
			}
			p.write = append(p.write, i)
		}
	}
	p.hasKey = len(t.HandleKey) > 0
	p.globalKey = t.Info != nil && slices.ContainsFunc(t.Info.Indices, func(ix *timodel.IndexInfo) bool {
		return ix.Global && (ix.Unique || ix.Primary)
	})
	p.where = keyColumns(t, p.globalKey)
	if !p.hasKey {
		for i := range t.Columns {
			p.where = append(p.where, i)
			p.cols[i].exact = p.cols[i].collation != ""
			p.cols[i].char = t.Columns[i].Type == timysql.TypeString
		}
	}
	p.bareKey = p.hasKey && len(p.where) == 1
	p.texts()
	p.uniqueColumns()

	clustered := t.Info != nil && (t.Info.PKIsHandle || t.Info.IsCommonHandle)
	p.onlyKey = p.hasKey && onlyUniqueKey(t)
	p.rawKey = p.hasKey && clustered && !prefixed(t) && !slices.ContainsFunc(t.HandleKey, func(i int) bool {
		return collate.IsCICollation(p.cols[i].collation)
	})
	p.exchanges = !(p.rawKey && p.onlyKey) && (len(t.Indexes) > 0 || untrackedUnique(t))
	switch {
	case untrackedUnique(t) || (!p.hasKey && len(t.Indexes) == 0):
		p.conflict = conflictTable
	case clustered && p.onlyKey:
		p.conflict = conflictRawKey
	default:
		p.conflict = conflictColumns
	}
	return p
}

// keyColumns are the columns of the handle key. Where that may span partitions,
// it takes those with it that say which partition a row is in: a row that moves
// to another one comes as a delete and an insert in any order, and the delete
// must not find what has been inserted.
func keyColumns(t *model.Table, global bool) []int {
	if !global || len(t.HandleKey) == 0 || t.Info.Partition == nil {
		return t.HandleKey
	}
	columns := slices.Clone(t.HandleKey)
	named := partitionColumns(t.Info.Partition)
	for i := range t.Columns {
		name := strings.ToLower(t.Columns[i].Name)
		if slices.Contains(named, name) && !slices.Contains(columns, i) {
			columns = append(columns, i)
		}
	}
	return columns
}

// partitionColumns are the lower-case names of the columns that a table is
// partitioned by.
func partitionColumns(p *timodel.PartitionInfo) []string {
	var names columnNames
	for _, c := range p.Columns {
		names = append(names, c.L)
	}
	if p.Expr != "" {
		stmts, err := statement.Parse("SELECT "+p.Expr, 0)
		if err == nil && len(stmts) == 1 {
			stmts[0].Accept(&names)
		}
	}
	return names
}

// columnNames collects the names of columns in an expression.
type columnNames []string

// Enter implements ast.Visitor.
func (c *columnNames) Enter(n ast.Node) (ast.Node, bool) {
	if name, ok := n.(*ast.ColumnName); ok {
		*c = append(*c, name.Name.L)
	}
	return n, false
}

// Leave implements ast.Visitor.
func (c *columnNames) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// texts prepares the constant beginnings of the statements.
func (p *tablePlan) texts() {
	name := append(appendIdent(nil, p.table.Schema), '.')
	name = appendIdent(name, p.table.Name)

	values := append(slices.Clone(name), " ("...)
	for n, i := range p.write {
		if n > 0 {
			values = append(values, ',')
		}
		values = append(values, p.name(i)...)
	}
	values = append(values, ") VALUES "...)
	p.insert = append([]byte("INSERT INTO "), values...)
	p.replace = append([]byte("REPLACE INTO "), values...)
	p.del = append(append([]byte("DELETE FROM "), name...), " WHERE "...)
	p.update = append(append([]byte("UPDATE "), name...), " SET "...)
	if p.bareKey {
		p.keyEquals = append(slices.Clone(p.name(p.where[0])), '=')
	}
}

func (p *tablePlan) uniqueColumns() {
	p.uniqueAt = make([]int, len(p.cols))
	for i := range p.table.Indexes {
		for _, c := range p.table.Indexes[i].Columns {
			if n := slices.Index(p.unique, c); n >= 0 {
				continue
			}
			p.uniqueAt[c] = len(p.unique)
			p.unique = append(p.unique, c)
		}
	}
}

// name is the quoted name of a column.
func (p *tablePlan) name(i int) []byte { return p.ident[p.cols[i].identFrom:p.cols[i].identTo] }

func isCharacter(c *model.Column) bool {
	switch c.Type {
	case timysql.TypeString, timysql.TypeVarchar, timysql.TypeVarString,
		timysql.TypeTinyBlob, timysql.TypeBlob, timysql.TypeMediumBlob, timysql.TypeLongBlob:
		return !c.Has(model.FlagBinary) && c.FieldType != nil
	}
	return false
}

// onlyUniqueKey tells whether every unique key of the table is its handle key.
func onlyUniqueKey(t *model.Table) bool {
	if untrackedUnique(t) {
		return false
	}
	for i := range t.Indexes {
		ix := &t.Indexes[i]
		if !slices.Equal(ix.Columns, t.HandleKey) || slices.ContainsFunc(ix.PrefixLengths, func(n int) bool { return n > 0 }) {
			return false
		}
	}
	return true
}

// prefixed tells whether the primary key holds only the beginning of a column.
func prefixed(t *model.Table) bool {
	for i := range t.Indexes {
		if ix := &t.Indexes[i]; ix.Primary {
			return slices.ContainsFunc(ix.PrefixLengths, func(n int) bool { return n > 0 })
		}
	}
	return false
}

// untrackedUnique tells whether the table has a unique key that is not among
// its indexes: over a virtual column or an expression, whose values are not in
// the rows, or over a part of the rows.
func untrackedUnique(t *model.Table) bool {
	if t.Info == nil {
		return false
	}
	return slices.ContainsFunc(t.Info.Indices, func(ix *timodel.IndexInfo) bool {
		return (ix.Unique || ix.Primary) && ix.State == timodel.StatePublic &&
			!slices.ContainsFunc(t.Indexes, func(known model.Index) bool { return known.ID == ix.ID })
	})
}
