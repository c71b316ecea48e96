// Package simple implements protocol simple: messages in JSON or in Avro's
// binary encoding that announce a table's schema apart from its rows.
package simple

import (
	"bytes"
	"context"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// version is the protocol's, in every message.
const version = 1

// The types of messages that are not about schema changes.
const (
	typeInsert    = "INSERT"
	typeUpdate    = "UPDATE"
	typeDelete    = "DELETE"
	typeWatermark = "WATERMARK"
	typeBootstrap = "BOOTSTRAP"
)

// format writes messages; the results are valid until the next call.
type format interface {
	row(ev *codec.RowEvent, f form, buildTs int64) []byte
	ddl(ev *model.DDLEvent, after, before *tableSchema, buildTs int64) ([]byte, error)
	watermark(ts uint64, buildTs int64) []byte
	bootstrap(s *tableSchema, buildTs int64) ([]byte, error)
}

// form says how a row is shown.
type form struct {
	keysOnly   bool
	claimCheck string // where the whole message lies
}

// Encoder implements codec.Encoder and codec.Bootstrapper.
type Encoder struct {
	o          codec.Options
	format     format
	compressor *codec.Compressor
	now        func() time.Time

	messages []codec.Message
}

var (
	_ codec.Encoder      = (*Encoder)(nil)
	_ codec.Bootstrapper = (*Encoder)(nil)
)

// The formats, as Options.SimpleFormat has them; "" is JSON.
const (
	formatJSON = "json"
	formatAvro = "avro"
)

// New makes an encoder. It fails when format or compression are unknown.
func New(o codec.Options) (*Encoder, error) {
	c, err := codec.NewCompressor(o.LargeMessage.Compression)
	if err != nil {
		return nil, err
	}
	e := &Encoder{o: o, compressor: c, now: time.Now}
	location := "UTC"
	if o.TimeZone != nil {
		location = o.TimeZone.String()
	}
	switch o.SimpleFormat {
	case "", formatJSON:
		e.format = &jsonFormat{location: location}
	case formatAvro:
		e.format = &avroFormat{location: location}
	default:
		return nil, errors.ErrCodecInvalidConfig.Msg("encoding format of the simple protocol is json or avro, got %s", o.SimpleFormat)
	}
	return e, nil
}

// AppendRow implements codec.Encoder.
func (e *Encoder) AppendRow(ctx context.Context, _ string, ev *codec.RowEvent) error {
	buildTs := e.now().UnixMilli()
	value, err := e.compressor.Pack(e.format.row(ev, form{}, buildTs))
	if err != nil {
		return err
	}
	if tooLarge(value, e.o.MaxMessageBytes) {
		f := form{keysOnly: true}
		switch {
		case e.o.LargeMessage.UsesClaimCheck():
			if f.claimCheck, err = codec.PutClaimCheck(ctx, &e.o, nil, value); err != nil {
				return err
			}
		case !e.o.LargeMessage.HandleKeyOnly():
			return codec.TooLarge(ev, len(value)+codec.RecordOverhead, e.o.MaxMessageBytes)
		}
		if value, err = e.compressor.Pack(e.format.row(ev, f, buildTs)); err != nil {
			return err
		}
		if tooLarge(value, e.o.MaxMessageBytes) {
			return codec.TooLarge(ev, len(value)+codec.RecordOverhead, e.o.MaxMessageBytes)
		}
	}
	e.messages = append(e.messages, codec.Message{Key: []byte{}, Value: bytes.Clone(value), Rows: 1})
	return nil
}

func tooLarge(value []byte, limit int) bool { return len(value)+codec.RecordOverhead > limit }

// Messages implements codec.Encoder. Each message holds one row.
func (e *Encoder) Messages() ([]codec.Message, error) {
	m := e.messages
	e.messages = nil
	return m, nil
}

// DDL implements codec.Encoder. A dropped table is described as it was.
func (e *Encoder) DDL(_ context.Context, _ string, ev *model.DDLEvent) (*codec.Message, error) {
	after := ev.Info
	if after == nil {
		after = ev.PreInfo
	}
	value, err := e.format.ddl(ev, schemaOf(after), schemaOf(ev.PreInfo), e.now().UnixMilli())
	if err != nil {
		return nil, errors.ErrEncodeFailed.Wrap(err, "schema change")
	}
	return e.single(nil, value, ev.Schema+"."+ev.Table)
}

// Watermark implements codec.Encoder.
func (e *Encoder) Watermark(_ context.Context, _ string, ts uint64) (*codec.Message, error) {
	return e.single(nil, e.format.watermark(ts, e.now().UnixMilli()), "")
}

// Bootstrap implements codec.Bootstrapper. The key is that of rows, empty.
func (e *Encoder) Bootstrap(_ context.Context, _ string, t *model.Table) (*codec.Message, error) {
	value, err := e.format.bootstrap(schemaOf(t), e.now().UnixMilli())
	if err != nil {
		return nil, errors.ErrEncodeFailed.Wrap(err, "bootstrap message")
	}
	return e.single([]byte{}, value, t.Schema+"."+t.Name)
}

// single makes the message of an event that is no row.
func (e *Encoder) single(key, value []byte, table string) (*codec.Message, error) {
	value, err := e.compressor.Pack(value)
	if err != nil {
		return nil, err
	}
	if tooLarge(value, e.o.MaxMessageBytes) {
		return nil, errors.ErrMessageTooLarge.New(table, "none", len(value)+codec.RecordOverhead, e.o.MaxMessageBytes)
	}
	return &codec.Message{Key: key, Value: bytes.Clone(value)}, nil
}

func rowType(kind model.RowKind) string {
	switch kind {
	case model.RowInsert:
		return typeInsert
	case model.RowUpdate:
		return typeUpdate
	}
	return typeDelete
}
