package debezium

import (
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func newEncoder(t testing.TB, o codec.Options) *Encoder {
	t.Helper()
	e, err := New(o)
	require.NoError(t, err)
	e.now = func() time.Time { return time.UnixMilli(1700000000123) }
	return e
}

func TestTypes(t *testing.T) {
	for _, g := range codectest.Groups(t) {
		t.Run(g.Name, func(t *testing.T) {
			for _, disable := range []bool{false, true} {
				e := newEncoder(t, codec.Options{OutputOldValue: true, DebeziumDisableSchema: disable, TimeZone: time.FixedZone("", 3600)})
				var messages []codec.Message
				for _, row := range g.Rows {
					m := codectest.Encode(t, e, codectest.Insert(g.Table, row))[0]
					require.True(t, json.Valid(m.Key) && json.Valid(m.Value), "%s", m.Value)
					messages = append(messages, m)
				}
				if disable {
					codectest.Golden(t, "types_"+g.Name, messages...)
				} else {
					codectest.Golden(t, "schema_"+g.Name, messages[0])
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]codec.Options{
		"old_value":    {OutputOldValue: true},
		"no_old_value": {ClusterID: "1 cluster"},
		"no_schema":    {OutputOldValue: true, DebeziumDisableSchema: true},
	} {
		codectest.Golden(t, "rows_"+name, codectest.Encode(t, newEncoder(t, o), codectest.Changes(t)...)...)
	}
}

func TestDefaults(t *testing.T) {
	table := codectest.Table(t, `create table t (a int default 5, b bigint unsigned default 18446744073709551615, f float default 1.5,
		d decimal(8,2) not null default 3, e enum('q','w,e') default 'w,e', s set('x','y') default 'x,y', bt bit(1) default b'1',
		b9 bit(9) default b'101', da date default '2024-01-02', dt datetime default current_timestamp, ts timestamp not null default current_timestamp,
		tn timestamp null default current_timestamp, tt timestamp(2) not null default '2024-01-02 03:04:05', t time(1) default '-01:02:03.4',
		v varchar(9) default '<x>', y year default 2024, g int as (a + 1), j json, bi varbinary(9) default 'ab')`)
	e := newEncoder(t, codec.Options{})
	row := make([]model.Value, len(table.Columns))
	messages := codectest.Encode(t, e, codectest.Insert(table, row))
	require.True(t, json.Valid(messages[0].Value), "%s", messages[0].Value)
	codectest.Golden(t, "defaults", messages...)
}

func TestTimes(t *testing.T) {
	date, micros := &column{form: formDate}, &column{form: formMicros, nullable: true}
	paris, err := time.LoadLocation("Europe/Paris")
	require.NoError(t, err)
	for _, c := range []struct {
		column     *column
		text, want string
		loc        *time.Location
	}{
		{date, "1970-01-02", "1", nil},
		{date, "1969-12-31", "-1", nil},
		{date, "0001-01-01", "11323", nil}, // as 2001
		{date, "0099-12-31", "10956", nil}, // as 1999
		{date, "0100-01-01", "-683003", nil},
		{date, "2023-02-29", "0", nil},
		{date, "2023-00-01", "0", nil},
		{micros, "2023-02-29 00:00:00.000000", "null", nil},
		{micros, "1969-12-31 23:59:59.999999", "-1", nil},
		{&column{form: formMillis}, "1970-01-01 00:00:01.5", "1500", nil},
		{&column{form: formTimestamp}, "2024-07-01 12:00:00", `"2024-07-01T10:00:00Z"`, paris},
		{&column{form: formTimestamp, fsp: 6}, "2024-01-01 00:30:00.000001", `"2023-12-31T23:30:00.000001Z"`, paris},
		{&column{form: formTimestamp, nullable: true}, "0000-00-00 00:00:00", `"1970-01-01T00:00:00Z"`, paris},
		{&column{form: formTime}, "-838:59:59.000001", "-3020399000001", nil},
		{&column{form: formTime}, "00:00:01", "1000000", nil},
	} {
		v := codectest.Text(c.text)
		loc := c.loc
		if loc == nil {
			loc = time.UTC
		}
		require.Equal(t, c.want, string(c.column.appendValue(nil, &v, loc)), c.text)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, compression := range []string{"none", "snappy", "lz4"} {
		t.Run(compression, func(t *testing.T) {
			o := codec.Options{OutputOldValue: true}
			o.LargeMessage.Compression = compression
			e, d := newEncoder(t, o), NewDecoder(o)
			table := codectest.AllTypes(t)
			r := rand.New(rand.NewPCG(5, 6))
			for range 300 {
				ev := codectest.RandomEvent(r, table)
				m := codectest.Encode(t, e, ev)[0]
				events, err := d.Decode(t.Context(), m.Key, m.Value)
				require.NoError(t, err)
				require.Len(t, events, 1)
				got := events[0]
				require.Equal(t, codec.EventRow, got.Kind)
				require.Equal(t, ev.CommitTs, got.CommitTs)
				require.Equal(t, "all", got.Table)
				require.Equal(t, ev.Row.Kind, got.Row.Kind)
				checkCells(t, table, ev.Row.New, got.Row.New)
				checkCells(t, table, ev.Row.Old, got.Row.Old)
			}
		})
	}
}

func checkCells(t *testing.T, table *model.Table, row []model.Value, cells []codec.Cell) {
	t.Helper()
	require.Len(t, cells, len(row))
	for i := range row {
		c := &table.Columns[i]
		require.Equal(t, c.Name, cells[i].Name)
		require.Equal(t, c.Has(model.FlagHandleKey), cells[i].Key)
		want, sure := shown(c, &row[i])
		if sure {
			require.EqualValues(t, want, cells[i].Value, c.Name)
		}
	}
}

// shown is what the decoder can make of a value; false where the calendar
// decides, which other tests are about.
func shown(c *model.Column, v *model.Value) (any, bool) {
	want := codectest.CellValue(c, v)
	switch w := want.(type) {
	case nil:
		return nil, true
	case []byte:
		return base64.StdEncoding.EncodeToString(w), true
	case uint64:
		switch c.Name {
		case "bit_":
			return w, true
		case "enum_":
			name, _ := codec.EnumName(c.FieldType.GetElems(), w)
			return name, true
		case "set_":
			return string(codec.AppendSetNames(nil, c.FieldType.GetElems(), w)), true
		}
		return int64(w), true
	case string:
		switch {
		case strings.HasPrefix(c.Name, "date"), strings.HasPrefix(c.Name, "timestamp"):
			return nil, false
		case c.Name == "time_":
			return w + "0000", w[:3] != "-00" || strings.ContainsAny(w, "123456789")
		case strings.HasSuffix(c.Name, "decimal_"), c.Name == "udecimal":
			f, err := strconv.ParseFloat(w, 64)
			return f, err == nil
		}
	case float32:
		if c.Name == "ufloat" {
			f, err := strconv.ParseFloat(strconv.FormatFloat(float64(w), 'g', -1, 32), 64)
			return f, err == nil
		}
	}
	return want, true
}

func TestNothingElse(t *testing.T) {
	e := newEncoder(t, codec.Options{})
	m, err := e.Watermark(t.Context(), "topic", 1)
	require.NoError(t, err)
	require.Nil(t, m)
	m, err = e.DDL(t.Context(), "topic", codectest.DDLs(t)[0])
	require.NoError(t, err)
	require.Nil(t, m)
	_, err = New(codec.Options{LargeMessage: codec.LargeMessageOptions{Compression: "zip"}})
	require.Error(t, err)
}

func TestBadMessages(t *testing.T) {
	d := NewDecoder(codec.Options{})
	for _, m := range []codec.Message{
		{Key: []byte("x"), Value: []byte("{}")},
		{Key: []byte(`{"payload":{}}`), Value: []byte("{}")},
		{Key: []byte(`{"payload":{}}`), Value: []byte(`{"payload":{"op":"c","after":{"a":[]}}}`)},
		{Key: []byte(`{"payload":[]}`), Value: []byte(`{"payload":{"op":"c"}}`)},
	} {
		_, err := d.Decode(t.Context(), m.Key, m.Value)
		require.ErrorIs(t, err, errors.ErrDecodeFailed, "%s", m.Value)
	}
}

func FuzzDecode(f *testing.F) {
	e := newEncoder(f, codec.Options{OutputOldValue: true})
	for _, g := range codectest.Groups(f) {
		m := codectest.Encode(f, e, codectest.Insert(g.Table, g.Rows[0]))[0]
		f.Add(m.Key, m.Value)
	}
	for _, m := range codectest.Encode(f, e, codectest.Changes(f)...) {
		f.Add(m.Key, m.Value)
	}
	d := NewDecoder(codec.Options{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if _, err := d.Decode(t.Context(), key, value); err != nil {
			require.ErrorIs(t, err, errors.ErrDecodeFailed)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for name, o := range map[string]codec.Options{"schema": {OutputOldValue: true}, "no_schema": {OutputOldValue: true, DebeziumDisableSchema: true}} {
		b.Run(name, func(b *testing.B) { codectest.Benchmark(b, newEncoder(b, o)) })
	}
}

func TestDamage(t *testing.T) {
	for _, disable := range []bool{false, true} {
		e := newEncoder(t, codec.Options{OutputOldValue: true, DebeziumDisableSchema: disable})
		messages := codectest.Encode(t, e, codectest.Changes(t)...)
		for _, g := range codectest.Groups(t) {
			messages = append(messages, codectest.Encode(t, e, codectest.Insert(g.Table, g.Rows[0]))...)
		}
		codectest.Damage(t, NewDecoder(codec.Options{}), 0, messages...)
	}
}
