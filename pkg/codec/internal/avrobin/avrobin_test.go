package avrobin

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoundTrip(t *testing.T) {
	var b []byte
	b = AppendLong(b, -64)
	b = AppendLong(b, math.MaxInt64)
	b = AppendBytes(b, "text")
	b = AppendBytes(b, []byte{})
	b = AppendBool(b, true)
	b = AppendFloat(b, 1.5)
	b = AppendDouble(b, -2.25)
	b = AppendLong(b, 2)
	b = AppendLong(b, 7)
	b = AppendLong(b, 8)
	b = AppendLong(b, 0)
	require.Equal(t, byte(0x7f), b[0])

	r := NewReader(b)
	require.Equal(t, int64(-64), r.Long())
	require.Equal(t, int64(math.MaxInt64), r.Long())
	require.Equal(t, "text", r.String())
	require.Empty(t, r.Bytes())
	require.True(t, r.Bool())
	require.Equal(t, float32(1.5), r.Float())
	require.Equal(t, -2.25, r.Double())
	var items []int64
	r.Blocks(func() { items = append(items, r.Long()) })
	require.Equal(t, []int64{7, 8}, items)
	require.Zero(t, r.Len())
	require.NoError(t, r.Err())
}

func TestSizedBlock(t *testing.T) {
	b := AppendLong(nil, -2)
	b = AppendLong(b, 2)
	b = AppendLong(b, 1)
	b = AppendLong(b, 2)
	r := NewReader(AppendLong(b, 0))
	n := 0
	r.Blocks(func() { n++; r.Long() })
	require.Equal(t, 2, n)
	require.NoError(t, r.Err())
}

func TestDamage(t *testing.T) {
	for name, read := range map[string]func(*Reader){
		"long":    func(r *Reader) { r.Long() },
		"bytes":   func(r *Reader) { _ = r.Bytes() },
		"index":   func(r *Reader) { r.Index(2) },
		"float":   func(r *Reader) { r.Float() },
		"double":  func(r *Reader) { r.Double() },
		"boolean": func(r *Reader) { r.Bytes(); r.Bool() },
		"blocks":  func(r *Reader) { r.Blocks(func() {}) },
	} {
		for _, data := range [][]byte{nil, {0x80}, {0x05}, {0xfe, 0xff, 0x03}} {
			r := NewReader(data)
			read(r)
			if name == "index" || name == "bytes" || len(data) == 0 {
				require.ErrorIs(t, r.Err(), ErrShort, "%s %x", name, data)
			}
		}
	}
	r := NewReader([]byte{2})
	r.Fail()
	require.Zero(t, r.Long())
	require.ErrorIs(t, r.Err(), ErrShort)
}
