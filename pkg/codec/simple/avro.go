package simple

import (
	"fmt"
	"math"
	"slices"

	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/internal/avrobin"
	"github.com/tidemark/tidemark/pkg/model"
)

// messageBranch is the place of record Message in the union of all records.
const messageBranch = 11

// The types of messages, which are also the branches of their payloads.
const (
	payloadWatermark = iota
	payloadBootstrap
	payloadDDL
	payloadDML
	numPayloads
)

// The branches of a column's value.
const (
	branchNull = iota
	branchLong
	branchFloat
	branchDouble
	branchString
	branchBytes
	branchTimestamp
	branchUnsignedBigint
	numBranches
)

// dmlTypes and ddlTypes are the symbols of the enums, in their order.
func dmlTypes() []string { return []string{typeInsert, typeUpdate, typeDelete} }

func ddlTypes() []string {
	return []string{"CREATE", "ALTER", "ERASE", "RENAME", "TRUNCATE", "CINDEX", "DINDEX", "QUERY"}
}

// avroFormat writes Avro's binary encoding of the protocol's own schema.
type avroFormat struct {
	location string // name of the time zone of timestamps
	plans    codec.Plans[plan]
	buf      []byte
	scratch  []byte
}

func (f *avroFormat) planOf(t *model.Table) *plan {
	return f.plans.Get(t, func(t *model.Table) *plan {
		head := avrobin.AppendLong(nil, version)
		head = avrobin.AppendBytes(avrobin.AppendBytes(head, t.Schema), t.Name)
		return newPlan(t, head, func(name string) []byte { return avrobin.AppendBytes(nil, name) })
	})
}

// start begins a message with a payload.
func (f *avroFormat) start(payload int64) []byte {
	b := avrobin.AppendLong(f.buf[:0], messageBranch)
	return avrobin.AppendLong(avrobin.AppendLong(b, payload), payload)
}

func (f *avroFormat) row(ev *codec.RowEvent, how form, buildTs int64) []byte {
	p := f.planOf(ev.Table)
	b := append(f.start(payloadDML), p.head...)
	b = avrobin.AppendLong(b, ev.PhysicalID)
	b = avrobin.AppendLong(b, int64(ev.Row.Kind-model.RowInsert))
	b = avrobin.AppendLong(b, int64(ev.CommitTs))
	b = avrobin.AppendLong(b, buildTs)
	b = avrobin.AppendLong(b, int64(ev.Table.Info.UpdateTS))
	if b = appendPresence(b, how.claimCheck != ""); how.claimCheck != "" {
		b = avrobin.AppendBytes(b, how.claimCheck)
	}
	if b = appendPresence(b, how.keysOnly); how.keysOnly {
		b = avrobin.AppendBool(b, true)
	}
	if b = appendPresence(b, ev.Checksum != nil); ev.Checksum != nil {
		b = avrobin.AppendLong(b, int64(ev.Checksum.Version))
		b = avrobin.AppendBool(b, ev.Checksum.Corrupted)
		b = avrobin.AppendLong(b, int64(ev.Checksum.Current))
		b = avrobin.AppendLong(b, int64(ev.Checksum.Previous))
	}
	if b = appendPresence(b, ev.Row.Kind != model.RowDelete); ev.Row.Kind != model.RowDelete {
		b = f.appendImage(b, p, ev.Row.New, how.keysOnly)
	}
	if b = appendPresence(b, ev.Row.Kind != model.RowInsert); ev.Row.Kind != model.RowInsert {
		b = f.appendImage(b, p, ev.Row.Old, how.keysOnly)
	}
	f.buf = b
	return b
}

// appendPresence chooses the branch of a union of null and something.
func appendPresence(b []byte, present bool) []byte {
	if present {
		return avrobin.AppendLong(b, 1)
	}
	return avrobin.AppendLong(b, 0)
}

func (f *avroFormat) appendImage(b []byte, p *plan, row []model.Value, keysOnly bool) []byte {
	n := len(p.columns)
	if keysOnly {
		n = p.numKeys
	}
	if n > 0 {
		b = avrobin.AppendLong(b, int64(n))
	}
	for i := range p.columns {
		c := &p.columns[i]
		if keysOnly && !c.key {
			continue
		}
		b = f.appendValue(append(b, c.name...), c.shape, &row[c.at])
	}
	return avrobin.AppendLong(b, 0)
}

func (f *avroFormat) appendValue(b []byte, s shape, v *model.Value) []byte {
	if v.IsNull() {
		return avrobin.AppendLong(b, branchNull)
	}
	switch s {
	case shapeNumber:
		return avrobin.AppendLong(avrobin.AppendLong(b, branchLong), int64(v.N))
	case shapeBigint:
		return avrobin.AppendLong(avrobin.AppendLong(b, branchUnsignedBigint), int64(v.N))
	case shapeFloat:
		return avrobin.AppendFloat(avrobin.AppendLong(b, branchFloat), float32(math.Float64frombits(v.N)))
	case shapeDouble:
		return avrobin.AppendDouble(avrobin.AppendLong(b, branchDouble), math.Float64frombits(v.N))
	case shapeBinary:
		return avrobin.AppendBytes(avrobin.AppendLong(b, branchBytes), v.B)
	case shapeTimestamp:
		b = avrobin.AppendBytes(avrobin.AppendLong(b, branchTimestamp), f.location)
		return avrobin.AppendBytes(b, v.B)
	case shapeVector:
		f.scratch = codec.AppendVector(f.scratch[:0], v.B)
		return avrobin.AppendBytes(avrobin.AppendLong(b, branchString), f.scratch)
	}
	return avrobin.AppendBytes(avrobin.AppendLong(b, branchString), v.B)
}

func (f *avroFormat) ddl(ev *model.DDLEvent, after, before *tableSchema, buildTs int64) ([]byte, error) {
	b := avrobin.AppendLong(f.start(payloadDDL), version)
	b = avrobin.AppendLong(b, int64(slices.Index(ddlTypes(), codec.CanalEventType(ev.Type))))
	b = avrobin.AppendBytes(b, ev.Query)
	b = avrobin.AppendLong(avrobin.AppendLong(b, int64(ev.CommitTs)), buildTs)
	for _, s := range []*tableSchema{after, before} {
		if b = appendPresence(b, s != nil); s != nil {
			b = appendSchema(b, s)
		}
	}
	f.buf = b
	return b, nil
}

func (f *avroFormat) watermark(ts uint64, buildTs int64) []byte {
	b := avrobin.AppendLong(f.start(payloadWatermark), version)
	f.buf = avrobin.AppendLong(avrobin.AppendLong(b, int64(ts)), buildTs)
	return f.buf
}

func (f *avroFormat) bootstrap(s *tableSchema, buildTs int64) ([]byte, error) {
	b := avrobin.AppendLong(f.start(payloadBootstrap), version)
	f.buf = appendSchema(avrobin.AppendLong(b, buildTs), s)
	return f.buf, nil
}

func appendSchema(b []byte, s *tableSchema) []byte {
	b = avrobin.AppendBytes(avrobin.AppendBytes(b, s.Schema), s.Table)
	b = avrobin.AppendLong(avrobin.AppendLong(b, s.TableID), int64(s.Version))
	b = appendArray(b, s.Columns, func(b []byte, c *columnSchema) []byte {
		b = appendDataType(avrobin.AppendBytes(b, c.Name), &c.DataType)
		b = avrobin.AppendBool(b, c.Nullable)
		if b = appendPresence(b, c.Default != nil); c.Default != nil {
			b = avrobin.AppendBytes(b, fmt.Sprint(c.Default))
		}
		return b
	})
	return appendArray(b, s.Indexes, func(b []byte, x *indexSchema) []byte {
		b = avrobin.AppendBool(avrobin.AppendBytes(b, x.Name), x.Unique)
		b = avrobin.AppendBool(avrobin.AppendBool(b, x.Primary), x.Nullable)
		return appendStrings(b, x.Columns)
	})
}

func appendDataType(b []byte, d *dataType) []byte {
	b = avrobin.AppendBytes(avrobin.AppendBytes(avrobin.AppendBytes(b, d.MySQLType), d.Charset), d.Collate)
	b = avrobin.AppendLong(b, int64(d.Length))
	isDecimal := d.tp == mysql.TypeNewDecimal
	if b = appendPresence(b, isDecimal); isDecimal {
		b = avrobin.AppendLong(b, int64(d.Decimal))
	}
	if b = appendPresence(b, d.Elements != nil); d.Elements != nil {
		b = appendStrings(b, d.Elements)
	}
	isNumber := hasSign(d.tp)
	if b = appendPresence(b, isNumber); isNumber {
		b = avrobin.AppendBool(b, d.Unsigned)
	}
	if b = appendPresence(b, isNumber); isNumber {
		b = avrobin.AppendBool(b, d.Zerofill)
	}
	return b
}

// hasSign tells the types whose unsigned and zerofill are always given.
func hasSign(tp byte) bool {
	switch tp {
	case mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24, mysql.TypeLong, mysql.TypeLonglong,
		mysql.TypeFloat, mysql.TypeDouble, mysql.TypeBit, mysql.TypeYear, mysql.TypeNewDecimal:
		return true
	}
	return false
}

func appendStrings(b []byte, items []string) []byte {
	return appendArray(b, items, func(b []byte, s *string) []byte { return avrobin.AppendBytes(b, *s) })
}

// appendArray appends an array as one block.
func appendArray[T any](b []byte, items []T, item func([]byte, *T) []byte) []byte {
	if len(items) > 0 {
		b = avrobin.AppendLong(b, int64(len(items)))
	}
	for i := range items {
		b = item(b, &items[i])
	}
	return avrobin.AppendLong(b, 0)
}
