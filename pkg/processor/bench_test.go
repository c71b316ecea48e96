package processor

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/blackhole"
	"github.com/tidemark/tidemark/pkg/sorter"
)

type benchRig struct {
	*Processor
	up     *fakeUpstream
	engine *sorter.Engine
	cancel context.CancelFunc
	result chan error
}

func newBenchRig(b *testing.B, quota uint64) *benchRig {
	engine, err := sorter.Open(sorter.Config{Dir: filepath.Join(b.TempDir(), "0000")})
	if err != nil {
		b.Fatal(err)
	}
	up := newFakeUpstream()
	up.resolved = math.MaxUint64
	ctx, cancel := context.WithCancel(context.Background())
	r := &benchRig{up: up, engine: engine, cancel: cancel, result: make(chan error, 1), Processor: New(Options{
		ID: model.DefaultChangefeedID("bench"), Config: &config.ReplicaConfig{MemoryQuota: quota}, SinkURI: "blackhole://",
		Changes: up, Schemas: up, Clock: up, Sorter: engine,
		NewSink: func(context.Context) (sink.Sink, error) { return blackhole.New(sink.Options{}), nil },
	})}
	r.SetBarrier(math.MaxUint64)
	go func() { r.result <- r.Run(ctx) }()
	return r
}

func (r *benchRig) close(b *testing.B) {
	r.cancel()
	if err := <-r.result; err != nil {
		b.Fatal(err)
	}
	if err := r.engine.Close(); err != nil {
		b.Fatal(err)
	}
}

func (r *benchRig) wait(ts uint64) {
	for r.Progress().CheckpointTs < ts {
		<-r.Changed()
	}
}

// benchmarkCatchUp is the catch-up of ten tables from OnRows to blackhole's
// Done: rows come in key order, their commits are all over the time.
func benchmarkCatchUp(b *testing.B, quota uint64) {
	const tables, rowsPerTable, perCall = 10, 100_000, 200
	rnd := rand.New(rand.NewSource(1))
	value := bytes.Repeat([]byte("x"), 200)
	base := uint64(time.Now().UnixMilli()) << 18
	parts := make([][]model.RawChange, rowsPerTable/perCall)
	for i := range parts {
		for j := range perCall {
			ts := base + uint64(rnd.Intn(rowsPerTable/20))<<20
			parts[i] = append(parts[i], model.NewRawChange(ts-100, ts, fmt.Appendf(nil, "t12345678_r%08d", i*perCall+j), value, nil))
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r := newBenchRig(b, quota)
		for id := range int64(tables) {
			r.up.table(id+1, 1)
			r.AddSpans([]SpanStart{{Span: model.TableSpan(id + 1), CheckpointTs: 10}})
			s := r.up.sub(b, id+1)
			for _, p := range parts {
				s.rows(p...)
			}
		}
		for id := range int64(tables) {
			r.up.sub(b, id+1).resolve(math.MaxInt64)
		}
		r.wait(math.MaxInt64)
		r.close(b)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(tables*rowsPerTable), "ns/row")
}

func BenchmarkCatchUp(b *testing.B)        { benchmarkCatchUp(b, 1<<30) }
func BenchmarkCatchUpSpilled(b *testing.B) { benchmarkCatchUp(b, 64<<20) }

// BenchmarkIdleTables is one resolved-ts for each of a thousand idle tables.
func BenchmarkIdleTables(b *testing.B) {
	const tables = 1000
	r := newBenchRig(b, 1<<30)
	var subs []*fakeSub
	var starts []SpanStart
	for id := range int64(tables) {
		r.up.table(id+1, 1)
		starts = append(starts, SpanStart{Span: model.TableSpan(id + 1), CheckpointTs: 10})
	}
	r.AddSpans(starts)
	for id := range int64(tables) {
		subs = append(subs, r.up.sub(b, id+1))
	}
	b.ReportAllocs()
	ts := uint64(10)
	for b.Loop() {
		ts++
		for _, s := range subs {
			s.resolve(ts)
		}
		r.wait(ts)
	}
	r.close(b)
}
