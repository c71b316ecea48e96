package codectest

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
)

// Damage gives a decoder messages with random damage: it may find sense in them
// or fail with a coded error, and must not panic. Where prefix is not 0, that
// many first bytes of key and value stay as they are.
func Damage(t *testing.T, d codec.Decoder, prefix int, messages ...codec.Message) {
	t.Helper()
	r := rand.New(rand.NewPCG(11, 12))
	for range 200 {
		for _, m := range messages {
			key, value := damaged(r, m.Key, prefix), damaged(r, m.Value, prefix)
			if _, err := d.Decode(t.Context(), key, value); err != nil {
				require.NotEmpty(t, errors.CodeOf(err), "%v", err)
			}
		}
	}
}

func damaged(r *rand.Rand, b []byte, prefix int) []byte {
	if len(b) <= prefix || r.IntN(4) == 0 {
		return b
	}
	b = bytes.Clone(b)
	for range 1 + r.IntN(4) {
		b[prefix+r.IntN(len(b)-prefix)] = byte(r.Uint32())
	}
	switch r.IntN(3) {
	case 0:
		return b[:prefix+r.IntN(len(b)-prefix)]
	case 1:
		at := prefix + r.IntN(len(b)-prefix)
		return append(b[:at:at], b[prefix:]...)
	}
	return b
}
