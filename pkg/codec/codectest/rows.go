package codectest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// Null, Int, Uint, Float, Double, Text, Bytes and Vector make values.
func Null() model.Value { return model.Value{} }

// Int is a signed integer or a year.
func Int(n int64) model.Value { return model.Value{Kind: model.KindInt, N: uint64(n)} }

// Uint is an unsigned integer, bit, enum or set.
func Uint(n uint64) model.Value { return model.Value{Kind: model.KindUint, N: n} }

// Float is a float.
func Float(f float32) model.Value {
	return model.Value{Kind: model.KindFloat32, N: math.Float64bits(float64(f))}
}

// Double is a double.
func Double(f float64) model.Value {
	return model.Value{Kind: model.KindFloat64, N: math.Float64bits(f)}
}

// Text is a decimal, date, time or JSON.
func Text(s string) model.Value { return model.Value{Kind: model.KindText, B: []byte(s)} }

// Bytes is a string or binary value.
func Bytes(s string) model.Value { return model.Value{Kind: model.KindBytes, B: []byte(s)} }

// Vector is a vector.
func Vector(elements ...float32) model.Value {
	v := model.Value{Kind: model.KindVector}
	for _, f := range elements {
		v.B = binary.LittleEndian.AppendUint32(v.B, math.Float32bits(f))
	}
	return v
}

// Commit times of the events below: 2023-11-14 22:13:20 UTC.
const (
	CommitTs = 1700000000000<<18 + 5
	StartTs  = 1700000000000<<18 + 1
)

// Insert, Update and Delete make events of a table.
func Insert(t *model.Table, row []model.Value) *codec.RowEvent {
	return event(t, model.Row{Kind: model.RowInsert, New: row})
}

// Update changes a row.
func Update(t *model.Table, from, to []model.Value) *codec.RowEvent {
	return event(t, model.Row{Kind: model.RowUpdate, Old: from, New: to})
}

// Delete removes a row.
func Delete(t *model.Table, row []model.Value) *codec.RowEvent {
	return event(t, model.Row{Kind: model.RowDelete, Old: row})
}

func event(t *model.Table, row model.Row) *codec.RowEvent {
	return &codec.RowEvent{Table: t, PhysicalID: t.ID, StartTs: StartTs, CommitTs: CommitTs, Row: row}
}

// RandomEvent is an insert, update or delete of random values; updates leave
// some columns as they are.
func RandomEvent(r *rand.Rand, t *model.Table) *codec.RowEvent {
	from, to := RandomRow(r, t), RandomRow(r, t)
	switch r.IntN(3) {
	case 0:
		return Insert(t, to)
	case 1:
		return Delete(t, from)
	}
	for i := range to {
		if r.IntN(2) == 0 || t.Columns[i].Has(model.FlagHandleKey) {
			to[i] = from[i]
		}
	}
	return Update(t, from, to)
}

// RandomRow has a random value in each column, NULL now and then where the
// column allows it.
func RandomRow(r *rand.Rand, t *model.Table) []model.Value {
	row := make([]model.Value, len(t.Columns))
	for i := range row {
		if c := &t.Columns[i]; !c.Has(model.FlagNullable) || r.IntN(8) > 0 {
			row[i] = randomValue(r, c)
		}
	}
	return row
}

func randomValue(r *rand.Rand, c *model.Column) model.Value {
	switch c.Type {
	case mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24, mysql.TypeLong, mysql.TypeLonglong:
		return randomInt(r, c)
	case mysql.TypeYear:
		return Int([]int64{0, 1901, 2024, 2155}[r.IntN(4)])
	case mysql.TypeBit:
		return Uint(r.Uint64() >> r.IntN(64))
	case mysql.TypeEnum:
		return Uint(uint64(r.IntN(len(c.FieldType.GetElems()) + 1)))
	case mysql.TypeSet:
		return Uint(uint64(r.IntN(1 << len(c.FieldType.GetElems()))))
	case mysql.TypeFloat:
		return Float(float32(math.Ldexp(r.NormFloat64(), r.IntN(200)-100)))
	case mysql.TypeDouble:
		return Double(math.Ldexp(r.NormFloat64(), r.IntN(2000)-1000))
	case mysql.TypeTiDBVectorFloat32:
		return Vector(float32(r.NormFloat64()), float32(r.IntN(9)), -1.5)
	case mysql.TypeNewDecimal, mysql.TypeDate, mysql.TypeDatetime, mysql.TypeTimestamp, mysql.TypeDuration, mysql.TypeJSON:
		return Text(randomText(r, c))
	}
	return Bytes(randomString(r, codec.IsBinary(c.FieldType)))
}

func randomInt(r *rand.Rand, c *model.Column) model.Value {
	bits := map[byte]int{mysql.TypeTiny: 8, mysql.TypeShort: 16, mysql.TypeInt24: 24, mysql.TypeLong: 32, mysql.TypeLonglong: 64}[c.Type]
	n := r.Uint64()
	switch r.IntN(4) {
	case 0:
		n = 0
	case 1:
		n = math.MaxUint64
	}
	if c.Has(model.FlagUnsigned) {
		return Uint(n >> (64 - bits))
	}
	return Int(int64(n) >> (64 - bits))
}

func randomText(r *rand.Rand, c *model.Column) string {
	switch c.Type {
	case mysql.TypeNewDecimal:
		if c.FieldType.GetDecimal() == 0 {
			return fmt.Sprint(r.Uint32())
		}
		return fmt.Sprintf("%d.%04d", r.IntN(2000)-1000, r.IntN(10000))
	case mysql.TypeDate:
		return fmt.Sprintf("%04d-%02d-%02d", r.IntN(10000), r.IntN(13), r.IntN(32))
	case mysql.TypeDuration:
		return fmt.Sprintf("-%02d:%02d:%02d.%02d", r.IntN(839), r.IntN(60), r.IntN(60), r.IntN(100))
	case mysql.TypeJSON:
		return fmt.Sprintf(`{"a": %d, "b": "<x> \"\u2028"}`, r.Int32())
	}
	return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d.%06d", r.IntN(10000), 1+r.IntN(12), 1+r.IntN(28),
		r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e6))
}

func randomString(r *rand.Rand, binary bool) string {
	if binary {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	runes := make([]rune, r.IntN(12))
	for i := range runes {
		runes[i] = []rune("aZ0 \"\\/<>&'\x00\b\f\n\r\t\x1f\x7f\u0080éßж中\u2028\u2029\ufffd😀")[r.IntN(27)]
	}
	return string(runes)
}
