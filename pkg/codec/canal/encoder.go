// Package canal writes and reads the canal protocol: protobuf packets as
// Alibaba Canal's clients know them.
package canal

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/canal/canalpb"
	"github.com/tidemark/tidemark/pkg/model"
)

// physicalShift is the number of bits of a TSO below its milliseconds.
const physicalShift = 18

// Encoder implements codec.Encoder. It writes the wire format by hand, since a
// row passes four levels of messages in bytes fields.
type Encoder struct {
	options codec.Options

	plans   codec.Plans[plan]
	value   []byte // text of a column's value
	row     []byte // RowData
	change  []byte // RowChange
	header  []byte
	entry   []byte
	entries []byte // Messages, as far as it is filled
	rows    int
	out     []codec.Message
}

var _ codec.Encoder = (*Encoder)(nil)

// New makes an encoder.
func New(o codec.Options) *Encoder { return &Encoder{options: o} }

// AppendRow implements codec.Encoder. Rows go into one packet as long as it is
// not too large.
func (e *Encoder) AppendRow(_ context.Context, _ string, ev *codec.RowEvent) error {
	e.encode(ev)
	if size := messageSize(sizeOfField(len(e.entry))); size > e.options.MaxMessageBytes {
		return codec.TooLarge(ev, size, e.options.MaxMessageBytes)
	}
	if messageSize(len(e.entries)+sizeOfField(len(e.entry))) > e.options.MaxMessageBytes {
		e.finish()
	}
	e.entries = appendBytes(e.entries, messagesEntry, e.entry)
	e.rows++
	return nil
}

// encode fills e.entry.
func (e *Encoder) encode(ev *codec.RowEvent) {
	p := e.plans.Get(ev.Table, newPlan)
	var event canalpb.EventType
	e.row = e.row[:0]
	switch ev.Row.Kind {
	case model.RowInsert:
		event = canalpb.EventType_INSERT
		e.appendImage(p, rowAfter, ev.Row.New, true, false)
	case model.RowUpdate:
		event = canalpb.EventType_UPDATE
		e.appendImage(p, rowBefore, ev.Row.Old, true, false)
		e.appendImage(p, rowAfter, ev.Row.New, true, false)
	default:
		event = canalpb.EventType_DELETE
		e.appendImage(p, rowBefore, ev.Row.Old, false, e.options.DeleteOnlyHandleKey)
	}
	b := appendVarint(e.change[:0], changeEventType, uint64(event))
	b = appendVarint(b, changeIsDDL, 0)
	e.change = appendBytes(b, changeRowDatas, e.row)

	e.header = appendHeader(e.header[:0], ev.CommitTs, p.schema, p.table, event)
	e.header = appendString(e.header, headerProps, rowsCount)
	e.entry = appendEntry(e.entry[:0], e.header, e.change)
}

// appendImage appends the columns of a row to e.row.
func (e *Encoder) appendImage(p *plan, field protowire.Number, image []model.Value, updated, keysOnly bool) {
	for i := range p.columns {
		if c := &p.columns[i]; !keysOnly || c.handleKey {
			e.value = c.appendText(e.value[:0], &image[i])
			e.row = c.appendTo(e.row, field, &image[i], e.value, updated)
		}
	}
}

// finish puts the packet that is being filled aside.
func (e *Encoder) finish() {
	if e.rows > 0 {
		packet := make([]byte, 0, packetSize(len(e.entries)))
		e.out = append(e.out, codec.Message{Key: []byte{}, Value: appendPacket(packet, e.entries), Rows: e.rows})
	}
	e.entries, e.rows = e.entries[:0], 0
}

// Messages implements codec.Encoder.
func (e *Encoder) Messages() ([]codec.Message, error) {
	e.finish()
	out := e.out
	e.out = nil
	return out, nil
}

// DDL implements codec.Encoder.
func (e *Encoder) DDL(_ context.Context, _ string, ev *model.DDLEvent) (*codec.Message, error) {
	event := canalpb.EventType(canalpb.EventType_value[codec.CanalEventType(ev.Type)])
	change := appendVarint(nil, changeEventType, uint64(event))
	change = appendVarint(change, changeIsDDL, 1)
	change = appendString(change, changeSQL, ev.Query)
	change = appendString(change, changeSchema, ev.Schema)
	header := appendHeader(nil, ev.CommitTs, ev.Schema, ev.Table, event)
	entries := appendBytes(nil, messagesEntry, appendEntry(nil, header, change))
	return &codec.Message{Value: appendPacket(nil, entries)}, nil
}

// Watermark implements codec.Encoder: the protocol has none.
func (e *Encoder) Watermark(context.Context, string, uint64) (*codec.Message, error) {
	return nil, nil
}
