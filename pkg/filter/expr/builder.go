package expr

import (
	"errors"
	"fmt"

	"github.com/pingcap/tidb/pkg/expression"
	"github.com/pingcap/tidb/pkg/expression/exprstatic"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/types"
	driver "github.com/pingcap/tidb/pkg/types/parser_driver"
	"github.com/pingcap/tidb/pkg/util/collate"
	"github.com/pingcap/tidb/pkg/util/generatedexpr"

	"github.com/tidemark/tidemark/pkg/model"
)

// maxDepth bounds virtual columns that are computed from virtual columns. TiDB
// lets them refer to earlier ones only, so that it is never reached.
const maxDepth = 64

// builder makes expressions of syntax trees. Columns get their place in the
// row in the order in which they are met.
type builder struct {
	ctx       *exprstatic.ExprContext
	table     *model.Table
	positions []int                      // in Table.Columns
	columns   map[int]*expression.Column // by offset in TiDB's list
	depth     int
}

func newBuilder(ctx *exprstatic.ExprContext, t *model.Table) *builder {
	return &builder{ctx: ctx, table: t, columns: map[int]*expression.Column{}}
}

func (b *builder) typeOf(e expression.Expression) *types.FieldType {
	return e.GetType(b.ctx.GetEvalCtx())
}

// scalar builds an expression with a single value.
func (b *builder) scalar(n ast.ExprNode) (expression.Expression, error) {
	e, err := b.build(n)
	if err != nil {
		return nil, err
	}
	return e, expression.CheckArgsNotMultiColumnRow(e)
}

func (b *builder) scalars(nodes ...ast.ExprNode) ([]expression.Expression, error) {
	out := make([]expression.Expression, 0, len(nodes))
	for _, n := range nodes {
		e, err := b.scalar(n)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// call builds a function whose result type follows from its arguments.
func (b *builder) call(name string, args ...expression.Expression) (expression.Expression, error) {
	return expression.NewFunctionTryFold(b.ctx, name, types.NewFieldType(mysql.TypeUnspecified), args...)
}

// negate wraps an expression in NOT when it is asked to.
func (b *builder) negate(not bool, e expression.Expression, err error) (expression.Expression, error) {
	if err != nil || !not {
		return e, err
	}
	return b.call(ast.UnaryNot, e)
}

// build makes an expression, which is a row only for a RowExpr.
func (b *builder) build(node ast.ExprNode) (expression.Expression, error) {
	switch n := node.(type) {
	case *ast.ParenthesesExpr:
		return b.build(n.Expr)
	case *driver.ValueExpr:
		return b.constant(n), nil
	case *ast.ColumnNameExpr:
		return b.column(n.Name)
	case *ast.UnaryOperationExpr:
		return b.unary(n)
	case *ast.BinaryOperationExpr:
		return b.binary(n)
	case *ast.BetweenExpr:
		return b.between(n)
	case *ast.CaseExpr:
		return b.cases(n)
	case *ast.FuncCastExpr:
		return b.cast(n)
	case *ast.FuncCallExpr:
		return b.function(n)
	case *ast.PatternLikeOrIlikeExpr:
		return b.like(n)
	case *ast.PatternRegexpExpr:
		args, err := b.scalars(n.Expr, n.Pattern)
		if err != nil {
			return nil, err
		}
		e, err := b.call(ast.Regexp, args...)
		return b.negate(n.Not, e, err)
	case *ast.PatternInExpr:
		return b.in(n)
	case *ast.IsNullExpr:
		return b.test(n.Expr, ast.IsNull, n.Not)
	case *ast.IsTruthExpr:
		if n.True == 0 {
			return b.test(n.Expr, ast.IsFalsity, n.Not)
		}
		return b.test(n.Expr, ast.IsTruthWithoutNull, n.Not)
	case *ast.RowExpr:
		return b.row(n)
	case *ast.SetCollationExpr:
		return b.collation(n)
	case *ast.TrimDirectionExpr:
		return &expression.Constant{Value: types.NewIntDatum(int64(n.Direction)), RetType: types.NewFieldType(mysql.TypeTiny)}, nil
	case *ast.TimeUnitExpr:
		return word(n.Unit.String()), nil
	case *ast.GetFormatSelectorExpr:
		return word(n.Selector.String()), nil
	}
	return nil, fmt.Errorf("%T cannot be used in a filter", node)
}

func word(s string) expression.Expression {
	return &expression.Constant{Value: types.NewStringDatum(s), RetType: types.NewFieldType(mysql.TypeVarchar)}
}

func (b *builder) constant(n *driver.ValueExpr) expression.Expression {
	ft := n.Type.Clone()
	if n.Datum.IsNull() {
		ft.DelFlag(mysql.NotNullFlag)
	} else {
		ft.AddFlag(mysql.NotNullFlag)
	}
	value := n.Datum
	value.SetValue(n.Datum.GetValue(), ft)
	c := &expression.Constant{Value: value, RetType: ft}
	c.SetRepertoire(expression.ASCII)
	if ft.EvalType() == types.ETString {
		for _, char := range []byte(value.GetString()) {
			if char >= 0x80 {
				c.SetRepertoire(expression.UNICODE)
				break
			}
		}
	}
	return c
}

// column finds a column by name, which may be qualified by the table's own.
func (b *builder) column(name *ast.ColumnName) (expression.Expression, error) {
	unknown := &UnknownColumnError{Column: name.Name.O}
	if name.Table.L != "" && name.Table.L != b.table.Info.Name.L ||
		name.Schema.L != "" && name.Schema.L != ast.NewCIStr(b.table.Schema).L {
		unknown.Column = name.OrigColName()
		return nil, unknown
	}
	for i, c := range b.table.Info.Columns {
		if c.Name.L != name.Name.L || c.State != timodel.StatePublic || c.Hidden {
			continue
		}
		if c.IsVirtualGenerated() {
			return b.virtual(c)
		}
		return b.stored(i, c)
	}
	return nil, unknown
}

func (b *builder) stored(offset int, c *timodel.ColumnInfo) (expression.Expression, error) {
	if e, ok := b.columns[offset]; ok {
		return e, nil
	}
	for at := range b.table.Columns {
		if b.table.Columns[at].Offset != offset {
			continue
		}
		e := &expression.Column{
			RetType: c.FieldType.Clone(), ID: c.ID, UniqueID: b.ctx.AllocPlanColumnID(),
			Index: len(b.positions), OrigName: b.table.Name + "." + c.Name.O,
		}
		b.positions = append(b.positions, at)
		b.columns[offset] = e
		return e, nil
	}
	return nil, &UnknownColumnError{Column: c.Name.O}
}

// virtual computes a column that rows do not hold.
func (b *builder) virtual(c *timodel.ColumnInfo) (expression.Expression, error) {
	if b.depth >= maxDepth {
		return nil, errors.New("virtual columns are nested too deep")
	}
	b.depth++
	defer func() { b.depth-- }()
	node, err := generatedexpr.ParseExpression(c.GeneratedExprString)
	if err != nil {
		return nil, err
	}
	e, err := b.scalar(node)
	if err != nil {
		return nil, fmt.Errorf("virtual column %s: %w", c.Name.O, err)
	}
	return expression.BuildCastFunctionWithCheck(b.ctx, e, c.FieldType.Clone(), false, false)
}

func (b *builder) cast(n *ast.FuncCastExpr) (expression.Expression, error) {
	if n.Tp.IsArray() {
		return nil, errors.New("CAST AS ARRAY cannot be used in a filter")
	}
	if n.Tp.EvalType() == types.ETDuration && n.Tp.GetDecimal() > types.MaxFsp {
		return nil, fmt.Errorf("too big precision %d of CAST", n.Tp.GetDecimal())
	}
	arg, err := b.scalar(n.Expr)
	if err != nil {
		return nil, err
	}
	e, err := expression.BuildCastFunctionWithCheck(b.ctx, arg, n.Tp.DeepCopy(), false, n.ExplicitCharSet)
	if err != nil {
		return nil, err
	}
	if n.Tp.EvalType() != types.ETString {
		e.SetCoercibility(expression.CoercibilityNumeric)
		e.SetRepertoire(expression.ASCII)
		return e, nil
	}
	e.SetCoercibility(expression.CoercibilityImplicit)
	e.SetRepertoire(expression.UNICODE)
	if n.Tp.GetCharset() == charset.CharsetASCII {
		e.SetRepertoire(expression.ASCII)
	}
	return e, nil
}

// collation is the COLLATE clause.
func (b *builder) collation(n *ast.SetCollationExpr) (expression.Expression, error) {
	arg, err := b.scalar(n.Expr)
	if err != nil {
		return nil, err
	}
	info, err := collate.GetCollationByName(n.Collate)
	if err != nil {
		return nil, err
	}
	ft := b.typeOf(arg)
	chs := ft.GetCharset()
	if ft.GetType() == mysql.TypeJSON {
		chs = mysql.UTF8MB4Charset
	}
	if chs != "" && chs != info.CharsetName {
		return nil, charset.ErrCollationCharsetMismatch.GenWithStackByArgs(info.Name, chs)
	}
	_, isColumn := arg.(*expression.Column)
	switch {
	case ft.GetType() == mysql.TypeEnum || ft.GetType() == mysql.TypeSet:
		return nil, errors.New("COLLATE cannot be used with ENUM or SET")
	case ft.GetType() == mysql.TypeJSON:
		target := types.NewFieldType(mysql.TypeLongBlob)
		target.SetCharset(mysql.UTF8MB4Charset)
		target.SetCollate(n.Collate)
		arg = expression.BuildCastFunction(b.ctx, arg, target)
	case isColumn: // its type belongs to the column
		target := ft.Clone()
		target.SetCollate(n.Collate)
		arg = expression.BuildCastFunction(b.ctx, arg, target)
	default:
		ft.SetCollate(n.Collate)
	}
	arg.SetCoercibility(expression.CoercibilityExplicit)
	arg.SetCharsetAndCollation(b.typeOf(arg).GetCharset(), b.typeOf(arg).GetCollate())
	return arg, nil
}
