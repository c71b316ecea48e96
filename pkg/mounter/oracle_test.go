package mounter_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/kv"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/codec"
	"github.com/pingcap/tidb/pkg/util/rowcodec"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/schema"
)

// kind is a column type and a source of random values of it.
type kind struct {
	name  string
	ft    *types.FieldType
	value func(*rand.Rand) types.Datum
	inKey bool // may stand in a common handle without restored data
}

func fieldType(tp byte, options ...func(*types.FieldType)) *types.FieldType {
	ft := types.NewFieldType(tp)
	ft.SetCharset(charset.CharsetBin)
	ft.SetCollate(charset.CollationBin)
	for _, o := range options {
		o(ft)
	}
	return ft
}

func unsigned(ft *types.FieldType) { ft.AddFlag(mysql.UnsignedFlag) }
func size(flen, decimal int) func(*types.FieldType) {
	return func(ft *types.FieldType) { ft.SetFlen(flen); ft.SetDecimal(decimal) }
}
func elems(e ...string) func(*types.FieldType) {
	return func(ft *types.FieldType) { ft.SetElems(e) }
}
func utf8mb4(ft *types.FieldType) {
	ft.SetCharset(charset.CharsetUTF8MB4)
	ft.SetCollate(charset.CollationUTF8MB4)
}

// edgy is a random integer of at most so many bits, often an extreme one.
func edgy(r *rand.Rand, bits int) uint64 {
	mask := uint64(math.MaxUint64) >> (64 - bits)
	switch r.IntN(5) {
	case 0:
		return mask
	case 1:
		return uint64(1) << (bits - 1)
	case 2:
		return uint64(r.IntN(3))
	}
	return r.Uint64() & mask
}

func signedKind(name string, tp byte, bits int) kind {
	return kind{name, fieldType(tp), func(r *rand.Rand) types.Datum {
		return types.NewIntDatum(int64(edgy(r, bits)<<(64-bits)) >> (64 - bits))
	}, true}
}

func unsignedKind(name string, tp byte, bits int) kind {
	return kind{name, fieldType(tp, unsigned), func(r *rand.Rand) types.Datum {
		return types.NewUintDatum(edgy(r, bits))
	}, true}
}

func timeKind(name string, tp byte, fsp int) kind {
	return kind{name, fieldType(tp, size(26, fsp)), func(r *rand.Rand) types.Datum {
		return types.NewTimeDatum(types.NewTime(randomCoreTime(r, tp, fsp), tp, fsp))
	}, true}
}

func randomCoreTime(r *rand.Rand, tp byte, fsp int) types.CoreTime {
	micro := r.IntN(1_000_000)
	for i := fsp; i < 6; i++ {
		micro /= 10
	}
	for i := fsp; i < 6; i++ {
		micro *= 10
	}
	switch {
	case r.IntN(6) == 0:
		return types.ZeroCoreTime
	case tp == mysql.TypeTimestamp:
		return types.FromDate(1971+r.IntN(66), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), micro)
	case tp == mysql.TypeDate:
		return types.FromDate(r.IntN(10000), r.IntN(13), r.IntN(32), 0, 0, 0, 0)
	}
	// Invalid dates such as February 31 and partly zero ones are kept.
	return types.FromDate(r.IntN(10000), r.IntN(13), r.IntN(32), r.IntN(24), r.IntN(60), r.IntN(60), micro)
}

func bytesKind(name string, ft *types.FieldType, inKey bool) kind {
	return kind{name, ft, func(r *rand.Rand) types.Datum {
		return types.NewCollationStringDatum(randomString(r), ft.GetCollate())
	}, inKey}
}

func randomString(r *rand.Rand) string {
	b := make([]byte, r.IntN(40))
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	if r.IntN(3) == 0 {
		return "naïve \U0001F600 текст"[:r.IntN(7)]
	}
	return string(b)
}

func decimalKind(precision, scale int) kind {
	return kind{fmt.Sprintf("decimal(%d,%d)", precision, scale), fieldType(mysql.TypeNewDecimal, size(precision, scale)),
		func(r *rand.Rand) types.Datum {
			s := ""
			for range 1 + r.IntN(max(precision-scale, 1)) {
				s += string(byte('0' + r.IntN(10)))
			}
			if precision == scale {
				s = "0"
			}
			if r.IntN(2) == 0 {
				s = "-" + s
			}
			if scale > 0 {
				s += "."
				zeros := r.IntN(2) * r.IntN(scale)
				for i := range scale {
					if i < zeros {
						s += "0"
					} else {
						s += string(byte('0' + r.IntN(10)))
					}
				}
			}
			var d types.Datum
			dec := types.NewDecFromStringForTest(s)
			d.SetMysqlDecimal(dec)
			d.SetLength(precision)
			d.SetFrac(scale)
			return d
		}, true}
}

func floatKind(name string, tp byte) kind {
	return kind{name, fieldType(tp), func(r *rand.Rand) types.Datum {
		f := math.Float64frombits(r.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) || tp == mysql.TypeFloat && math.Abs(f) > math.MaxFloat32 {
			f = r.NormFloat64()
		}
		if tp == mysql.TypeFloat {
			return types.NewFloat32Datum(float32(f))
		}
		return types.NewFloat64Datum(f)
	}, true}
}

func randomJSON(r *rand.Rand, depth int) any {
	switch n := r.IntN(10); {
	case n < 3 && depth < 4:
		obj := map[string]any{}
		for range r.IntN(5) {
			obj[randomString(r)] = randomJSON(r, depth+1)
		}
		return obj
	case n < 5 && depth < 4:
		list := []any{}
		for range r.IntN(5) {
			list = append(list, randomJSON(r, depth+1))
		}
		return list
	case n == 5:
		return int64(r.Uint64())
	case n == 6:
		return r.Uint64()
	case n == 7:
		return r.NormFloat64() * math.Pow10(r.IntN(40)-20)
	case n == 8:
		return [...]any{nil, true, false, float64(3), "line\u2028 \x01\t\"q\" \\",
			types.NewTime(types.FromDate(2020, 2, 30, 1, 2, 3, 4), mysql.TypeDatetime, 6),
			types.NewTime(types.FromDate(2020, 2, 3, 0, 0, 0, 0), mysql.TypeDate, 0),
			types.Duration{Duration: -time.Hour * 100, Fsp: 3},
			types.Opaque{TypeCode: mysql.TypeBlob, Buf: []byte("\x00\xff opaque")}}[r.IntN(9)]
	}
	return randomString(r)
}

func kinds() []kind {
	all := []kind{
		signedKind("tinyint", mysql.TypeTiny, 8), signedKind("smallint", mysql.TypeShort, 16),
		signedKind("mediumint", mysql.TypeInt24, 24), signedKind("int", mysql.TypeLong, 32), signedKind("bigint", mysql.TypeLonglong, 64),
		unsignedKind("utinyint", mysql.TypeTiny, 8), unsignedKind("usmallint", mysql.TypeShort, 16),
		unsignedKind("umediumint", mysql.TypeInt24, 24), unsignedKind("uint", mysql.TypeLong, 32), unsignedKind("ubigint", mysql.TypeLonglong, 64),
		floatKind("float", mysql.TypeFloat), floatKind("double", mysql.TypeDouble),
		decimalKind(10, 0), decimalKind(10, 3), decimalKind(65, 30), decimalKind(30, 30), decimalKind(9, 9), decimalKind(18, 9), decimalKind(1, 0), decimalKind(40, 10),
		timeKind("date", mysql.TypeDate, 0),
		timeKind("datetime", mysql.TypeDatetime, 0), timeKind("datetime3", mysql.TypeDatetime, 3), timeKind("datetime6", mysql.TypeDatetime, 6),
		timeKind("timestamp", mysql.TypeTimestamp, 0), timeKind("timestamp6", mysql.TypeTimestamp, 6),
		bytesKind("binary", fieldType(mysql.TypeString, size(40, 0)), true), bytesKind("varbinary", fieldType(mysql.TypeVarchar, size(40, 0)), true),
		bytesKind("char", fieldType(mysql.TypeString, size(40, 0), utf8mb4), true),
		bytesKind("varchar", fieldType(mysql.TypeVarchar, size(40, 0), utf8mb4), false),
		bytesKind("tinyblob", fieldType(mysql.TypeTinyBlob), true), bytesKind("text", fieldType(mysql.TypeBlob, utf8mb4), false),
		bytesKind("mediumblob", fieldType(mysql.TypeMediumBlob), true), bytesKind("longtext", fieldType(mysql.TypeLongBlob, utf8mb4), false),
	}
	for _, fsp := range []int{0, 2, 6} {
		all = append(all, kind{fmt.Sprintf("time%d", fsp), fieldType(mysql.TypeDuration, size(20, fsp)), func(r *rand.Rand) types.Datum {
			d := time.Duration(r.Int64N(int64(839 * time.Hour)))
			if r.IntN(2) == 0 {
				d = -d
			}
			return types.NewDurationDatum(types.Duration{Duration: d.Truncate(time.Microsecond), Fsp: fsp})
		}, true})
	}
	abc := []string{"a", "b", "ccc"}
	return append(all,
		kind{"year", fieldType(mysql.TypeYear), func(r *rand.Rand) types.Datum {
			return types.NewIntDatum(int64([]int{0, 1901, 2155, 2024}[r.IntN(4)]))
		}, true},
		kind{"enum", fieldType(mysql.TypeEnum, elems(abc...), utf8mb4), func(r *rand.Rand) types.Datum {
			n := uint64(r.IntN(4))
			e, _ := types.ParseEnumValue(abc, n)
			return types.NewMysqlEnumDatum(e)
		}, true},
		kind{"set", fieldType(mysql.TypeSet, elems(abc...), utf8mb4), func(r *rand.Rand) types.Datum {
			s, _ := types.ParseSetValue(abc, uint64(r.IntN(8)))
			return types.NewMysqlSetDatum(s, charset.CollationUTF8MB4)
		}, true},
		kind{"bit64", fieldType(mysql.TypeBit, size(64, 0)), func(r *rand.Rand) types.Datum {
			return types.NewMysqlBitDatum(types.NewBinaryLiteralFromUint(edgy(r, 64), 8))
		}, true},
		kind{"bit5", fieldType(mysql.TypeBit, size(5, 0)), func(r *rand.Rand) types.Datum {
			return types.NewMysqlBitDatum(types.NewBinaryLiteralFromUint(edgy(r, 5), 1))
		}, true},
		kind{"json", fieldType(mysql.TypeJSON), func(r *rand.Rand) types.Datum {
			return types.NewJSONDatum(types.CreateBinaryJSON(randomJSON(r, 0)))
		}, false},
		kind{"vector", fieldType(mysql.TypeTiDBVectorFloat32), func(r *rand.Rand) types.Datum {
			v := make([]float32, r.IntN(5))
			for i := range v {
				v[i] = float32(r.NormFloat64())
			}
			return types.NewVectorFloat32Datum(types.MustCreateVectorFloat32(v))
		}, false},
	)
}

// tableInfo has one column of each kind. primary are the positions of a
// common handle.
func tableInfo(kinds []kind, primary []int) *timodel.TableInfo {
	info := &timodel.TableInfo{ID: 7, Name: ast.NewCIStr("t"), State: timodel.StatePublic}
	for i, k := range kinds {
		info.Columns = append(info.Columns, &timodel.ColumnInfo{
			ID: int64(i + 1), Name: ast.NewCIStr("c_" + k.name), Offset: i, FieldType: *k.ft.Clone(), State: timodel.StatePublic,
			Version: timodel.CurrLatestColumnInfoVersion,
		})
	}
	if primary == nil {
		return info
	}
	info.IsCommonHandle, info.CommonHandleVersion = true, 1
	index := &timodel.IndexInfo{ID: 1, Name: ast.NewCIStr("primary"), Primary: true, Unique: true, State: timodel.StatePublic}
	for _, i := range primary {
		info.Columns[i].FieldType.AddFlag(mysql.PriKeyFlag | mysql.NotNullFlag)
		index.Columns = append(index.Columns, &timodel.IndexColumn{
			Name: info.Columns[i].Name, Offset: i, Length: types.UnspecifiedLength})
	}
	info.Indices = append(info.Indices, index)
	return info
}

// row is a random row as TiDB stores it.
type row struct {
	key, value []byte
	handle     kv.Handle
}

func encodeRow(t testing.TB, loc *time.Location, info *timodel.TableInfo, datums []types.Datum, primary []int, v2 bool) row {
	handle := kv.Handle(kv.IntHandle(42))
	skip := map[int]bool{}
	if primary != nil {
		var keys []types.Datum
		for _, i := range primary {
			keys = append(keys, datums[i])
			skip[i] = !types.NeedRestoredData(&info.Columns[i].FieldType)
		}
		encoded, err := codec.EncodeKey(loc, nil, keys...)
		require.NoError(t, err)
		handle, err = kv.NewCommonHandle(encoded)
		require.NoError(t, err)
	}
	var ids []int64
	var values []types.Datum
	for i, d := range datums {
		if !skip[i] {
			ids, values = append(ids, info.Columns[i].ID), append(values, d)
		}
	}
	value, err := tablecodec.EncodeRow(loc, values, ids, nil, nil, nil, &rowcodec.Encoder{Enable: v2})
	require.NoError(t, err)
	return row{tablecodec.EncodeRowKeyWithHandle(info.ID, handle), value, handle}
}

// oracle is what TiDB's own decoder makes of the row.
func oracle(t testing.TB, loc *time.Location, info *timodel.TableInfo, r row, primary []int) []string {
	fts := map[int64]*types.FieldType{}
	for _, c := range info.Columns {
		fts[c.ID] = &c.FieldType
	}
	datums, err := tablecodec.DecodeRowToDatumMap(r.value, fts, loc)
	require.NoError(t, err)
	var handleIDs []int64
	for _, i := range primary {
		handleIDs = append(handleIDs, info.Columns[i].ID)
	}
	datums, err = tablecodec.DecodeHandleToDatumMap(r.handle, handleIDs, fts, loc, datums)
	require.NoError(t, err)
	var out []string
	for _, c := range info.Columns {
		d, ok := datums[c.ID]
		require.True(t, ok, "column %d", c.ID)
		out = append(out, show(t, &d))
	}
	return out
}

func show(t testing.TB, d *types.Datum) string {
	switch d.Kind() {
	case types.KindNull:
		return "NULL"
	case types.KindInt64:
		return fmt.Sprintf("int %d", d.GetInt64())
	case types.KindUint64:
		return fmt.Sprintf("uint %d", d.GetUint64())
	case types.KindMysqlEnum:
		return fmt.Sprintf("uint %d", d.GetMysqlEnum().Value)
	case types.KindMysqlSet:
		return fmt.Sprintf("uint %d", d.GetMysqlSet().Value)
	case types.KindMysqlBit, types.KindBinaryLiteral:
		n, err := d.GetBinaryLiteral().ToInt(types.StrictContext)
		require.NoError(t, err)
		return fmt.Sprintf("uint %d", n)
	case types.KindFloat32:
		return fmt.Sprintf("float32 %v", float64(d.GetFloat32()))
	case types.KindFloat64:
		return fmt.Sprintf("float64 %v", d.GetFloat64())
	case types.KindMysqlDecimal:
		return "text " + d.GetMysqlDecimal().String()
	case types.KindMysqlTime:
		return "text " + d.GetMysqlTime().String()
	case types.KindMysqlDuration:
		return "text " + d.GetMysqlDuration().String()
	case types.KindMysqlJSON:
		return "text " + d.GetMysqlJSON().String()
	case types.KindString, types.KindBytes:
		return fmt.Sprintf("bytes %x", d.GetBytes())
	case types.KindVectorFloat32:
		return fmt.Sprintf("vector %x", d.GetVectorFloat32().SerializeTo(nil)[4:])
	}
	t.Fatalf("kind %d", d.Kind())
	return ""
}

func showValue(v *model.Value) string {
	switch v.Kind {
	case model.KindNull:
		return "NULL"
	case model.KindInt:
		return fmt.Sprintf("int %d", v.Int())
	case model.KindUint:
		return fmt.Sprintf("uint %d", v.N)
	case model.KindFloat32:
		return fmt.Sprintf("float32 %v", math.Float64frombits(v.N))
	case model.KindFloat64:
		return fmt.Sprintf("float64 %v", math.Float64frombits(v.N))
	case model.KindText:
		return "text " + string(v.B)
	case model.KindBytes:
		return fmt.Sprintf("bytes %x", v.B)
	case model.KindVector:
		return fmt.Sprintf("vector %x", v.B)
	}
	return fmt.Sprintf("kind %d", v.Kind)
}

func showAll(values []model.Value) []string {
	var out []string
	for i := range values {
		out = append(out, showValue(&values[i]))
	}
	return out
}

// TestAgainstTiDB compares random rows of every type with TiDB's decoder: both
// row formats, with a row id, and with every usable column in the key.
func TestAgainstTiDB(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	all := kinds()
	var wide []kind // column ids above 255: the large form
	for range 7 {
		wide = append(wide, all...)
	}
	require.Greater(t, len(wide), 255)
	var inKey, everyThird []int
	for i, k := range all {
		if k.inKey {
			inKey = append(inKey, i)
		}
		if i%3 == 0 {
			everyThird = append(everyThird, i)
		}
	}
	tests := []struct {
		name    string
		kinds   []kind
		primary []int
		loc     *time.Location
		rounds  int
	}{
		{"row id", all, nil, time.UTC, 300},
		{"row id, zone", all, nil, berlin, 300},
		{"common handle", all, inKey, berlin, 200},
		{"common handle, restored data", all, everyThird, berlin, 200},
		{"large", wide, nil, berlin, 20},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(tc.name))))
			info := tableInfo(tc.kinds, tc.primary)
			table := schema.NewTable(1, "test", info, 1)
			d := mounter.NewDecoder(tc.loc)
			got := &model.Row{}
			for n := range tc.rounds {
				datums := make([]types.Datum, len(tc.kinds))
				for i, k := range tc.kinds {
					if !mysql.HasNotNullFlag(info.Columns[i].GetFlag()) && r.IntN(8) == 0 {
						continue
					}
					datums[i] = k.value(r)
				}
				stored := encodeRow(t, tc.loc, info, datums, tc.primary, n%2 == 0)
				want := oracle(t, tc.loc, info, stored, tc.primary)
				change := model.NewRawChange(1, 2, stored.key, stored.value, stored.value)
				require.NoError(t, d.Decode(table, &change, got))
				require.Equal(t, want, showAll(got.New), "round %d", n)
				require.Equal(t, want, showAll(got.Old), "round %d", n)

				columns := []int{len(tc.kinds) - 1, 0, r.IntN(len(tc.kinds))}
				some, err := d.DecodeColumns(table, &change, mounter.New, columns, nil)
				require.NoError(t, err)
				require.Equal(t, []string{want[columns[0]], want[columns[1]], want[columns[2]]}, showAll(some))
				changed, err := d.Changed(table, &change, columns)
				require.NoError(t, err)
				require.False(t, changed)
			}
		})
	}
}
