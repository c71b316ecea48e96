package simple

import (
	"context"
	"fmt"
	"sync"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Limits on what a decoder keeps.
const (
	maxTables  = 4096
	maxWaiting = 100_000
)

// Decoder reads what Encoder writes. It implements codec.Decoder. A row whose
// table has not been announced waits until it is; until then watermarks are
// withheld, since they would say that the row was delivered.
type Decoder struct {
	compression string
	parse       func(value []byte) (*message, error)
	tables      map[tableVersion]*tableSchema
	shared      *Schemas // nil: what this decoder has read is all it knows
	waiting     []*message
}

// Schemas are what decoders of several partitions know together: a changefeed
// may announce tables in one partition only. The zero value is ready for use.
type Schemas struct {
	mu     sync.Mutex
	tables map[tableVersion]*tableSchema
}

func (s *Schemas) add(v tableVersion, t *tableSchema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables == nil || len(s.tables) >= maxTables {
		s.tables = make(map[tableVersion]*tableSchema)
	}
	s.tables[v] = t
}

func (s *Schemas) get(v tableVersion) *tableSchema {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tables[v]
}

// Share makes the decoder give what it learns to others, and take what they have.
func (d *Decoder) Share(s *Schemas) { d.shared = s }

// Withholds tells whether rows of earlier messages wait for their schema.
func (d *Decoder) Withholds() bool { return len(d.waiting) > 0 }

type tableVersion struct {
	schema, table string
	version       uint64
}

// NewDecoder makes a decoder. It fails when the format is unknown.
func NewDecoder(o codec.Options) (*Decoder, error) {
	d := &Decoder{compression: o.LargeMessage.Compression, tables: make(map[tableVersion]*tableSchema)}
	switch o.SimpleFormat {
	case "", formatJSON:
		d.parse = parseJSON
	case formatAvro:
		d.parse = parseAvro
	default:
		return nil, errors.ErrCodecInvalidConfig.Msg("encoding format of the simple protocol is json or avro, got %s", o.SimpleFormat)
	}
	return d, nil
}

// message is a message of either format.
type message struct {
	typeName           string
	database, table    string
	sql                string
	commitTs           uint64
	schemaVersion      uint64
	claimCheckLocation string
	handleKeyOnly      bool
	checksum           *codec.Checksum
	data, old          map[string]any // strings, or what a Cell holds
	tableSchema        *tableSchema
	preTableSchema     *tableSchema
}

// Decode implements codec.Decoder.
func (d *Decoder) Decode(_ context.Context, _, value []byte) ([]codec.Event, error) {
	value, err := codec.Decompress(d.compression, value)
	if err != nil {
		return nil, err
	}
	m, err := d.parse(value)
	if err != nil {
		return nil, err
	}
	switch m.typeName {
	case typeWatermark:
		events, err := d.released(nil) // another decoder may have learnt what is missing
		if err != nil || len(d.waiting) > 0 {
			return events, err
		}
		return append(events, codec.Event{Kind: codec.EventWatermark, CommitTs: m.commitTs}), nil
	case typeInsert, typeUpdate, typeDelete:
		return d.row(m)
	case typeBootstrap:
		if m.tableSchema == nil {
			return nil, errors.ErrDecodeFailed.New("bootstrap message without a schema")
		}
		s := m.tableSchema
		d.learn(s)
		return d.released([]codec.Event{{Kind: codec.EventBootstrap, Schema: s.Schema, Table: s.Table}})
	case "":
		return nil, errors.ErrDecodeFailed.New("message of the simple protocol without a type")
	}
	ev := codec.Event{Kind: codec.EventDDL, CommitTs: m.commitTs, Query: m.sql, DDLType: m.typeName}
	for _, s := range []*tableSchema{m.preTableSchema, m.tableSchema} {
		if s != nil {
			d.learn(s)
			ev.Schema, ev.Table = s.Schema, s.Table
		}
	}
	events, err := d.released(nil)
	return append(events, ev), err
}

func (d *Decoder) learn(s *tableSchema) {
	if len(d.tables) >= maxTables {
		clear(d.tables)
	}
	v := tableVersion{s.Schema, s.Table, s.Version}
	d.tables[v] = s
	if d.shared != nil {
		d.shared.add(v, s)
	}
}

func (d *Decoder) schemaOf(m *message) *tableSchema {
	v := tableVersion{m.database, m.table, m.schemaVersion}
	s := d.tables[v]
	if s == nil && d.shared != nil {
		s = d.shared.get(v)
	}
	return s
}

func (d *Decoder) row(m *message) ([]codec.Event, error) {
	s := d.schemaOf(m)
	if s == nil {
		if len(d.waiting) >= maxWaiting {
			return nil, errors.ErrDecodeFailed.New(fmt.Sprintf("too many rows wait for the schema of %s.%s", m.database, m.table))
		}
		d.waiting = append(d.waiting, m)
		return nil, nil
	}
	ev, err := newRow(s, m)
	if err != nil {
		return nil, err
	}
	return []codec.Event{ev}, nil
}

// released appends the rows that no longer have to wait.
func (d *Decoder) released(events []codec.Event) ([]codec.Event, error) {
	still := d.waiting[:0]
	for _, m := range d.waiting {
		s := d.schemaOf(m)
		if s == nil {
			still = append(still, m)
			continue
		}
		ev, err := newRow(s, m)
		if err != nil {
			return events, err
		}
		events = append(events, ev)
	}
	clear(d.waiting[len(still):])
	d.waiting = still
	return events, nil
}

func newRow(s *tableSchema, m *message) (codec.Event, error) {
	row := &codec.DecodedRow{
		Kind: model.RowDelete, ClaimCheck: m.claimCheckLocation, Checksum: m.checksum,
		HandleKeyOnly: m.handleKeyOnly && m.claimCheckLocation == "",
	}
	switch m.typeName {
	case typeInsert:
		row.Kind = model.RowInsert
	case typeUpdate:
		row.Kind = model.RowUpdate
	}
	ev := codec.Event{Kind: codec.EventRow, CommitTs: m.commitTs, Schema: m.database, Table: m.table, Row: row}
	var err error
	if row.Old, err = cellsOf(s, m.old); err != nil {
		return ev, err
	}
	row.New, err = cellsOf(s, m.data)
	return ev, err
}

// cellsOf gives the columns of an image in the order of the schema.
func cellsOf(s *tableSchema, image map[string]any) ([]codec.Cell, error) {
	if image == nil {
		return nil, nil
	}
	cells := make([]codec.Cell, 0, len(image))
	for i := range s.Columns {
		c := &s.Columns[i]
		v, ok := image[c.Name]
		if !ok {
			continue
		}
		v, err := convert(&c.DataType, v)
		if err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, "column "+c.Name)
		}
		cells = append(cells, codec.Cell{Name: c.Name, Type: c.DataType.typeName(), Key: s.isKey(c.Name), Value: v})
	}
	if len(cells) != len(image) {
		return nil, errors.ErrDecodeFailed.New("the row has columns that its schema lacks")
	}
	return cells, nil
}
