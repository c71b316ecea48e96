package canal

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/canal/canalpb"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func newEncoder(change func(*codec.Options)) *Encoder {
	o := codec.Options{MaxMessageBytes: 10 << 20}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// golden shows the packets as text, by way of the generated code.
func golden(t *testing.T, name string, messages ...codec.Message) {
	t.Helper()
	var shown []codec.Message
	for _, m := range messages {
		packet := canalpb.Packet{}
		require.NoError(t, proto.Unmarshal(m.Value, &packet))
		require.Equal(t, m.Value, canonical(t, &packet))
		var entries canalpb.Messages
		require.NoError(t, proto.Unmarshal(packet.Body, &entries))
		require.Equal(t, packet.Body, canonical(t, &entries))
		for _, raw := range entries.Messages {
			text := showEntry(t, raw)
			packet.Body = nil
			shown = append(shown, codec.Message{Key: m.Key, Value: []byte("{" + show(t, &packet) + " body " + text + "}")})
		}
	}
	codectest.Golden(t, name, shown...)
}

func showEntry(t *testing.T, raw []byte) string {
	t.Helper()
	var entry canalpb.Entry
	require.NoError(t, proto.Unmarshal(raw, &entry))
	require.Equal(t, raw, canonical(t, &entry))
	var change canalpb.RowChange
	require.NoError(t, proto.Unmarshal(entry.StoreValue, &change))
	require.Equal(t, entry.StoreValue, canonical(t, &change))
	entry.StoreValue = nil
	return fmt.Sprintf("{%s storeValue {%s}}", show(t, &entry), show(t, &change))
}

// canonical is the message as generated code writes it, but with the fields in
// the order of their numbers.
func canonical(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	return sortFields(t, m.ProtoReflect(), b)
}

func show(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := prototext.MarshalOptions{}.Marshal(m)
	require.NoError(t, err)
	return string(squeeze(b))
}

// squeeze undoes the random doubling of blanks outside strings.
func squeeze(b []byte) []byte {
	var out []byte
	quoted, escaped := false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ' ' && !quoted && len(out) > 0 && out[len(out)-1] == ' ':
			continue
		}
		out = append(out, c)
	}
	return out
}

func TestTypes(t *testing.T) {
	for _, g := range codectest.Groups(t) {
		t.Run(g.Name, func(t *testing.T) {
			e := newEncoder(nil)
			for _, row := range g.Rows {
				require.NoError(t, e.AppendRow(t.Context(), "topic", codectest.Insert(g.Table, row)))
			}
			golden(t, "types_"+g.Name, codectest.Encode(t, e)...)
		})
	}
}

func TestRows(t *testing.T) {
	messages := codectest.Encode(t, newEncoder(nil), codectest.Changes(t)...)
	require.Len(t, messages, 1)
	require.Equal(t, 3, messages[0].Rows)
	golden(t, "rows", messages...)
	codectest.Golden(t, "rows_wire", messages...)
	golden(t, "rows_delete_keys",
		codectest.Encode(t, newEncoder(func(o *codec.Options) { o.DeleteOnlyHandleKey = true }), codectest.Changes(t)[2])...)
}

func TestSchemaChanges(t *testing.T) {
	var messages []codec.Message
	e := newEncoder(nil)
	for _, ev := range codectest.DDLs(t) {
		m, err := e.DDL(t.Context(), "topic", ev)
		require.NoError(t, err)
		messages = append(messages, *m)
		got, err := NewDecoder().Decode(t.Context(), m.Key, m.Value)
		require.NoError(t, err)
		require.Equal(t, []codec.Event{{Kind: codec.EventDDL, CommitTs: ev.CommitTs >> 18 << 18, Schema: ev.Schema,
			Table: ev.Table, Query: ev.Query, DDLType: codec.CanalEventType(ev.Type)}}, got)
	}
	golden(t, "ddl", messages...)
	w, err := e.Watermark(t.Context(), "topic", codectest.CommitTs)
	require.NoError(t, err)
	require.Nil(t, w)
}

func TestBatches(t *testing.T) {
	changes := codectest.Changes(t)
	size := codectest.Encode(t, newEncoder(nil), changes[1])[0].Size()
	e := newEncoder(func(o *codec.Options) { o.MaxMessageBytes = 2 * size })
	var events []*codec.RowEvent
	for range 10 {
		events = append(events, changes[1])
	}
	messages := codectest.Encode(t, e, events...)
	rows := 0
	for _, m := range messages {
		rows += m.Rows
		require.LessOrEqual(t, m.Size(), 2*size)
		require.Equal(t, len(m.Value), cap(m.Value), "the size was known exactly")
	}
	require.Equal(t, 10, rows)
	require.Len(t, messages, 5)

	err := newEncoder(func(o *codec.Options) { o.MaxMessageBytes = size - 1 }).AppendRow(t.Context(), "topic", changes[1])
	require.ErrorIs(t, err, errors.ErrMessageTooLarge)
}

// TestRoundTrip decodes what was encoded of random rows of all types.
func TestRoundTrip(t *testing.T) {
	table := codectest.AllTypes(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		keysOnly := i&1 != 0
		e := newEncoder(func(o *codec.Options) { o.DeleteOnlyHandleKey, o.MaxMessageBytes = keysOnly, 20000 })
		var events []*codec.RowEvent
		for range r.IntN(10) {
			events = append(events, codectest.RandomEvent(r, table))
		}
		var got []codec.Event
		for _, m := range codectest.Encode(t, e, events...) {
			require.LessOrEqual(t, m.Size(), 20000)
			decoded, err := NewDecoder().Decode(t.Context(), m.Key, m.Value)
			require.NoError(t, err)
			require.Len(t, decoded, m.Rows)
			got = append(got, decoded...)
		}
		require.Len(t, got, len(events))
		for j, ev := range events {
			var keep func(int) bool
			if keysOnly && ev.Row.Kind == model.RowDelete {
				keep = codectest.IsKey(table)
			}
			require.Equal(t, ev.Row.Kind, got[j].Row.Kind)
			require.Equal(t, codectest.Values(table, ev.Row.New, nil), codectest.CellValues(got[j].Row.New))
			require.Equal(t, codectest.Values(table, ev.Row.Old, keep), codectest.CellValues(got[j].Row.Old))
		}
	}
}

func TestInvalidText(t *testing.T) {
	table := codectest.Table(t, "create table t (a varchar(9) primary key)")
	m := codectest.Encode(t, newEncoder(nil), codectest.Insert(table, []model.Value{codectest.Bytes("a\xffb")}))[0]
	events, err := NewDecoder().Decode(t.Context(), nil, m.Value)
	require.NoError(t, err)
	require.Equal(t, "a\ufffdb", events[0].Row.New[0].Value)
}

func TestDecodeErrors(t *testing.T) {
	entry := func(kind canalpb.EntryType, change []byte) []byte {
		e, err := proto.Marshal(&canalpb.Entry{EntryTypePresent: &canalpb.Entry_EntryType{EntryType: kind}, StoreValue: change})
		require.NoError(t, err)
		return appendPacket(nil, appendBytes(nil, messagesEntry, e))
	}
	row := func(event canalpb.EventType, c *canalpb.Column) []byte {
		b, err := proto.Marshal(&canalpb.RowChange{
			EventTypePresent: &canalpb.RowChange_EventType{EventType: event},
			RowDatas:         []*canalpb.RowData{{AfterColumns: []*canalpb.Column{c}, BeforeColumns: []*canalpb.Column{c}}},
		})
		require.NoError(t, err)
		return entry(canalpb.EntryType_ROWDATA, b)
	}
	for name, value := range map[string][]byte{
		"packet":   {0xff},
		"type":     {},
		"messages": appendPacket(nil, []byte{0xff}),
		"entry":    appendPacket(nil, appendBytes(nil, messagesEntry, []byte{0xff})),
		"no row":   entry(canalpb.EntryType_TRANSACTIONBEGIN, nil),
		"change":   entry(canalpb.EntryType_ROWDATA, []byte{0xff}),
		"event":    row(canalpb.EventType_QUERY, nil),
		"value":    row(canalpb.EventType_INSERT, &canalpb.Column{MysqlType: "int", Value: "x"}),
	} {
		_, err := NewDecoder().Decode(t.Context(), nil, value)
		require.ErrorIs(t, err, errors.ErrDecodeFailed, name)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range codectest.Encode(f, newEncoder(nil), codectest.Changes(f)...) {
		f.Add(m.Value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		events, err := NewDecoder().Decode(t.Context(), nil, value)
		require.True(t, err == nil || events == nil)
	})
}

func BenchmarkEncode(b *testing.B) { codectest.Benchmark(b, newEncoder(nil)) }

func BenchmarkDecode(b *testing.B) { codectest.BenchmarkDecoder(b, newEncoder(nil), NewDecoder()) }
