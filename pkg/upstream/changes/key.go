package changes

import (
	"encoding/hex"
	"strings"

	"github.com/tikv/client-go/v2/util/codec"

	"github.com/tidemark/tidemark/pkg/model"
)

// The store orders regions by keys in a memcomparable encoding, while rows
// carry raw keys.

// lastKey bounds spans that have no end of their own.
const lastKey = "\xff\xff\xff\xff\xff"

// bounded gives a span without end its upper bound.
func bounded(s model.Span) model.Span {
	if len(s.EndKey) == 0 {
		s.EndKey = []byte(lastKey)
	}
	return s
}

func encodedRange(s model.Span) KeyRange {
	r := KeyRange{End: codec.EncodeBytes(nil, s.EndKey)}
	if len(s.StartKey) > 0 {
		r.Start = codec.EncodeBytes(nil, s.StartKey)
	}
	return r
}

// rawKey decodes a region border. One that is no encoded key is taken for
// unbounded.
func rawKey(encoded []byte) []byte {
	if len(encoded) == 0 {
		return nil
	}
	_, raw, err := codec.DecodeBytes(encoded, nil)
	if err != nil {
		return nil
	}
	return raw
}

// hexKey shows a key the way that the store's tools do.
func hexKey(k []byte) string { return strings.ToUpper(hex.EncodeToString(k)) }
