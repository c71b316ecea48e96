package debezium

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// plan is what the messages of a table version have in common.
type plan struct {
	columns []column // as Table.Columns

	sourceHead  []byte // from the start of the value up to the commit time
	sourceTable []byte // up to the commit-ts
	sourceTail  []byte // to the end of the source
	keyTail     []byte // what follows the payloads
	valueTail   []byte
}

func newPlan(o *codec.Options, t *model.Table) *plan {
	p := &plan{columns: make([]column, len(t.Columns))}
	var fields, keyFields []fieldSchema
	for i := range t.Columns {
		c := &t.Columns[i]
		col, schema := newColumn(c.FieldType, t.Info.Columns[c.Offset])
		col.key = c.Has(model.FlagHandleKey)
		p.columns[i] = col
		fields = append(fields, schema)
		if col.key {
			keyFields = append(keyFields, schema)
		}
	}
	for _, c := range t.Info.Columns {
		if c.State == timodel.StatePublic && c.IsVirtualGenerated() && !c.Hidden {
			_, schema := newColumn(&c.FieldType, c)
			fields = append(fields, schema)
		}
	}
	cluster := codec.AppendJSONString(nil, o.ClusterID)
	b := append([]byte(`{"payload":{"source":{"version":"`+connectorVersion+`","connector":"TiCDC","name":`), cluster...)
	p.sourceHead = append(b, `,"ts_ms":`...)
	b = codec.AppendJSONString([]byte(`,"snapshot":"false","db":`), t.Schema)
	b = codec.AppendJSONString(append(b, `,"table":`...), t.Name)
	p.sourceTable = append(b, `,"server_id":0,"gtid":null,"file":"","pos":0,"row":0,"thread":0,"query":null,"commit_ts":`...)
	p.sourceTail = append(append([]byte(`,"cluster_id":`), cluster...), '}')
	p.keyTail, p.valueTail = []byte("}"), []byte("}")
	if !o.DebeziumDisableSchema {
		name := codec.AvroName(o.ClusterID) + "." + codec.AvroName(t.Schema) + "." + codec.AvroName(t.Name)
		p.keyTail = append(append([]byte(`,"schema":`), keySchema(name, keyFields)...), '}')
		p.valueTail = append(append([]byte(`,"schema":`), valueSchema(name, fields)...), '}')
	}
	return p
}

// fieldSchema describes a column, with its keys in the order of the protocol.
type fieldSchema struct {
	Type       string            `json:"type"`
	Optional   bool              `json:"optional"`
	Name       string            `json:"name,omitempty"`
	Version    int               `json:"version,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Field      string            `json:"field"`
	Default    json.RawMessage   `json:"default,omitempty"`
}

func newColumn(ft *types.FieldType, info *timodel.ColumnInfo) (column, fieldSchema) {
	s := fieldSchema{Optional: !mysql.HasNotNullFlag(ft.GetFlag()), Field: info.Name.O}
	c := column{
		name: append(codec.AppendJSONString(nil, info.Name.O), ':'), nullable: s.Optional,
		fsp: min(max(ft.GetDecimal(), 0), 6), bits: min(max(ft.GetFlen(), 1), 64), elems: ft.GetElems(),
		null: []byte("null"),
	}
	c.setType(&s, ft)
	if def, ok := c.defaultOf(info); ok {
		c.null = def
		s.Default = def
		if c.form == formNumber {
			if f, err := strconv.ParseFloat(string(def), 64); err == nil {
				s.Default = codec.AppendJSONFloat(nil, f, 64)
			}
		}
	}
	return c, s
}

// setType chooses how a column is written and described.
func (c *column) setType(s *fieldSchema, ft *types.FieldType) {
	named := func(f form, typeName, name string) {
		c.form, s.Type, s.Name, s.Version = f, typeName, "io.debezium."+name, 1
	}
	unsigned := mysql.HasUnsignedFlag(ft.GetFlag())
	switch ft.GetType() {
	case mysql.TypeTiny:
		c.form, s.Type = formNumber, "int16"
	case mysql.TypeShort:
		c.form, s.Type = formNumber, either(unsigned, "int32", "int16")
	case mysql.TypeInt24:
		c.form, s.Type = formNumber, "int32"
	case mysql.TypeLong:
		c.form, s.Type = formNumber, either(unsigned, "int64", "int32")
	case mysql.TypeLonglong:
		c.form, s.Type = formNumber, "int64"
	case mysql.TypeYear:
		named(formNumber, "int32", "time.Year")
	case mysql.TypeBit:
		if c.bits == 1 {
			c.form, s.Type = formBool, "boolean"
			return
		}
		named(formBits, "bytes", "data.Bits")
		s.Parameters = map[string]string{"length": strconv.Itoa(c.bits)}
	case mysql.TypeFloat:
		c.form, s.Type = formFloat, either(ft.GetDecimal() != types.UnspecifiedLength, "double", "float")
	case mysql.TypeDouble:
		c.form, s.Type = formDouble, "double"
	case mysql.TypeNewDecimal:
		c.form, s.Type = formDecimal, "double"
	case mysql.TypeDate, mysql.TypeNewDate:
		named(formDate, "int32", "time.Date")
	case mysql.TypeDatetime:
		if c.fsp <= 3 {
			named(formMillis, "int64", "time.Timestamp")
		} else {
			named(formMicros, "int64", "time.MicroTimestamp")
		}
	case mysql.TypeTimestamp:
		named(formTimestamp, "string", "time.ZonedTimestamp")
	case mysql.TypeDuration:
		named(formTime, "int64", "time.MicroTime")
	case mysql.TypeEnum:
		named(formEnum, "string", "data.Enum")
		escaped := make([]string, len(c.elems))
		for i, e := range c.elems {
			escaped[i] = strings.ReplaceAll(e, ",", `\,`)
		}
		s.Parameters = map[string]string{"allowed": strings.Join(escaped, ",")}
	case mysql.TypeSet:
		named(formSet, "string", "data.EnumSet")
		s.Parameters = map[string]string{"allowed": strings.Join(c.elems, ",")}
	case mysql.TypeJSON:
		named(formText, "string", "data.Json")
	case mysql.TypeTiDBVectorFloat32:
		named(formVector, "string", "data.TiDBVectorFloat32")
		s.Version = 0
	default:
		c.form, s.Type = formText, "string"
		if codec.IsBinary(ft) {
			c.form = formBinary
		}
	}
}

func either(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

// defaultOf is a column's default as its values are written; false when it has
// none, or one that is computed.
func (c *column) defaultOf(info *timodel.ColumnInfo) ([]byte, bool) {
	text, ok := info.GetDefaultValue().(string)
	if !ok || info.DefaultIsExpr {
		return nil, false
	}
	v := model.Value{Kind: model.KindText, B: []byte(text)}
	switch c.form {
	case formNumber:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			u, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return nil, false
			}
			n = int64(u)
		}
		v = model.Value{Kind: model.KindInt, N: uint64(n)}
	case formFloat, formDouble, formDecimal:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, false
		}
		if c.form != formDecimal {
			v = model.Value{Kind: model.KindFloat64, N: math.Float64bits(f)}
		}
	case formBool, formBits:
		var b [8]byte
		copy(b[max(0, 8-len(text)):], text)
		v = model.Value{Kind: model.KindUint, N: binary.BigEndian.Uint64(b[:])}
	case formEnum, formSet:
		v = model.Value{Kind: model.KindUint, N: c.elementsOf(text)}
	case formDate, formMillis, formMicros:
		if _, ok := parseTime(v.B, time.UTC); !ok {
			return []byte("0"), true
		}
	case formTimestamp:
		if _, ok := parseTime(v.B, time.UTC); !ok && c.nullable {
			return nil, false
		}
	}
	// The table's description has timestamps in UTC.
	return c.appendValue(nil, &v, time.UTC), true
}

// elementsOf is the number of an enum's or set's default.
func (c *column) elementsOf(text string) uint64 {
	if c.form == formEnum {
		return uint64(slices.Index(c.elems, text) + 1)
	}
	var mask uint64
	for _, name := range strings.Split(text, ",") {
		if i := slices.Index(c.elems, name); i >= 0 {
			mask |= 1 << uint(i)
		}
	}
	return mask
}

func keySchema(name string, fields []fieldSchema) []byte {
	b := codec.AppendJSONString([]byte(`{"type":"struct","name":`), name+".Key")
	b = appendFields(append(b, `,"optional":false,"fields":`...), fields)
	return append(b, '}')
}

func valueSchema(name string, fields []fieldSchema) []byte {
	b := codec.AppendJSONString([]byte(`{"type":"struct","optional":false,"name":`), name+".Envelope")
	b = append(b, `,"version":1,"fields":[`...)
	for _, image := range []string{"before", "after"} {
		b = codec.AppendJSONString(append(b, `{"type":"struct","optional":true,"name":`...), name+".Value")
		b = append(b, `,"field":"`+image+`","fields":`...)
		b = append(appendFields(b, fields), `},`...)
	}
	return append(append(b, envelopeRest...), `]}`...)
}

// envelopeRest are the fields of every value that do not depend on the table.
const envelopeRest = `{"type":"struct","fields":[` +
	`{"type":"string","optional":false,"field":"version"},` +
	`{"type":"string","optional":false,"field":"connector"},` +
	`{"type":"string","optional":false,"field":"name"},` +
	`{"type":"int64","optional":false,"field":"ts_ms"},` +
	`{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,` +
	`"parameters":{"allowed":"true,last,false,incremental"},"default":"false","field":"snapshot"},` +
	`{"type":"string","optional":false,"field":"db"},` +
	`{"type":"string","optional":true,"field":"sequence"},` +
	`{"type":"string","optional":true,"field":"table"},` +
	`{"type":"int64","optional":false,"field":"server_id"},` +
	`{"type":"string","optional":true,"field":"gtid"},` +
	`{"type":"string","optional":false,"field":"file"},` +
	`{"type":"int64","optional":false,"field":"pos"},` +
	`{"type":"int32","optional":false,"field":"row"},` +
	`{"type":"int64","optional":true,"field":"thread"},` +
	`{"type":"string","optional":true,"field":"query"}],` +
	`"optional":false,"name":"io.debezium.connector.mysql.Source","field":"source"},` +
	`{"type":"string","optional":false,"field":"op"},` +
	`{"type":"int64","optional":true,"field":"ts_ms"},` +
	`{"type":"struct","fields":[` +
	`{"type":"string","optional":false,"field":"id"},` +
	`{"type":"int64","optional":false,"field":"total_order"},` +
	`{"type":"int64","optional":false,"field":"data_collection_order"}],` +
	`"optional":true,"name":"event.block","version":1,"field":"transaction"}`

func appendFields(b []byte, fields []fieldSchema) []byte {
	b = append(b, '[')
	for i := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		// Strings, numbers and valid JSON always marshal.
		text, _ := json.Marshal(&fields[i])
		b = append(b, text...)
	}
	return append(b, ']')
}
