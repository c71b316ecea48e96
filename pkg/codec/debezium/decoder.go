package debezium

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Decoder reads what Encoder writes. It implements codec.Decoder. Binary columns
// come as base64, since neither payload nor schema tells them from texts, and
// without the schema dates and times are bare numbers.
type Decoder struct {
	compression string
	loc         *time.Location
}

// NewDecoder makes a decoder.
func NewDecoder(o codec.Options) *Decoder {
	d := &Decoder{compression: o.LargeMessage.Compression, loc: o.TimeZone}
	if d.loc == nil {
		d.loc = time.UTC
	}
	return d
}

// What is read of keys and values.
type (
	keyMessage struct {
		Payload json.RawMessage `json:"payload"`
	}
	valueMessage struct {
		Payload struct {
			Source struct {
				DB       string `json:"db"`
				Table    string `json:"table"`
				CommitTs uint64 `json:"commit_ts"`
			} `json:"source"`
			Op     string          `json:"op"`
			Before json.RawMessage `json:"before"`
			After  json.RawMessage `json:"after"`
		} `json:"payload"`
		Schema struct {
			Fields []struct {
				Field  string        `json:"field"`
				Fields []fieldSchema `json:"fields"`
			} `json:"fields"`
		} `json:"schema"`
	}
)

// Decode implements codec.Decoder.
func (d *Decoder) Decode(_ context.Context, key, value []byte) ([]codec.Event, error) {
	var k keyMessage
	if err := d.parse(key, &k); err != nil {
		return nil, err
	}
	var v valueMessage
	if err := d.parse(value, &v); err != nil {
		return nil, err
	}
	keys := make(map[string]bool)
	if err := codec.Members(k.Payload, func(name string, _ json.RawMessage) error {
		keys[name] = true
		return nil
	}); err != nil {
		return nil, err
	}
	row := &codec.DecodedRow{}
	switch v.Payload.Op {
	case "c":
		row.Kind = model.RowInsert
	case "u":
		row.Kind = model.RowUpdate
	case "d":
		row.Kind = model.RowDelete
	default:
		return nil, errors.ErrDecodeFailed.New("debezium message with operation " + strconv.Quote(v.Payload.Op))
	}
	var err error
	if row.Old, err = d.cells(&v, v.Payload.Before, "before", keys); err != nil {
		return nil, err
	}
	if row.New, err = d.cells(&v, v.Payload.After, "after", keys); err != nil {
		return nil, err
	}
	source := &v.Payload.Source
	return []codec.Event{{
		Kind: codec.EventRow, CommitTs: source.CommitTs, Schema: source.DB, Table: source.Table, Row: row,
	}}, nil
}

func (d *Decoder) parse(data []byte, into any) error {
	text, err := codec.Decompress(d.compression, data)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return errors.ErrDecodeFailed.Wrap(err, "debezium message")
	}
	return nil
}

func (d *Decoder) cells(m *valueMessage, image json.RawMessage, name string, keys map[string]bool) ([]codec.Cell, error) {
	if len(image) == 0 || string(image) == "null" {
		return nil, nil
	}
	schema := make(map[string]*fieldSchema)
	for i := range m.Schema.Fields {
		if m.Schema.Fields[i].Field == name {
			for j := range m.Schema.Fields[i].Fields {
				f := &m.Schema.Fields[i].Fields[j]
				schema[f.Field] = f
			}
		}
	}
	cells := []codec.Cell{}
	err := codec.Members(image, func(name string, raw json.RawMessage) error {
		f := schema[name]
		if f == nil {
			f = &fieldSchema{}
		}
		v, err := d.value(f, raw)
		if err != nil {
			return errors.ErrDecodeFailed.Wrap(err, "debezium column "+name)
		}
		cell := codec.Cell{Name: name, Type: f.Type, Key: keys[name], Value: v}
		if f.Name != "" {
			cell.Type = f.Name
		}
		cells = append(cells, cell)
		return nil
	})
	return cells, err
}

func (d *Decoder) value(f *fieldSchema, raw json.RawMessage) (any, error) {
	reader := json.NewDecoder(bytes.NewReader(raw))
	reader.UseNumber()
	var v any
	if err := reader.Decode(&v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool:
		if v {
			return uint64(1), nil
		}
		return uint64(0), nil
	case string:
		return d.text(f, v)
	case json.Number:
		return d.number(f, v)
	}
	return nil, fmt.Errorf("%T is no column value", v)
}

func (d *Decoder) text(f *fieldSchema, text string) (any, error) {
	switch f.Name {
	case "io.debezium.data.Bits":
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		if len(b) > 8 {
			return nil, fmt.Errorf("%d bytes of bits", len(b))
		}
		var number [8]byte
		copy(number[:], b)
		return binary.LittleEndian.Uint64(number[:]), nil
	case "io.debezium.time.ZonedTimestamp":
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, err
		}
		return t.In(d.loc).Format("2006-01-02 15:04:05.999999"), nil
	}
	return text, nil
}

func (d *Decoder) number(f *fieldSchema, n json.Number) (any, error) {
	switch f.Type {
	case "float":
		v, err := strconv.ParseFloat(n.String(), 32)
		return float32(v), err
	case "double":
		return n.Float64()
	}
	i, err := n.Int64()
	if err != nil {
		return n.Float64()
	}
	switch f.Name {
	case "io.debezium.time.Date":
		return time.Unix(i*secondsPerDay, 0).UTC().Format("2006-01-02"), nil
	case "io.debezium.time.Timestamp":
		return time.UnixMilli(i).UTC().Format("2006-01-02 15:04:05.999"), nil
	case "io.debezium.time.MicroTimestamp":
		return time.UnixMicro(i).UTC().Format("2006-01-02 15:04:05.999999"), nil
	case "io.debezium.time.MicroTime":
		return timeText(i), nil
	}
	return i, nil
}

func timeText(micros int64) string {
	sign, abs := "", uint64(micros)
	if micros < 0 {
		sign, abs = "-", -abs
	}
	seconds := abs / 1e6
	return fmt.Sprintf("%s%02d:%02d:%02d.%06d", sign, seconds/3600, seconds/60%60, seconds%60, abs%1e6)
}
