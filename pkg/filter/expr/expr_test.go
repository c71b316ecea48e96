package expr_test

import (
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

	"github.com/tidemark/tidemark/pkg/filter/expr"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/schema"
)

// table has a key id, a text s, a time ts, a JSON j, a virtual column twice
// and a hidden one.
func table() *model.Table {
	info := &timodel.TableInfo{ID: 9, Name: ast.NewCIStr("T"), State: timodel.StatePublic, PKIsHandle: true}
	add := func(name string, tp byte) *timodel.ColumnInfo {
		c := &timodel.ColumnInfo{ID: int64(len(info.Columns) + 1), Name: ast.NewCIStr(name), Offset: len(info.Columns), State: timodel.StatePublic,
			FieldType: *types.NewFieldType(tp), Version: timodel.ColumnInfoVersion2}
		info.Columns = append(info.Columns, c)
		return c
	}
	add("id", mysql.TypeLonglong).FieldType.AddFlag(mysql.PriKeyFlag | mysql.NotNullFlag)
	s := add("s", mysql.TypeVarchar)
	s.FieldType.SetFlen(20)
	s.FieldType.SetCharset("utf8mb4")
	s.FieldType.SetCollate("utf8mb4_general_ci")
	twice := add("twice", mysql.TypeLonglong)
	twice.GeneratedExprString = "`id` * 2"
	add("ts", mysql.TypeTimestamp)
	add("j", mysql.TypeJSON)
	hidden := add("hidden", mysql.TypeLonglong)
	hidden.Hidden, hidden.GeneratedExprString = true, "`id` + 1"
	return schema.NewTable(1, "Db", info, 1)
}

// row has id 7, s 'Abc', ts 2024-01-02 03:04:05 UTC and j {"a": 1}.
func row(t testing.TB) model.RawChange {
	ts, err := types.ParseTimestamp(types.DefaultStmtNoWarningContext, "2024-01-02 03:04:05")
	require.NoError(t, err)
	j, err := types.ParseBinaryJSONFromString(`{"a": 1}`)
	require.NoError(t, err)
	b, err := tablecodec.EncodeRow(time.UTC, []types.Datum{types.NewStringDatum("Abc"), types.NewTimeDatum(ts), types.NewJSONDatum(j)},
		[]int64{2, 4, 5}, nil, nil, nil, &rowcodec.Encoder{Enable: true})
	require.NoError(t, err)
	return model.NewRawChange(1, 2, tablecodec.EncodeRowKeyWithHandle(9, kv.IntHandle(7)), b, nil)
}

func TestHolds(t *testing.T) {
	zone := time.FixedZone("", 8*3600)
	change, tab, d := row(t), table(), mounter.NewBinaryJSONDecoder(zone)
	for text, want := range map[string]bool{
		"id = 7": true, "ID <> 7": false, "t.id = 7": true, "db.T.id >= 7 ": true,
		"s = 'abc'": true, "s = 'abc' collate utf8mb4_bin": false, "s like 'a%' /* c */ -- d": true, "s > 5": false,
		"twice = 14": true, "twice between 1 and 13": false,
		"ts = '2024-01-02 11:04:05'": true, "hour(ts) = 3": false,
		"j->'$.a' = 1": true, "json_type(j->'$.a') = 'INTEGER'": true,
		"1": true, "2": false, "null": false, "1.0": false, "'1'": false, "id / 0 = 1": false, "id / 0 is null": true,
		"true": true, "(id, s) in ((7, 'ABC'), (8, 'x'))": true, "case id when 7 then 1 end": true, "not (id = 8)": true,
	} {
		c, err := expr.Compile(text, tab, zone)
		require.NoError(t, err, text)
		for range 2 {
			got, err := c.Holds(d, tab, &change, mounter.New)
			require.NoError(t, err, text)
			require.Equal(t, want, got, text)
		}
	}
}

func TestCompileFails(t *testing.T) {
	for _, text := range []string{
		"", "id =", "id = 1; select 1", "1) from t where (1", "id = 1) or (", "select 1", "(select 1)", "exists (select 1)", "id in (select 1)",
		"count(*) = 1", "sum(id) > 1", "row_number() over () = 1", "@x = 1", "@@version = 1", "user() = 'a'", "sleep(1)",
		"nosuch(1)", "id = ?", "default(id) = 1", "values(id) = 1", "(1, 2)", "(1,2) = 1", "nextval(s) = 1", "*", "id as x", "get_lock('a', 1)",
		"connection_id() = 1", "cast(j as unsigned array) = 1", "last_insert_id() = 1", "abs(1, 2)", "s collate latin1_bin = 'x'",
	} {
		_, err := expr.Compile(text, table(), time.UTC)
		require.Error(t, err, text)
		var unknown *expr.UnknownColumnError
		require.NotErrorAs(t, err, &unknown, text)
	}
	for _, text := range []string{"x = 1", "u.id = 1", "other.t.id = 1", "hidden = 8", "_tidb_rowid = 1", "id = 1 or length(y) > 1"} {
		_, err := expr.Compile(text, table(), time.UTC)
		var unknown *expr.UnknownColumnError
		require.ErrorAs(t, err, &unknown, text)
	}
	require.NoError(t, expr.Check("whatever > 1"))
	require.Error(t, expr.Check("whatever >"))
}

// FuzzCompile: no text and no row may bring the server down.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		"id = 7", "s like 'a%'", "(id, s) in ((7, 'a'))", "case id when 1 then 2 end", "j->'$.a' between 1 and '2'", "ts + interval 1 day > now()",
		"s collate utf8mb4_bin = _latin1'x'", "cast(s as char(3)) regexp '^a'", "not id xor s is true", "1) or (1", "0x41 = s", "rand() < 1",
	} {
		f.Add(text)
	}
	change, tab := row(f), table()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := expr.Compile(text, tab, time.UTC)
		if err != nil {
			return
		}
		_, _ = c.Holds(mounter.NewBinaryJSONDecoder(time.UTC), tab, &change, mounter.New)
	})
}
