package avro

import (
	"encoding/binary"
	stderrors "errors"
	"math"
	"math/big"
	"strconv"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/internal/avrobin"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

var (
	errNull       = stderrors.New("NULL in a column that allows none")
	errBadEnum    = stderrors.New("an enum has the invalid value")
	errBadType    = stderrors.New("a type that this protocol does not write")
	errBadDecimal = stderrors.New("a decimal is not a number")
)

// appendRecord appends the columns of a record.
func (e *Encoder) appendRecord(b []byte, r *record, t *model.Table, values []model.Value) ([]byte, error) {
	for i := range r.fields {
		f := &r.fields[i]
		v := &values[f.column]
		if f.null != nullNever {
			if v.IsNull() {
				b = avrobin.AppendLong(b, int64(f.null))
				continue
			}
			b = avrobin.AppendLong(b, int64(1-f.null))
		}
		var err error
		if b, err = e.appendValue(b, f, v); err != nil {
			return b, errors.ErrEncodeFailed.Wrap(err, t.Schema+"."+t.Name+"."+t.Columns[f.column].Name)
		}
	}
	return b, nil
}

func (e *Encoder) appendValue(b []byte, f *field, v *model.Value) ([]byte, error) {
	if v.IsNull() {
		return b, errNull
	}
	switch f.form {
	case formInt:
		return avrobin.AppendLong(b, int64(v.N)), nil
	case formFloat:
		return avrobin.AppendFloat(b, float32(math.Float64frombits(v.N))), nil
	case formDouble:
		return avrobin.AppendDouble(b, math.Float64frombits(v.N)), nil
	case formBytes:
		return avrobin.AppendBytes(b, v.B), nil
	case formBit:
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], v.N)
		return avrobin.AppendBytes(b, trimZeros(number[:])), nil
	case formDecimal:
		return appendDecimal(b, v.B)
	case formEnum:
		name, ok := codec.EnumName(f.elems, v.N)
		if !ok {
			return b, errBadEnum
		}
		return avrobin.AppendBytes(b, name), nil
	case formSet:
		e.scratch = codec.AppendSetNames(e.scratch[:0], f.elems, v.N)
		return avrobin.AppendBytes(b, e.scratch), nil
	}
	if v.Kind == model.KindText || v.Kind == model.KindBytes {
		return avrobin.AppendBytes(b, v.B), nil
	}
	e.scratch = codec.AppendText(e.scratch[:0], v)
	return avrobin.AppendBytes(b, e.scratch), nil
}

// trimZeros takes leading zero bytes away, but not the last byte.
func trimZeros(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// appendDecimal appends a decimal's digits, without the point, as the shortest
// big-endian two's complement.
func appendDecimal(b, text []byte) ([]byte, error) {
	var small [40]byte
	digits := small[:0]
	for _, c := range text {
		if c != '.' {
			digits = append(digits, c)
		}
	}
	if len(digits) <= 18 {
		n, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return b, err
		}
		var out [8]byte
		binary.BigEndian.PutUint64(out[:], uint64(n))
		return avrobin.AppendBytes(b, shortest(out[:])), nil
	}
	n, ok := new(big.Int).SetString(string(digits), 10)
	if !ok {
		return b, errBadDecimal
	}
	// One bit more than the number needs, in whole bytes, holds its sign.
	size := n.BitLen()/8 + 1
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(size)*8))
	}
	return avrobin.AppendBytes(b, shortest(n.FillBytes(make([]byte, size)))), nil
}

// shortest takes away leading bytes that only repeat the sign.
func shortest(b []byte) []byte {
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:]
	}
	return b
}

// decimalText undoes appendDecimal.
func decimalText(b []byte, scale int) string {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
	}
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
		n.Neg(n)
	}
	digits := n.String()
	if scale == 0 {
		return sign + digits
	}
	for len(digits) <= scale {
		digits = "0" + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
