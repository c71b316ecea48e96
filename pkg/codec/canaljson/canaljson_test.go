package canaljson

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func newEncoder(t testing.TB, change func(*codec.Options)) *Encoder {
	t.Helper()
	o := codec.Options{MaxMessageBytes: 10 << 20}
	if change != nil {
		change(&o)
	}
	e, err := New(o)
	require.NoError(t, err)
	e.now = func() time.Time { return time.UnixMilli(1700000000123) }
	return e
}

func TestTypes(t *testing.T) {
	for _, g := range codectest.Groups(t) {
		t.Run(g.Name, func(t *testing.T) {
			e := newEncoder(t, func(o *codec.Options) { o.ContentCompatible = g.Name == "special" })
			var messages []codec.Message
			for _, row := range g.Rows {
				messages = append(messages, codectest.Encode(t, e, codectest.Insert(g.Table, row))...)
			}
			for _, m := range messages {
				require.True(t, json.Valid(m.Value), "%s", m.Value)
			}
			codectest.Golden(t, "types_"+g.Name, messages...)
		})
	}
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*codec.Options){
		"plain":       nil,
		"extension":   func(o *codec.Options) { o.EnableTiDBExtension = true },
		"updated":     func(o *codec.Options) { o.OnlyOutputUpdatedColumns = true },
		"compatible":  func(o *codec.Options) { o.ContentCompatible = true },
		"delete_keys": func(o *codec.Options) { o.DeleteOnlyHandleKey, o.EnableTiDBExtension = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			codectest.Golden(t, "rows_"+name, codectest.Encode(t, newEncoder(t, change), codectest.Changes(t)...)...)
		})
	}
}

func TestNoKeyAndNoChange(t *testing.T) {
	table := codectest.Table(t, "create table nokey (a int, b int not null unique)")
	row := []model.Value{codectest.Int(1), codectest.Int(2)}
	e := newEncoder(t, func(o *codec.Options) { o.OnlyOutputUpdatedColumns = true })
	codectest.Golden(t, "rows_no_primary_key", codectest.Encode(t, e, codectest.Update(table, row, row))...)
}

func TestSchemaChangesAndWatermarks(t *testing.T) {
	for _, extension := range []bool{false, true} {
		e := newEncoder(t, func(o *codec.Options) { o.EnableTiDBExtension = extension })
		d := NewDecoder(codec.Options{})
		var messages []codec.Message
		for _, ev := range codectest.DDLs(t) {
			m, err := e.DDL(t.Context(), "topic", ev)
			require.NoError(t, err)
			messages = append(messages, *m)
			got, err := d.Decode(t.Context(), m.Key, m.Value)
			require.NoError(t, err)
			ts := ev.CommitTs
			if !extension {
				ts = ts >> 18 << 18
			}
			require.Equal(t, []codec.Event{{Kind: codec.EventDDL, CommitTs: ts, Schema: ev.Schema, Table: ev.Table,
				Query: ev.Query, DDLType: codec.CanalEventType(ev.Type)}}, got)
		}
		w, err := e.Watermark(t.Context(), "topic", codectest.CommitTs)
		require.NoError(t, err)
		name := "ddl"
		if extension {
			messages, name = append(messages, *w), "ddl_extension"
			got, err := d.Decode(t.Context(), w.Key, w.Value)
			require.NoError(t, err)
			require.Equal(t, []codec.Event{{Kind: codec.EventWatermark, CommitTs: codectest.CommitTs}}, got)
		} else {
			require.Nil(t, w)
		}
		codectest.Golden(t, name, messages...)
	}
}

func TestLargeMessages(t *testing.T) {
	files := &codectest.Files{}
	large := func(option string) func(o *codec.Options) {
		return func(o *codec.Options) {
			o.MaxMessageBytes, o.EnableTiDBExtension = 500, true
			o.LargeMessage.Option, o.ClaimCheck = option, files
		}
	}
	changes := codectest.LargeChanges(t, 600)

	e := newEncoder(t, large(config.LargeMessageNone))
	for _, ev := range changes {
		err := e.AppendRow(t.Context(), "topic", ev)
		require.ErrorIs(t, err, errors.ErrMessageTooLarge)
		require.ErrorContains(t, err, "table: test.item, handle key: id=7, length: ")
		require.ErrorContains(t, err, "max-message-bytes: 500")
	}
	require.Empty(t, codectest.Encode(t, e), "nothing is added by a row that fails")

	codectest.Golden(t, "large_handle_key_only",
		codectest.Encode(t, newEncoder(t, large(config.LargeMessageHandleKeyOnly)), changes...)...)

	messages := codectest.Encode(t, newEncoder(t, large(config.LargeMessageClaimCheck)), changes...)
	codectest.Golden(t, "large_claim_check", messages...)
	whole := codectest.Encode(t, newEncoder(t, func(o *codec.Options) { o.EnableTiDBExtension = true }), changes...)
	d := NewDecoder(codec.Options{})
	for i, m := range messages {
		events, err := d.Decode(t.Context(), m.Key, m.Value)
		require.NoError(t, err)
		key, value, err := codec.ParseClaimCheck(files.Get(events[0].Row.ClaimCheck))
		require.NoError(t, err)
		require.Nil(t, key)
		require.Equal(t, string(whole[i].Value), string(value))
	}

	raw := codectest.Encode(t, newEncoder(t, func(o *codec.Options) {
		large(config.LargeMessageClaimCheck)(o)
		o.LargeMessage.RawValue = true
	}), changes[0])
	events, err := d.Decode(t.Context(), raw[0].Key, raw[0].Value)
	require.NoError(t, err)
	require.Equal(t, string(whole[0].Value), string(files.Get(events[0].Row.ClaimCheck)))

	tooSmall := newEncoder(t, func(o *codec.Options) {
		large(config.LargeMessageHandleKeyOnly)(o)
		o.MaxMessageBytes = 100
	})
	require.ErrorIs(t, tooSmall.AppendRow(t.Context(), "topic", changes[0]), errors.ErrMessageTooLarge)
}

func TestLimitCountsTheCompressedValue(t *testing.T) {
	for _, compression := range []string{"snappy", "lz4"} {
		changes := codectest.LargeChanges(t, 4000)
		o := codec.Options{MaxMessageBytes: 3000, LargeMessage: codec.LargeMessageOptions{Compression: compression}}
		e, err := New(o)
		require.NoError(t, err)
		messages := codectest.Encode(t, e, changes[0])
		require.LessOrEqual(t, messages[0].Size(), 3000)
		events, err := NewDecoder(o).Decode(t.Context(), nil, messages[0].Value)
		require.NoError(t, err)
		require.Equal(t, codectest.Values(changes[0].Table, changes[0].Row.New, nil), codectest.CellValues(events[0].Row.New))
	}
}

// TestRoundTrip decodes what was encoded of random rows of all types.
func TestRoundTrip(t *testing.T) {
	table := codectest.AllTypes(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		o := codec.Options{
			MaxMessageBytes: 1 << 20, EnableTiDBExtension: true,
			OnlyOutputUpdatedColumns: i&1 != 0, ContentCompatible: i&2 != 0, DeleteOnlyHandleKey: i&4 != 0,
			LargeMessage: codec.LargeMessageOptions{Compression: []string{"none", "snappy", "lz4"}[i%3]},
		}
		e, err := New(o)
		require.NoError(t, err)
		ev := codectest.RandomEvent(r, table)
		m := codectest.Encode(t, e, ev)[0]
		events, err := NewDecoder(o).Decode(t.Context(), m.Key, m.Value)
		require.NoError(t, err)
		require.Len(t, events, 1)
		got := events[0]
		require.Equal(t, uint64(codectest.CommitTs), got.CommitTs)
		require.Equal(t, "test.all", got.Schema+"."+got.Table)
		require.Equal(t, ev.Row.Kind, got.Row.Kind)
		var keep func(int) bool
		switch {
		case ev.Row.Kind == model.RowDelete && o.DeleteOnlyHandleKey:
			keep = codectest.IsKey(table)
		case ev.Row.Kind == model.RowUpdate && i&3 != 0:
			keep = codectest.IsChanged(ev)
		}
		require.Equal(t, codectest.Values(table, ev.Row.New, nil), codectest.CellValues(got.Row.New))
		if want := codectest.Values(table, ev.Row.Old, keep); len(want) > 0 {
			require.Equal(t, want, codectest.CellValues(got.Row.Old))
		} else {
			require.Empty(t, got.Row.Old)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	d := NewDecoder(codec.Options{})
	for _, value := range []string{
		``, `[]`, `{"type":"INSERT","data":[]}`, `{"type":"INSERT","data":[[]]}`, `{"type":"X","data":[{}]}`,
		`{"type":"INSERT","data":[{"a":1}]}`, `{"type":"INSERT","data":[{"a":"x"}],"mysqlType":{"a":"int"}}`,
		`{"type":"INSERT","data":[{"a":"中"}],"mysqlType":{"a":"blob"}}`,
	} {
		_, err := d.Decode(t.Context(), nil, []byte(value))
		require.ErrorIs(t, err, errors.ErrDecodeFailed, value)
	}
}

func FuzzDecode(f *testing.F) {
	for _, ev := range codectest.Changes(f) {
		for _, m := range codectest.Encode(f, newEncoder(f, nil), ev) {
			f.Add(uint8(0), m.Value)
		}
	}
	f.Fuzz(func(t *testing.T, compression uint8, value []byte) {
		names := []string{"none", "snappy", "lz4"}
		o := codec.Options{LargeMessage: codec.LargeMessageOptions{Compression: names[int(compression)%len(names)]}}
		events, err := NewDecoder(o).Decode(t.Context(), nil, value)
		require.True(t, err != nil || len(events) == 1)
	})
}

func BenchmarkEncode(b *testing.B) { codectest.Benchmark(b, newEncoder(b, nil)) }

func BenchmarkDecode(b *testing.B) {
	codectest.BenchmarkDecoder(b, newEncoder(b, nil), NewDecoder(codec.Options{}))
}
