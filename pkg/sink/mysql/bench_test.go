package mysql

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

const benchColumns = "id BIGINT PRIMARY KEY, a INT, b VARCHAR(100), c VARCHAR(100), d DECIMAL(20,4), e DATETIME, f DOUBLE"

// benchHistory makes changes of one table with rows of about 200 bytes: 60 %
// inserts, 30 % updates, 10 % deletes, each a transaction of its own.
func benchHistory(u *upstreamTable, n int, r *rand.Rand) []model.RawChange {
	text := func() string { return strings.Repeat("it is text ", 6) + fmt.Sprint(r.Int64()) }
	row := func(id any) []any {
		return []any{id, r.IntN(1000000), text(), text(), "12345.6789", "2024-01-02 03:04:05", r.Float64()}
	}
	var history []model.RawChange
	var rows [][]any
	for ts := uint64(10); len(history) < n; ts += 2 {
		kind, i := r.IntN(10), 0
		if len(rows) > 0 {
			i = r.IntN(len(rows))
		}
		switch {
		case kind < 6 || len(rows) == 0:
			rows = append(rows, row(len(history)+1))
			history = append(history, u.change(ts, 0, nil, rows[len(rows)-1]))
		case kind < 9:
			changed := row(rows[i][0])
			history = append(history, u.change(ts, 0, rows[i], changed))
			rows[i] = changed
		default:
			history = append(history, u.change(ts, 0, rows[i], nil))
			rows[i] = rows[len(rows)-1]
			rows = rows[:len(rows)-1]
		}
	}
	return history
}

// BenchmarkText measures everything but the network: dispatch, decoding, SQL text.
func BenchmarkText(b *testing.B) {
	for name, replicateTs := range map[string]uint64{"replay": math.MaxUint64, "live": 0} {
		b.Run(name, func(b *testing.B) {
			s, f := fakeSink(b, "", false)
			f.discard = true
			u := newTable(b, 100, "CREATE TABLE bench.t ("+benchColumns+")")
			history := benchHistory(u, 20000, rand.New(rand.NewPCG(1, 2)))
			b.ReportAllocs()
			for b.Loop() {
				benchWrite(b, s, u, history, replicateTs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(history)), "ns/row")
		})
	}
}

// BenchmarkMariaDB measures a whole catch-up of ten tables. The figure to look
// at is the CPU time of this process per row: the speed is the server's.
func BenchmarkMariaDB(b *testing.B) {
	const tables, rows = 10, 20000
	for name, replicateTs := range map[string]uint64{"replay": math.MaxUint64, "live": 0} {
		b.Run(name, func(b *testing.B) {
			addr, db := downstream(b, "bench")
			us, histories := make([]*upstreamTable, tables), make([][]model.RawChange, tables)
			for i := range us {
				us[i] = newTable(b, int64(100+i), fmt.Sprintf("CREATE TABLE bench.t%d (%s)", i, benchColumns))
				histories[i] = benchHistory(us[i], rows, rand.New(rand.NewPCG(1, uint64(i))))
			}
			var cpu, wall time.Duration
			for b.Loop() {
				for i, u := range us {
					execAll(b, db, fmt.Sprintf("DROP TABLE IF EXISTS bench.t%d", i), u.ddl)
				}
				s := openSink(b, addr, "")
				start, cpuStart := time.Now(), processCPU(b)
				var wg sync.WaitGroup
				for i, u := range us {
					wg.Go(func() { benchWrite(b, s, u, histories[i], replicateTs) })
				}
				wg.Wait()
				cpu, wall = cpu+processCPU(b)-cpuStart, wall+time.Since(start)
				s.Close()
			}
			total := float64(b.N * tables * rows)
			b.ReportMetric(float64(cpu.Microseconds())/total, "cpu-µs/row")
			b.ReportMetric(total/wall.Seconds(), "rows/s")
		})
	}
}

// benchWrite gives a history to the sink, in batches as the processor makes
// them, and waits until it is durable.
func benchWrite(b *testing.B, s *Sink, u *upstreamTable, history []model.RawChange, replicateTs uint64) {
	var wg sync.WaitGroup
	for len(history) > 0 {
		n := min(512, len(history))
		wg.Add(1)
		err := s.Write(b.Context(), &model.RowBatch{
			TableID: u.info.ID, Table: u.table, Rows: history[:n], ReplicateTs: replicateTs, LastOfTxn: true,
			Done: func(err error) {
				if err != nil {
					b.Error(err)
				}
				wg.Done()
			},
		})
		if err != nil {
			b.Error(err)
			wg.Done()
			break
		}
		history = history[n:]
	}
	wg.Wait()
}

// processCPU is the CPU time that this process has used.
func processCPU(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
