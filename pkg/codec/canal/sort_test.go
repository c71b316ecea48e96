package canal

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// sortFields puts the fields of a serialized message, and of the messages in
// it, into the order of their numbers. Generated code writes the members of
// oneofs last.
func sortFields(t *testing.T, m protoreflect.Message, b []byte) []byte {
	t.Helper()
	type field struct {
		number protowire.Number
		raw    []byte
	}
	var fields []field
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		require.Positive(t, n)
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		require.GreaterOrEqual(t, size, 0)
		raw := b[:n+size]
		d := m.Descriptor().Fields().ByNumber(number)
		if d.Kind() == protoreflect.MessageKind {
			content, _ := protowire.ConsumeBytes(b[n:])
			inner := sortFields(t, newOf(m, d), content)
			raw = appendBytes(nil, number, inner)
		}
		fields = append(fields, field{number, raw})
		b = b[n+size:]
	}
	slices.SortStableFunc(fields, func(a, b field) int { return int(a.number) - int(b.number) })
	var sorted []byte
	for _, f := range fields {
		sorted = append(sorted, f.raw...)
	}
	return sorted
}

// newOf makes an empty message of the type of a field.
func newOf(m protoreflect.Message, d protoreflect.FieldDescriptor) protoreflect.Message {
	if d.IsList() {
		return m.NewField(d).List().NewElement().Message()
	}
	return m.NewField(d).Message()
}
