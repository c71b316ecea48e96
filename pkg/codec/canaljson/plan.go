package canaljson

import (
	"strconv"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// plan is what every row of a table version has in common, ready to be copied.
type plan struct {
	head    []byte // up to the event type
	columns []column
	all     fields // every column
	keys    fields // the handle key, in column order
}

type column struct {
	name   []byte // with quotes and colon
	java   codec.JavaType
	binary bool
}

// fields are the columns that a message shows.
type fields struct {
	columns []int
	types   []byte // members sqlType and mysqlType, for ordinary values
	mysql   []byte // member mysqlType alone
	varying []int  // the columns whose Java type depends on the value
}

func newPlan(t *model.Table, fullTypes bool) *plan {
	p := &plan{head: head(t), columns: make([]column, len(t.Columns))}
	var all, keys []int
	for i := range t.Columns {
		c := &t.Columns[i]
		p.columns[i] = column{
			name: append(codec.AppendCanalString(nil, c.Name), ':'),
			java: codec.NewJavaType(c.FieldType), binary: codec.IsBinary(c.FieldType),
		}
		all = append(all, i)
		if c.Has(model.FlagHandleKey) {
			keys = append(keys, i)
		}
	}
	p.all, p.keys = p.fields(t, all, fullTypes), p.fields(t, keys, fullTypes)
	return p
}

func head(t *model.Table) []byte {
	b := codec.AppendCanalString([]byte(`{"id":0,"database":`), t.Schema)
	b = codec.AppendCanalString(append(b, `,"table":`...), t.Name)
	b = append(b, `,"pkNames":[`...)
	first := len(b)
	for i := range t.Columns {
		if !t.Columns[i].Has(model.FlagPrimaryKey) {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = codec.AppendCanalString(b, t.Columns[i].Name)
	}
	return append(b, `],"isDdl":false,"type":"`...)
}

func (p *plan) fields(t *model.Table, columns []int, fullTypes bool) fields {
	f := fields{columns: columns}
	if len(columns) == 0 {
		f.mysql = []byte(`,"mysqlType":null`)
		f.types = append([]byte(`,"sqlType":null`), f.mysql...)
		return f
	}
	sql := []byte(`,"sqlType":{`)
	f.mysql = []byte(`,"mysqlType":{`)
	for n, i := range columns {
		c := &p.columns[i]
		if n > 0 {
			sql, f.mysql = append(sql, ','), append(f.mysql, ',')
		}
		sql = strconv.AppendInt(append(sql, c.name...), int64(c.java.Plain()), 10)
		name := codec.TypeName(t.Columns[i].FieldType)
		if fullTypes {
			name = codec.FullTypeName(t.Columns[i].FieldType)
		}
		f.mysql = codec.AppendCanalString(append(f.mysql, c.name...), name)
		if c.java.Varies() {
			f.varying = append(f.varying, i)
		}
	}
	f.mysql = append(f.mysql, '}')
	f.types = append(append(sql, '}'), f.mysql...)
	return f
}

// appendTypes appends the members sqlType and mysqlType as the row's values
// demand.
func (p *plan) appendTypes(dst []byte, f *fields, image []model.Value) []byte {
	plain := true
	for _, i := range f.varying {
		j := &p.columns[i].java
		plain = plain && j.Of(&image[i]) == j.Plain()
	}
	if plain {
		return append(dst, f.types...)
	}
	dst = append(dst, `,"sqlType":{`...)
	for n, i := range f.columns {
		if n > 0 {
			dst = append(dst, ',')
		}
		c := &p.columns[i]
		dst = strconv.AppendInt(append(dst, c.name...), int64(c.java.Of(&image[i])), 10)
	}
	return append(append(dst, '}'), f.mysql...)
}

// appendImage appends the columns of a row as an object. Where other is not nil,
// only columns whose value differs from it are shown.
func (p *plan) appendImage(dst []byte, f *fields, image, other []model.Value) []byte {
	dst = append(dst, '{')
	first := len(dst)
	for _, i := range f.columns {
		if other != nil && codec.SameValue(&image[i], &other[i]) {
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		c := &p.columns[i]
		dst = c.appendValue(append(dst, c.name...), &image[i])
	}
	return append(dst, '}')
}

func (c *column) appendValue(dst []byte, v *model.Value) []byte {
	switch v.Kind {
	case model.KindNull:
		return append(dst, "null"...)
	case model.KindText:
		return codec.AppendCanalString(dst, v.B)
	case model.KindBytes:
		if c.binary {
			return codec.AppendCanalBytes(dst, v.B)
		}
		return codec.AppendCanalString(dst, v.B)
	}
	return append(codec.AppendText(append(dst, '"'), v), '"')
}
