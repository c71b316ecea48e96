// Package maxwell writes and reads the maxwell protocol: JSON objects, several
// rows to a message.
package maxwell

import (
	"bytes"
	"context"
	"encoding/binary"
	"strconv"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// physicalShift is the number of bits of a TSO below its milliseconds.
const physicalShift = 18

// version is what the key of a message with rows consists of, in eight bytes.
const version = 1

// Encoder implements codec.Encoder.
type Encoder struct {
	options codec.Options

	plans codec.Plans[plan]
	row   []byte
	batch []byte // rows one after the other
	rows  int
	out   []codec.Message
}

var _ codec.Encoder = (*Encoder)(nil)

// New makes an encoder.
func New(o codec.Options) *Encoder { return &Encoder{options: o} }

func versionKey() []byte { return binary.BigEndian.AppendUint64(nil, version) }

// messageSize is what a message with n bytes of rows counts against the limit.
func messageSize(n int) int { return 8 + n + codec.RecordOverhead }

// AppendRow implements codec.Encoder. Rows go into one message as long as it is
// not too large.
func (e *Encoder) AppendRow(_ context.Context, _ string, ev *codec.RowEvent) error {
	e.encode(ev)
	if size := messageSize(len(e.row)); size > e.options.MaxMessageBytes {
		return codec.TooLarge(ev, size, e.options.MaxMessageBytes)
	}
	if messageSize(len(e.batch)+len(e.row)) > e.options.MaxMessageBytes {
		e.finish()
	}
	e.batch = append(e.batch, e.row...)
	e.rows++
	return nil
}

// encode fills e.row.
func (e *Encoder) encode(ev *codec.RowEvent) {
	p := e.plans.Get(ev.Table, newPlan)
	b := append(e.row[:0], p.head...)
	b = append(b, eventType(ev.Row.Kind)...)
	b = strconv.AppendUint(append(b, `","ts":`...), ev.CommitTs>>physicalShift/1000, 10)
	const data, old = `,"data":{`, `,"old":{`
	switch ev.Row.Kind {
	case model.RowDelete:
		b = p.appendImage(b, old, ev.Row.Old, nil, e.options.DeleteOnlyHandleKey)
	case model.RowUpdate:
		b = p.appendImage(b, data, ev.Row.New, nil, false)
		b = p.appendImage(b, old, ev.Row.Old, ev.Row.New, false)
	default:
		b = p.appendImage(b, data, ev.Row.New, nil, false)
	}
	e.row = append(b, '}')
}

func eventType(kind model.RowKind) string {
	switch kind {
	case model.RowInsert:
		return "insert"
	case model.RowUpdate:
		return "update"
	}
	return "delete"
}

// finish puts the message that is being filled aside.
func (e *Encoder) finish() {
	if e.rows > 0 {
		e.out = append(e.out, codec.Message{Key: versionKey(), Value: bytes.Clone(e.batch), Rows: e.rows})
	}
	e.batch, e.rows = e.batch[:0], 0
}

// Messages implements codec.Encoder.
func (e *Encoder) Messages() ([]codec.Message, error) {
	e.finish()
	out := e.out
	e.out = nil
	return out, nil
}

// Watermark implements codec.Encoder: the protocol has none.
func (e *Encoder) Watermark(context.Context, string, uint64) (*codec.Message, error) {
	return nil, nil
}
