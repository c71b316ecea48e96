package maxwell

import (
	"slices"
	"strings"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// plan is what every row of a table version has in common.
type plan struct {
	head    []byte   // up to the event type
	columns []column // by name
}

type column struct {
	index  int    // position in the table
	name   []byte // with quotes and colon
	binary bool
	key    bool // part of the handle key
}

func newPlan(t *model.Table) *plan {
	head := codec.AppendJSONString([]byte(`{"database":`), t.Schema)
	head = codec.AppendJSONString(append(head, `,"table":`...), t.Name)
	p := &plan{head: append(head, `,"type":"`...)}
	for i := range t.Columns {
		c := &t.Columns[i]
		p.columns = append(p.columns, column{
			index: i, name: append(codec.AppendJSONString(nil, c.Name), ':'),
			binary: codec.IsBinary(c.FieldType), key: c.Has(model.FlagHandleKey),
		})
	}
	slices.SortFunc(p.columns, func(a, b column) int {
		return strings.Compare(t.Columns[a.index].Name, t.Columns[b.index].Name)
	})
	return p
}

// appendImage appends a member with the columns of a row: its handle key only,
// or only the columns whose value differs from other, where that is not nil.
// A member without columns is left out.
func (p *plan) appendImage(dst []byte, member string, image, other []model.Value, keysOnly bool) []byte {
	start := len(dst)
	dst = append(dst, member...)
	first := len(dst)
	for i := range p.columns {
		c := &p.columns[i]
		if keysOnly && !c.key || other != nil && codec.SameValue(&image[c.index], &other[c.index]) {
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = c.appendValue(append(dst, c.name...), &image[c.index])
	}
	if len(dst) == first {
		return dst[:start]
	}
	return append(dst, '}')
}

func (c *column) appendValue(dst []byte, v *model.Value) []byte {
	dst, done := codec.AppendJSONPlain(dst, v)
	if done {
		return dst
	}
	if c.binary {
		return codec.AppendJSONBase64(dst, v.B)
	}
	return codec.AppendJSONString(dst, v.B)
}
