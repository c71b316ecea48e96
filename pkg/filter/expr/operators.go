package expr

import (
	"errors"
	"fmt"

	"github.com/pingcap/tidb/pkg/expression"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/collate"
)

func (b *builder) unary(n *ast.UnaryOperationExpr) (expression.Expression, error) {
	arg, err := b.scalar(n.V)
	if err != nil {
		return nil, err
	}
	switch n.Op {
	case opcode.Plus:
		return arg, nil
	case opcode.Minus:
		return b.call(ast.UnaryMinus, arg)
	case opcode.BitNeg:
		return b.call(ast.BitNeg, arg)
	case opcode.Not, opcode.Not2:
		return b.call(ast.UnaryNot, arg)
	}
	return nil, fmt.Errorf("unknown operator %s", n.Op)
}

func (b *builder) binary(n *ast.BinaryOperationExpr) (expression.Expression, error) {
	l, err := b.build(n.L)
	if err != nil {
		return nil, err
	}
	r, err := b.build(n.R)
	if err != nil {
		return nil, err
	}
	switch n.Op {
	case opcode.EQ, opcode.NE, opcode.NullEQ, opcode.GT, opcode.GE, opcode.LT, opcode.LE:
		return b.compare(l, r, n.Op.String())
	}
	if err := expression.CheckArgsNotMultiColumnRow(l, r); err != nil {
		return nil, err
	}
	return b.call(n.Op.String(), l, r)
}

// compare compares values, or rows in the order of their fields.
func (b *builder) compare(l, r expression.Expression, op string) (expression.Expression, error) {
	size := expression.GetRowLen(l)
	switch {
	case size != expression.GetRowLen(r):
		return nil, expression.ErrOperandColumns.GenWithStackByArgs(size)
	case size == 1:
		return expression.NewFunctionTryFold(b.ctx, op, types.NewFieldType(mysql.TypeTiny), l, r)
	case op == ast.EQ || op == ast.NE || op == ast.NullEQ:
		parts, err := b.compareFields(l, r, size, op)
		if err != nil {
			return nil, err
		}
		if op == ast.NE {
			return expression.ComposeDNFCondition(b.ctx, parts...), nil
		}
		return expression.ComposeCNFCondition(b.ctx, parts...), nil
	}
	// One of the fields decides, and all before it are equal.
	strict := map[string]string{ast.GE: ast.GT, ast.LE: ast.LT, ast.GT: ast.GT, ast.LT: ast.LT}[op]
	var cases []expression.Expression
	for i := range size {
		parts, err := b.compareFields(l, r, i, ast.EQ)
		if err != nil {
			return nil, err
		}
		last := strict
		if i == size-1 {
			last = op
		}
		e, err := b.compare(expression.GetFuncArg(l, i), expression.GetFuncArg(r, i), last)
		if err != nil {
			return nil, err
		}
		cases = append(cases, expression.ComposeCNFCondition(b.ctx, append(parts, e)...))
	}
	return expression.ComposeDNFCondition(b.ctx, cases...), nil
}

// compareFields compares the first n fields of two rows.
func (b *builder) compareFields(l, r expression.Expression, n int, op string) ([]expression.Expression, error) {
	out := make([]expression.Expression, 0, n+1)
	for i := range n {
		e, err := b.compare(expression.GetFuncArg(l, i), expression.GetFuncArg(r, i), op)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (b *builder) row(n *ast.RowExpr) (expression.Expression, error) {
	fields := make([]expression.Expression, 0, len(n.Values))
	for _, v := range n.Values {
		e, err := b.build(v)
		if err != nil {
			return nil, err
		}
		fields = append(fields, e)
	}
	if len(fields) == 0 {
		return nil, errors.New("a row without fields")
	}
	return expression.NewFunctionTryFold(b.ctx, ast.RowFunc, b.typeOf(fields[0]), fields...)
}

// test is IS [NOT] NULL, TRUE or FALSE.
func (b *builder) test(node ast.ExprNode, op string, not bool) (expression.Expression, error) {
	arg, err := b.scalar(node)
	if err != nil {
		return nil, err
	}
	e, err := b.call(op, arg)
	return b.negate(not, e, err)
}

func (b *builder) like(n *ast.PatternLikeOrIlikeExpr) (expression.Expression, error) {
	args, err := b.scalars(n.Expr, n.Pattern)
	if err != nil {
		return nil, err
	}
	char, coll := b.ctx.GetCharsetInfo()
	ft := &types.FieldType{}
	types.DefaultTypeForValue(int(n.Escape), ft, char, coll)
	op := ast.Like
	if !n.IsLike {
		op = ast.Ilike
	}
	e, err := b.call(op, append(args, &expression.Constant{Value: types.NewIntDatum(int64(n.Escape)), RetType: ft})...)
	return b.negate(n.Not, e, err)
}

func (b *builder) cases(n *ast.CaseExpr) (expression.Expression, error) {
	var args []expression.Expression
	var value expression.Expression
	if n.Value != nil {
		var err error
		if value, err = b.scalar(n.Value); err != nil {
			return nil, err
		}
	}
	for _, w := range n.WhenClauses {
		when, err := b.scalars(w.Expr, w.Result)
		if err != nil {
			return nil, err
		}
		if value != nil {
			if when[0], err = b.compare(value, when[0], ast.EQ); err != nil {
				return nil, err
			}
		}
		args = append(args, when...)
	}
	if n.ElseClause != nil {
		e, err := b.scalar(n.ElseClause)
		if err != nil {
			return nil, err
		}
		args = append(args, e)
	}
	return b.call(ast.Case, args...)
}

func (b *builder) between(n *ast.BetweenExpr) (expression.Expression, error) {
	args, err := b.scalars(n.Expr, n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	b.castForBetween(args)
	eval := b.ctx.GetEvalCtx()
	coll, err := expression.CheckAndDeriveCollationFromExprs(b.ctx, "BETWEEN", types.ETInt, args...)
	if err != nil {
		return nil, err
	}
	// Enums and sets compare as numbers with numbers, else as strings.
	asString := expression.GetAccurateCmpType(eval, args[0], args[1]) != types.ETInt &&
		expression.GetAccurateCmpType(eval, args[0], args[2]) != types.ETInt
	for i := range args {
		args[i] = expression.BuildCastCollationFunction(b.ctx, args[i], coll, asString)
	}
	l, err := b.call(ast.GE, args[0], args[1])
	if err != nil {
		return nil, err
	}
	r, err := b.call(ast.LE, args[0], args[2])
	if err != nil {
		return nil, err
	}
	e, err := b.call(ast.LogicAnd, l, r)
	return b.negate(n.Not, e, err)
}

// castForBetween brings the three operands of BETWEEN to the type in which
// they are compared.
func (b *builder) castForBetween(args []expression.Expression) {
	var cast func(e expression.Expression) expression.Expression
	switch expression.ResolveType4Between(b.ctx.GetEvalCtx(), [3]expression.Expression(args)) {
	case types.ETInt:
		cast = func(e expression.Expression) expression.Expression {
			return expression.WrapWithCastAsInt(b.ctx, e, nil)
		}
	case types.ETReal:
		cast = func(e expression.Expression) expression.Expression { return expression.WrapWithCastAsReal(b.ctx, e) }
	case types.ETDecimal:
		cast = func(e expression.Expression) expression.Expression { return expression.WrapWithCastAsDecimal(b.ctx, e) }
	case types.ETString:
		cast = func(e expression.Expression) expression.Expression {
			if b.typeOf(e).EvalType().IsStringKind() {
				return e
			}
			return expression.WrapWithCastAsString(b.ctx, e)
		}
	case types.ETDuration:
		cast = func(e expression.Expression) expression.Expression {
			return expression.WrapWithCastAsTime(b.ctx, e, types.NewFieldType(mysql.TypeDuration))
		}
	case types.ETDatetime:
		cast = func(e expression.Expression) expression.Expression {
			return expression.WrapWithCastAsTime(b.ctx, e, types.NewFieldType(mysql.TypeDatetime))
		}
	default:
		return
	}
	for i := range args {
		args[i] = cast(args[i])
	}
}

func (b *builder) in(n *ast.PatternInExpr) (expression.Expression, error) {
	if n.Sel != nil {
		return nil, errors.New("subqueries cannot be used in a filter")
	}
	args := make([]expression.Expression, 0, len(n.List)+1)
	for _, node := range append([]ast.ExprNode{n.Expr}, n.List...) {
		e, err := b.build(node)
		if err != nil {
			return nil, err
		}
		args = append(args, e)
	}
	size := expression.GetRowLen(args[0])
	for _, a := range args[1:] {
		if expression.GetRowLen(a) != size {
			return nil, expression.ErrOperandColumns.GenWithStackByArgs(size)
		}
	}
	left := b.typeOf(args[0])
	if left.GetType() == mysql.TypeNull {
		return expression.NewNull(), nil
	}
	eval := b.ctx.GetEvalCtx()
	same := true
	for i := 1; i < len(args); i++ {
		if c, ok := args[i].(*expression.Constant); ok && left.EvalType() == types.ETInt {
			if refined, exceptional := expression.RefineComparedConstant(b.ctx, *left, c, opcode.EQ); !exceptional {
				args[i] = refined
			}
		}
		same = same && (b.typeOf(args[i]).GetType() == mysql.TypeNull ||
			expression.GetAccurateCmpType(eval, args[0], args[i]) == left.EvalType())
	}
	if same && size == 1 && len(n.List) > 1 {
		e, err := b.call(ast.In, args...)
		return b.negate(n.Not, e, err)
	}
	e, err := b.inAsComparisons(args, size)
	return b.negate(n.Not, e, err)
}

// inAsComparisons is for IN over rows and over values of several types.
func (b *builder) inAsComparisons(args []expression.Expression, size int) (expression.Expression, error) {
	if size == 1 {
		if err := b.castForIn(args); err != nil {
			return nil, err
		}
	}
	equal := make([]expression.Expression, 0, len(args)-1)
	for _, a := range args[1:] {
		e, err := b.compare(args[0], a, ast.EQ)
		if err != nil {
			return nil, err
		}
		equal = append(equal, e)
	}
	return expression.ComposeDNFCondition(b.ctx, equal...), nil
}

// castForIn gives all strings of a list the one collation that IN uses.
func (b *builder) castForIn(args []expression.Expression) error {
	coll, err := expression.CheckAndDeriveCollationFromExprs(b.ctx, "IN", types.ETInt, args...)
	if err != nil || !collate.NewCollationEnabled() {
		return err
	}
	for i := 1; i < len(args); i++ {
		ft := b.typeOf(args[i])
		if ft.EvalType() != types.ETString || ft.GetCollate() == coll.Collation {
			continue
		}
		target := ft.Clone()
		switch {
		case ft.Hybrid():
			if expression.GetAccurateCmpType(b.ctx.GetEvalCtx(), args[0], args[i]) != types.ETString {
				continue
			}
			target = types.NewFieldType(mysql.TypeVarString)
		case coll.Charset == charset.CharsetBin: // a fixed length would pad with zeros
			target.SetType(mysql.TypeVarString)
		}
		target.SetCharset(coll.Charset)
		target.SetCollate(coll.Collation)
		args[i] = expression.BuildCastFunction(b.ctx, args[i], target)
		args[i].SetCoercibility(expression.CoercibilityExplicit)
	}
	return nil
}

func (b *builder) function(n *ast.FuncCallExpr) (expression.Expression, error) {
	args, err := b.scalars(n.Args...)
	if err != nil {
		return nil, err
	}
	if n.FnName.L != ast.Nullif {
		return b.call(n.FnName.L, args...)
	}
	if len(args) != 2 {
		return nil, expression.ErrIncorrectParameterCount.GenWithStackByArgs(n.FnName.O)
	}
	same, err := b.compare(args[0], args[1], ast.EQ)
	if err != nil {
		return nil, err
	}
	return b.call(ast.If, same, expression.NewNull(), args[0])
}
