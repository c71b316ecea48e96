package canaljson

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

const watermarkType = "TIDB_WATERMARK"

// Decoder implements codec.Decoder.
type Decoder struct {
	compression string
}

var _ codec.Decoder = (*Decoder)(nil)

// NewDecoder makes a decoder for what an Encoder with these options writes.
func NewDecoder(o codec.Options) *Decoder {
	return &Decoder{compression: o.LargeMessage.Compression}
}

type message struct {
	Database  string            `json:"database"`
	Table     string            `json:"table"`
	PKNames   []string          `json:"pkNames"`
	IsDDL     bool              `json:"isDdl"`
	Type      string            `json:"type"`
	ES        uint64            `json:"es"`
	SQL       string            `json:"sql"`
	MySQLType map[string]string `json:"mysqlType"`
	Data      []json.RawMessage `json:"data"`
	Old       []json.RawMessage `json:"old"`
	TiDB      extension         `json:"_tidb"`
}

type extension struct {
	CommitTs      uint64 `json:"commitTs"`
	WatermarkTs   uint64 `json:"watermarkTs"`
	OnlyHandleKey bool   `json:"onlyHandleKey"`
	ClaimCheck    string `json:"claimCheckLocation"`
}

// Decode implements codec.Decoder. Without the TiDB extension the commit-ts is
// only known to the millisecond.
func (d *Decoder) Decode(_ context.Context, _, value []byte) ([]codec.Event, error) {
	text, err := codec.Decompress(d.compression, value)
	if err != nil {
		return nil, err
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "canal-json message")
	}
	ev := codec.Event{CommitTs: m.TiDB.CommitTs, Schema: m.Database, Table: m.Table}
	if ev.CommitTs == 0 {
		ev.CommitTs = m.ES << physicalShift
	}
	switch {
	case m.Type == watermarkType:
		ev.Kind, ev.CommitTs = codec.EventWatermark, m.TiDB.WatermarkTs
	case m.IsDDL:
		ev.Kind, ev.Query, ev.DDLType = codec.EventDDL, m.SQL, m.Type
	default:
		ev.Kind = codec.EventRow
		if ev.Row, err = m.row(); err != nil {
			return nil, err
		}
	}
	return []codec.Event{ev}, nil
}

func (m *message) row() (*codec.DecodedRow, error) {
	row := &codec.DecodedRow{HandleKeyOnly: m.TiDB.OnlyHandleKey, ClaimCheck: m.TiDB.ClaimCheck}
	data, err := m.image(m.Data)
	if err != nil {
		return nil, err
	}
	switch m.Type {
	case "INSERT":
		row.Kind, row.New = model.RowInsert, data
	case "DELETE":
		row.Kind, row.Old = model.RowDelete, data
	case "UPDATE":
		row.Kind, row.New = model.RowUpdate, data
		if row.Old, err = m.image(m.Old); err != nil {
			return nil, err
		}
	default:
		return nil, errors.ErrDecodeFailed.New("canal-json event type " + m.Type)
	}
	return row, nil
}

// image reads the one row of a message.
func (m *message) image(rows []json.RawMessage) ([]codec.Cell, error) {
	if len(rows) != 1 {
		return nil, errors.ErrDecodeFailed.New("a canal-json message has one row")
	}
	var cells []codec.Cell
	err := codec.Members(rows[0], func(name string, raw json.RawMessage) error {
		cell := codec.Cell{Name: name, Type: m.MySQLType[name], Key: slices.Contains(m.PKNames, name)}
		if string(raw) != "null" {
			text, err := codec.JSONString(raw)
			if err != nil {
				return err
			}
			if cell.Value, err = codec.ParseCanalValue(cell.Type, text); err != nil {
				return err
			}
		}
		cells = append(cells, cell)
		return nil
	})
	return cells, err
}
