package avro

import (
	"encoding/binary"
	"math/big"
	"testing"

	"github.com/hamba/avro/v2"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	schemaregistry "github.com/tidemark/tidemark/test/registry"
)

// checkForeign reads a message with a library that we did not write and
// compares what it finds with what our decoder finds.
func checkForeign(t *testing.T, s *schemaregistry.Server, d *Decoder, m codec.Message) {
	t.Helper()
	events, err := d.Decode(t.Context(), m.Key, m.Value)
	require.NoError(t, err)
	if m.Value == nil {
		compareForeign(t, s, m.Key, events[0].Row.Old)
		return
	}
	compareForeign(t, s, m.Value, events[0].Row.New)
}

func compareForeign(t *testing.T, s *schemaregistry.Server, data []byte, cells []codec.Cell) {
	t.Helper()
	require.Equal(t, byte(0), data[0])
	schema, err := avro.ParseBytesWithCache([]byte(s.Schema(int(binary.BigEndian.Uint32(data[1:])))), "", &avro.SchemaCache{})
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, avro.Unmarshal(schema, data[5:], &fields))
	for _, c := range cells {
		got, ok := fields[c.Name]
		require.True(t, ok, c.Name)
		if branch, ok := got.(map[string]any); ok {
			for _, v := range branch {
				got = v
			}
		}
		sameForeign(t, &c, got)
	}
}

// sameForeign bridges how the library shows some types.
func sameForeign(t *testing.T, c *codec.Cell, got any) {
	t.Helper()
	want := c.Value
	switch v := got.(type) {
	case int:
		got = int64(v)
	case *big.Rat:
		rat, ok := new(big.Rat).SetString(want.(string))
		require.True(t, ok)
		require.Zero(t, rat.Cmp(v), c.Name)
		return
	case big.Rat:
		rat, ok := new(big.Rat).SetString(want.(string))
		require.True(t, ok)
		require.Zero(t, rat.Cmp(&v), c.Name)
		return
	case []byte:
		if c.Type == "BIT" {
			got = new(big.Int).SetBytes(v).Uint64()
		}
	case string:
		if n, ok := want.(uint64); ok {
			want = new(big.Int).SetUint64(n).String()
		}
	}
	if n, ok := got.(int64); ok {
		if _, unsigned := want.(uint64); unsigned {
			got = uint64(n)
		}
	}
	require.EqualValues(t, want, got, c.Name)
}
