package codec

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/tidemark/tidemark/pkg/model"
)

// AppendText appends the plain text of a value that is not NULL: numbers in
// decimal, floats in their shortest form without exponent, strings and bytes as
// they are, vectors as "[1,2.5]".
func AppendText(dst []byte, v *model.Value) []byte {
	switch v.Kind {
	case model.KindInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	case model.KindUint:
		return strconv.AppendUint(dst, v.N, 10)
	case model.KindFloat32:
		return strconv.AppendFloat(dst, math.Float64frombits(v.N), 'f', -1, 32)
	case model.KindFloat64:
		return strconv.AppendFloat(dst, math.Float64frombits(v.N), 'f', -1, 64)
	case model.KindVector:
		return AppendVector(dst, v.B)
	}
	return append(dst, v.B...)
}

// AppendVector appends the text of a vector that is given as little-endian
// float32s.
func AppendVector(dst, elements []byte) []byte {
	dst = append(dst, '[')
	for i := 0; i+4 <= len(elements); i += 4 {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := math.Float32frombits(binary.LittleEndian.Uint32(elements[i:]))
		dst = strconv.AppendFloat(dst, float64(f), 'f', -1, 32)
	}
	return append(dst, ']')
}

// SameValue tells whether an update left a value as it was.
func SameValue(a, b *model.Value) bool {
	return a.Kind == b.Kind && a.N == b.N && string(a.B) == string(b.B)
}
