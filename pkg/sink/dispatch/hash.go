package dispatch

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/tidemark/tidemark/pkg/model"
)

// Hash is what rows are spread by. Its zero value is the start. The order of
// writes does not count, and two equal writes cancel each other out.
type Hash uint32

// Write adds one group of byte strings, taken together.
func (h *Hash) Write(parts ...[]byte) {
	sum := uint32(0)
	for _, p := range parts {
		sum = crc32.Update(sum, crc32.IEEETable, p)
	}
	*h ^= Hash(sum)
}

// Partition is the hash's place among count partitions; count is positive.
func (h Hash) Partition(count int32) int32 { return int32(uint32(h) % uint32(count)) }

// appendText appends the text form of a value that goes into a hash.
func appendText(dst []byte, v *model.Value) []byte {
	switch v.Kind {
	case model.KindNull:
		return append(dst, "null"...)
	case model.KindInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	case model.KindUint:
		return strconv.AppendUint(dst, v.N, 10)
	case model.KindFloat32:
		return strconv.AppendFloat(dst, math.Float64frombits(v.N), 'f', -1, 32)
	case model.KindFloat64:
		return strconv.AppendFloat(dst, math.Float64frombits(v.N), 'f', -1, 64)
	case model.KindVector:
		return appendVector(dst, v.B)
	default:
		return append(dst, v.B...)
	}
}

// appendVector writes a vector of little-endian float32 as [1,2.5,3].
func appendVector(dst, b []byte) []byte {
	dst = append(dst, '[')
	for i := 0; i+4 <= len(b); i += 4 {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
		dst = strconv.AppendFloat(dst, float64(f), 'f', -1, 32)
	}
	return append(dst, ']')
}
