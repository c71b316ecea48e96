package open

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func newEncoder(t testing.TB, change func(*codec.Options)) *Encoder {
	t.Helper()
	o := codec.Options{MaxMessageBytes: 10 << 20, OutputOldValue: true}
	if change != nil {
		change(&o)
	}
	e, err := New(o)
	require.NoError(t, err)
	return e
}

func decode(t testing.TB, o codec.Options, m codec.Message) []codec.Event {
	t.Helper()
	events, err := NewDecoder(o).Decode(t.Context(), m.Key, m.Value)
	require.NoError(t, err)
	return events
}

// golden shows the entries of messages without their frames, which
// TestFrame has.
func golden(t *testing.T, name string, messages ...codec.Message) {
	t.Helper()
	var entries []codec.Message
	for _, m := range messages {
		key, value := m.Key[lengthSize:], m.Value
		for len(key) > 0 {
			var entry codec.Message
			var ok bool
			entry.Key, key, ok = cut(key)
			require.True(t, ok)
			entry.Value, value, ok = cut(value)
			require.True(t, ok)
			require.True(t, json.Valid(entry.Key), "%s", entry.Key)
			require.True(t, json.Valid(entry.Value), "%s", entry.Value)
			entries = append(entries, entry)
		}
		require.Empty(t, value)
	}
	codectest.Golden(t, name, entries...)
}

func TestTypes(t *testing.T) {
	for _, g := range codectest.Groups(t) {
		t.Run(g.Name, func(t *testing.T) {
			e := newEncoder(t, nil)
			for _, row := range g.Rows {
				require.NoError(t, e.AppendRow(t.Context(), "topic", codectest.Insert(g.Table, row)))
			}
			golden(t, "types_"+g.Name, codectest.Encode(t, e)...)
		})
	}
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*codec.Options){
		"plain":        nil,
		"no_old_value": func(o *codec.Options) { o.OutputOldValue = false },
		"updated":      func(o *codec.Options) { o.OnlyOutputUpdatedColumns = true },
		"delete_keys":  func(o *codec.Options) { o.DeleteOnlyHandleKey = true },
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, "rows_"+name, codectest.Encode(t, newEncoder(t, change), codectest.Changes(t)...)...)
		})
	}
}

func TestKeys(t *testing.T) {
	table := codectest.Table(t, `create table p (id int, name varchar(9)) partition by hash (id) partitions 2`)
	row := []model.Value{codectest.Int(1), codectest.Bytes("a")}
	events := []*codec.RowEvent{codectest.Insert(table, row), codectest.Update(table, row, row)}
	events[0].RowID, events[0].PhysicalID = -5, 101
	e := newEncoder(t, func(o *codec.Options) { o.OnlyOutputUpdatedColumns = true })
	golden(t, "rows_partition", codectest.Encode(t, e, events...)...)

	e = newEncoder(t, func(o *codec.Options) { o.DeleteOnlyHandleKey = true })
	err := e.AppendRow(t.Context(), "topic", codectest.Delete(table, row))
	require.ErrorIs(t, err, errors.ErrEncodeFailed)
	require.Empty(t, codectest.Encode(t, e))
}

func TestFrame(t *testing.T) {
	changes := codectest.Changes(t)[:2]
	codectest.Golden(t, "frame_rows", codectest.Encode(t, newEncoder(t, nil), changes...)...)
	w, err := newEncoder(t, nil).Watermark(t.Context(), "topic", codectest.CommitTs)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 8), w.Value)
	codectest.Golden(t, "frame_watermark", *w)
	require.Equal(t, []codec.Event{{Kind: codec.EventWatermark, CommitTs: codectest.CommitTs}}, decode(t, codec.Options{}, *w))
}

func TestSchemaChanges(t *testing.T) {
	var messages []codec.Message
	for _, ev := range codectest.DDLs(t) {
		m, err := newEncoder(t, nil).DDL(t.Context(), "topic", ev)
		require.NoError(t, err)
		messages = append(messages, *m)
		want := []codec.Event{{Kind: codec.EventDDL, CommitTs: ev.CommitTs, Schema: ev.Schema, Table: ev.Table,
			Query: ev.Query, DDLType: strconv.Itoa(int(ev.Type))}}
		require.Equal(t, want, decode(t, codec.Options{}, *m))

		o := codec.Options{LargeMessage: codec.LargeMessageOptions{Compression: "lz4"}}
		e, err := New(o)
		require.NoError(t, err)
		m, err = e.DDL(t.Context(), "topic", ev)
		require.NoError(t, err)
		require.Equal(t, want, decode(t, o, *m))
	}
	golden(t, "ddl", messages...)
}

func TestBatches(t *testing.T) {
	table, row := codectest.Items(t)
	events := make([]*codec.RowEvent, 40)
	for i := range events {
		events[i] = codectest.Insert(table, append([]model.Value{codectest.Int(int64(i))}, row[1:]...))
	}
	size := codectest.Encode(t, newEncoder(t, nil), events[39])[0].Size()
	for _, tc := range []struct {
		name      string
		batch     int
		limit     int
		wantBatch int
	}{
		{"default", 0, 1 << 20, 16},
		{"by rows", 7, 1 << 20, 7},
		{"by bytes", 100, 3 * size, 3},
		{"one by one", 100, size, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEncoder(t, func(o *codec.Options) { o.MaxBatchSize, o.MaxMessageBytes = tc.batch, tc.limit })
			messages := codectest.Encode(t, e, events...)
			require.Len(t, messages, (len(events)+tc.wantBatch-1)/tc.wantBatch)
			next := int64(0)
			for _, m := range messages {
				require.LessOrEqual(t, m.Size(), tc.limit)
				got := decode(t, codec.Options{}, m)
				require.Len(t, got, m.Rows)
				require.LessOrEqual(t, m.Rows, tc.wantBatch)
				for _, ev := range got {
					require.Contains(t, ev.Row.New, codec.Cell{Name: "id", Type: "int", Key: true, Value: next})
					next++
				}
			}
			require.Len(t, events, int(next))
			require.Empty(t, codectest.Encode(t, e))
		})
	}
	e := newEncoder(t, func(o *codec.Options) { o.MaxMessageBytes = size - 1 })
	require.ErrorIs(t, e.AppendRow(t.Context(), "topic", events[39]), errors.ErrMessageTooLarge)
}

func TestLargeMessages(t *testing.T) {
	files := &codectest.Files{}
	large := func(option string) func(*codec.Options) {
		return func(o *codec.Options) {
			o.MaxMessageBytes, o.LargeMessage.Option, o.ClaimCheck = 500, option, files
			o.LargeMessage.RawValue = true // has no effect in this protocol
		}
	}
	changes := codectest.LargeChanges(t, 600)
	e := newEncoder(t, large(config.LargeMessageNone))
	for _, ev := range changes {
		err := e.AppendRow(t.Context(), "topic", ev)
		require.ErrorIs(t, err, errors.ErrMessageTooLarge)
		require.ErrorContains(t, err, "table: test.item, handle key: id=7, length: ")
	}
	require.Empty(t, codectest.Encode(t, e))

	messages := codectest.Encode(t, newEncoder(t, large(config.LargeMessageHandleKeyOnly)), changes...)
	golden(t, "large_handle_key_only", messages...)
	require.True(t, decode(t, codec.Options{}, messages[0])[0].Row.HandleKeyOnly)

	messages = codectest.Encode(t, newEncoder(t, large(config.LargeMessageClaimCheck)), changes...)
	golden(t, "large_claim_check", messages...)
	for i, ev := range decode(t, codec.Options{}, messages[0]) {
		require.False(t, ev.Row.HandleKeyOnly)
		key, value, err := codec.ParseClaimCheck(files.Get(ev.Row.ClaimCheck))
		require.NoError(t, err)
		want := codectest.Encode(t, newEncoder(t, nil), changes[i])[0]
		require.Equal(t, [2][]byte{want.Key, want.Value}, [2][]byte{key, value})
	}

	e = newEncoder(t, func(o *codec.Options) {
		large(config.LargeMessageHandleKeyOnly)(o)
		o.MaxMessageBytes = 100
	})
	require.ErrorIs(t, e.AppendRow(t.Context(), "topic", changes[0]), errors.ErrMessageTooLarge)
}

// TestRoundTrip decodes what was encoded of random rows of all types.
func TestRoundTrip(t *testing.T) {
	table := codectest.AllTypes(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		o := codec.Options{
			MaxMessageBytes: 1 << 20, OutputOldValue: true, MaxBatchSize: 1 + i%7,
			OnlyOutputUpdatedColumns: i&1 != 0, DeleteOnlyHandleKey: i&2 != 0,
			LargeMessage: codec.LargeMessageOptions{Compression: []string{"none", "snappy", "lz4"}[i%3]},
		}
		e, err := New(o)
		require.NoError(t, err)
		var events []*codec.RowEvent
		for range r.IntN(10) {
			events = append(events, codectest.RandomEvent(r, table))
		}
		var got []codec.Event
		for _, m := range codectest.Encode(t, e, events...) {
			got = append(got, decode(t, o, m)...)
		}
		require.Len(t, got, len(events))
		for j, ev := range events {
			checkRow(t, &o, ev, got[j].Row)
		}
	}
}

func checkRow(t *testing.T, o *codec.Options, ev *codec.RowEvent, got *codec.DecodedRow) {
	t.Helper()
	var keep func(int) bool
	switch {
	case ev.Row.Kind == model.RowDelete && o.DeleteOnlyHandleKey:
		keep = codectest.IsKey(ev.Table)
	case ev.Row.Kind == model.RowUpdate && o.OnlyOutputUpdatedColumns:
		keep = codectest.IsChanged(ev)
	}
	require.Equal(t, codectest.Values(ev.Table, ev.Row.New, nil), codectest.CellValues(got.New))
	want := codectest.Values(ev.Table, ev.Row.Old, keep)
	if len(want) == 0 {
		require.Empty(t, got.Old)
		return
	}
	require.Equal(t, ev.Row.Kind, got.Kind)
	require.Equal(t, want, codectest.CellValues(got.Old))
	types := make(map[string]string)
	for i := range ev.Table.Columns {
		types[ev.Table.Columns[i].Name] = strings.TrimSuffix(codec.TypeName(ev.Table.Columns[i].FieldType), " zerofill")
	}
	for _, c := range append(got.Old, got.New...) {
		require.Equal(t, c.Name == "id", c.Key)
		require.Equal(t, types[c.Name], c.Type)
	}
}

func TestDecodeErrors(t *testing.T) {
	frame := func(s string) []byte { return appendFramed(nil, []byte(s)) }
	key := func(s string) []byte { return append(appendVersion(nil), frame(s)...) }
	row := func(column string) []byte { return frame(`{"u":{"a":` + column + `}}`) }
	for name, m := range map[string][2][]byte{
		"empty":        {nil, nil},
		"version":      {{0, 0, 0, 0, 0, 0, 0, 2}, nil},
		"short key":    {append(appendVersion(nil), 0, 0, 0, 0, 0, 0, 0, 9), nil},
		"short value":  {key(`{"t":1}`), {1}},
		"more values":  {key(`{"t":3}`), append(frame(""), frame("")...)},
		"no JSON key":  {key(`{`), frame("")},
		"kind":         {key(`{"t":4}`), frame("")},
		"no row":       {key(`{"t":1}`), frame(`{}`)},
		"no column":    {key(`{"t":1}`), row(`1`)},
		"text int":     {key(`{"t":1}`), row(`{"t":3,"v":"x"}`)},
		"number text":  {key(`{"t":1}`), row(`{"t":15,"v":1}`)},
		"base64":       {key(`{"t":1}`), row(`{"t":252,"v":"?"}`)},
		"bad escape":   {key(`{"t":1}`), row(`{"t":15,"f":1,"v":"\\x"}`)},
		"bad previous": {key(`{"t":1}`), frame(`{"u":{},"p":[]}`)},
		"bad delete":   {key(`{"t":1}`), frame(`{"d":1}`)},
		"bad ddl":      {key(`{"t":2}`), frame(`[]`)},
	} {
		_, err := NewDecoder(codec.Options{}).Decode(t.Context(), m[0], m[1])
		require.ErrorIs(t, err, errors.ErrDecodeFailed, name)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range codectest.Encode(f, newEncoder(f, nil), codectest.Changes(f)...) {
		f.Add(uint8(0), m.Key, m.Value)
	}
	f.Fuzz(func(t *testing.T, compression uint8, key, value []byte) {
		names := []string{"none", "snappy", "lz4"}
		o := codec.Options{LargeMessage: codec.LargeMessageOptions{Compression: names[int(compression)%len(names)]}}
		events, err := NewDecoder(o).Decode(t.Context(), key, value)
		require.True(t, err == nil || events == nil)
	})
}

func BenchmarkEncode(b *testing.B) { codectest.Benchmark(b, newEncoder(b, nil)) }

func BenchmarkDecode(b *testing.B) {
	codectest.BenchmarkDecoder(b, newEncoder(b, nil), NewDecoder(codec.Options{}))
}
