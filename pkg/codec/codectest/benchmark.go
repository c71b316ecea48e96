package codectest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// benchBatch is the number of rows between two calls of Messages.
const benchBatch = 64

// benchRow is a table of ten columns and a row of 200 bytes.
func benchRow(b *testing.B) (*model.Table, []model.Value) {
	table := Table(b, `create table bench (id bigint primary key, a int, b int unsigned, c varchar(64), d varchar(64),
		e decimal(12,2), f datetime, g double, h text, i tinyint)`)
	return table, []model.Value{
		Int(1234567890), Int(42), Uint(77777), Bytes("the quick brown fox jumps over th"),
		Bytes("0123456789abcdef0123456789abcdef0123456789abcdef"), Text("12345.67"), Text("2024-02-29 12:34:56"), Double(3.25),
		Bytes("lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eius"), Int(1),
	}
}

// Benchmark encodes inserts and updates.
func Benchmark(b *testing.B, e codec.Encoder) {
	table, first := benchRow(b)
	_, second := benchRow(b)
	second[3], second[5] = Bytes("the lazy dog sleeps under the tre"), Text("67.89")
	for _, bench := range []struct {
		name string
		ev   *codec.RowEvent
	}{{"insert", Insert(table, first)}, {"update", Update(table, first, second)}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			bytes := 0
			for i := range b.N {
				if err := e.AppendRow(b.Context(), "topic", bench.ev); err != nil {
					b.Fatal(err)
				}
				if (i+1)%benchBatch == 0 || i == b.N-1 {
					messages, err := e.Messages()
					require.NoError(b, err)
					for _, m := range messages {
						bytes += len(m.Key) + len(m.Value)
					}
				}
			}
			b.ReportMetric(float64(bytes)/float64(b.N), "bytes/row")
		})
	}
}

// BenchmarkDecoder decodes what e makes of an insert, again and again.
func BenchmarkDecoder(b *testing.B, e codec.Encoder, d codec.Decoder) {
	table, row := benchRow(b)
	m := Encode(b, e, Insert(table, row))[0]
	b.ReportAllocs()
	for range b.N {
		if _, err := d.Decode(b.Context(), m.Key, m.Value); err != nil {
			b.Fatal(err)
		}
	}
}
