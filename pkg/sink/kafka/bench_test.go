package kafka

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

// brokerProcess makes the test binary a broker that forgets what it gets, so
// that its CPU time is not the sink's.
const brokerProcess = "TIDEMARK_TEST_BROKER"

const benchPartitions = 8

func serveBroker() error {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(benchPartitions, topic))
	if err != nil {
		return err
	}
	defer c.Close()
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return answer(req.(*kmsg.ProduceRequest), 0), nil, true
	})
	fmt.Println(c.ListenAddrs()[0])
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent is gone
	return nil
}

// startBroker starts the broker process and returns its address.
func startBroker(b *testing.B) string {
	self, err := os.Executable()
	require.NoError(b, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), brokerProcess+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return strings.TrimSpace(addr)
}

// cpu is the time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchBatches makes batches of 512 rows of about 200 bytes: 60 % inserts,
// 30 % updates, 10 % deletes.
func benchBatches(b *testing.B, tables int) []*model.RowBatch {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte('a' + r.IntN(26))
		}
		return string(out)
	}
	var out []*model.RowBatch
	for id := range tables {
		u := sinktest.NewTable(b, int64(100+id), fmt.Sprintf(
			"CREATE TABLE bench.t%d (id BIGINT PRIMARY KEY, k INT, c VARCHAR(120), pad VARCHAR(60), d DECIMAL(10,2), ts DATETIME)", id))
		batch := &model.RowBatch{TableID: u.Model.ID, Table: u.Model, LastOfTxn: true}
		for i := range 512 {
			row := func() []any {
				return []any{id*1000 + i, r.IntN(1 << 20), text(100), text(50), "12345.67", "2026-01-02 03:04:05"}
			}
			var old, new []any
			switch p := r.IntN(10); {
			case p < 6:
				new = row()
			case p < 9:
				old, new = row(), row()
			default:
				old = row()
			}
			batch.Rows = append(batch.Rows, u.Change(uint64(1000+i/4), 0, old, new))
		}
		out = append(out, batch)
	}
	return out
}

// BenchmarkSink reports the CPU time of this process per row; the broker is
// another one.
func BenchmarkSink(b *testing.B) {
	for _, protocol := range []string{config.ProtocolCanalJSON, config.ProtocolOpen} {
		for _, partition := range []string{"table", "index-value"} {
			b.Run(protocol+"/"+partition, func(b *testing.B) { benchmarkSink(b, protocol, partition) })
		}
	}
}

func benchmarkSink(b *testing.B, protocol, partition string) {
	o := sink.Options{
		Changefeed: model.DefaultChangefeedID("bench"), TimeZone: time.UTC, Config: config.DefaultReplicaConfig(),
		URI: config.SinkURI("kafka://" + startBroker(b) + "/" + topic + "?protocol=" + protocol),
	}
	o.Config.Sink.DispatchRules = []*config.DispatchRule{{Matcher: []string{"*.*"}, PartitionRule: partition}}
	s, err := New(b.Context(), o)
	require.NoError(b, err)
	defer s.Close()
	batches := benchBatches(b, 10)
	var acks sync.WaitGroup
	var failure error
	var mu sync.Mutex
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	var writers sync.WaitGroup
	per := b.N/512/len(batches) + 1
	for _, batch := range batches {
		writers.Go(func() {
			for range per {
				acks.Add(1)
				copied := *batch
				copied.Done = func(err error) {
					if err != nil {
						mu.Lock()
						failure = errors.Join(failure, err)
						mu.Unlock()
					}
					acks.Done()
				}
				if err := s.Write(b.Context(), &copied); err != nil {
					copied.Done(err)
				}
			}
		})
	}
	writers.Wait()
	acks.Wait()
	b.StopTimer()
	require.NoError(b, failure)
	rows := float64(per * 512 * len(batches))
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/rows/1000, "cpu-µs/row")
	b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
}
