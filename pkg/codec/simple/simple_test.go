package simple

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func newEncoder(t testing.TB, o codec.Options) *Encoder {
	t.Helper()
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = 10 << 20
	}
	e, err := New(o)
	require.NoError(t, err)
	e.now = func() time.Time { return time.UnixMilli(1700000000123) }
	return e
}

func newDecoder(t testing.TB, o codec.Options) *Decoder {
	t.Helper()
	d, err := NewDecoder(o)
	require.NoError(t, err)
	return d
}

func formats() []string { return []string{formatJSON, formatAvro} }

// foreign reads Avro messages with a library that we did not write.
func foreign(t testing.TB, o codec.Options, messages ...codec.Message) []map[string]any {
	t.Helper()
	if o.SimpleFormat != formatAvro {
		return nil
	}
	text, err := os.ReadFile("testdata/schema.avsc")
	require.NoError(t, err)
	schema, err := avro.ParseBytesWithCache(text, "", &avro.SchemaCache{})
	require.NoError(t, err)
	var found []map[string]any
	for _, m := range messages {
		value, err := codec.Decompress(o.LargeMessage.Compression, m.Value)
		require.NoError(t, err)
		var out any
		require.NoError(t, avro.Unmarshal(schema, value, &out))
		branch, ok := out.(map[string]any)
		require.True(t, ok)
		record, ok := branch["com.pingcap.simple.avro.Message"].(map[string]any)
		require.True(t, ok)
		found = append(found, record)
	}
	return found
}

func table(t testing.TB, sql string) *model.Table {
	table := codectest.Table(t, sql)
	table.Info.UpdateTS = 444999999999999999
	return table
}

func TestTypes(t *testing.T) {
	for _, format := range formats() {
		for _, g := range codectest.Groups(t) {
			t.Run(format+"_"+g.Name, func(t *testing.T) {
				o := codec.Options{SimpleFormat: format, TimeZone: time.FixedZone("Europe/Paris", 3600)}
				e, d := newEncoder(t, o), newDecoder(t, o)
				g.Table.Info.UpdateTS = 7
				bootstrap, err := e.Bootstrap(t.Context(), "topic", g.Table)
				require.NoError(t, err)
				events, err := d.Decode(t.Context(), bootstrap.Key, bootstrap.Value)
				require.NoError(t, err)
				require.Equal(t, []codec.Event{{Kind: codec.EventBootstrap, Schema: "test", Table: g.Table.Name}}, events)
				messages := []codec.Message{*bootstrap}
				for _, row := range g.Rows {
					m := codectest.Encode(t, e, codectest.Insert(g.Table, row))[0]
					events, err := d.Decode(t.Context(), m.Key, m.Value)
					require.NoError(t, err)
					require.Equal(t, codectest.Values(g.Table, row, nil), codectest.CellValues(events[0].Row.New))
					require.True(t, events[0].Row.New[0].Key)
					messages = append(messages, m)
				}
				foreign(t, o, messages...)
				if format == formatJSON {
					for _, m := range messages {
						require.True(t, json.Valid(m.Value), "%s", m.Value)
					}
				}
				codectest.Golden(t, "types_"+format+"_"+g.Name, messages...)
			})
		}
	}
}

func TestEvents(t *testing.T) {
	for _, format := range formats() {
		t.Run(format, func(t *testing.T) {
			e := newEncoder(t, codec.Options{SimpleFormat: format})
			changes := codectest.Changes(t)
			changes[1].Checksum = &codec.Checksum{Current: 4294967295, Previous: 1, Version: 1}
			changes[2].PhysicalID = 108
			messages := codectest.Encode(t, e, changes...)
			watermark, err := e.Watermark(t.Context(), "topic", codectest.CommitTs)
			require.NoError(t, err)
			messages = append(messages, *watermark)
			for _, ddl := range codectest.DDLs(t) {
				m, err := e.DDL(t.Context(), "topic", ddl)
				require.NoError(t, err)
				messages = append(messages, *m)
			}
			foreign(t, codec.Options{SimpleFormat: format}, messages...)
			codectest.Golden(t, "events_"+format, messages...)
		})
	}
}

func TestSchemas(t *testing.T) {
	e := newEncoder(t, codec.Options{})
	var messages []codec.Message
	for _, sql := range []string{
		"create table a (id int primary key clustered, v int as (id + 1), e enum('aa','b') default 'b', b bit(9) default b'101', key k (e, b))",
		"create table b (x varchar(9), y int not null, n decimal(10,2) default 1.5, primary key (x, y) nonclustered, unique key (n))",
		"create table c (x int not null, y datetime(3) default current_timestamp(3), unique key u (x))",
		"create table d (x int unsigned zerofill, y year, s set('q','w'))",
	} {
		m, err := e.Bootstrap(t.Context(), "topic", table(t, sql))
		require.NoError(t, err)
		messages = append(messages, *m)
	}
	codectest.Golden(t, "schemas", messages...)
}

func TestRoundTrip(t *testing.T) {
	for _, format := range formats() {
		for _, compression := range []string{"none", "snappy", "lz4"} {
			t.Run(format+"_"+compression, func(t *testing.T) {
				o := codec.Options{SimpleFormat: format}
				o.LargeMessage.Compression = compression
				e, d := newEncoder(t, o), newDecoder(t, o)
				all := codectest.AllTypes(t)
				bootstrap, err := e.Bootstrap(t.Context(), "topic", all)
				require.NoError(t, err)
				_, err = d.Decode(t.Context(), bootstrap.Key, bootstrap.Value)
				require.NoError(t, err)
				r := rand.New(rand.NewPCG(3, 4))
				for range 300 {
					ev := codectest.RandomEvent(r, all)
					if r.IntN(2) == 0 {
						ev.Checksum = &codec.Checksum{Current: r.Uint32(), Previous: r.Uint32(), Version: 1, Corrupted: r.IntN(2) == 0}
					}
					m := codectest.Encode(t, e, ev)[0]
					events, err := d.Decode(t.Context(), m.Key, m.Value)
					require.NoError(t, err)
					require.Len(t, events, 1)
					got := events[0]
					require.Equal(t, ev.Row.Kind, got.Row.Kind)
					require.Equal(t, ev.CommitTs, got.CommitTs)
					require.Equal(t, ev.Checksum, got.Row.Checksum)
					require.Equal(t, codectest.Values(all, ev.Row.New, nil), codectest.CellValues(got.Row.New))
					require.Equal(t, codectest.Values(all, ev.Row.Old, nil), codectest.CellValues(got.Row.Old))
					foreign(t, o, m)
				}
			})
		}
	}
}

func TestLargeMessages(t *testing.T) {
	for _, format := range formats() {
		files := &codectest.Files{}
		changes := codectest.LargeChanges(t, 600)
		for name, setup := range map[string]func(o *codec.Options){
			"none":            func(*codec.Options) {},
			"handle_key_only": func(o *codec.Options) { o.LargeMessage.Option = config.LargeMessageHandleKeyOnly },
			"claim_check":     func(o *codec.Options) { o.LargeMessage.Option = config.LargeMessageClaimCheck },
			"claim_check_raw": func(o *codec.Options) {
				o.LargeMessage.Option, o.LargeMessage.RawValue = config.LargeMessageClaimCheck, true
			},
		} {
			t.Run(format+"_"+name, func(t *testing.T) {
				o := codec.Options{SimpleFormat: format, ClaimCheck: files, MaxMessageBytes: 500}
				setup(&o)
				e := newEncoder(t, o)
				if name == "none" {
					require.ErrorIs(t, e.AppendRow(t.Context(), "topic", changes[0]), errors.ErrMessageTooLarge)
					return
				}
				o.MaxMessageBytes = 0
				d := newDecoder(t, o)
				bootstrap, err := newEncoder(t, o).Bootstrap(t.Context(), "topic", changes[0].Table)
				require.NoError(t, err)
				_, err = d.Decode(t.Context(), nil, bootstrap.Value)
				require.NoError(t, err)
				for i, m := range codectest.Encode(t, e, changes...) {
					require.LessOrEqual(t, m.Size(), 500)
					ev, keys := changes[i], codectest.IsKey(changes[i].Table)
					got := decodeOne(t, d, m.Value)
					require.Equal(t, codectest.Values(ev.Table, ev.Row.New, keys), codectest.CellValues(got.New))
					require.Equal(t, codectest.Values(ev.Table, ev.Row.Old, keys), codectest.CellValues(got.Old))
					require.Equal(t, name == "handle_key_only", got.HandleKeyOnly)
					if name == "handle_key_only" {
						continue
					}
					content := files.Get(got.ClaimCheck)
					if name == "claim_check" {
						var key []byte
						key, content, err = codec.ParseClaimCheck(content)
						require.NoError(t, err)
						require.Nil(t, key)
					}
					got = decodeOne(t, d, content)
					require.Equal(t, codectest.Values(ev.Table, ev.Row.New, nil), codectest.CellValues(got.New))
				}
			})
		}
	}
}

func decodeOne(t *testing.T, d *Decoder, value []byte) *codec.DecodedRow {
	t.Helper()
	events, err := d.Decode(t.Context(), nil, value)
	require.NoError(t, err)
	require.Len(t, events, 1)
	return events[0].Row
}

func TestSchemaTooLarge(t *testing.T) {
	e := newEncoder(t, codec.Options{MaxMessageBytes: 300})
	_, err := e.Bootstrap(t.Context(), "topic", codectest.AllTypes(t))
	require.ErrorIs(t, err, errors.ErrMessageTooLarge)
	_, err = e.DDL(t.Context(), "topic", &model.DDLEvent{Info: codectest.AllTypes(t)})
	require.ErrorIs(t, err, errors.ErrMessageTooLarge)
}

func TestRowsWaitForTheirSchema(t *testing.T) {
	e, d := newEncoder(t, codec.Options{}), newDecoder(t, codec.Options{})
	changes := codectest.Changes(t)
	for _, m := range codectest.Encode(t, e, changes...) {
		events, err := d.Decode(t.Context(), m.Key, m.Value)
		require.NoError(t, err)
		require.Empty(t, events)
	}
	require.True(t, d.Withholds())
	watermark, err := e.Watermark(t.Context(), "topic", codectest.CommitTs)
	require.NoError(t, err)
	events, err := d.Decode(t.Context(), nil, watermark.Value)
	require.NoError(t, err)
	require.Empty(t, events, "the rows are not delivered yet")
	bootstrap, err := e.Bootstrap(t.Context(), "topic", changes[0].Table)
	require.NoError(t, err)
	events, err = d.Decode(t.Context(), nil, bootstrap.Value)
	require.NoError(t, err)
	require.Len(t, events, 4)
	for i, kind := range []model.RowKind{model.RowInsert, model.RowUpdate, model.RowDelete} {
		require.Equal(t, kind, events[i+1].Row.Kind)
	}
	events, err = d.Decode(t.Context(), nil, watermark.Value)
	require.NoError(t, err)
	require.Equal(t, []codec.Event{{Kind: codec.EventWatermark, CommitTs: codectest.CommitTs}}, events)
	require.False(t, d.Withholds())
}

// TestSharedSchemas has a table announced in another partition than its rows'.
func TestSharedSchemas(t *testing.T) {
	e := newEncoder(t, codec.Options{})
	rows, announced := newDecoder(t, codec.Options{}), newDecoder(t, codec.Options{})
	var schemas Schemas
	rows.Share(&schemas)
	announced.Share(&schemas)
	change := codectest.Changes(t)[0]
	m := codectest.Encode(t, e, change)[0]
	events, err := rows.Decode(t.Context(), m.Key, m.Value)
	require.NoError(t, err)
	require.Empty(t, events)
	bootstrap, err := e.Bootstrap(t.Context(), "topic", change.Table)
	require.NoError(t, err)
	_, err = announced.Decode(t.Context(), nil, bootstrap.Value)
	require.NoError(t, err)

	watermark, err := e.Watermark(t.Context(), "topic", codectest.CommitTs)
	require.NoError(t, err)
	events, err = rows.Decode(t.Context(), nil, watermark.Value)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, codec.EventRow, events[0].Kind)
	require.Equal(t, codec.EventWatermark, events[1].Kind)
	events, err = rows.Decode(t.Context(), m.Key, m.Value)
	require.NoError(t, err)
	require.Len(t, events, 1)
}

func TestDDLAnnouncesSchemas(t *testing.T) {
	for _, format := range formats() {
		o := codec.Options{SimpleFormat: format}
		e, d := newEncoder(t, o), newDecoder(t, o)
		for _, ddl := range codectest.DDLs(t) {
			m, err := e.DDL(t.Context(), "topic", ddl)
			require.NoError(t, err)
			require.Nil(t, m.Key)
			events, err := d.Decode(t.Context(), m.Key, m.Value)
			require.NoError(t, err)
			want := codec.Event{Kind: codec.EventDDL, CommitTs: ddl.CommitTs, Query: ddl.Query, DDLType: codec.CanalEventType(ddl.Type)}
			if ddl.Info != nil || ddl.PreInfo != nil {
				want.Schema, want.Table = "test", "item"
			}
			require.Equal(t, []codec.Event{want}, events)
		}
	}
}

func TestBadOptions(t *testing.T) {
	_, err := New(codec.Options{SimpleFormat: "xml"})
	require.ErrorIs(t, err, errors.ErrCodecInvalidConfig)
	_, err = NewDecoder(codec.Options{SimpleFormat: "xml"})
	require.ErrorIs(t, err, errors.ErrCodecInvalidConfig)
	_, err = New(codec.Options{LargeMessage: codec.LargeMessageOptions{Compression: "zip"}})
	require.Error(t, err)
}

func FuzzDecode(f *testing.F) {
	for i, format := range formats() {
		e := newEncoder(f, codec.Options{SimpleFormat: format})
		for _, g := range codectest.Groups(f) {
			bootstrap, err := e.Bootstrap(f.Context(), "topic", g.Table)
			require.NoError(f, err)
			f.Add(bootstrap.Value, codectest.Encode(f, e, codectest.Insert(g.Table, g.Rows[0]))[0].Value, i == 1)
		}
		for _, ddl := range codectest.DDLs(f) {
			m, err := e.DDL(f.Context(), "topic", ddl)
			require.NoError(f, err)
			f.Add(m.Value, m.Value, i == 1)
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte, isAvro bool) {
		o := codec.Options{}
		if isAvro {
			o.SimpleFormat = formatAvro
		}
		d := newDecoder(t, o)
		for _, value := range [][]byte{first, second} {
			if _, err := d.Decode(t.Context(), nil, value); err != nil {
				require.NotEmpty(t, errors.CodeOf(err))
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range formats() {
		b.Run(format, func(b *testing.B) { codectest.Benchmark(b, newEncoder(b, codec.Options{SimpleFormat: format})) })
	}
}

func TestDamage(t *testing.T) {
	for _, format := range formats() {
		o := codec.Options{SimpleFormat: format}
		e := newEncoder(t, o)
		for _, g := range codectest.Groups(t) {
			bootstrap, err := e.Bootstrap(t.Context(), "topic", g.Table)
			require.NoError(t, err)
			row := codectest.Encode(t, e, codectest.Insert(g.Table, g.Rows[0]))[0]
			d := newDecoder(t, o)
			_, err = d.Decode(t.Context(), nil, bootstrap.Value)
			require.NoError(t, err)
			codectest.Damage(t, d, 0, row)
			codectest.Damage(t, newDecoder(t, o), 0, *bootstrap, row)
		}
	}
}
