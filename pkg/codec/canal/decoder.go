package canal

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/canal/canalpb"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Decoder implements codec.Decoder.
type Decoder struct{}

var _ codec.Decoder = Decoder{}

// NewDecoder makes a decoder for what an Encoder writes.
func NewDecoder() Decoder { return Decoder{} }

// Decode implements codec.Decoder. Commit-ts are known to the millisecond.
func (Decoder) Decode(_ context.Context, _, value []byte) ([]codec.Event, error) {
	var packet canalpb.Packet
	if err := proto.Unmarshal(value, &packet); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "canal packet")
	}
	if packet.GetType() != canalpb.PacketType_MESSAGES {
		return nil, errors.ErrDecodeFailed.New("canal packet of type " + packet.GetType().String())
	}
	var messages canalpb.Messages
	if err := proto.Unmarshal(packet.GetBody(), &messages); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "canal messages")
	}
	var events []codec.Event
	for _, m := range messages.GetMessages() {
		var err error
		if events, err = appendEvents(events, m); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// appendEvents appends what a serialized entry tells: a schema change or rows.
func appendEvents(events []codec.Event, message []byte) ([]codec.Event, error) {
	var entry canalpb.Entry
	if err := proto.Unmarshal(message, &entry); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "canal entry")
	}
	if t := entry.GetEntryType(); t != canalpb.EntryType_ROWDATA {
		return nil, errors.ErrDecodeFailed.New("canal entry of type " + t.String())
	}
	var change canalpb.RowChange
	if err := proto.Unmarshal(entry.GetStoreValue(), &change); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "canal row change")
	}
	h := entry.GetHeader()
	ev := codec.Event{
		CommitTs: uint64(h.GetExecuteTime()) << physicalShift,
		Schema:   h.GetSchemaName(), Table: h.GetTableName(),
	}
	if change.GetIsDdl() {
		ev.Kind, ev.Query, ev.DDLType = codec.EventDDL, change.GetSql(), change.GetEventType().String()
		return append(events, ev), nil
	}
	for _, r := range change.GetRowDatas() {
		row, err := decodeRow(change.GetEventType(), r)
		if err != nil {
			return nil, err
		}
		ev.Row = row
		events = append(events, ev)
	}
	return events, nil
}

func decodeRow(event canalpb.EventType, r *canalpb.RowData) (*codec.DecodedRow, error) {
	row := &codec.DecodedRow{}
	switch event {
	case canalpb.EventType_INSERT:
		row.Kind = model.RowInsert
	case canalpb.EventType_UPDATE:
		row.Kind = model.RowUpdate
	case canalpb.EventType_DELETE:
		row.Kind = model.RowDelete
	default:
		return nil, errors.ErrDecodeFailed.New("canal rows of event type " + event.String())
	}
	var err error
	if row.Old, err = decodeColumns(r.GetBeforeColumns()); err != nil {
		return nil, err
	}
	row.New, err = decodeColumns(r.GetAfterColumns())
	return row, err
}

func decodeColumns(columns []*canalpb.Column) ([]codec.Cell, error) {
	var cells []codec.Cell
	for _, c := range columns {
		cell := codec.Cell{Name: c.GetName(), Type: c.GetMysqlType(), Key: c.GetIsKey()}
		if !c.GetIsNull() {
			v, err := codec.ParseCanalValue(cell.Type, c.GetValue())
			if err != nil {
				return nil, err
			}
			cell.Value = v
		}
		cells = append(cells, cell)
	}
	return cells, nil
}
