package simple

import (
	"strconv"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// jsonFormat writes JSON objects. Numbers are strings in them.
type jsonFormat struct {
	location string // name of the time zone of timestamps
	plans    codec.Plans[plan]
	buf      []byte
}

func (f *jsonFormat) planOf(t *model.Table) *plan {
	return f.plans.Get(t, func(t *model.Table) *plan {
		head := codec.AppendJSONString([]byte(`{"version":1,"database":`), t.Schema)
		head = append(codec.AppendJSONString(append(head, `,"table":`...), t.Name), `,"tableID":`...)
		return newPlan(t, head, func(name string) []byte { return append(codec.AppendJSONString(nil, name), ':') })
	})
}

func (f *jsonFormat) row(ev *codec.RowEvent, how form, buildTs int64) []byte {
	p := f.planOf(ev.Table)
	b := append(f.buf[:0], p.head...)
	b = strconv.AppendInt(b, ev.PhysicalID, 10)
	b = appendType(b, rowType(ev.Row.Kind), ev.CommitTs, buildTs)
	if v := ev.Table.Info.UpdateTS; v != 0 {
		b = strconv.AppendUint(append(b, `,"schemaVersion":`...), v, 10)
	}
	if how.claimCheck != "" {
		b = codec.AppendJSONString(append(b, `,"claimCheckLocation":`...), how.claimCheck)
	}
	if how.keysOnly {
		b = append(b, `,"handleKeyOnly":true`...)
	}
	if c := ev.Checksum; c != nil {
		b = strconv.AppendInt(append(b, `,"checksum":{"version":`...), int64(c.Version), 10)
		b = strconv.AppendBool(append(b, `,"corrupted":`...), c.Corrupted)
		b = strconv.AppendUint(append(b, `,"current":`...), uint64(c.Current), 10)
		b = strconv.AppendUint(append(b, `,"previous":`...), uint64(c.Previous), 10)
		b = append(b, '}')
	}
	if ev.Row.Kind != model.RowDelete {
		b = f.appendImage(append(b, `,"data":`...), p, ev.Row.New, how.keysOnly)
	}
	if ev.Row.Kind != model.RowInsert {
		b = f.appendImage(append(b, `,"old":`...), p, ev.Row.Old, how.keysOnly)
	}
	f.buf = append(b, '}')
	return f.buf
}

// appendType appends the members that every message has after the table.
func appendType(b []byte, typeName string, commitTs uint64, buildTs int64) []byte {
	b = append(append(append(b, `,"type":"`...), typeName...), '"')
	return appendTimes(b, commitTs, buildTs)
}

func appendTimes(b []byte, commitTs uint64, buildTs int64) []byte {
	b = strconv.AppendUint(append(b, `,"commitTs":`...), commitTs, 10)
	return strconv.AppendInt(append(b, `,"buildTs":`...), buildTs, 10)
}

func (f *jsonFormat) appendImage(b []byte, p *plan, row []model.Value, keysOnly bool) []byte {
	b = append(b, '{')
	first := len(b)
	for i := range p.columns {
		c := &p.columns[i]
		if keysOnly && !c.key {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = f.appendValue(append(b, c.name...), c.shape, &row[c.at])
	}
	return append(b, '}')
}

func (f *jsonFormat) appendValue(b []byte, s shape, v *model.Value) []byte {
	switch {
	case v.IsNull():
		return append(b, "null"...)
	case s == shapeBinary:
		return codec.AppendJSONBase64(b, v.B)
	case s == shapeText:
		return codec.AppendJSONString(b, v.B)
	case s == shapeTimestamp:
		b = codec.AppendJSONString(append(b, `{"location":`...), f.location)
		b = codec.AppendJSONString(append(b, `,"value":`...), v.B)
		return append(b, '}')
	}
	return append(codec.AppendText(append(b, '"'), v), '"')
}

func (f *jsonFormat) ddl(ev *model.DDLEvent, after, before *tableSchema, buildTs int64) ([]byte, error) {
	b := append(f.buf[:0], `{"version":1,"type":"`...)
	b = append(append(b, codec.CanalEventType(ev.Type)...), '"')
	if ev.Query != "" {
		b = codec.AppendJSONString(append(b, `,"sql":`...), ev.Query)
	}
	b = appendTimes(b, ev.CommitTs, buildTs)
	var err error
	if after != nil {
		if b, err = appendSchemaJSON(append(b, `,"tableSchema":`...), after); err != nil {
			return nil, err
		}
	}
	if before != nil {
		if b, err = appendSchemaJSON(append(b, `,"preTableSchema":`...), before); err != nil {
			return nil, err
		}
	}
	f.buf = append(b, '}')
	return f.buf, nil
}

func (f *jsonFormat) watermark(ts uint64, buildTs int64) []byte {
	f.buf = append(appendType(append(f.buf[:0], `{"version":1`...), typeWatermark, ts, buildTs), '}')
	return f.buf
}

func (f *jsonFormat) bootstrap(s *tableSchema, buildTs int64) ([]byte, error) {
	b := appendType(append(f.buf[:0], `{"version":1`...), typeBootstrap, 0, buildTs)
	b, err := appendSchemaJSON(append(b, `,"tableSchema":`...), s)
	f.buf = append(b, '}')
	return f.buf, err
}
