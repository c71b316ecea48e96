package dispatch

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestHash(t *testing.T) {
	var h Hash
	require.Zero(t, h)
	h.Write([]byte("test"), []byte("t1"))
	// IEEE CRC-32 of "testt1", worked out by another program.
	require.Equal(t, Hash(0x405c657f), h)

	joined := Hash(0)
	joined.Write([]byte("tes"), []byte("tt1"))
	require.Equal(t, h, joined, "the strings of a write have no borders")

	id := crc32.ChecksumIEEE([]byte("id42"))
	one, other := h, Hash(0)
	one.Write([]byte("id"), []byte("42"))
	other.Write([]byte("id"), []byte("42"))
	require.Equal(t, Hash(id), other)
	other.Write([]byte("test"), []byte("t1"))
	require.Equal(t, one, other, "the order of writes does not count")
	other.Write([]byte("id"), []byte("42"))
	require.Equal(t, h, other, "equal writes cancel out")
}

func TestPartition(t *testing.T) {
	require.Equal(t, int32(3), Hash(math.MaxUint32-2).Partition(5), "unsigned")
	require.Equal(t, int32(0), Hash(7).Partition(1))
}

func TestTextOfValues(t *testing.T) {
	vector := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1))
	vector = binary.LittleEndian.AppendUint32(vector, math.Float32bits(2.5))
	tests := []struct {
		value model.Value
		text  string
	}{
		{model.Value{}, "null"},
		{model.Value{Kind: model.KindInt, N: uint64(math.MaxUint64)}, "-1"},
		{model.Value{Kind: model.KindUint, N: math.MaxUint64}, "18446744073709551615"},
		{model.Value{Kind: model.KindFloat32, N: math.Float64bits(float64(float32(0.1)))}, "0.1"},
		{model.Value{Kind: model.KindFloat64, N: math.Float64bits(1e21)}, "1000000000000000000000"},
		{model.Value{Kind: model.KindFloat64, N: math.Float64bits(-1.5e-7)}, "-0.00000015"},
		{model.Value{Kind: model.KindText, B: []byte("2026-01-02")}, "2026-01-02"},
		{model.Value{Kind: model.KindBytes, B: []byte{0xff, 0}}, "\xff\x00"},
		{model.Value{Kind: model.KindBytes, B: []byte{}}, ""},
		{model.Value{Kind: model.KindVector, B: vector}, "[1,2.5]"},
		{model.Value{Kind: model.KindVector}, "[]"},
	}
	for _, test := range tests {
		require.Equal(t, test.text, string(appendText(nil, &test.value)))
	}
}
