package rowfilter_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/kv"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/rowcodec"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/filter/rowfilter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/schema"
)

// table is db.name with the columns id, the key, and v.
func table(name string) *model.Table {
	info := &timodel.TableInfo{ID: 5, Name: ast.NewCIStr(name), State: timodel.StatePublic, PKIsHandle: true}
	for i, c := range []string{"id", "v"} {
		col := &timodel.ColumnInfo{ID: int64(i + 1), Name: ast.NewCIStr(c), Offset: i, State: timodel.StatePublic, FieldType: *types.NewFieldType(mysql.TypeLonglong)}
		info.Columns = append(info.Columns, col)
	}
	info.Columns[0].FieldType.AddFlag(mysql.PriKeyFlag | mysql.NotNullFlag)
	return schema.NewTable(1, "db", info, 1)
}

func encode(t testing.TB, v int64) []byte {
	b, err := tablecodec.EncodeRow(time.UTC, []types.Datum{types.NewIntDatum(v)}, []int64{2}, nil, nil, nil, &rowcodec.Encoder{Enable: true})
	require.NoError(t, err)
	return b
}

// change is of the row with the id; a negative value is no row.
func change(t testing.TB, startTs uint64, id, old, new int64) model.RawChange {
	var before, after []byte
	if old >= 0 {
		before = encode(t, old)
	}
	if new >= 0 {
		after = encode(t, new)
	}
	return model.NewRawChange(startTs, 100, tablecodec.EncodeRowKeyWithHandle(5, kv.IntHandle(id)), after, before)
}

func build(t testing.TB, cfg *config.FilterConfig) *filter.Filter {
	t.Helper()
	f, err := filter.New(cfg, false)
	require.NoError(t, err)
	return f
}

func TestKeep(t *testing.T) {
	// Inserts of ids 1 to 3, updates of 4 and 5, deletes of 6 and 7, and 8,
	// which came and went in one transaction.
	rows := func() []model.RawChange {
		return []model.RawChange{
			change(t, 1, 1, -1, 10), change(t, 2, 2, -1, 20), change(t, 3, 3, -1, 30),
			change(t, 4, 4, 10, 11), change(t, 5, 5, 20, 21),
			change(t, 6, 6, 10, -1), change(t, 7, 7, 20, -1), change(t, 8, 8, -1, -1),
		}
	}
	rule := func(e config.EventFilterConfig) *config.FilterConfig {
		if e.Matcher == nil {
			e.Matcher = []string{"db.t"}
		}
		return &config.FilterConfig{EventFilters: []*config.EventFilterConfig{&e}}
	}
	tests := []struct {
		name string
		cfg  *config.FilterConfig
		want []uint64
	}{
		{"nothing", &config.FilterConfig{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8}},
		{"inserts", rule(config.EventFilterConfig{IgnoreEvent: []string{"insert"}}), []uint64{4, 5, 6, 7, 8}},
		{"updates", rule(config.EventFilterConfig{IgnoreEvent: []string{"update"}}), []uint64{1, 2, 3, 6, 7, 8}},
		{"deletes", rule(config.EventFilterConfig{IgnoreEvent: []string{"delete"}}), []uint64{1, 2, 3, 4, 5, 8}},
		{"all", rule(config.EventFilterConfig{IgnoreEvent: []string{"all dml"}}), []uint64{8}},
		{"another table's", rule(config.EventFilterConfig{Matcher: []string{"db.u"}, IgnoreEvent: []string{"all dml"}}), []uint64{1, 2, 3, 4, 5, 6, 7, 8}},
		{"transactions", &config.FilterConfig{IgnoreTxnStartTs: []uint64{8, 3, 4}}, []uint64{1, 2, 5, 6, 7}},
		{"insert expression", rule(config.EventFilterConfig{IgnoreInsertValueExpr: "v > 10 and id < 3"}), []uint64{1, 3, 4, 5, 6, 7, 8}},
		{"update by old", rule(config.EventFilterConfig{IgnoreUpdateOldValueExpr: "v = 10"}), []uint64{1, 2, 3, 5, 6, 7, 8}},
		{"update by new", rule(config.EventFilterConfig{IgnoreUpdateNewValueExpr: "v = 21"}), []uint64{1, 2, 3, 4, 6, 7, 8}},
		{"update by either", rule(config.EventFilterConfig{IgnoreUpdateOldValueExpr: "v = 10", IgnoreUpdateNewValueExpr: "v = 21"}), []uint64{1, 2, 3, 6, 7, 8}},
		{"delete expression", rule(config.EventFilterConfig{IgnoreDeleteValueExpr: "v + id = 27"}), []uint64{1, 2, 3, 4, 5, 6, 8}},
		{"constant", rule(config.EventFilterConfig{IgnoreInsertValueExpr: "1"}), []uint64{4, 5, 6, 7, 8}},
		{"not the integer one", rule(config.EventFilterConfig{IgnoreInsertValueExpr: "1.0", IgnoreDeleteValueExpr: "2"}), []uint64{1, 2, 3, 4, 5, 6, 7, 8}},
		{"several rules", &config.FilterConfig{EventFilters: []*config.EventFilterConfig{
			{Matcher: []string{"db.*"}, IgnoreInsertValueExpr: "id = 1"}, {Matcher: []string{"*.t"}, IgnoreInsertValueExpr: "id = 2"},
		}}, []uint64{3, 4, 5, 6, 7, 8}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			kept, err := rowfilter.New(build(t, c.cfg), time.UTC).Keep(table("t"), rows())
			require.NoError(t, err)
			var got []uint64
			for i := range kept {
				got = append(got, kept[i].StartTs)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestKeepFails(t *testing.T) {
	for _, c := range []struct {
		text string
		code *cerrors.Code
	}{
		{"x = 1", cerrors.ErrExpressionColumnNotFound},
		{"other.id = 1", cerrors.ErrExpressionColumnNotFound},
		{"id = 1 or", cerrors.ErrExpressionParseFailed},
		{"count(*) > 1", cerrors.ErrExpressionParseFailed},
		{"9223372036854775807 + id > 0", cerrors.ErrFailedToFilterDML},
	} {
		f := build(t, &config.FilterConfig{EventFilters: []*config.EventFilterConfig{{Matcher: []string{"db.t"}, IgnoreInsertValueExpr: c.text}}})
		_, err := rowfilter.New(f, time.UTC).Keep(table("t"), []model.RawChange{change(t, 1, 1, -1, 10)})
		require.True(t, errors.Is(err, c.code), "%s: %v", c.text, err)
		require.Equal(t, c.code == cerrors.ErrFailedToFilterDML, rowfilter.Check(f, []*model.Table{table("t")}) == nil, c.text)
		_, err = rowfilter.New(f, time.UTC).Keep(table("u"), []model.RawChange{change(t, 1, 1, -1, 10)})
		require.NoError(t, err, "a table that it is not for")
	}
}

func TestCheck(t *testing.T) {
	f := build(t, &config.FilterConfig{Rules: []string{"db.t"}, EventFilters: []*config.EventFilterConfig{
		{Matcher: []string{"db.*"}, IgnoreDeleteValueExpr: "nobody = 1"},
	}})
	require.NoError(t, rowfilter.Check(f, nil))
	require.NoError(t, rowfilter.Check(f, []*model.Table{table("u")}), "not replicated")
	require.EqualError(t, rowfilter.Check(f, []*model.Table{table("t")}),
		"[CDC:ErrExpressionColumnNotFound]invalid filter expression(s). Cannot find column 'nobody' from table 'db.t' in: nobody = 1")
	f = build(t, &config.FilterConfig{EventFilters: []*config.EventFilterConfig{{IgnoreDeleteValueExpr: "a b c"}}})
	require.True(t, errors.Is(rowfilter.Check(f, nil), cerrors.ErrExpressionParseFailed), "the syntax counts without tables")
}

func TestNilKeepsAll(t *testing.T) {
	f := build(t, &config.FilterConfig{EventFilters: []*config.EventFilterConfig{{Matcher: []string{"*.*"}, IgnoreEvent: []string{"all ddl"}}}})
	r := rowfilter.New(f, time.UTC)
	require.Nil(t, r)
	rows := []model.RawChange{change(t, 1, 1, -1, 1)}
	kept, err := r.Keep(table("t"), rows)
	require.NoError(t, err)
	require.Len(t, kept, 1)
}

// BenchmarkKeep is the price per row of an expression, and of none.
func BenchmarkKeep(b *testing.B) {
	rows := make([]model.RawChange, 512)
	for i := range rows {
		rows[i] = change(b, 1, int64(i), -1, int64(i))
	}
	for name, e := range map[string]config.EventFilterConfig{
		"expression":  {Matcher: []string{"db.t"}, IgnoreInsertValueExpr: "v > 1000 and id in (1, 2, 5000)"},
		"other table": {Matcher: []string{"db.u"}, IgnoreInsertValueExpr: "v > 1000"},
	} {
		b.Run(name, func(b *testing.B) {
			r, t := rowfilter.New(build(b, &config.FilterConfig{EventFilters: []*config.EventFilterConfig{&e}}), time.UTC), table("t")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Keep(t, rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
		})
	}
}
