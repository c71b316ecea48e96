package open

import (
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// style is how a column's value is written. NULL is the same in all.
type style uint8

const (
	plain  style = iota // by the kind of the value
	quoted              // binary and varbinary: escaped as in a Go string
	base64              // text and blob types
)

// plan is what every row of a table version has in common.
type plan struct {
	name    []byte   // members scm and tbl of the key, with a comma in front
	columns []column // by name
	anyKey  bool
}

type column struct {
	index  int    // position in the table
	prefix []byte // up to the value
	style  style
	key    bool // part of the handle key
}

func newPlan(t *model.Table) *plan {
	p := &plan{name: appendName(nil, t.Schema, t.Name), anyKey: len(t.HandleKey) > 0}
	for i := range t.Columns {
		c := &t.Columns[i]
		key := c.Has(model.FlagHandleKey)
		p.columns = append(p.columns, column{index: i, prefix: prefix(c, key), style: styleOf(c), key: key})
	}
	slices.SortFunc(p.columns, func(a, b column) int {
		return strings.Compare(t.Columns[a.index].Name, t.Columns[b.index].Name)
	})
	return p
}

func appendName(dst []byte, schema, table string) []byte {
	if schema != "" {
		dst = codec.AppendJSONString(append(dst, `,"scm":`...), schema)
	}
	if table != "" {
		dst = codec.AppendJSONString(append(dst, `,"tbl":`...), table)
	}
	return dst
}

func prefix(c *model.Column, key bool) []byte {
	b := append(codec.AppendJSONString(nil, c.Name), `:{"t":`...)
	b = strconv.AppendUint(b, uint64(c.Type), 10)
	if key {
		b = append(b, `,"h":true`...)
	}
	b = strconv.AppendUint(append(b, `,"f":`...), uint64(c.Flag), 10)
	return append(b, `,"v":`...)
}

func styleOf(c *model.Column) style {
	switch {
	case codec.IsBlob(c.Type):
		return base64
	case codec.IsBinary(c.FieldType):
		return quoted
	}
	return plain
}

// appendImage appends a row as an object: its handle key only, or only the
// columns whose value differs from other, where that is not nil. It tells
// whether there was any column.
func (p *plan) appendImage(dst []byte, image, other []model.Value, keysOnly bool, scratch *[]byte) ([]byte, bool) {
	dst = append(dst, '{')
	first := len(dst)
	for i := range p.columns {
		c := &p.columns[i]
		if keysOnly && !c.key || other != nil && codec.SameValue(&image[c.index], &other[c.index]) {
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = c.appendValue(append(dst, c.prefix...), &image[c.index], scratch)
		dst = append(dst, '}')
	}
	return append(dst, '}'), len(dst) > first
}

func (c *column) appendValue(dst []byte, v *model.Value, scratch *[]byte) []byte {
	dst, done := codec.AppendJSONPlain(dst, v)
	if done {
		return dst
	}
	switch c.style {
	case base64:
		return codec.AppendJSONBase64(dst, v.B)
	case quoted:
		// AppendQuote keeps nothing of the string, so it may look at the bytes.
		*scratch = strconv.AppendQuote((*scratch)[:0], unsafe.String(unsafe.SliceData(v.B), len(v.B)))
		return codec.AppendJSONString(dst, (*scratch)[1:len(*scratch)-1])
	}
	return codec.AppendJSONString(dst, v.B)
}
