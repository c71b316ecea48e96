// Package debezium implements protocol debezium: JSON as Debezium's connector
// for MySQL writes it, with or without the schema in each message.
package debezium

import (
	"context"
	"strconv"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// connectorVersion is the version of Debezium whose messages these are.
const connectorVersion = "2.4.0.Final"

// physicalShift is the number of bits of a TSO below its milliseconds.
const physicalShift = 18

// Encoder implements codec.Encoder. Schema changes and watermarks are not sent.
type Encoder struct {
	o          codec.Options
	compressor *codec.Compressor
	now        func() time.Time

	plans    codec.Plans[plan]
	buf      []byte
	packed   []byte
	messages []codec.Message
}

var _ codec.Encoder = (*Encoder)(nil)

// New makes an encoder. It fails when the compression is unknown.
func New(o codec.Options) (*Encoder, error) {
	c, err := codec.NewCompressor(o.LargeMessage.Compression)
	if err != nil {
		return nil, err
	}
	if o.ClusterID == "" {
		o.ClusterID = "default"
	}
	if o.TimeZone == nil {
		o.TimeZone = time.UTC
	}
	return &Encoder{o: o, compressor: c, now: time.Now}, nil
}

// AppendRow implements codec.Encoder. There is no limit on the size.
func (e *Encoder) AppendRow(_ context.Context, _ string, ev *codec.RowEvent) error {
	p := e.plans.Get(ev.Table, func(t *model.Table) *plan { return newPlan(&e.o, t) })
	b := e.appendRow(append(e.buf[:0], `{"payload":`...), p, codec.Image(ev), true)
	b = append(b, p.keyTail...)
	keyLen := len(b)
	b = e.appendPayload(b, p, ev)
	b = append(b, p.valueTail...)
	e.buf = b
	if e.compressor.Active() {
		var err error
		if e.packed, err = e.compressor.Append(e.packed[:0], b[:keyLen]); err != nil {
			return err
		}
		packedKey := len(e.packed)
		if e.packed, err = e.compressor.Append(e.packed, b[keyLen:]); err != nil {
			return err
		}
		b, keyLen = e.packed, packedKey
	}
	own := append(make([]byte, 0, len(b)), b...)
	e.messages = append(e.messages, codec.Message{Key: own[:keyLen:keyLen], Value: own[keyLen:], Rows: 1})
	return nil
}

func (e *Encoder) appendPayload(b []byte, p *plan, ev *codec.RowEvent) []byte {
	b = append(b, p.sourceHead...)
	b = strconv.AppendUint(b, ev.CommitTs>>physicalShift, 10)
	b = append(b, p.sourceTable...)
	b = strconv.AppendUint(b, ev.CommitTs, 10)
	b = append(b, p.sourceTail...)
	b = strconv.AppendInt(append(b, `,"ts_ms":`...), e.now().UnixMilli(), 10)
	b = append(b, `,"transaction":null,"op":"`...)
	switch ev.Row.Kind {
	case model.RowInsert:
		b = e.appendRow(append(b, `c","before":null,"after":`...), p, ev.Row.New, false)
	case model.RowDelete:
		b = e.appendRow(append(b, `d","after":null,"before":`...), p, ev.Row.Old, false)
	default:
		b = append(b, 'u', '"')
		if e.o.OutputOldValue {
			b = e.appendRow(append(b, `,"before":`...), p, ev.Row.Old, false)
		}
		b = e.appendRow(append(b, `,"after":`...), p, ev.Row.New, false)
	}
	return append(b, '}')
}

func (e *Encoder) appendRow(b []byte, p *plan, row []model.Value, keysOnly bool) []byte {
	b = append(b, '{')
	first := len(b)
	for i := range p.columns {
		c := &p.columns[i]
		if keysOnly && !c.key {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = c.appendValue(append(b, c.name...), &row[i], e.o.TimeZone)
	}
	return append(b, '}')
}

// Messages implements codec.Encoder. Each message holds one row.
func (e *Encoder) Messages() ([]codec.Message, error) {
	m := e.messages
	e.messages = nil
	return m, nil
}

// DDL implements codec.Encoder: there is no such message.
func (e *Encoder) DDL(context.Context, string, *model.DDLEvent) (*codec.Message, error) {
	return nil, nil
}

// Watermark implements codec.Encoder: there is no such message.
func (e *Encoder) Watermark(context.Context, string, uint64) (*codec.Message, error) {
	return nil, nil
}
