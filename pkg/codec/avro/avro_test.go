package avro

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	schemaregistry "github.com/tidemark/tidemark/test/registry"
)

func startRegistry(t testing.TB) *schemaregistry.Server {
	s := schemaregistry.Start(schemaregistry.Options{User: "user", Password: "secret"})
	t.Cleanup(s.Close)
	return s
}

func options(s *schemaregistry.Server) codec.Options {
	return codec.Options{
		Changefeed: model.ChangefeedID{Namespace: "default", ID: "test"},
		Protocol:   "avro", MaxMessageBytes: 1 << 20,
		Avro: codec.AvroOptions{Registry: config.SinkURI(s.URL)},
	}
}

func start(t testing.TB, o codec.Options) (*Encoder, *Decoder) {
	t.Helper()
	e, err := New(t.Context(), o)
	require.NoError(t, err)
	d, err := NewDecoder(o)
	require.NoError(t, err)
	return e, d
}

// variants are the combinations of options that change how rows are written.
func variants(s *schemaregistry.Server) map[string]codec.Options {
	plain, text, sums := options(s), options(s), options(s)
	text.Avro.DecimalHandlingMode, text.Avro.BigintUnsignedHandlingMode = "string", "string"
	text.EnableTiDBExtension = true
	sums = text
	sums.OutputRowChecksum = true
	return map[string]codec.Options{"plain": plain, "string": text, "checksum": sums}
}

// withSchemas adds what the registry holds: subject and schema.
func withSchemas(s *schemaregistry.Server, messages []codec.Message) []codec.Message {
	for _, subject := range s.Subjects() {
		for _, id := range s.Versions(subject) {
			messages = append(messages, codec.Message{Key: []byte(subject), Value: []byte(s.Schema(id))})
		}
	}
	return messages
}

func TestTypes(t *testing.T) {
	for _, g := range codectest.Groups(t) {
		t.Run(g.Name, func(t *testing.T) {
			s := startRegistry(t)
			e, d := start(t, options(s))
			var messages []codec.Message
			for _, row := range g.Rows {
				ev := codectest.Insert(g.Table, row)
				if g.Name == "special" && row[2].Kind == model.KindUint && row[2].N == 0 {
					require.ErrorIs(t, e.AppendRow(t.Context(), "topic", ev), errors.ErrEncodeFailed)
					continue
				}
				m := codectest.Encode(t, e, ev)[0]
				checkForeign(t, s, d, m)
				messages = append(messages, m)
			}
			codectest.Golden(t, "types_"+g.Name, withSchemas(s, messages)...)
		})
	}
}

func TestOptions(t *testing.T) {
	s := startRegistry(t)
	for name, o := range variants(s) {
		t.Run(name, func(t *testing.T) {
			own := startRegistry(t)
			o.Avro.Registry = config.SinkURI(own.URL)
			e, _ := start(t, o)
			changes := codectest.Changes(t)
			changes[0].Checksum = &codec.Checksum{Current: 4294967295, Version: 1, Corrupted: true}
			codectest.Golden(t, "rows_"+name, withSchemas(own, codectest.Encode(t, e, changes...))...)
		})
	}
}

func TestSchemaOfDefaults(t *testing.T) {
	s := startRegistry(t)
	e, d := start(t, options(s))
	table := codectest.Table(t, "create table `1.t` (a int not null, `b-c` varchar(9) not null default 'x<y',"+
		" n int default 7, u bigint unsigned default 18446744073709551615, f float default 1.5, e enum('q','w,e') default 'q',"+
		" d decimal(8,2) default 3, dn decimal(8,2) not null default 3, b bit(9) default b'101', x varbinary(9) default 'ab',"+
		" t timestamp default current_timestamp, w varchar(9) default 'null', primary key (`b-c`, a))")
	row := []model.Value{codectest.Int(1), codectest.Bytes("k"), codectest.Int(2), codectest.Uint(3), codectest.Float(1),
		codectest.Uint(2), codectest.Text("1.00"), codectest.Text("-2.50"), codectest.Uint(1), codectest.Bytes("\xff"),
		codectest.Text("2024-01-02 03:04:05"), codectest.Bytes("w")}
	messages := codectest.Encode(t, e, codectest.Insert(table, row))
	codectest.Golden(t, "defaults", withSchemas(s, messages)...)
	checkForeign(t, s, d, messages[0])

	events, err := d.Decode(t.Context(), messages[0].Key, messages[0].Value)
	require.NoError(t, err)
	require.Equal(t, "test", events[0].Schema)
	require.Equal(t, "_1_t", events[0].Table)
	cells := events[0].Row.New
	require.Equal(t, "b_c", cells[1].Name)
	require.True(t, cells[0].Key && cells[1].Key && !cells[2].Key)
	require.Equal(t, "-2.50", cells[7].Value)
	require.Equal(t, uint64(1), cells[8].Value)
}

// expected is what the decoder should show of a row: names instead of numbers
// of enums and sets.
func expected(t *model.Table, row []model.Value) map[string]any {
	values := codectest.Values(t, row, nil)
	for i := range t.Columns {
		c := &t.Columns[i]
		n, isNumber := values[c.Name].(uint64)
		switch {
		case !isNumber:
		case c.Name == "enum_":
			values[c.Name], _ = codec.EnumName(c.FieldType.GetElems(), n)
		case c.Name == "set_":
			values[c.Name] = string(codec.AppendSetNames(nil, c.FieldType.GetElems(), n))
		}
	}
	return values
}

func TestRoundTrip(t *testing.T) {
	s := startRegistry(t)
	for name, o := range variants(s) {
		t.Run(name, func(t *testing.T) {
			table := codectest.AllTypes(t)
			e, d := start(t, o)
			r := rand.New(rand.NewPCG(1, 2))
			for range 500 {
				ev := codectest.RandomEvent(r, table)
				if o.OutputRowChecksum && r.IntN(2) == 0 {
					ev.Checksum = &codec.Checksum{Current: r.Uint32(), Version: r.IntN(3), Corrupted: r.IntN(2) == 0}
				}
				fixEnum(ev)
				m := codectest.Encode(t, e, ev)[0]
				events, err := d.Decode(t.Context(), m.Key, m.Value)
				require.NoError(t, err)
				require.Len(t, events, 1)
				checkEvent(t, &o, ev, &events[0])
				checkForeign(t, s, d, m)
			}
		})
	}
}

// fixEnum takes away the invalid value, which avro cannot show.
func fixEnum(ev *codec.RowEvent) {
	for _, row := range [][]model.Value{ev.Row.Old, ev.Row.New} {
		for i := range row {
			if ev.Table.Columns[i].Name == "enum_" && row[i].Kind == model.KindUint && row[i].N == 0 {
				row[i].N = 1
			}
		}
	}
}

func checkEvent(t *testing.T, o *codec.Options, ev *codec.RowEvent, got *codec.Event) {
	t.Helper()
	require.Equal(t, "test", got.Schema)
	require.Equal(t, "all", got.Table)
	if ev.Row.Kind == model.RowDelete {
		require.Equal(t, model.RowDelete, got.Row.Kind)
		require.Equal(t, codectest.Values(ev.Table, ev.Row.Old, codectest.IsKey(ev.Table)), codectest.CellValues(got.Row.Old))
		require.Empty(t, got.Row.New)
		return
	}
	require.Equal(t, expected(ev.Table, ev.Row.New), codectest.CellValues(got.Row.New))
	if !o.EnableTiDBExtension {
		require.Equal(t, model.RowUpdate, got.Row.Kind)
		return
	}
	require.Equal(t, ev.Row.Kind, got.Row.Kind)
	require.Equal(t, ev.CommitTs, got.CommitTs)
	if ev.Checksum != nil {
		require.Equal(t, ev.Checksum, got.Row.Checksum)
	}
}

func TestEvolution(t *testing.T) {
	s := startRegistry(t)
	e, d := start(t, options(s))
	before := codectest.Table(t, "create table t (id int primary key, a varchar(9))")
	after := codectest.Table(t, "create table t (id int primary key, a varchar(9), b int default 5)")
	rows := []*codec.RowEvent{
		codectest.Insert(before, []model.Value{codectest.Int(1), codectest.Bytes("x")}),
		codectest.Insert(after, []model.Value{codectest.Int(2), codectest.Bytes("y"), codectest.Null()}),
		codectest.Delete(before, []model.Value{codectest.Int(1), codectest.Bytes("x")}),
	}
	messages := codectest.Encode(t, e, rows...)
	require.Equal(t, []int{2, 3}, s.Versions("topic-value"))
	require.Equal(t, []int{1}, s.Versions("topic-key"), "the key's schema did not change")
	require.Nil(t, messages[2].Value)
	for i, want := range []int{2, 3} {
		events, err := d.Decode(t.Context(), messages[i].Key, messages[i].Value)
		require.NoError(t, err)
		require.Len(t, events[0].Row.New, want)
	}
	requests := s.Requests()
	codectest.Encode(t, e, rows...)
	require.Equal(t, requests, s.Requests(), "schemas are registered once")
}

func TestTopicsAndKeys(t *testing.T) {
	s := startRegistry(t)
	e, _ := start(t, options(s))
	table := codectest.Table(t, "create table t (a int)")
	require.NoError(t, e.AppendRow(t.Context(), "a.b.c", codectest.Insert(table, []model.Value{codectest.Int(1)})))
	messages, err := e.Messages()
	require.NoError(t, err)
	require.Nil(t, messages[0].Key)
	require.Equal(t, 1, messages[0].Rows)
	require.Equal(t, []string{"a_b_c-value"}, s.Subjects())
}

func TestErrors(t *testing.T) {
	s := startRegistry(t)
	o := options(s)
	o.MaxMessageBytes = 100
	e, _ := start(t, o)
	table := codectest.Table(t, "create table t (id int primary key, a varchar(999), e enum('x'), n int not null)")
	row := func(a string, enum uint64) []model.Value {
		return []model.Value{codectest.Int(1), codectest.Bytes(a), codectest.Uint(enum), codectest.Int(1)}
	}
	err := e.AppendRow(t.Context(), "topic", codectest.Insert(table, row(strings.Repeat("x", 50), 1)))
	require.ErrorIs(t, err, errors.ErrMessageTooLarge)
	require.ErrorContains(t, err, "test.t")
	err = e.AppendRow(t.Context(), "topic", codectest.Insert(table, row("x", 0)))
	require.ErrorIs(t, err, errors.ErrEncodeFailed)
	bad := row("x", 1)
	bad[3] = codectest.Null()
	require.ErrorIs(t, e.AppendRow(t.Context(), "topic", codectest.Insert(table, bad)), errors.ErrEncodeFailed)
	messages, err := e.Messages()
	require.NoError(t, err)
	require.Empty(t, messages)
}

func TestAnnouncements(t *testing.T) {
	s := startRegistry(t)
	o := options(s)
	ddl := &model.DDLEvent{Query: "CREATE TABLE `t` (`a` INT)", Type: timodel.ActionCreateTable, Schema: "test", Table: "t", CommitTs: 7}
	for _, enabled := range []bool{false, true} {
		o.EnableTiDBExtension = enabled
		e, _ := start(t, o)
		m, err := e.Watermark(t.Context(), "topic", 7)
		require.NoError(t, err)
		require.Nil(t, m)
		m, err = e.DDL(t.Context(), "topic", ddl)
		require.NoError(t, err)
		require.Nil(t, m)
	}
	o.Avro.EnableWatermark = true
	e, d := start(t, o)
	watermark, err := e.Watermark(t.Context(), "topic", 0x0102030405060708)
	require.NoError(t, err)
	change, err := e.DDL(t.Context(), "topic", ddl)
	require.NoError(t, err)
	codectest.Golden(t, "announcements", *watermark, *change)

	events, err := d.Decode(t.Context(), watermark.Key, watermark.Value)
	require.NoError(t, err)
	require.Equal(t, []codec.Event{{Kind: codec.EventWatermark, CommitTs: 0x0102030405060708}}, events)
	events, err = d.Decode(t.Context(), change.Key, change.Value)
	require.NoError(t, err)
	require.Equal(t, []codec.Event{{
		Kind: codec.EventDDL, CommitTs: 7, Schema: "test", Table: "t", Query: ddl.Query, DDLType: "create table",
	}}, events)
}

func TestRegistryTrouble(t *testing.T) {
	s := startRegistry(t)
	c, err := newConfluent(s.URL)
	require.NoError(t, err)
	var heard []error
	c.patience = patience{backoff: time.Millisecond, onTrouble: func(err error) { heard = append(heard, err) }}
	s.FailNext(3)
	require.NoError(t, c.check(t.Context()), "status 503 is tried again")
	require.Len(t, heard, 4)
	for _, err := range heard[:3] {
		require.ErrorContains(t, err, "503")
		require.NotContains(t, err.Error(), "secret")
	}
	require.NoError(t, heard[3])

	_, err = c.register(t.Context(), "x", `{"type":"nonsense"}`)
	require.ErrorIs(t, err, errors.ErrAvroSchemaAPIError)
	require.ErrorContains(t, err, "422")
	_, _, err = c.schema(t.Context(), []byte{0, 0, 0, 0, 9})
	require.ErrorContains(t, err, "404")

	s.FailNext(1 << 30)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = c.check(ctx)
	require.ErrorIs(t, err, errors.ErrAvroSchemaAPIError)
	require.NotContains(t, err.Error(), "secret")
	s.FailNext(0)

	wrong, err := newConfluent(strings.Replace(s.URL, "secret", "hidden", 1))
	require.NoError(t, err)
	err = wrong.check(t.Context())
	require.ErrorContains(t, err, "401")
	require.NotContains(t, err.Error(), "hidden")

	for _, address := range []string{"", "registry:8081", "ftp://registry"} {
		_, err := newConfluent(address)
		require.ErrorIs(t, err, errors.ErrAvroSchemaAPIError, address)
	}
	other, err := newConfluent(s.URL + "/subjects")
	require.NoError(t, err)
	require.Error(t, other.check(t.Context()), "not the root of a registry")
}

func TestParseSchema(t *testing.T) {
	for _, text := range []string{
		``, `[]`, `{"type":"enum"}`, `{"type":"record","fields":[{"name":"a","type":"fancy"}]}`,
		`{"type":"record","fields":[{"name":"a","type":["int","long"]}]}`,
		`{"type":"record","fields":[{"name":"a","type":["null",["null","int"]]}]}`,
		`{"type":"record","fields":[{"name":"a","type":{"type":"bytes","logicalType":"decimal","scale":99999}}]}`,
	} {
		_, err := parseSchema(text)
		require.ErrorIs(t, err, errors.ErrDecodeFailed, text)
	}
}

func BenchmarkEncode(b *testing.B) {
	e, _ := start(b, options(startRegistry(b)))
	codectest.Benchmark(b, e)
}

func FuzzDecode(f *testing.F) {
	s := startRegistry(f)
	o := options(s)
	o.EnableTiDBExtension, o.Avro.EnableWatermark = true, true
	e, d := start(f, o)
	events := codectest.Changes(f)
	for _, g := range codectest.Groups(f) {
		events = append(events, codectest.Insert(g.Table, g.Rows[0]))
	}
	for _, m := range codectest.Encode(f, e, events...) {
		f.Add(m.Key, m.Value)
	}
	f.Add([]byte(nil), []byte("\x01{}"))
	f.Add([]byte(nil), []byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		// Unknown schema ids would only exercise the registry.
		for _, b := range [][]byte{key, value} {
			if len(b) > 4 && b[0] == magicRow {
				b[1], b[2], b[3], b[4] = 0, 0, 0, b[4]%8+1
			}
		}
		if _, err := d.Decode(t.Context(), key, value); err != nil {
			require.NotEmpty(t, errors.CodeOf(err))
		}
	})
}

func FuzzParseSchema(f *testing.F) {
	o := codec.Options{Changefeed: model.ChangefeedID{Namespace: "default"}}
	r, err := valueRecord(&o, codectest.AllTypes(f))
	require.NoError(f, err)
	f.Add(r.schema)
	f.Add(`{"type":"record","fields":[{"name":"a","type":["null",{"type":"bytes","logicalType":"decimal","scale":3}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseSchema(text); err == nil {
			require.NotNil(t, s)
		}
	})
}

func TestDamage(t *testing.T) {
	o := options(startRegistry(t))
	o.EnableTiDBExtension = true
	e, d := start(t, o)
	events := codectest.Changes(t)
	for _, g := range codectest.Groups(t) {
		events = append(events, codectest.Insert(g.Table, g.Rows[0]))
	}
	messages := codectest.Encode(t, e, events...)
	for i := range messages {
		codectest.Damage(t, d, headerLen, messages[i])
	}
	codectest.Damage(t, d, 1, codec.Message{Value: []byte("\x01{}")}, codec.Message{Value: []byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01")})
}
