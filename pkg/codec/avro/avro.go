// Package avro implements protocol avro: rows in Avro's binary encoding behind
// the id of a schema that a schema registry keeps.
package avro

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/internal/avrobin"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// The first byte of a message says what it is. Those other than rows are an aid
// for tests.
const (
	magicRow       = 0
	magicDDL       = 1
	magicWatermark = 2
	magicGlue      = 3 // a row whose schema is kept by AWS Glue
)

// maxSchemas bounds the table versions whose schemas are remembered.
const maxSchemas = 4096

// registry keeps schemas for readers.
type registry interface {
	// register stores a schema under a subject, unless it is there already, and
	// returns what goes in front of data of that schema. An error is final:
	// what a later try may cure was tried until the context ended.
	register(ctx context.Context, subject, schema string) (header []byte, err error)
	// schema returns the schema that data begins with the header of, and the
	// data behind the header.
	schema(ctx context.Context, data []byte) (schema string, body []byte, err error)
}

// Encoder encodes rows for one Kafka sink. It implements codec.Encoder.
type Encoder struct {
	o        codec.Options
	registry registry
	tables   map[tableKey]*tableSchema
	lastKey  tableKey
	last     *tableSchema

	messages []codec.Message
	buf      []byte // of the row at hand
	scratch  []byte // of one value
}

type tableKey struct {
	topic string
	table *model.Table
}

// tableSchema is a table version in one topic.
type tableSchema struct {
	key, value             *record // key is nil without a handle key
	keyHeader, valueHeader []byte  // nil until registered
}

// New connects to the schema registry. The error is ErrAvroSchemaAPIError when
// there is none that answers as it should.
func New(ctx context.Context, o codec.Options) (*Encoder, error) {
	r, err := openRegistry(o.Avro)
	if err != nil {
		return nil, err
	}
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	return newEncoder(o, r), nil
}

func newEncoder(o codec.Options, r registry) *Encoder {
	return &Encoder{o: o, registry: r, tables: make(map[tableKey]*tableSchema)}
}

// AppendRow implements codec.Encoder.
func (e *Encoder) AppendRow(ctx context.Context, topic string, ev *codec.RowEvent) error {
	s, err := e.schemaOf(topic, ev.Table)
	if err != nil {
		return err
	}
	b := e.buf[:0]
	if s.key != nil {
		if s.keyHeader == nil {
			if s.keyHeader, err = e.registry.register(ctx, subject(topic, "-key"), s.key.schema); err != nil {
				return err
			}
		}
		b, err = e.appendRecord(append(b, s.keyHeader...), s.key, ev.Table, codec.Image(ev))
		if err != nil {
			return err
		}
	}
	keyLen := len(b)
	if ev.Row.Kind != model.RowDelete {
		if s.valueHeader == nil {
			if s.valueHeader, err = e.registry.register(ctx, subject(topic, "-value"), s.value.schema); err != nil {
				return err
			}
		}
		if b, err = e.appendRecord(append(b, s.valueHeader...), s.value, ev.Table, ev.Row.New); err != nil {
			return err
		}
		b = e.appendExtension(b, ev)
	}
	e.buf = b
	if size := len(b) + codec.RecordOverhead; size > e.o.MaxMessageBytes {
		return codec.TooLarge(ev, size, e.o.MaxMessageBytes)
	}
	e.messages = append(e.messages, cut(b, keyLen, s.key != nil, ev.Row.Kind != model.RowDelete))
	return nil
}

// cut copies key and value into one piece of memory.
func cut(b []byte, keyLen int, hasKey, hasValue bool) codec.Message {
	m := codec.Message{Rows: 1}
	own := append(make([]byte, 0, len(b)), b...)
	if hasKey {
		m.Key = own[:keyLen:keyLen]
	}
	if hasValue {
		m.Value = own[keyLen:]
	}
	return m
}

func (e *Encoder) appendExtension(b []byte, ev *codec.RowEvent) []byte {
	if !e.o.EnableTiDBExtension {
		return b
	}
	op := "u"
	if ev.Row.Kind == model.RowInsert {
		op = "c"
	}
	b = avrobin.AppendBytes(b, op)
	b = avrobin.AppendLong(b, int64(ev.CommitTs))
	b = avrobin.AppendLong(b, int64(ev.CommitTs>>18))
	if !e.o.OutputRowChecksum {
		return b
	}
	sum := ev.Checksum
	if sum == nil { // the upstream wrote none: the schema's defaults
		sum = &codec.Checksum{}
		b = avrobin.AppendBytes(b, "")
	} else {
		var text [10]byte
		b = avrobin.AppendBytes(b, strconv.AppendUint(text[:0], uint64(sum.Current), 10))
	}
	b = avrobin.AppendBool(b, sum.Corrupted)
	return avrobin.AppendLong(b, int64(sum.Version))
}

func (e *Encoder) schemaOf(topic string, t *model.Table) (*tableSchema, error) {
	key := tableKey{topic, t}
	if key == e.lastKey {
		return e.last, nil
	}
	s, ok := e.tables[key]
	if !ok {
		s = &tableSchema{}
		var err error
		if s.key, err = keyRecord(&e.o, t); err != nil {
			return nil, err
		}
		if s.value, err = valueRecord(&e.o, t); err != nil {
			return nil, err
		}
		if len(e.tables) >= maxSchemas {
			clear(e.tables)
		}
		e.tables[key] = s
	}
	e.lastKey, e.last = key, s
	return s, nil
}

// subject is the name under which a topic's schemas are kept.
func subject(topic, suffix string) string {
	return strings.ReplaceAll(topic, ".", "_") + suffix
}

// Messages implements codec.Encoder.
func (e *Encoder) Messages() ([]codec.Message, error) {
	m := e.messages
	e.messages = nil
	return m, nil
}

// ddlMessage is the body of a schema change.
type ddlMessage struct {
	Query    string `json:"query"`
	Type     int    `json:"type"`
	Schema   string `json:"schema"`
	Table    string `json:"table"`
	CommitTs uint64 `json:"commitTs"`
}

// DDL implements codec.Encoder.
func (e *Encoder) DDL(_ context.Context, _ string, ev *model.DDLEvent) (*codec.Message, error) {
	if !e.announces() {
		return nil, nil
	}
	body, err := json.Marshal(ddlMessage{ev.Query, int(ev.Type), ev.Schema, ev.Table, ev.CommitTs})
	if err != nil {
		return nil, errors.ErrEncodeFailed.Wrap(err, "schema change")
	}
	return &codec.Message{Value: append([]byte{magicDDL}, body...)}, nil
}

// Watermark implements codec.Encoder.
func (e *Encoder) Watermark(_ context.Context, _ string, ts uint64) (*codec.Message, error) {
	if !e.announces() {
		return nil, nil
	}
	return &codec.Message{Value: binary.BigEndian.AppendUint64([]byte{magicWatermark}, ts)}, nil
}

// announces tells whether schema changes and watermarks are sent.
func (e *Encoder) announces() bool { return e.o.Avro.EnableWatermark && e.o.EnableTiDBExtension }
