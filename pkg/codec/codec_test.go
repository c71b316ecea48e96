package codec_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func TestTypeNames(t *testing.T) {
	for _, tc := range []struct{ sql, short, full string }{
		{"tinyint", "tinyint", "tinyint(4)"},
		{"bool", "tinyint", "tinyint(1)"},
		{"smallint unsigned", "smallint unsigned", "smallint(5) unsigned"},
		{"mediumint", "mediumint", "mediumint(9)"},
		{"int", "int", "int(11)"},
		{"int(8) zerofill", "int unsigned zerofill", "int(8) unsigned zerofill"},
		{"bigint unsigned", "bigint unsigned", "bigint(20) unsigned"},
		{"float", "float", "float"},
		{"float(10,2) unsigned", "float unsigned", "float(10,2) unsigned"},
		{"double(12,3)", "double", "double(12,3)"},
		{"decimal", "decimal", "decimal(10,0)"},
		{"decimal(20,4) unsigned", "decimal unsigned", "decimal(20,4) unsigned"},
		{"bit", "bit", "bit(1)"},
		{"bit(64)", "bit", "bit(64)"},
		{"year", "year", "year(4)"},
		{"date", "date", "date"},
		{"datetime", "datetime", "datetime"},
		{"datetime(6)", "datetime", "datetime(6)"},
		{"timestamp(3) null", "timestamp", "timestamp(3)"},
		{"time", "time", "time"},
		{"time(2)", "time", "time(2)"},
		{"char", "char", "char(1)"},
		{"char(20)", "char", "char(20)"},
		{"varchar(40)", "varchar", "varchar(40)"},
		{"binary(8)", "binary", "binary(8)"},
		{"varbinary(9)", "varbinary", "varbinary(9)"},
		{"tinytext", "tinytext", "tinytext"},
		{"text", "text", "text"},
		{"mediumblob", "mediumblob", "mediumblob"},
		{"longblob", "longblob", "longblob"},
		{"json", "json", "json"},
		{"enum('a','it''s')", "enum", "enum('a','it''s')"},
		{"set('x','y')", "set", "set('x','y')"},
		{"vector", "vector", "vector"},
		{"vector(3)", "vector", "vector(3)"},
	} {
		ft := codectest.Table(t, "create table t (a "+tc.sql+")").Columns[0].FieldType
		require.Equal(t, tc.short, codec.TypeName(ft), tc.sql)
		require.Equal(t, tc.full, codec.FullTypeName(ft), tc.sql)
		require.Equal(t, codec.BaseType(tc.short), codec.BaseType(tc.full), tc.sql)
		require.Equal(t, strings.Contains(tc.sql, "bin") || strings.Contains(tc.sql, "blob"), codec.IsBinary(ft), tc.sql)
	}
}

func TestCompression(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, name := range []string{"", "none", "SNAPPY", "lz4"} {
		c, err := codec.NewCompressor(name)
		require.NoError(t, err)
		require.Equal(t, len(name) > 0 && name != "none", c.Active())
		for _, size := range []int{0, 1, 100, 70000, 700000} {
			text := make([]byte, size)
			for i := range text {
				text[i] = byte(r.IntN(2))
			}
			packed, err := c.Append([]byte("before"), text)
			require.NoError(t, err)
			require.Equal(t, "before", string(packed[:6]))
			got, err := codec.Decompress(name, packed[6:])
			require.NoError(t, err)
			require.True(t, string(text) == string(got))
		}
	}
	_, err := codec.NewCompressor("zip")
	require.ErrorIs(t, err, errors.ErrInvalidReplicaConfig)
	for _, name := range []string{"snappy", "lz4", "zip"} {
		_, err = codec.Decompress(name, []byte("\xff\xff\xff\xff\x0f rubbish"))
		require.ErrorIs(t, err, errors.ErrDecodeFailed)
	}
	// Four gigabytes are announced by a few bytes.
	_, err = codec.Decompress("snappy", []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0})
	require.ErrorIs(t, err, errors.ErrDecodeFailed)
}

func FuzzDecompress(f *testing.F) {
	f.Add(true, []byte("\x04\x22\x4d\x18"))
	f.Fuzz(func(t *testing.T, lz4 bool, packed []byte) {
		name := "snappy"
		if lz4 {
			name = "lz4"
		}
		_, err := codec.Decompress(name, packed)
		require.True(t, err == nil || errors.CodeOf(err) == errors.ErrDecodeFailed.Text())
	})
}

func TestClaimCheckContent(t *testing.T) {
	require.Equal(t, `{"key":null,"value":"AQ=="}`, string(codec.ClaimCheckContent(nil, []byte{1})))
	for _, key := range [][]byte{nil, {}, {0, 1}} {
		k, v, err := codec.ParseClaimCheck(codec.ClaimCheckContent(key, []byte("value")))
		require.NoError(t, err)
		require.Equal(t, key, k)
		require.Equal(t, "value", string(v))
	}
	_, _, err := codec.ParseClaimCheck([]byte(`{"key":1}`))
	require.ErrorIs(t, err, errors.ErrDecodeFailed)
}

func TestTooLargeNamesTheRow(t *testing.T) {
	table := codectest.Table(t, "create table t (a varchar(99), b int, c int, primary key (b, a))")
	row := []model.Value{codectest.Bytes(strings.Repeat("é", 40)), codectest.Int(-5), codectest.Null()}
	err := codec.TooLarge(codectest.Delete(table, row), 200, 100)
	require.ErrorIs(t, err, errors.ErrMessageTooLarge)
	require.ErrorContains(t, err, "table: test.t, handle key: b=-5, a="+strings.Repeat("é", 32)+", length: 200, max-message-bytes: 100")

	table = codectest.Table(t, "create table t (a int)")
	err = codec.TooLarge(codectest.Insert(table, []model.Value{codectest.Null()}), 2, 1)
	require.ErrorContains(t, err, "handle key: none")
}

func TestPlans(t *testing.T) {
	var plans codec.Plans[int]
	built := 0
	build := func(*model.Table) *int {
		built++
		n := built
		return &n
	}
	a, b := &model.Table{}, &model.Table{}
	for range 3 {
		require.Equal(t, 1, *plans.Get(a, build))
		require.Equal(t, 2, *plans.Get(b, build))
	}
	for range 1000 {
		plans.Get(&model.Table{}, build)
	}
	require.Equal(t, 1002, built)
	require.Greater(t, *plans.Get(a, build), 1002, "old plans do not pile up")
}

func TestParseCanalValue(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       any
	}{
		{"int", "-1", int64(-1)},
		{"int(10) unsigned", "1", uint64(1)},
		{"bigint(20) unsigned zerofill", "18446744073709551615", uint64(1<<64 - 1)},
		{"enum(' unsigned')", "1", uint64(1)},
		{"set('a')", "3", uint64(3)},
		{"bit(8)", "7", uint64(7)},
		{"year(4)", "2024", int64(2024)},
		{"float", "0.1", float32(0.1)},
		{"double unsigned", "0.1", 0.1},
		{"decimal(10,2) unsigned", "1.50", "1.50"},
		{"varbinary(9)", "a\u00ff\u0000", []byte("a\xff\x00")},
		{"varchar(9)", "a\u00ff", "a\u00ff"},
		{"", "x", "x"},
	} {
		got, err := codec.ParseCanalValue(tc.name, tc.text)
		require.NoError(t, err, tc.name)
		require.Equal(t, tc.want, got, tc.name)
	}
	for name, text := range map[string]string{"int": "x", "blob": "中", "tinyint unsigned": "-1", "float": "", "bit(1)": "b"} {
		_, err := codec.ParseCanalValue(name, text)
		require.ErrorIs(t, err, errors.ErrDecodeFailed, name)
	}
}
