// Package canaljson writes and reads the canal-json protocol: one JSON object
// per row, schema change or watermark.
package canaljson

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// physicalShift is the number of bits of a TSO below its milliseconds.
const physicalShift = 18

// Encoder implements codec.Encoder.
type Encoder struct {
	options    codec.Options
	compressor *codec.Compressor
	onlyNew    bool // the old image holds changed columns only
	now        func() time.Time

	plans codec.Plans[plan]
	text  []byte // the message before compression
	out   []codec.Message
}

var _ codec.Encoder = (*Encoder)(nil)

// New makes an encoder. It fails when the compression is unknown.
func New(o codec.Options) (*Encoder, error) {
	c, err := codec.NewCompressor(o.LargeMessage.Compression)
	if err != nil {
		return nil, err
	}
	return &Encoder{
		options: o, compressor: c, now: time.Now,
		onlyNew: o.OnlyOutputUpdatedColumns || o.ContentCompatible,
	}, nil
}

// form says how a row is shown.
type form struct {
	keysOnly   bool
	marked     bool   // as a message with the handle key only
	claimCheck string // where the whole message lies
}

// AppendRow implements codec.Encoder.
func (e *Encoder) AppendRow(ctx context.Context, _ string, ev *codec.RowEvent) error {
	value, err := e.encode(ev, form{keysOnly: e.options.DeleteOnlyHandleKey && ev.Row.Kind == model.RowDelete})
	if err != nil {
		return err
	}
	size := len(value) + codec.RecordOverhead
	if size > e.options.MaxMessageBytes {
		if value, err = e.shrink(ctx, ev, value); err != nil {
			return err
		}
	}
	e.out = append(e.out, codec.Message{Key: []byte{}, Value: bytes.Clone(value), Rows: 1})
	return nil
}

// shrink encodes a row whose message value is too large in the way that is
// configured.
func (e *Encoder) shrink(ctx context.Context, ev *codec.RowEvent, value []byte) ([]byte, error) {
	f := form{keysOnly: true}
	limit := e.options.MaxMessageBytes
	switch {
	case e.options.LargeMessage.HandleKeyOnly():
		f.marked = true
	case e.options.LargeMessage.UsesClaimCheck():
		location, err := codec.PutClaimCheck(ctx, &e.options, nil, value)
		if err != nil {
			return nil, err
		}
		f.claimCheck = location
	default:
		return nil, codec.TooLarge(ev, len(value)+codec.RecordOverhead, limit)
	}
	value, err := e.encode(ev, f)
	if err != nil {
		return nil, err
	}
	if size := len(value) + codec.RecordOverhead; size > limit {
		return nil, codec.TooLarge(ev, size, limit)
	}
	return value, nil
}

// encode returns the value of a message, which is valid until the next call.
func (e *Encoder) encode(ev *codec.RowEvent, f form) ([]byte, error) {
	p := e.plans.Get(ev.Table, func(t *model.Table) *plan { return newPlan(t, e.options.ContentCompatible) })
	shown := &p.all
	if f.keysOnly {
		shown = &p.keys
	}
	image := codec.Image(ev)
	b := append(e.text[:0], p.head...)
	b = append(b, eventType(ev.Row.Kind)...)
	b = e.appendTimes(append(b, `","es":`...), ev.CommitTs)
	b = append(b, `,"sql":""`...)
	b = p.appendTypes(b, shown, image)
	if ev.Row.Kind == model.RowUpdate {
		var unless []model.Value
		if e.onlyNew {
			unless = ev.Row.New
		}
		b = append(p.appendImage(append(b, `,"old":[`...), shown, ev.Row.Old, unless), ']')
	} else {
		b = append(b, `,"old":null`...)
	}
	b = p.appendImage(append(b, `,"data":[`...), shown, image, nil)
	b = append(b, ']')
	if e.options.EnableTiDBExtension {
		b = appendExtension(b, ev.CommitTs, f)
	}
	e.text = append(b, '}')
	return e.compressor.Pack(e.text)
}

func eventType(kind model.RowKind) string {
	switch kind {
	case model.RowInsert:
		return "INSERT"
	case model.RowUpdate:
		return "UPDATE"
	}
	return "DELETE"
}

// appendTimes appends the commit time and the time of encoding, in milliseconds.
func (e *Encoder) appendTimes(dst []byte, commitTs uint64) []byte {
	dst = strconv.AppendUint(dst, commitTs>>physicalShift, 10)
	return strconv.AppendInt(append(dst, `,"ts":`...), e.now().UnixMilli(), 10)
}

func appendExtension(dst []byte, commitTs uint64, f form) []byte {
	dst = strconv.AppendUint(append(dst, `,"_tidb":{"commitTs":`...), commitTs, 10)
	if f.marked {
		dst = append(dst, `,"onlyHandleKey":true`...)
	}
	if f.claimCheck != "" {
		dst = codec.AppendCanalString(append(dst, `,"claimCheckLocation":`...), f.claimCheck)
	}
	return append(dst, '}')
}

// Messages implements codec.Encoder. Each message holds one row.
func (e *Encoder) Messages() ([]codec.Message, error) {
	out := e.out
	e.out = nil
	return out, nil
}

// DDL implements codec.Encoder.
func (e *Encoder) DDL(_ context.Context, _ string, ev *model.DDLEvent) (*codec.Message, error) {
	b := codec.AppendCanalString([]byte(`{"id":0,"database":`), ev.Schema)
	b = codec.AppendCanalString(append(b, `,"table":`...), ev.Table)
	b = append(b, `,"pkNames":null,"isDdl":true,"type":"`...)
	b = append(b, codec.CanalEventType(ev.Type)...)
	b = e.appendTimes(append(b, `","es":`...), ev.CommitTs)
	b = codec.AppendCanalString(append(b, `,"sql":`...), ev.Query)
	b = append(b, noColumns...)
	if e.options.EnableTiDBExtension {
		b = appendExtension(b, ev.CommitTs, form{})
	}
	return e.single(append(b, '}'))
}

const noColumns = `,"sqlType":null,"mysqlType":null,"data":null,"old":null`

// Watermark implements codec.Encoder: without the extension there is none.
func (e *Encoder) Watermark(_ context.Context, _ string, ts uint64) (*codec.Message, error) {
	if !e.options.EnableTiDBExtension {
		return nil, nil
	}
	b := []byte(`{"id":0,"database":"","table":"","pkNames":null,"isDdl":false,"type":"` + watermarkType + `","es":`)
	b = e.appendTimes(b, ts)
	b = append(b, `,"sql":""`+noColumns+`,"_tidb":{"watermarkTs":`...)
	b = strconv.AppendUint(b, ts, 10)
	return e.single(append(b, "}}"...))
}

// single makes a message of a text that belongs to it.
func (e *Encoder) single(text []byte) (*codec.Message, error) {
	value, err := e.compressor.Pack(text)
	if err != nil {
		return nil, err
	}
	return &codec.Message{Value: bytes.Clone(value)}, nil
}
