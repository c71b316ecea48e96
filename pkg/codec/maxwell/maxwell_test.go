package maxwell

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
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

func TestTypes(t *testing.T) {
	for _, g := range codectest.Groups(t) {
		t.Run(g.Name, func(t *testing.T) {
			e := newEncoder(nil)
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

func TestRows(t *testing.T) {
	changes := codectest.Changes(t)
	messages := codectest.Encode(t, newEncoder(nil), changes...)
	require.Len(t, messages, 1)
	require.Equal(t, 3, messages[0].Rows)
	unchanged := codectest.Update(changes[1].Table, changes[1].Row.Old, changes[1].Row.Old)
	messages = append(messages, codectest.Encode(t, newEncoder(nil), unchanged)...)
	keys := newEncoder(func(o *codec.Options) { o.DeleteOnlyHandleKey = true })
	codectest.Golden(t, "rows", append(messages, codectest.Encode(t, keys, changes[2])...)...)
}

func TestSchemaChanges(t *testing.T) {
	var messages []codec.Message
	e := newEncoder(nil)
	for _, ev := range codectest.DDLs(t) {
		m, err := e.DDL(t.Context(), "topic", ev)
		require.NoError(t, err)
		require.True(t, json.Valid(m.Value))
		messages = append(messages, *m)
		got, err := NewDecoder().Decode(t.Context(), m.Key, m.Value)
		require.NoError(t, err)
		require.Equal(t, []codec.Event{{Kind: codec.EventDDL, CommitTs: ev.CommitTs, Schema: ev.Schema, Table: ev.Table,
			Query: ev.Query, DDLType: ddlType(ev.Type)}}, got)
	}
	codectest.Golden(t, "ddl", messages...)
	w, err := e.Watermark(t.Context(), "topic", codectest.CommitTs)
	require.NoError(t, err)
	require.Nil(t, w)
}

func TestDDLTypes(t *testing.T) {
	for action, want := range map[timodel.ActionType]string{
		1: "database-create", 2: "database-drop", 26: "database-alter", 3: "table-create", 4: "table-drop",
		5: "table-alter", 11: "table-alter", 14: "table-alter", 20: "table-alter", 21: "create view",
		22: "table-alter", 23: "table-alter", 24: "drop view", 25: "recover table", 32: "add primary key",
		33: "table-alter", 41: "table-alter", 42: "table-alter", 47: "rename tables",
		61: "alter table multi-schema change", 64: "alter table reorganize partition",
	} {
		require.Equal(t, want, ddlType(action), "action %d", action)
	}
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
	require.Len(t, messages, 5)
	for _, m := range messages {
		require.Equal(t, 2, m.Rows)
		require.LessOrEqual(t, m.Size(), 2*size)
	}
	err := newEncoder(func(o *codec.Options) { o.MaxMessageBytes = size - 1 }).AppendRow(t.Context(), "topic", changes[1])
	require.ErrorIs(t, err, errors.ErrMessageTooLarge)
}

// TestRoundTrip decodes what was encoded of random rows of all types.
func TestRoundTrip(t *testing.T) {
	table := codectest.AllTypes(t)
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		e := newEncoder(nil)
		var events []*codec.RowEvent
		for range r.IntN(10) {
			events = append(events, codectest.RandomEvent(r, table))
		}
		var got []codec.Event
		for _, m := range codectest.Encode(t, e, events...) {
			decoded, err := NewDecoder().Decode(t.Context(), m.Key, m.Value)
			require.NoError(t, err)
			got = append(got, decoded...)
		}
		require.Len(t, got, len(events))
		for i, ev := range events {
			require.Equal(t, ev.Row.Kind, got[i].Row.Kind)
			require.Equal(t, uint64(codectest.CommitTs)>>18/1000, got[i].CommitTs>>18/1000)
			var keep func(int) bool
			if ev.Row.Kind == model.RowUpdate {
				keep = codectest.IsChanged(ev)
			}
			require.Equal(t, untyped(codectest.Values(table, ev.Row.New, nil)), codectest.CellValues(got[i].Row.New))
			if want := codectest.Values(table, ev.Row.Old, keep); len(want) > 0 {
				require.Equal(t, untyped(want), codectest.CellValues(got[i].Row.Old))
			} else {
				require.Empty(t, got[i].Row.Old)
			}
		}
	}
}

// untyped is what remains of values without their types.
func untyped(values map[string]any) map[string]any {
	for name, v := range values {
		switch v := v.(type) {
		case uint64:
			if v <= math.MaxInt64 {
				values[name] = int64(v)
			}
		case float32:
			f, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
			values[name] = whole(f)
		case float64:
			values[name] = whole(v)
		case []byte:
			values[name] = base64.StdEncoding.EncodeToString(v)
		}
	}
	return values
}

// whole is an integer where the float is written as one.
func whole(f float64) any {
	b := codec.AppendJSONFloat(nil, f, 64)
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(string(b), 10, 64); err == nil {
		return n
	}
	return f
}

func TestDecodeErrors(t *testing.T) {
	version := string(versionKey())
	for name, m := range map[string][2]string{
		"key":     {"", `{"type":"insert"}`},
		"no JSON": {version, `{`},
		"type":    {version, `{"type":"x"}`},
		"data":    {version, `{"type":"insert","data":[]}`},
		"old":     {version, `{"type":"delete","old":1}`},
		"value":   {version, `{"type":"insert","data":{"a":[]}}`},
	} {
		_, err := NewDecoder().Decode(t.Context(), []byte(m[0]), []byte(m[1]))
		require.ErrorIs(t, err, errors.ErrDecodeFailed, name)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range codectest.Encode(f, newEncoder(nil), codectest.Changes(f)...) {
		f.Add(m.Key, m.Value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		events, err := NewDecoder().Decode(t.Context(), key, value)
		require.True(t, err == nil || events == nil)
	})
}

func BenchmarkEncode(b *testing.B) { codectest.Benchmark(b, newEncoder(nil)) }

func BenchmarkDecode(b *testing.B) { codectest.BenchmarkDecoder(b, newEncoder(nil), NewDecoder()) }
