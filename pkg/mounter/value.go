package mounter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tidemark/tidemark/pkg/model"
)

var (
	errShortValue  = errors.New("column value has a wrong length")
	errUnknownType = errors.New("column type is unknown")
)

// setStored decodes a value of a row in the current format.
func (d *Decoder) setStored(c *column, b []byte, v *model.Value) error {
	switch c.class {
	case classBytes:
		*v = model.Value{Kind: model.KindBytes, B: b}
		return nil
	case classInt, classDuration:
		n, ok := storedInt(b)
		if !ok {
			return errShortValue
		}
		return d.setNumber(c, n, v)
	case classFloat32, classFloat64:
		if len(b) != 8 {
			return errShortValue
		}
		setFloat(c, floatBits(binary.BigEndian.Uint64(b)), v)
		return nil
	case classDecimal, classJSON, classVector:
		return d.setEncoded(c, b, v)
	}
	n, ok := storedUint(b)
	if !ok {
		return errShortValue
	}
	return d.setNumber(c, n, v)
}

// storedInt reads a signed integer of 1, 2, 4 or 8 bytes.
func storedInt(b []byte) (uint64, bool) {
	switch len(b) {
	case 1:
		return uint64(int64(int8(b[0]))), true
	case 2:
		return uint64(int64(int16(binary.LittleEndian.Uint16(b)))), true
	case 4:
		return uint64(int64(int32(binary.LittleEndian.Uint32(b)))), true
	case 8:
		return binary.LittleEndian.Uint64(b), true
	}
	return 0, false
}

func storedUint(b []byte) (uint64, bool) {
	switch len(b) {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.LittleEndian.Uint16(b)), true
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), true
	case 8:
		return binary.LittleEndian.Uint64(b), true
	}
	return 0, false
}

// setDatum decodes a flagged value.
func (d *Decoder) setDatum(c *column, v datum, out *model.Value) error {
	switch v.flag {
	case flagNull:
		*out = model.Value{}
		return nil
	case flagInt, flagUint, flagVarint, flagUvarint, flagDuration:
		return d.setNumber(c, v.n, out)
	case flagFloat:
		if c.class == classFloat32 || c.class == classFloat64 {
			setFloat(c, v.n, out)
			return nil
		}
	case flagCompactBytes:
		if c.class == classBytes {
			*out = model.Value{Kind: model.KindBytes, B: v.b}
			return nil
		}
	case flagBytes:
		if c.class == classBytes {
			start := len(d.buf)
			buf, err := appendGroups(d.buf, v.b)
			d.buf = buf
			*out = model.Value{Kind: model.KindBytes, B: d.since(start)}
			return err
		}
	case flagDecimal, flagJSON, flagVector:
		if c.class == encodedClass(v.flag) {
			return d.setEncoded(c, v.b, out)
		}
	}
	return fmt.Errorf("column %d: datum flag %d does not fit the column's type", c.id, v.flag)
}

func encodedClass(flag byte) class {
	switch flag {
	case flagDecimal:
		return classDecimal
	case flagJSON:
		return classJSON
	}
	return classVector
}

// setNumber is for every type that is stored as an integer.
func (d *Decoder) setNumber(c *column, n uint64, v *model.Value) error {
	start := len(d.buf)
	switch c.class {
	case classInt:
		*v = model.Value{Kind: model.KindInt, N: n}
		return nil
	case classUint:
		*v = model.Value{Kind: model.KindUint, N: n}
		return nil
	case classEnum:
		// Beyond the elements is the empty value, as TiDB reads it.
		if n > c.elems {
			n = 0
		}
		*v = model.Value{Kind: model.KindUint, N: n}
		return nil
	case classDate:
		d.buf = appendDate(d.buf, unpackTime(n))
	case classDatetime:
		d.buf = appendDatetime(d.buf, unpackTime(n), c.fsp)
	case classTimestamp:
		local, err := unpackTime(n).in(d.loc)
		if err != nil {
			return err
		}
		d.buf = appendDatetime(d.buf, local, c.fsp)
	case classDuration:
		d.buf = appendDuration(d.buf, int64(n), c.fsp)
	case classUnknown:
		return errUnknownType
	default:
		return fmt.Errorf("column %d: an integer does not fit the column's type", c.id)
	}
	*v = model.Value{Kind: model.KindText, B: d.since(start)}
	return nil
}

// setFloat takes the bits of a float64. What is not a number becomes 0.
func setFloat(c *column, bits uint64, v *model.Value) {
	if f := math.Float64frombits(bits); math.IsNaN(f) || math.IsInf(f, 0) {
		bits = 0
	}
	*v = model.Value{Kind: model.KindFloat64, N: bits}
	if c.class == classFloat32 {
		v.Kind = model.KindFloat32
	}
}

// setEncoded is for the types with an encoding of their own.
func (d *Decoder) setEncoded(c *column, b []byte, v *model.Value) (err error) {
	start := len(d.buf)
	switch c.class {
	case classDecimal:
		d.buf, err = appendDecimal(d.buf, b)
	case classJSON:
		if d.binaryJSON {
			if size := jsonSize(b); size == 0 || size != len(b) {
				return errShortValue
			}
			*v = model.Value{Kind: model.KindBytes, B: b}
			return nil
		}
		d.buf, err = appendJSON(d.buf, b)
	case classVector:
		if size := vectorSize(b); size == 0 || size != len(b) {
			return errShortValue
		}
		*v = model.Value{Kind: model.KindVector, B: b[4:]}
		return nil
	}
	*v = model.Value{Kind: model.KindText, B: d.since(start)}
	return err
}

// since is what was appended to the buffer from start on. A later append
// cannot reach it: at most it moves the buffer elsewhere.
func (d *Decoder) since(start int) []byte { return d.buf[start:len(d.buf):len(d.buf)] }

// vectorSize is the length of the vector that b begins with, 0 when it is cut
// short: the number of elements, then little-endian float32s.
func vectorSize(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	size := 4 + 4*uint64(binary.LittleEndian.Uint32(b))
	if size > uint64(len(b)) {
		return 0
	}
	return int(size)
}
