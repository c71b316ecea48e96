// Package avrobin writes and reads the primitives of Avro's binary encoding.
package avrobin

import (
	"encoding/binary"
	"errors"
	"math"
)

// AppendLong appends an int or a long.
func AppendLong(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// AppendBytes appends bytes or a string.
func AppendBytes[T ~[]byte | ~string](b []byte, v T) []byte {
	return append(AppendLong(b, int64(len(v))), v...)
}

// AppendBool appends a boolean.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendFloat appends a float.
func AppendFloat(b []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
}

// AppendDouble appends a double.
func AppendDouble(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

// ErrShort says that the data ends within a value, or that a length or a union
// branch in it cannot be.
var ErrShort = errors.New("avro data is cut short or damaged")

// Reader takes values off the front of its data. The first failure sticks: all
// later reads give zero values, and Err tells.
type Reader struct {
	b      []byte
	failed bool
}

// NewReader reads b, which must not change meanwhile.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is ErrShort after a failure.
func (r *Reader) Err() error {
	if r.failed {
		return ErrShort
	}
	return nil
}

// Len is the number of bytes that are left.
func (r *Reader) Len() int { return len(r.b) }

// Fail makes the reader fail, for values that the caller finds impossible.
func (r *Reader) Fail() {
	r.failed = true
	r.b = nil
}

// Long reads an int or a long.
func (r *Reader) Long() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Index reads a union's branch, or an enum's symbol, out of n.
func (r *Reader) Index(n int) int {
	v := r.Long()
	if v < 0 || v >= int64(n) {
		r.Fail()
		return 0
	}
	return int(v)
}

// take returns the next n bytes, nil when there are not so many.
func (r *Reader) take(n int64) []byte {
	if n < 0 || n > int64(len(r.b)) {
		r.Fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Bytes reads bytes, a window into the data.
func (r *Reader) Bytes() []byte { return r.take(r.Long()) }

// String reads a string.
func (r *Reader) String() string { return string(r.Bytes()) }

// Bool reads a boolean.
func (r *Reader) Bool() bool {
	b := r.take(1)
	return len(b) == 1 && b[0] != 0
}

// Float reads a float.
func (r *Reader) Float() float32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(b))
}

// Double reads a double.
func (r *Reader) Double() float64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

// Blocks reads the blocks of an array or a map and calls item for each element.
func (r *Reader) Blocks(item func()) {
	for {
		n := r.Long()
		if n < 0 {
			// A negative count is followed by the block's size in bytes.
			n = -n
			r.Long()
		}
		if n == 0 || r.failed {
			return
		}
		// Every element of ours has at least one byte.
		if n < 0 || n > int64(len(r.b)) {
			r.Fail()
			return
		}
		for ; n > 0 && !r.failed; n-- {
			item()
		}
	}
}
