package canal

import (
	"bytes"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// plan is what every row of a table version has in common.
type plan struct {
	schema, table string
	columns       []column
}

type column struct {
	java      codec.JavaType
	head      []byte // fields name and isKey
	tail      []byte // field mysqlType
	binary    bool
	handleKey bool
}

func newPlan(t *model.Table) *plan {
	p := &plan{schema: t.Schema, table: t.Name, columns: make([]column, len(t.Columns))}
	for i := range t.Columns {
		c := &t.Columns[i]
		head := appendString(nil, columnName, c.Name)
		if c.Has(model.FlagPrimaryKey) {
			head = appendVarint(head, columnIsKey, 1)
		}
		p.columns[i] = column{
			java: codec.NewJavaType(c.FieldType), head: head,
			tail:   appendString(nil, columnMySQLType, codec.TypeName(c.FieldType)),
			binary: codec.IsBinary(c.FieldType), handleKey: c.Has(model.FlagHandleKey),
		}
	}
	return p
}

// appendText appends the text of a value: bytes as ISO-8859-1, and nothing for
// NULL. The text is valid UTF-8, which protobuf demands.
func (c *column) appendText(dst []byte, v *model.Value) []byte {
	switch {
	case v.Kind == model.KindNull:
		return dst
	case v.Kind != model.KindBytes:
		return codec.AppendText(dst, v)
	case !c.binary:
		if !utf8.Valid(v.B) {
			return append(dst, bytes.ToValidUTF8(v.B, []byte(string(utf8.RuneError)))...)
		}
		return append(dst, v.B...)
	}
	for _, b := range v.B {
		dst = utf8.AppendRune(dst, rune(b))
	}
	return dst
}

// appendTo appends the column, with the text of its value, to a RowData.
func (c *column) appendTo(dst []byte, field protowire.Number, v *model.Value, text []byte, updated bool) []byte {
	javaType := uint64(int64(c.java.Of(v)))
	size := tagSize + protowire.SizeVarint(javaType) + len(c.head) + tagSize + 1 + len(c.tail)
	if updated {
		size += tagSize + 1
	}
	if len(text) > 0 {
		size += sizeOfField(len(text))
	}
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendVarint(dst, columnSQLType, javaType)
	dst = append(dst, c.head...)
	if updated {
		dst = appendVarint(dst, columnUpdated, 1)
	}
	dst = appendVarint(dst, columnIsNull, protowire.EncodeBool(v.IsNull()))
	if len(text) > 0 {
		dst = appendBytes(dst, columnValue, text)
	}
	return append(dst, c.tail...)
}
