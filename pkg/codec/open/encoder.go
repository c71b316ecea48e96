// Package open writes and reads the open protocol: batches of JSON keys and
// values, each behind its length.
package open

import (
	"context"
	"encoding/binary"
	"strconv"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// The frame of a message: a version in front of the keys, a length in front of
// each key and value.
const (
	version    = 1
	lengthSize = 8
)

// The kinds of events, member t of a key.
const (
	kindRow = iota + 1
	kindDDL
	kindWatermark
)

// defaultBatchSize is the number of rows of one message.
const defaultBatchSize = 16

// Encoder implements codec.Encoder.
type Encoder struct {
	options    codec.Options
	compressor *codec.Compressor

	plans   codec.Plans[plan]
	key     []byte // of the row at hand
	text    []byte // its value
	scratch []byte

	keys, values []byte // the message that is being filled
	rows         int
	out          []codec.Message
}

var _ codec.Encoder = (*Encoder)(nil)

// New makes an encoder. It fails when the compression is unknown.
func New(o codec.Options) (*Encoder, error) {
	c, err := codec.NewCompressor(o.LargeMessage.Compression)
	if err != nil {
		return nil, err
	}
	if o.MaxBatchSize <= 0 {
		o.MaxBatchSize = defaultBatchSize
	}
	// A bare value could not be read without its key.
	o.LargeMessage.RawValue = false
	return &Encoder{options: o, compressor: c}, nil
}

// form says how a row is shown.
type form struct {
	keysOnly   bool
	marked     bool   // as a message with the handle key only
	claimCheck string // where the whole message lies
}

// AppendRow implements codec.Encoder.
func (e *Encoder) AppendRow(ctx context.Context, _ string, ev *codec.RowEvent) error {
	f := form{keysOnly: e.options.DeleteOnlyHandleKey && ev.Row.Kind == model.RowDelete}
	value, err := e.encode(ev, f)
	if err != nil {
		return err
	}
	if e.alone(value) > e.options.MaxMessageBytes {
		if value, err = e.shrink(ctx, ev, value); err != nil {
			return err
		}
	}
	if e.rows == 0 || e.rows >= e.options.MaxBatchSize ||
		len(e.keys)+len(e.values)+codec.RecordOverhead+len(e.key)+len(value)+2*lengthSize > e.options.MaxMessageBytes {
		e.finish()
	}
	e.keys = appendFramed(e.keys, e.key)
	e.values = appendFramed(e.values, value)
	e.rows++
	return nil
}

// alone is the size of a message that holds nothing but the row at hand.
func (e *Encoder) alone(value []byte) int {
	return len(e.key) + len(value) + codec.RecordOverhead + 3*lengthSize
}

func appendFramed(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(len(b))), b...)
}

func appendVersion(dst []byte) []byte { return binary.BigEndian.AppendUint64(dst, version) }

// finish puts the message that is being filled aside and begins the next one.
func (e *Encoder) finish() {
	if e.rows > 0 {
		e.out = append(e.out, newMessage(e.keys, e.values, e.rows))
	}
	e.keys, e.values, e.rows = appendVersion(e.keys[:0]), e.values[:0], 0
}

// newMessage copies key and value into one piece of memory.
func newMessage(key, value []byte, rows int) codec.Message {
	b := make([]byte, len(key)+len(value))
	copy(b, key)
	copy(b[len(key):], value)
	return codec.Message{Key: b[:len(key):len(key)], Value: b[len(key):], Rows: rows}
}

// shrink encodes a row that is too large for a message in the way that is
// configured.
func (e *Encoder) shrink(ctx context.Context, ev *codec.RowEvent, value []byte) ([]byte, error) {
	f := form{keysOnly: true}
	switch {
	case e.options.LargeMessage.HandleKeyOnly():
		f.marked = true
	case e.options.LargeMessage.UsesClaimCheck():
		location, err := codec.PutClaimCheck(ctx, &e.options, appendFramed(appendVersion(nil), e.key), appendFramed(nil, value))
		if err != nil {
			return nil, err
		}
		f.claimCheck = location
	default:
		return nil, codec.TooLarge(ev, e.alone(value), e.options.MaxMessageBytes)
	}
	value, err := e.encode(ev, f)
	if err != nil {
		return nil, err
	}
	if size := e.alone(value); size > e.options.MaxMessageBytes {
		return nil, codec.TooLarge(ev, size, e.options.MaxMessageBytes)
	}
	return value, nil
}

// encode fills e.key and returns the value, both valid until the next call.
func (e *Encoder) encode(ev *codec.RowEvent, f form) ([]byte, error) {
	p := e.plans.Get(ev.Table, newPlan)
	if f.keysOnly && !p.anyKey {
		return nil, errors.ErrEncodeFailed.New("table " + ev.Table.Schema + "." + ev.Table.Name + " has no handle key")
	}
	e.key = appendRowKey(e.key[:0], p, ev, f)
	b := e.text[:0]
	switch ev.Row.Kind {
	case model.RowDelete:
		b, _ = p.appendImage(append(b, `{"d":`...), ev.Row.Old, nil, f.keysOnly, &e.scratch)
	case model.RowUpdate:
		b, _ = p.appendImage(append(b, `{"u":`...), ev.Row.New, nil, f.keysOnly, &e.scratch)
		b = e.appendPrevious(b, p, ev, f)
	default:
		b, _ = p.appendImage(append(b, `{"u":`...), ev.Row.New, nil, f.keysOnly, &e.scratch)
	}
	e.text = append(b, '}')
	return e.compressor.Pack(e.text)
}

// appendPrevious appends the old image of an update, unless nothing of it is to
// be shown.
func (e *Encoder) appendPrevious(dst []byte, p *plan, ev *codec.RowEvent, f form) []byte {
	if !e.options.OutputOldValue {
		return dst
	}
	var unless []model.Value
	if e.options.OnlyOutputUpdatedColumns {
		unless = ev.Row.New
	}
	if b, any := p.appendImage(append(dst, `,"p":`...), ev.Row.Old, unless, f.keysOnly, &e.scratch); any {
		return b
	}
	return dst
}

func appendRowKey(dst []byte, p *plan, ev *codec.RowEvent, f form) []byte {
	dst = strconv.AppendUint(append(dst, `{"ts":`...), ev.CommitTs, 10)
	dst = append(dst, p.name...)
	if ev.RowID != 0 {
		dst = strconv.AppendInt(append(dst, `,"rid":`...), ev.RowID, 10)
	}
	if ev.Table.PartitionIDs != nil {
		dst = strconv.AppendInt(append(dst, `,"ptn":`...), ev.PhysicalID, 10)
	}
	dst = appendKind(dst, kindRow)
	if f.marked {
		dst = append(dst, `,"ohk":true`...)
	}
	if f.claimCheck != "" {
		dst = codec.AppendJSONString(append(dst, `,"ccl":`...), f.claimCheck)
	}
	return append(dst, '}')
}

func appendKind(dst []byte, kind int) []byte {
	return strconv.AppendInt(append(dst, `,"t":`...), int64(kind), 10)
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
	key := strconv.AppendUint([]byte(`{"ts":`), ev.CommitTs, 10)
	key = append(appendKind(appendName(key, ev.Schema, ev.Table), kindDDL), '}')
	text := codec.AppendJSONString([]byte(`{"q":`), ev.Query)
	text = append(strconv.AppendUint(append(text, `,"t":`...), uint64(ev.Type), 10), '}')
	value, err := e.compressor.Pack(text)
	if err != nil {
		return nil, err
	}
	return single(key, value), nil
}

// Watermark implements codec.Encoder.
func (e *Encoder) Watermark(_ context.Context, _ string, ts uint64) (*codec.Message, error) {
	key := strconv.AppendUint([]byte(`{"ts":`), ts, 10)
	return single(append(appendKind(key, kindWatermark), '}'), nil), nil
}

func single(key, value []byte) *codec.Message {
	return &codec.Message{Key: appendFramed(appendVersion(nil), key), Value: appendFramed(nil, value)}
}
