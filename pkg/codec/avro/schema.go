package avro

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// form is how a column's values are written.
type form uint8

const (
	formInt     form = iota // int and long
	formFloat               // float
	formDouble              // double
	formBytes               // bytes as they are
	formBit                 // bytes: the number, without leading zeros
	formDecimal             // bytes: the unscaled number in two's complement
	formText                // string: the value's text
	formEnum                // string: the element's name
	formSet                 // string: the elements' names
)

// The branches of a union with null.
const (
	nullNever  = -1 // no union
	nullFirst  = 0  // ["null", T]
	nullSecond = 1  // [T, "null"]
)

// field is one column of a record.
type field struct {
	column int // position in Table.Columns
	form   form
	null   int // nullNever, nullFirst or nullSecond
	elems  []string
}

// record is a key's or a value's schema, ready for encoding.
type record struct {
	fields []field
	schema string
}

// typeSchema and fieldSchema are the JSON form of a schema, in the order in
// which the keys are written.
type typeSchema struct {
	Type       string            `json:"type"`
	Parameters map[string]string `json:"connect.parameters"`
	Logical    string            `json:"logicalType,omitempty"`
	Precision  *int              `json:"precision,omitempty"`
	Scale      *int              `json:"scale,omitempty"`
}

type fieldSchema struct {
	Default json.RawMessage `json:"default,omitempty"`
	Name    string          `json:"name"`
	Type    any             `json:"type"`
}

type recordSchema struct {
	Type      string        `json:"type"`
	Name      string        `json:"name"`
	Namespace string        `json:"namespace"`
	Fields    []fieldSchema `json:"fields"`
}

// The fields of the TiDB extension.
const (
	fieldOp              = "_tidb_op"
	fieldCommitTs        = "_tidb_commit_ts"
	fieldPhysicalTime    = "_tidb_commit_physical_time"
	fieldChecksum        = "_tidb_row_level_checksum"
	fieldCorrupted       = "_tidb_corrupted"
	fieldChecksumVersion = "_tidb_checksum_version"
)

func extensionFields(checksum bool) []fieldSchema {
	fields := []fieldSchema{
		{json.RawMessage(`""`), fieldOp, "string"},
		{json.RawMessage(`0`), fieldCommitTs, "long"},
		{json.RawMessage(`0`), fieldPhysicalTime, "long"},
	}
	if checksum {
		fields = append(fields,
			fieldSchema{json.RawMessage(`""`), fieldChecksum, "string"},
			fieldSchema{json.RawMessage(`false`), fieldCorrupted, "boolean"},
			fieldSchema{json.RawMessage(`0`), fieldChecksumVersion, "int"})
	}
	return fields
}

// keyRecord describes the handle key; nil when there is none.
func keyRecord(o *codec.Options, t *model.Table) (*record, error) {
	if len(t.HandleKey) == 0 {
		return nil, nil
	}
	return newRecord(o, t, slices.Sorted(slices.Values(t.HandleKey)), nil)
}

// valueRecord describes the whole row. With checksums the columns stand in the
// order in which a checksum takes them.
func valueRecord(o *codec.Options, t *model.Table) (*record, error) {
	columns := make([]int, len(t.Columns))
	for i := range columns {
		columns[i] = i
	}
	if o.OutputRowChecksum {
		slices.SortFunc(columns, func(a, b int) int { return int(t.Columns[a].ID - t.Columns[b].ID) })
	}
	var extension []fieldSchema
	if o.EnableTiDBExtension {
		extension = extensionFields(o.OutputRowChecksum)
	}
	return newRecord(o, t, columns, extension)
}

func newRecord(o *codec.Options, t *model.Table, columns []int, extension []fieldSchema) (*record, error) {
	r := &record{fields: make([]field, 0, len(columns))}
	s := recordSchema{
		Type: "record", Name: codec.AvroName(t.Name),
		Namespace: codec.AvroName(o.Changefeed.Namespace) + "." + codec.AvroName(t.Schema),
		Fields:    make([]fieldSchema, 0, len(columns)+len(extension)),
	}
	for _, i := range columns {
		f, fs, err := newField(&o.Avro, t, i)
		if err != nil {
			return nil, err
		}
		r.fields = append(r.fields, f)
		s.Fields = append(s.Fields, fs)
	}
	s.Fields = append(s.Fields, extension...)
	text, err := json.Marshal(s)
	if err != nil {
		return nil, errors.ErrEncodeFailed.Wrap(err, "schema of "+t.Schema+"."+t.Name)
	}
	r.schema = string(text)
	return r, nil
}

func newField(o *codec.AvroOptions, t *model.Table, at int) (field, fieldSchema, error) {
	c := &t.Columns[at]
	ts, how, err := typeOf(o, c)
	if err != nil {
		return field{}, fieldSchema{}, err
	}
	f := field{column: at, form: how, null: nullNever, elems: c.FieldType.GetElems()}
	fs := fieldSchema{Name: codec.AvroName(c.Name), Type: ts}
	def := defaultOf(t.Info.Columns[c.Offset], c, how)
	switch {
	case !c.Has(model.FlagNullable):
		fs.Default = def
	case def == nil:
		f.null = nullFirst
		fs.Type, fs.Default = []any{"null", ts}, json.RawMessage("null")
	default:
		f.null = nullSecond
		fs.Type, fs.Default = []any{ts, "null"}, def
	}
	return f, fs, nil
}

// typeOf is the schema of a column's type, and how its values are written.
func typeOf(o *codec.AvroOptions, c *model.Column) (typeSchema, form, error) {
	unsigned := ""
	if c.Has(model.FlagUnsigned) {
		unsigned = " UNSIGNED"
	}
	switch c.Type {
	case mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24:
		return plain("int", "INT"+unsigned), formInt, nil
	case mysql.TypeLong:
		if unsigned != "" {
			return plain("long", "INT UNSIGNED"), formInt, nil
		}
		return plain("int", "INT"), formInt, nil
	case mysql.TypeLonglong:
		if unsigned != "" && o.BigintUnsignedHandlingMode == modeString {
			return plain("string", "BIGINT UNSIGNED"), formText, nil
		}
		return plain("long", "BIGINT"+unsigned), formInt, nil
	case mysql.TypeYear:
		return plain("int", "YEAR"), formInt, nil
	case mysql.TypeFloat:
		return plain("float", "FLOAT"), formFloat, nil
	case mysql.TypeDouble:
		return plain("double", "DOUBLE"), formDouble, nil
	case mysql.TypeBit:
		ts := plain("bytes", "BIT")
		ts.Parameters["length"] = strconv.Itoa(c.FieldType.GetFlen())
		return ts, formBit, nil
	case mysql.TypeNewDecimal:
		if o.DecimalHandlingMode == modeString {
			return plain("string", "DECIMAL"), formText, nil
		}
		ts := plain("bytes", "DECIMAL")
		precision, scale := codec.TypeLength(c.FieldType)
		ts.Logical, ts.Precision, ts.Scale = "decimal", &precision, &scale
		return ts, formDecimal, nil
	case mysql.TypeEnum, mysql.TypeSet:
		return elementsType(c)
	}
	if codec.IsString(c.FieldType) {
		if codec.IsBinary(c.FieldType) {
			return plain("bytes", "BLOB"), formBytes, nil
		}
		return plain("string", "TEXT"), formText, nil
	}
	if name := textTypeName(c.Type); name != "" {
		return plain("string", name), formText, nil
	}
	return typeSchema{}, 0, errors.ErrEncodeFailed.New("column " + c.Name + " has a type that avro does not know")
}

func plain(avroType, tidbType string) typeSchema {
	return typeSchema{Type: avroType, Parameters: map[string]string{paramType: tidbType}}
}

// textTypeName names the types that are written as text; "" for others.
func textTypeName(tp byte) string {
	switch tp {
	case mysql.TypeJSON:
		return "JSON"
	case mysql.TypeDate, mysql.TypeNewDate:
		return "DATE"
	case mysql.TypeDatetime:
		return "DATETIME"
	case mysql.TypeTimestamp:
		return "TIMESTAMP"
	case mysql.TypeDuration:
		return "TIME"
	case mysql.TypeTiDBVectorFloat32:
		return "TiDBVECTORFloat32"
	}
	return ""
}

func elementsType(c *model.Column) (typeSchema, form, error) {
	escaped := make([]string, len(c.FieldType.GetElems()))
	replace := strings.NewReplacer(",", `\,`, `\'`, "'", "''", "'")
	for i, e := range c.FieldType.GetElems() {
		escaped[i] = replace.Replace(e)
	}
	ts, how := plain("string", "ENUM"), formEnum
	if c.Type == mysql.TypeSet {
		ts, how = plain("string", "SET"), formSet
	}
	ts.Parameters["allowed"] = strings.Join(escaped, ",")
	return ts, how, nil
}

// The keys of connect.parameters, and the mode that both handling modes share.
const (
	paramType  = "tidb_type"
	modeString = "string"
)

// defaultOf is a column's default in the schema's JSON; nil when it has none,
// or one that the type cannot show.
func defaultOf(info *timodel.ColumnInfo, c *model.Column, how form) json.RawMessage {
	def := info.GetDefaultValue()
	if def == nil || how == formDecimal {
		return nil
	}
	text, ok := def.(string)
	if !ok {
		return nil
	}
	switch how {
	case formInt:
		if c.Has(model.FlagUnsigned) {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				return strconv.AppendInt(nil, int64(n), 10)
			}
			return nil
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.AppendInt(nil, n, 10)
		}
		return nil
	case formFloat, formDouble:
		bits := 64
		if how == formFloat {
			bits = 32
		}
		if f, err := strconv.ParseFloat(text, bits); err == nil {
			return codec.AppendJSONFloat(nil, f, bits)
		}
		return nil
	case formBytes:
		return codec.AppendJSONBase64(nil, []byte(text))
	case formBit:
		return codec.AppendJSONBase64(nil, trimZeros([]byte(text)))
	}
	return codec.AppendJSONString(nil, text)
}
