package mysql

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	timysql "github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// typeCases are column types with values that are hard to carry over.
func typeCases() map[string][]any {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	tricky := []any{"", " ", "a ", "'", "''", `\`, `\'`, `"`, "a\x00b", "\x1a", "\n\r\t", "%_", "日本語", "😀", "-- x", "/*", ";", "x'; DROP TABLE t; --"}
	binary := []any{[]byte{}, []byte{0}, []byte("'\\\x00\x1a\""), []byte{0xff, 0xfe}, []byte("é"), []byte{0xe3, 0x81}}
	return map[string][]any{
		"TINYINT":                                {0, -128, 127},
		"TINYINT UNSIGNED":                       {0, 255},
		"SMALLINT":                               {-32768, 32767},
		"MEDIUMINT":                              {-8388608, 8388607},
		"INT UNSIGNED":                           {uint64(math.MaxUint32)},
		"BIGINT":                                 {int64(math.MinInt64), int64(math.MaxInt64)},
		"BIGINT UNSIGNED":                        {uint64(math.MaxUint64), uint64(math.MaxInt64) + 1},
		"FLOAT":                                  {0.0, 1.1, -3.4e38, 1e-30, 16777217.0, 0.1},
		"DOUBLE":                                 {0.0, 1.1, -1.7976931348623157e308, 5e-324, 0.1, 123456789012345678.0},
		"DECIMAL(65,30)":                         {"0", "99999999999999999999999999999999999.999999999999999999999999999999", "-0.000000000000000000000000000001"},
		"DECIMAL(10,0)":                          {"-9999999999"},
		"BIT(1)":                                 {0, 1},
		"BIT(64)":                                {uint64(math.MaxUint64), uint64(1) << 63, 0},
		"YEAR":                                   {0, 1901, 2155},
		"DATE":                                   {"0000-00-00", "1000-01-01", "9999-12-31", "2024-00-10", "2024-02-31"},
		"DATETIME":                               {"0000-00-00 00:00:00", "9999-12-31 23:59:59"},
		"DATETIME(6)":                            {"2024-02-29 12:34:56.123456", "1000-01-01 00:00:00.000001"},
		"TIMESTAMP":                              {"1970-01-01 00:00:01", "2038-01-19 03:14:07", "0000-00-00 00:00:00", "2024-03-31 02:30:00"},
		"TIMESTAMP(3)":                           {"2024-10-27 02:30:00.999"},
		"TIME":                                   {"-838:59:59", "838:59:59", "00:00:00"},
		"TIME(6)":                                {"-00:00:00.000001", "23:59:59.999999"},
		"CHAR(20)":                               {"", "a", "日本語", "it's"},
		"VARCHAR(60)":                            tricky,
		"TEXT":                                   append(tricky, strings.Repeat("long 'text' ", 3000)),
		"LONGTEXT":                               tricky,
		"BINARY(4)":                              {[]byte{0, 1, 2, 3}, []byte{0xff, '\'', '\\', 0}},
		"VARBINARY(300)":                         append(binary, all),
		"BLOB":                                   append(binary, all),
		"LONGBLOB":                               append(binary, bytes.Repeat(all, 200)),
		"JSON":                                   {`{"a": "it's \"x\" \\ 😀", "b": [1, 2.5, null, true]}`, `"\u0000"`, `[]`, `1.5`, `"x"`},
		"ENUM('a','b''c','ü')":                   {"a", "b'c", "ü"},
		"SET('a','b','c','d')":                   {"", "a", "a,c,d"},
		"VARCHAR(20) COLLATE utf8mb4_general_ci": {"Straße", "ABC", "abc"},
	}
}

// typeTable has a column of each type and rows that together hold every value.
func typeTable(name, key string) (create string, rows [][]any) {
	cases := typeCases()
	types := slices.Sorted(maps.Keys(cases))
	var b strings.Builder
	b.WriteString("CREATE TABLE " + name + " (id INT" + key)
	for i, typ := range types {
		fmt.Fprintf(&b, ", c%d %s NULL", i, typ)
	}
	b.WriteString(")")
	for n := range 20 {
		row := []any{n + 1}
		for _, typ := range types {
			row = append(row, cases[typ][n%len(cases[typ])])
		}
		rows = append(rows, row)
	}
	nulls := make([]any, len(types)+1)
	nulls[0] = 21
	return b.String(), append(rows, nulls)
}

// TestRoundTrip writes every value through the sink, in each of its ways of
// writing, and as a parameter of a plain statement beside it.
func TestRoundTrip(t *testing.T) {
	addr, db := downstream(t, "types")
	session, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { _ = session.Close() }()
	_, err = session.ExecContext(t.Context(), "SET SESSION sql_mode='ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'")
	require.NoError(t, err)
	create, values := typeTable("types.plain", " PRIMARY KEY")
	execAll(t, db, create)
	for _, row := range values {
		_, err := session.ExecContext(t.Context(), "INSERT INTO types.plain VALUES (?"+strings.Repeat(",?", len(row)-1)+")", row...)
		require.NoError(t, err)
	}
	hex := "SELECT id"
	for i := range len(values[0]) - 1 {
		hex += fmt.Sprintf(", HEX(c%d), c%d", i, i)
	}
	want := contents(t, db, hex+" FROM types.plain ORDER BY id")
	n := 0
	for mode, parameters := range map[string]string{
		"live": "", "replay": "safe-mode=true", "prepared": "batch-dml-enable=false&multi-stmt-enable=false",
	} {
		for shape, key := range map[string]string{"key": " PRIMARY KEY", "nokey": ""} {
			n++
			t.Run(mode+" "+shape, func(t *testing.T) {
				create, values := typeTable("types."+mode+shape, key)
				u := newTable(t, int64(n), create)
				execAll(t, db, u.ddl)
				s := openSink(t, addr, parameters, func(o *sink.Options) { o.Config.ForceReplicate = true })
				var inserts, updates, deletes []model.RawChange
				for i, row := range values {
					c := u.change(10, int64(i), nil, row)
					inserts = append(inserts, c)
					updates = append(updates, model.NewRawChange(10, 11, c.Key(), c.Value(), c.Value()))
					deletes = append(deletes, model.NewRawChange(11, 12, c.Key(), nil, c.Value()))
				}
				require.NoError(t, acked(t, u.write(s, 0, inserts...)))
				require.Equal(t, want, contents(t, db, hex+" FROM types."+mode+shape+" ORDER BY id"))
				require.NoError(t, acked(t, u.write(s, 0, updates...)))
				require.Equal(t, want, contents(t, db, hex+" FROM types."+mode+shape+" ORDER BY id"))
				require.NoError(t, acked(t, u.write(s, 0, deletes...)))
				require.Equal(t, []string{"0"}, contents(t, db, "SELECT COUNT(*) FROM types."+mode+shape))
			})
		}
	}
}

func TestLiterals(t *testing.T) {
	for _, tc := range []struct {
		v     model.Value
		class litClass
		want  string
	}{
		{model.Value{}, litText, "NULL"},
		{model.Value{Kind: model.KindInt, N: uint64(math.MaxUint64)}, litText, "-1"},
		{model.Value{Kind: model.KindUint, N: uint64(math.MaxUint64)}, litText, "18446744073709551615"},
		{model.Value{Kind: model.KindFloat64, N: math.Float64bits(0.1)}, litText, "1e-01"},
		{model.Value{Kind: model.KindText, B: []byte("-1.50")}, litBare, "-1.50"},
		{model.Value{Kind: model.KindBytes, B: []byte("it's \\ \x00\x1a\n")}, litText, `'it\'s \\ \0\Z` + "\n'"},
		{model.Value{Kind: model.KindBytes, B: []byte{0xff, '\''}}, litBinary, "_binary'\xff\\''"},
		{model.Value{Kind: model.KindVector, B: []byte{0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0}}, litText, "'[1,-2.5]'"},
	} {
		require.Equal(t, tc.want, string(appendLiteral(nil, &tc.v, tc.class)))
	}
	require.Equal(t, "`a``b`", string(appendIdent(nil, "a`b")))
	require.Equal(t, litBare, classOf(&model.Column{Type: timysql.TypeNewDecimal, Flag: model.FlagBinary}))
	require.Equal(t, litText, classOf(&model.Column{Type: timysql.TypeJSON, Flag: model.FlagBinary}))
	require.Equal(t, litBinary, classOf(&model.Column{Type: timysql.TypeBlob, Flag: model.FlagBinary}))
}

// unescape reads what stands between the quotes of a literal, as a server does.
func unescape(s []byte) ([]byte, bool) {
	out := []byte{}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\'':
			return nil, false // the literal would end here
		case '\\':
			i++
			if i == len(s) {
				return nil, false
			}
			switch s[i] {
			case '0':
				out = append(out, 0)
			case 'Z':
				out = append(out, 0x1a)
			default:
				out = append(out, s[i])
			}
		default:
			out = append(out, s[i])
		}
	}
	return out, true
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "'", "\\", "\\'", "a\x00b\x1a", "日本", "\xff\xfe'"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		got, ok := unescape(appendEscaped(nil, s))
		require.True(t, ok)
		require.Equal(t, append([]byte{}, s...), got)
	})
}

func FuzzCollationKey(f *testing.F) {
	f.Add([]byte("Straße "))
	f.Fuzz(func(t *testing.T, s []byte) {
		for _, c := range []string{"utf8mb4_bin", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_0900_ai_ci", "gbk_chinese_ci", "latin1_bin"} {
			require.NotPanics(t, func() { collationKey(s, c) })
		}
		require.LessOrEqual(t, len(cutPrefix(s, 3, true)), len(s))
	})
}

func BenchmarkEscape(b *testing.B) {
	text := make([]byte, 200)
	for i := range text {
		text[i] = byte('a' + rand.IntN(26))
	}
	buf := make([]byte, 0, 1000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		buf = appendEscaped(buf[:0], text)
	}
}
