package dispatch

import (
	"hash/crc32"

	"github.com/tidemark/tidemark/pkg/codec"
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
	if v.IsNull() {
		return append(dst, "null"...)
	}
	return codec.AppendText(dst, v)
}
