package avro

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/internal/avrobin"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Decoder reads what Encoder writes. It implements codec.Decoder. Names come
// back as the schema has them: characters that Avro does not allow are lost.
// Messages have the new image only, and without the TiDB extension they do not
// tell inserts from updates: then all are updates.
type Decoder struct {
	registry registry
	schemas  map[string]*readSchema // by header
}

// NewDecoder makes a decoder; it calls the schema registry when it meets a schema.
func NewDecoder(o codec.Options) (*Decoder, error) {
	r, err := openRegistry(o.Avro)
	if err != nil {
		return nil, err
	}
	return newDecoder(r), nil
}

func newDecoder(r registry) *Decoder {
	return &Decoder{registry: r, schemas: make(map[string]*readSchema)}
}

// readSchema is a record's schema as a reader needs it.
type readSchema struct {
	database, table string
	fields          []readField
}

type readField struct {
	name     string
	avroType string
	tidbType string // "" for the fields of the extension
	null     int
	scale    int // of a decimal, -1 for other types
}

// Decode implements codec.Decoder.
func (d *Decoder) Decode(ctx context.Context, key, value []byte) ([]codec.Event, error) {
	if len(value) > 0 {
		switch value[0] {
		case magicDDL:
			return decodeDDL(value[1:])
		case magicWatermark:
			if len(value) != 9 {
				return nil, errors.ErrDecodeFailed.New("watermark of wrong length")
			}
			return []codec.Event{{Kind: codec.EventWatermark, CommitTs: binary.BigEndian.Uint64(value[1:])}}, nil
		}
	}
	ev := codec.Event{Kind: codec.EventRow, Row: &codec.DecodedRow{Kind: model.RowUpdate}}
	var keys []codec.Cell
	if len(key) > 0 {
		var err error
		if keys, err = d.record(ctx, key, &ev); err != nil {
			return nil, err
		}
		for i := range keys {
			keys[i].Key = true
		}
	}
	if value == nil {
		if keys == nil {
			return nil, errors.ErrDecodeFailed.New("neither key nor value")
		}
		ev.Row.Kind, ev.Row.Old = model.RowDelete, keys
		return []codec.Event{ev}, nil
	}
	cells, err := d.record(ctx, value, &ev)
	if err != nil {
		return nil, err
	}
	for i := range cells {
		for _, k := range keys {
			cells[i].Key = cells[i].Key || k.Name == cells[i].Name
		}
	}
	ev.Row.New = cells
	return []codec.Event{ev}, nil
}

func decodeDDL(body []byte) ([]codec.Event, error) {
	var m ddlMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "schema change")
	}
	return []codec.Event{{
		Kind: codec.EventDDL, CommitTs: m.CommitTs, Schema: m.Schema, Table: m.Table,
		Query: m.Query, DDLType: timodel.ActionType(m.Type).String(),
	}}, nil
}

// record decodes a key or value. The fields of the extension go to ev.
func (d *Decoder) record(ctx context.Context, data []byte, ev *codec.Event) ([]codec.Cell, error) {
	s, body, err := d.schemaOf(ctx, data)
	if err != nil {
		return nil, err
	}
	ev.Schema, ev.Table = s.database, s.table
	cells := make([]codec.Cell, 0, len(s.fields))
	r := avrobin.NewReader(body)
	for i := range s.fields {
		f := &s.fields[i]
		v, err := f.read(r)
		if err != nil {
			return nil, err
		}
		if f.tidbType == "" {
			if err := setExtension(ev, f.name, v); err != nil {
				return nil, err
			}
			continue
		}
		cells = append(cells, codec.Cell{Name: f.name, Type: f.tidbType, Value: v})
	}
	if err := r.Err(); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "record of "+s.table)
	}
	if r.Len() > 0 {
		return nil, errors.ErrDecodeFailed.New("data behind the record")
	}
	return cells, nil
}

func (d *Decoder) schemaOf(ctx context.Context, data []byte) (*readSchema, []byte, error) {
	n := headerLen
	if len(data) > 0 && data[0] == magicGlue {
		n = glueHeaderLen
	}
	if len(data) < n {
		return nil, nil, errors.ErrDecodeFailed.New("shorter than the header")
	}
	if s, ok := d.schemas[string(data[:n])]; ok {
		return s, data[n:], nil
	}
	text, body, err := d.registry.schema(ctx, data)
	if err != nil {
		return nil, nil, err
	}
	s, err := parseSchema(text)
	if err != nil {
		return nil, nil, err
	}
	if len(d.schemas) >= maxSchemas {
		clear(d.schemas)
	}
	d.schemas[string(data[:n])] = s
	return s, body, nil
}

// setExtension notes a field of the extension. Unknown ones are ignored.
func setExtension(ev *codec.Event, name string, v any) error {
	switch v := v.(type) {
	case int64:
		switch name {
		case fieldCommitTs:
			ev.CommitTs = uint64(v)
		case fieldChecksumVersion:
			checksumOf(ev).Version = int(v)
		}
	case bool:
		if name == fieldCorrupted {
			checksumOf(ev).Corrupted = v
		}
	case string:
		switch name {
		case fieldOp:
			if v == "c" {
				ev.Row.Kind = model.RowInsert
			}
		case fieldChecksum:
			if v == "" {
				return nil
			}
			sum, err := strconv.ParseUint(v, 10, 32)
			if err != nil {
				return errors.ErrDecodeFailed.Wrap(err, "checksum")
			}
			checksumOf(ev).Current = uint32(sum)
		}
	}
	return nil
}

func checksumOf(ev *codec.Event) *codec.Checksum {
	if ev.Row.Checksum == nil {
		ev.Row.Checksum = &codec.Checksum{}
	}
	return ev.Row.Checksum
}

// read takes one value. Damage of the data shows in the reader, not here.
func (f *readField) read(r *avrobin.Reader) (any, error) {
	if f.null != nullNever && r.Index(2) == f.null {
		return nil, nil
	}
	switch f.avroType {
	case "int", "long":
		v := r.Long()
		if strings.HasSuffix(f.tidbType, "UNSIGNED") {
			return uint64(v), nil
		}
		return v, nil
	case "float":
		return r.Float(), nil
	case "double":
		return r.Double(), nil
	case "boolean":
		return r.Bool(), nil
	case "bytes":
		b := r.Bytes()
		switch {
		case f.scale >= 0:
			return decimalText(b, f.scale), nil
		case f.tidbType == "BIT":
			if len(b) > 8 {
				r.Fail()
				return nil, nil
			}
			var number [8]byte
			copy(number[8-len(b):], b)
			return binary.BigEndian.Uint64(number[:]), nil
		}
		return append([]byte{}, b...), nil
	}
	text := r.String()
	if f.tidbType == "BIGINT UNSIGNED" && r.Err() == nil {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, f.name)
		}
		return n, nil
	}
	return text, nil
}

// maxScale is the largest number of digits that a decimal has behind its point.
const maxScale = 30

func parseSchema(text string) (*readSchema, error) {
	var raw struct {
		Type, Name, Namespace string
		Fields                []struct {
			Name string
			Type json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "schema")
	}
	if raw.Type != "record" {
		return nil, errors.ErrDecodeFailed.New("the schema is no record")
	}
	_, database, _ := strings.Cut(raw.Namespace, ".")
	s := &readSchema{database: database, table: raw.Name, fields: make([]readField, len(raw.Fields))}
	for i, f := range raw.Fields {
		s.fields[i] = readField{name: f.Name, null: nullNever, scale: -1}
		if err := s.fields[i].parseType(f.Type); err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, "schema of field "+f.Name)
		}
	}
	return s, nil
}

func (f *readField) parseType(raw json.RawMessage) error {
	switch raw = bytes.TrimSpace(raw); {
	case len(raw) > 0 && raw[0] == '"':
		if err := json.Unmarshal(raw, &f.avroType); err != nil {
			return err
		}
		return f.checkType()
	case len(raw) > 0 && raw[0] == '[' && f.null == nullNever:
		var branches []json.RawMessage
		if err := json.Unmarshal(raw, &branches); err != nil {
			return err
		}
		for i, b := range branches {
			if string(b) == `"null"` && len(branches) == 2 {
				f.null = i
				return f.parseType(branches[1-i])
			}
		}
		return errBadType
	}
	var ts typeSchema
	if err := json.Unmarshal(raw, &ts); err != nil {
		return err
	}
	f.avroType, f.tidbType = ts.Type, ts.Parameters[paramType]
	if ts.Logical == "decimal" {
		f.scale = 0
		if ts.Scale != nil {
			f.scale = *ts.Scale
		}
		if f.scale < 0 || f.scale > maxScale {
			return errBadType
		}
	}
	return f.checkType()
}

func (f *readField) checkType() error {
	switch f.avroType {
	case "int", "long", "float", "double", "boolean", "bytes", "string":
		return nil
	}
	return errBadType
}
