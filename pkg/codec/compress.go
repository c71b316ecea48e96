package codec

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/snappy"
	"github.com/pierrec/lz4/v4"

	"github.com/tidemark/tidemark/pkg/errors"
)

// The compressions of message values: snappy in its block format, lz4 in its
// frame format.
const (
	CompressionNone   = "none"
	CompressionSnappy = "snappy"
	CompressionLZ4    = "lz4"
)

// Neither format can unpack to more than so many times its size. It is what
// stops a decoder from believing a made-up length.
const (
	maxSnappyRatio = 32
	maxLZ4Ratio    = 256
	unpackSlack    = 64 << 10
)

// Compressor compresses values one after the other, for one goroutine.
type Compressor struct {
	name   string
	writer *lz4.Writer
	out    bytes.Buffer
	packed []byte // what Pack returned last
}

// NewCompressor takes the option's value; "" means none. An unknown name is
// ErrInvalidReplicaConfig.
func NewCompressor(name string) (*Compressor, error) {
	c := &Compressor{name: strings.ToLower(name)}
	switch c.name {
	case "":
		c.name = CompressionNone
	case CompressionLZ4:
		c.writer = lz4.NewWriter(io.Discard)
		if err := c.writer.Apply(lz4.BlockSizeOption(lz4.Block256Kb)); err != nil {
			return nil, err
		}
	case CompressionNone, CompressionSnappy:
	default:
		return nil, errors.ErrInvalidReplicaConfig.New("large message handle compression is not supported, got " + name)
	}
	return c, nil
}

// Active tells whether Append changes anything.
func (c *Compressor) Active() bool { return c.name != CompressionNone }

// Append appends the compressed src to dst.
func (c *Compressor) Append(dst, src []byte) ([]byte, error) {
	switch c.name {
	case CompressionSnappy:
		n := len(dst)
		dst = slices.Grow(dst, snappy.MaxEncodedLen(len(src)))
		packed := snappy.Encode(dst[n:cap(dst)], src)
		return dst[:n+len(packed)], nil
	case CompressionLZ4:
		c.out.Reset()
		c.writer.Reset(&c.out)
		if _, err := c.writer.Write(src); err != nil {
			return dst, errors.ErrEncodeFailed.Wrap(err, "lz4")
		}
		if err := c.writer.Close(); err != nil {
			return dst, errors.ErrEncodeFailed.Wrap(err, "lz4")
		}
		return append(dst, c.out.Bytes()...), nil
	}
	return append(dst, src...), nil
}

// Pack returns src compressed, which is valid until the next call, or src
// itself without compression.
func (c *Compressor) Pack(src []byte) ([]byte, error) {
	if !c.Active() {
		return src, nil
	}
	var err error
	c.packed, err = c.Append(c.packed[:0], src)
	return c.packed, err
}

// Decompress undoes Append. The result is src itself without compression. An
// error means that src was not packed so.
func Decompress(name string, src []byte) ([]byte, error) {
	switch strings.ToLower(name) {
	case "", CompressionNone:
		return src, nil
	case CompressionSnappy:
		n, err := snappy.DecodedLen(src)
		if err == nil && n > maxSnappyRatio*len(src)+unpackSlack {
			err = fmt.Errorf("%d bytes cannot unpack to %d", len(src), n)
		}
		if err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, "snappy")
		}
		out, err := snappy.Decode(nil, src)
		if err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, "snappy")
		}
		return out, nil
	case CompressionLZ4:
		limit := int64(maxLZ4Ratio*len(src) + unpackSlack)
		out, err := io.ReadAll(io.LimitReader(lz4.NewReader(bytes.NewReader(src)), limit+1))
		if err == nil && int64(len(out)) > limit {
			err = fmt.Errorf("%d bytes cannot unpack to more than %d", len(src), limit)
		}
		if err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, "lz4")
		}
		return out, nil
	}
	return nil, errors.ErrDecodeFailed.New("unknown compression " + name)
}
