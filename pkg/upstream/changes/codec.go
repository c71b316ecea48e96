package changes

import (
	"fmt"

	"github.com/gogo/protobuf/proto"
	"google.golang.org/grpc/mem"
)

// rawMessage receives a message as bytes.
type rawMessage struct {
	buf []byte
	// kept says that something still points into buf, so that the next
	// message needs another one.
	kept bool
}

// rawCodec sends protobuf messages and hands received ones over unparsed.
type rawCodec struct{}

// Name is that of protobuf: on the wire nothing differs.
func (rawCodec) Name() string { return "proto" }

// Marshal encodes a request.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Marshaler)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal copies the message into one buffer. The copy is what lets rows
// outlive gRPC's own pooled buffers.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*rawMessage)
	if !ok {
		return fmt.Errorf("cannot receive into a %T", v)
	}
	size := data.Len()
	if m.kept || cap(m.buf) < size {
		m.buf, m.kept = make([]byte, size), false
	}
	m.buf = m.buf[:size]
	data.CopyTo(m.buf)
	return nil
}
