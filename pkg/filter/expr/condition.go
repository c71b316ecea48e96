package expr

import (
	"errors"
	"fmt"
	"time"

	"github.com/pingcap/tidb/pkg/errctx"
	"github.com/pingcap/tidb/pkg/expression"
	"github.com/pingcap/tidb/pkg/expression/exprstatic"
	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/chunk"
	contextutil "github.com/pingcap/tidb/pkg/util/context"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// UnknownColumnError is a column that the table does not have.
type UnknownColumnError struct{ Column string }

// Error tells the column.
func (e *UnknownColumnError) Error() string { return "unknown column " + e.Column }

// Condition is a condition over the rows of one table version. It is not safe
// for concurrent use.
type Condition struct {
	ctx     *exprstatic.ExprContext
	expr    expression.Expression
	never   bool // its type is none that can be the integer 1
	columns []int
	fields  []*types.FieldType
	values  []model.Value
	rows    *chunk.Chunk // one row of the columns
	decimal types.MyDecimal
}

// Check tells what is wrong with the syntax of a condition.
func Check(text string) error {
	_, err := parse(text)
	return err
}

// Compile prepares a condition for a table version. Timestamps are seen in
// zone. A column that the table lacks is an *UnknownColumnError; any other
// error says what is wrong with the text.
func Compile(text string, t *model.Table, zone *time.Location) (c *Condition, err error) {
	defer caught(&err)
	node, err := parse(text)
	if err != nil {
		return nil, err
	}
	b := newBuilder(newContext(zone), t)
	e, err := b.scalar(node)
	if err != nil {
		return nil, err
	}
	if !expression.GetOptionalEvalPropsForExpr(e).IsEmpty() {
		return nil, errors.New("functions about the session or the server cannot be used in a filter")
	}
	c = &Condition{ctx: b.ctx, expr: e, columns: b.positions}
	tp := e.GetType(c.ctx.GetEvalCtx())
	c.never = tp.EvalType() != types.ETInt || tp.Hybrid()
	for _, i := range c.columns {
		c.fields = append(c.fields, t.Columns[i].FieldType)
	}
	c.rows = chunk.NewChunkWithCapacity(c.fields, 1)
	return c, nil
}

// parse returns the tree of a single expression.
func parse(text string) (ast.ExprNode, error) {
	p := parser.New()
	mode, err := mysql.GetSQLMode(mysql.DefaultSQLMode)
	if err != nil {
		return nil, err
	}
	p.SetSQLMode(mode)
	// The line break ends a comment at the end of the text.
	stmts, _, err := p.ParseSQL("SELECT (" + text + "\n)")
	if err != nil {
		return nil, err
	}
	if len(stmts) != 1 {
		return nil, errors.New("not one expression")
	}
	s, ok := stmts[0].(*ast.SelectStmt)
	if !ok || s.Fields == nil || len(s.Fields.Fields) != 1 || s.Fields.Fields[0].Expr == nil ||
		s.From != nil || s.Where != nil || s.GroupBy != nil || s.OrderBy != nil || s.Limit != nil {
		return nil, errors.New("not one expression")
	}
	return s.Fields.Fields[0].Expr, nil
}

func newContext(zone *time.Location) *exprstatic.ExprContext {
	var levels errctx.LevelMap
	levels[errctx.ErrGroupTruncate] = errctx.LevelWarn
	levels[errctx.ErrGroupDividedByZero] = errctx.LevelWarn
	return exprstatic.NewExprContext(exprstatic.WithEvalCtx(exprstatic.NewEvalContext(
		exprstatic.WithLocation(zone),
		exprstatic.WithTypeFlags(types.DefaultStmtFlags.WithTruncateAsWarning(true).WithIgnoreZeroInDate(true)),
		exprstatic.WithErrLevelMap(levels),
		exprstatic.WithWarnHandler(contextutil.IgnoreWarn),
	)))
}

// Holds tells whether the condition is the integer 1 for one side of a
// change, which must be there. The decoder must give JSON in binary form, and
// timestamps in the zone of the condition.
func (c *Condition) Holds(d *mounter.Decoder, t *model.Table, change *model.RawChange, side mounter.Side) (holds bool, err error) {
	if c.never {
		return false, nil
	}
	defer caught(&err)
	c.rows.Reset()
	if len(c.columns) > 0 {
		if c.values, err = d.DecodeColumns(t, change, side, c.columns, c.values); err != nil {
			return false, err
		}
		for i := range c.values {
			if err := c.set(i, &c.values[i]); err != nil {
				return false, fmt.Errorf("column %s: %w", t.Columns[c.columns[i]].Name, err)
			}
		}
	}
	row := chunk.Row{}
	if len(c.columns) > 0 {
		row = c.rows.GetRow(0)
	}
	n, null, err := c.expr.EvalInt(c.ctx.GetEvalCtx(), row)
	return err == nil && !null && n == 1, err
}

// caught makes an error of a panic: the text is the user's, and TiDB counts on
// its sessions to catch what goes wrong in an expression.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the expression engine failed: %v", r)
	}
}
