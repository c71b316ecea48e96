package mounter_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/kv"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/rowcodec"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/schema"
)

func encode(t testing.TB, ids []int64, values []types.Datum, v2 bool) []byte {
	b, err := tablecodec.EncodeRow(time.UTC, values, ids, nil, nil, nil, &rowcodec.Encoder{Enable: v2})
	require.NoError(t, err)
	return b
}

func decode(t testing.TB, info *timodel.TableInfo, loc *time.Location, c model.RawChange) *model.Row {
	row := &model.Row{}
	require.NoError(t, mounter.NewDecoder(loc).Decode(schema.NewTable(1, "test", info, 1), &c, row))
	return row
}

func TestRowKinds(t *testing.T) {
	info := tableInfo(kinds()[:1], nil)
	key := tablecodec.EncodeRowKeyWithHandle(info.ID, kv.IntHandle(1))
	one, two := encode(t, []int64{1}, []types.Datum{types.NewIntDatum(1)}, true), encode(t, []int64{1}, []types.Datum{types.NewIntDatum(2)}, false)
	tests := []struct {
		name           string
		value, old     []byte
		kind           model.RowKind
		wantNew, wantO []string
	}{
		{"insert", one, nil, model.RowInsert, []string{"int 1"}, nil},
		{"update", two, one, model.RowUpdate, []string{"int 2"}, []string{"int 1"}},
		{"delete", nil, one, model.RowDelete, nil, []string{"int 1"}},
		{"none", nil, nil, model.RowNone, nil, nil},
	}
	row := &model.Row{}
	d, table := mounter.NewDecoder(time.UTC), schema.NewTable(1, "test", info, 1)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := model.NewRawChange(1, 2, key, tc.value, tc.old)
			require.NoError(t, d.Decode(table, &c, row))
			require.Equal(t, tc.kind, row.Kind)
			require.Equal(t, tc.wantNew, showAll(row.New))
			require.Equal(t, tc.wantO, showAll(row.Old))
			values, err := d.DecodeColumns(table, &c, mounter.Old, []int{0}, nil)
			require.NoError(t, err)
			require.Equal(t, tc.wantO, showAll(values))
		})
	}
}

func TestIntegerHandle(t *testing.T) {
	for name, tc := range map[string]struct {
		kind   kind
		handle int64
		want   string
	}{
		"signed":       {signedKind("a", mysql.TypeLonglong, 64), math.MinInt64, "int -9223372036854775808"},
		"unsigned":     {unsignedKind("a", mysql.TypeLonglong, 64), -1, "uint 18446744073709551615"},
		"unsigned low": {unsignedKind("a", mysql.TypeLong, 32), 7, "uint 7"},
	} {
		t.Run(name, func(t *testing.T) {
			info := tableInfo([]kind{signedKind("x", mysql.TypeTiny, 8), tc.kind}, nil)
			info.PKIsHandle = true
			info.Columns[1].FieldType.AddFlag(mysql.PriKeyFlag | mysql.NotNullFlag)
			key := tablecodec.EncodeRowKeyWithHandle(info.ID, kv.IntHandle(tc.handle))
			value := encode(t, []int64{1}, []types.Datum{types.NewIntDatum(5)}, true)
			c := model.NewRawChange(1, 2, key, value, nil)
			require.Equal(t, []string{"int 5", tc.want}, showAll(decode(t, info, time.UTC, c).New))
			require.Len(t, mounter.Handle(key), 8)

			d, table := mounter.NewDecoder(time.UTC), schema.NewTable(1, "test", info, 1)
			values, err := d.DecodeColumns(table, &c, mounter.New, []int{1}, nil)
			require.NoError(t, err)
			require.Equal(t, []string{tc.want}, showAll(values))
		})
	}
	require.Nil(t, mounter.Handle([]byte("m_no record key")))
}

// TestAbsentColumns is for rows from before a column was added.
func TestAbsentColumns(t *testing.T) {
	tokyo := time.FixedZone("tokyo", 9*3600)
	abc := []string{"a", "b", "ccc"}
	type col struct {
		name string
		ft   *types.FieldType
		def  any
		bit  []byte
		ver  uint64
		want string
	}
	notNull := func(ft *types.FieldType) { ft.AddFlag(mysql.NotNullFlag) }
	cols := []col{
		{"nullable", fieldType(mysql.TypeLong), nil, nil, 2, "NULL"},
		{"int", fieldType(mysql.TypeLong), "-7", nil, 2, "int -7"},
		{"uint", fieldType(mysql.TypeLonglong, unsigned), "18446744073709551615", nil, 2, "uint 18446744073709551615"},
		{"year", fieldType(mysql.TypeYear), "2024", nil, 2, "int 2024"},
		{"float", fieldType(mysql.TypeFloat), "1.5", nil, 2, "float32 1.5"},
		{"double", fieldType(mysql.TypeDouble), "-2.25", nil, 2, "float64 -2.25"},
		{"decimal", fieldType(mysql.TypeNewDecimal, size(10, 2)), "1.50", nil, 2, "text 1.50"},
		{"char", fieldType(mysql.TypeString, size(10, 0), utf8mb4), "x", nil, 2, "bytes 78"},
		{"date", fieldType(mysql.TypeDate), "2020-01-02", nil, 2, "text 2020-01-02"},
		{"datetime", fieldType(mysql.TypeDatetime, size(26, 3)), "2020-01-02 03:04:05.678", nil, 2, "text 2020-01-02 03:04:05.678"},
		{"timestamp", fieldType(mysql.TypeTimestamp, size(19, 0)), "2020-01-01 20:00:00", nil, 2, "text 2020-01-02 05:00:00"},
		{"old timestamp", fieldType(mysql.TypeTimestamp, size(19, 0)), "2020-01-01 20:00:00", nil, 0, "text 2020-01-01 20:00:00"},
		{"zero timestamp", fieldType(mysql.TypeTimestamp, size(19, 0)), "0000-00-00 00:00:00", nil, 2, "text 0000-00-00 00:00:00"},
		{"time", fieldType(mysql.TypeDuration, size(20, 1)), "-10:11:12.5", nil, 2, "text -10:11:12.5"},
		{"enum", fieldType(mysql.TypeEnum, elems(abc...), utf8mb4), "b", nil, 2, "uint 2"},
		{"set", fieldType(mysql.TypeSet, elems(abc...), utf8mb4), "a,ccc", nil, 2, "uint 5"},
		{"bit", fieldType(mysql.TypeBit, size(9, 0)), "\x01\x02", []byte("\x01\x02"), 2, "uint 258"},

		{"zero int", fieldType(mysql.TypeLong, notNull), nil, nil, 2, "int 0"},
		{"zero uint", fieldType(mysql.TypeLong, unsigned, notNull), nil, nil, 2, "uint 0"},
		{"zero double", fieldType(mysql.TypeDouble, notNull), nil, nil, 2, "float64 0"},
		{"zero decimal", fieldType(mysql.TypeNewDecimal, size(10, 2), notNull), nil, nil, 2, "text 0"},
		{"zero varchar", fieldType(mysql.TypeVarchar, size(10, 0), utf8mb4, notNull), nil, nil, 2, "bytes "},
		{"zero binary", fieldType(mysql.TypeString, size(3, 0), notNull), nil, nil, 2, "bytes 000000"},
		{"zero date", fieldType(mysql.TypeDate, notNull), nil, nil, 2, "text 0000-00-00"},
		{"zero datetime", fieldType(mysql.TypeDatetime, size(26, 2), notNull), nil, nil, 2, "text 0000-00-00 00:00:00.00"},
		{"zero time", fieldType(mysql.TypeDuration, size(10, 0), notNull), nil, nil, 2, "text 00:00:00"},
		{"zero enum", fieldType(mysql.TypeEnum, elems(abc...), notNull), nil, nil, 2, "uint 1"},
		{"zero set", fieldType(mysql.TypeSet, elems(abc...), notNull), nil, nil, 2, "uint 0"},
		{"zero bit", fieldType(mysql.TypeBit, size(9, 0), notNull), nil, nil, 2, "uint 0"},
		{"zero json", fieldType(mysql.TypeJSON, notNull), nil, nil, 2, "text null"},
		{"zero vector", fieldType(mysql.TypeTiDBVectorFloat32, notNull), nil, nil, 2, "vector "},
	}
	var list []kind
	var want []string
	for _, c := range cols {
		list = append(list, kind{name: c.name, ft: c.ft})
		want = append(want, c.want)
	}
	info := tableInfo(list, nil)
	for i, c := range cols {
		info.Columns[i].OriginDefaultValue, info.Columns[i].OriginDefaultValueBit = c.def, c.bit
		info.Columns[i].Version = c.ver
	}
	key := tablecodec.EncodeRowKeyWithHandle(info.ID, kv.IntHandle(1))
	for _, v2 := range []bool{true, false} {
		c := model.NewRawChange(1, 2, key, encode(t, nil, nil, v2), nil)
		require.Equal(t, want, showAll(decode(t, info, tokyo, c).New))
	}
}

func TestChanged(t *testing.T) {
	info := tableInfo([]kind{decimalKind(10, 2), signedKind("b", mysql.TypeLong, 32)}, nil)
	info.Columns[1].OriginDefaultValue = "3"
	table := schema.NewTable(1, "test", info, 1)
	key := tablecodec.EncodeRowKeyWithHandle(info.ID, kv.IntHandle(1))
	dec := func(s string) types.Datum {
		d := types.NewDecimalDatum(types.NewDecFromStringForTest(s))
		d.SetLength(10)
		d.SetFrac(2)
		return d
	}
	one, three := types.NewIntDatum(1), types.NewIntDatum(3)
	tests := []struct {
		name     string
		old, new []byte
		columns  []int
		want     bool
	}{
		{"same", encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), one}, true), encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), one}, true), []int{0, 1}, false},
		{"other", encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), one}, true), encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), three}, true), []int{0, 1}, true},
		{"not asked", encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), one}, true), encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), three}, true), []int{0}, false},
		{"formats", encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), one}, false), encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), one}, true), []int{0, 1}, false},
		{"default", encode(t, []int64{1}, []types.Datum{dec("1.00")}, true), encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), three}, true), []int{0, 1}, false},
		{"insert", nil, encode(t, []int64{1, 2}, []types.Datum{dec("1.00"), three}, true), []int{0, 1}, false},
	}
	d := mounter.NewDecoder(time.UTC)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := model.NewRawChange(1, 2, key, tc.new, tc.old)
			got, err := d.Changed(table, &c, tc.columns)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestBrokenRow(t *testing.T) {
	info := tableInfo(kinds(), nil)
	table := schema.NewTable(1, "test", info, 1)
	key := tablecodec.EncodeRowKeyWithHandle(info.ID, kv.IntHandle(1))
	d := mounter.NewDecoder(time.UTC)
	for _, value := range []string{"\x80", "\x80\x00\xff\xff\x00\x00", "\x03", "\x80\x00\x01\x00\x00\x00\x05\x03\x00\x01\x02\x03", "\xff\x00"} {
		c := model.NewRawChange(1, 2, key, []byte(value), nil)
		err := d.Decode(table, &c, &model.Row{})
		require.ErrorIs(t, err, errors.ErrDecodeRowToDatum, "%x", value)
		require.Contains(t, err.Error(), "test.t")
	}
}

// TestManyTables lets the decoder meet more table versions than it remembers.
func TestManyTables(t *testing.T) {
	info := tableInfo(kinds()[:1], nil)
	key := tablecodec.EncodeRowKeyWithHandle(info.ID, kv.IntHandle(1))
	c := model.NewRawChange(1, 2, key, encode(t, []int64{1}, []types.Datum{types.NewIntDatum(9)}, true), nil)
	d, row := mounter.NewDecoder(time.UTC), &model.Row{}
	for range 3000 {
		require.NoError(t, d.Decode(schema.NewTable(1, "test", info, 1), &c, row))
		require.Equal(t, []string{"int 9"}, showAll(row.New))
	}
}

// sample is a change of a table with 10 columns of ordinary types.
func sample(t testing.TB) (*model.Table, model.RawChange) {
	all := map[string]kind{}
	for _, k := range kinds() {
		all[k.name] = k
	}
	var list []kind
	for _, name := range []string{"bigint", "int", "varchar", "decimal(10,3)", "datetime", "timestamp6", "double", "text", "enum", "char"} {
		list = append(list, all[name])
	}
	info := tableInfo(list, nil)
	r := rand.New(rand.NewPCG(3, 4))
	var datums []types.Datum
	for _, k := range list {
		datums = append(datums, k.value(r))
	}
	stored := encodeRow(t, time.UTC, info, datums, nil, true)
	return schema.NewTable(1, "test", info, 1), model.NewRawChange(1, 2, stored.key, stored.value, nil)
}

func TestNoAllocations(t *testing.T) {
	table, c := sample(t)
	d, row := mounter.NewDecoder(time.FixedZone("x", 3600)), &model.Row{}
	require.NoError(t, d.Decode(table, &c, row))
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = d.Decode(table, &c, row) }))
}

func BenchmarkDecode(b *testing.B) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(b, err)
	table, c := sample(b)
	for name, loc := range map[string]*time.Location{"utc": time.UTC, "zone": berlin} {
		b.Run(name, func(b *testing.B) {
			d, row := mounter.NewDecoder(loc), &model.Row{}
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(table, &c, row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("two columns", func(b *testing.B) {
		d := mounter.NewDecoder(berlin)
		var dst []model.Value
		b.ReportAllocs()
		for b.Loop() {
			if dst, err = d.DecodeColumns(table, &c, mounter.New, []int{0, 2}, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("changed", func(b *testing.B) {
		d := mounter.NewDecoder(berlin)
		c := model.NewRawChange(1, 2, c.Key(), c.Value(), c.Value())
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Changed(table, &c, []int{0, 2}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// FuzzDecode feeds arbitrary keys and values: they may give errors, never a panic.
func FuzzDecode(f *testing.F) {
	all := kinds()
	var primary []int
	for i, k := range all {
		if k.inKey {
			primary = append(primary, i)
		}
	}
	plain, common := tableInfo(all, nil), tableInfo(all, primary)
	tables := []*model.Table{schema.NewTable(1, "test", plain, 1), schema.NewTable(1, "test", common, 1)}
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 8 {
		var datums []types.Datum
		for _, k := range all {
			datums = append(datums, k.value(r))
		}
		info, pk := plain, []int(nil)
		if n%2 == 0 {
			info, pk = common, primary
		}
		stored := encodeRow(f, time.UTC, info, datums, pk, n < 4)
		f.Add(stored.key, stored.value, n%2 == 0)
	}
	d, row := mounter.NewDecoder(time.FixedZone("x", 3600)), &model.Row{}
	f.Fuzz(func(t *testing.T, key, value []byte, common bool) {
		table := tables[0]
		if common {
			table = tables[1]
		}
		c := model.NewRawChange(1, 2, key, value, value)
		_ = d.Decode(table, &c, row)
		_, _ = d.DecodeColumns(table, &c, mounter.New, []int{0, 5, len(table.Columns) - 1}, nil)
		_, _ = d.Changed(table, &c, []int{1, 2})
	})
}

// TestDamagedRows changes some bytes of sound rows: whatever comes out, it
// comes out soon.
func TestDamagedRows(t *testing.T) {
	all := kinds()
	info := tableInfo(all, nil)
	table := schema.NewTable(1, "test", info, 1)
	r := rand.New(rand.NewPCG(7, 8))
	d, row := mounter.NewDecoder(time.FixedZone("x", 3600)), &model.Row{}
	broken := 0
	for n := range 100 {
		var datums []types.Datum
		for _, k := range all {
			datums = append(datums, k.value(r))
		}
		stored := encodeRow(t, time.UTC, info, datums, nil, n%2 == 0)
		for range 200 {
			value := append([]byte(nil), stored.value...)
			for range 1 + r.IntN(4) {
				value[r.IntN(len(value))] = byte(r.UintN(256))
			}
			if r.IntN(4) == 0 {
				value = value[:1+r.IntN(len(value)-1)]
			}
			c := model.NewRawChange(1, 2, stored.key, value, nil)
			if d.Decode(table, &c, row) != nil {
				broken++
			}
		}
	}
	require.NotZero(t, broken)
}
