package maxwell

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"strconv"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Decoder implements codec.Decoder.
type Decoder struct{}

var _ codec.Decoder = Decoder{}

// NewDecoder makes a decoder for what an Encoder writes.
func NewDecoder() Decoder { return Decoder{} }

type message struct {
	Database string          `json:"database"`
	Table    string          `json:"table"`
	Type     string          `json:"type"`
	Ts       uint64          `json:"ts"`
	SQL      string          `json:"sql"`
	Data     json.RawMessage `json:"data"`
	Old      json.RawMessage `json:"old"`
}

// Decode implements codec.Decoder. Rows carry no types: numbers become int64,
// uint64 or float64, and binary data stays base64. The commit-ts of rows is
// known to the second.
func (Decoder) Decode(_ context.Context, key, value []byte) ([]codec.Event, error) {
	isDDL := len(key) > 0 && key[0] == '{'
	if !isDDL && !bytes.Equal(key, versionKey()) {
		return nil, errors.ErrDecodeFailed.New("a maxwell key is version 1 or an object")
	}
	var events []codec.Event
	for d := json.NewDecoder(bytes.NewReader(value)); ; {
		var m message
		if err := d.Decode(&m); err == io.EOF {
			return events, nil
		} else if err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, "maxwell message")
		}
		ev := codec.Event{Schema: m.Database, Table: m.Table}
		if isDDL {
			ev.Kind, ev.CommitTs, ev.Query, ev.DDLType = codec.EventDDL, m.Ts, m.SQL, m.Type
		} else {
			row, err := m.row()
			if err != nil {
				return nil, err
			}
			ev.Kind, ev.CommitTs, ev.Row = codec.EventRow, m.Ts*1000<<physicalShift, row
		}
		events = append(events, ev)
	}
}

func (m *message) row() (*codec.DecodedRow, error) {
	row := &codec.DecodedRow{}
	switch m.Type {
	case "insert":
		row.Kind = model.RowInsert
	case "update":
		row.Kind = model.RowUpdate
	case "delete":
		row.Kind = model.RowDelete
	default:
		return nil, errors.ErrDecodeFailed.New("maxwell row of type " + m.Type)
	}
	var err error
	if row.New, err = decodeImage(m.Data); err != nil {
		return nil, err
	}
	row.Old, err = decodeImage(m.Old)
	return row, err
}

// decodeImage reads the columns of a row, none where the member is absent.
func decodeImage(image json.RawMessage) ([]codec.Cell, error) {
	if image == nil {
		return nil, nil
	}
	var cells []codec.Cell
	err := codec.Members(image, func(name string, raw json.RawMessage) error {
		v, err := decodeValue(raw)
		if err != nil {
			return errors.ErrDecodeFailed.Wrap(err, "maxwell column "+name)
		}
		cells = append(cells, codec.Cell{Name: name, Value: v})
		return nil
	})
	return cells, err
}

func decodeValue(raw json.RawMessage) (any, error) {
	switch {
	case string(raw) == "null":
		return nil, nil
	case raw[0] == '"':
		return codec.JSONString(raw)
	}
	text := string(raw)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > math.MaxInt64 {
		return n, nil
	}
	return strconv.ParseFloat(text, 64)
}
