package kafka

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// How long conditions may take to come true, and how often they are looked at.
const (
	eventually = 30 * time.Second
	tick       = 2 * time.Millisecond
)

const topic = "rows"

func TestMain(m *testing.M) {
	if os.Getenv(brokerProcess) != "" {
		if err := serveBroker(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.Cleanup(os.Exit))
}

// newCluster starts brokers with the topic of the tests.
func newCluster(t testing.TB, brokers int, partitions int32, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append(options, kfake.NumBrokers(brokers), kfake.SeedTopics(partitions, topic))...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// sinkOptions are those of a changefeed to the cluster's topic; query is of its URI.
func sinkOptions(t testing.TB, c *kfake.Cluster, query string) sink.Options {
	return sink.Options{
		Changefeed: model.DefaultChangefeedID("test"), ClusterID: "default", Capture: "127.0.0.1:8300",
		URI:    config.SinkURI(fmt.Sprintf("kafka://%s/%s?%s", strings.Join(c.ListenAddrs(), ","), topic, query)),
		Config: config.DefaultReplicaConfig(), TimeZone: time.UTC, Logger: zaptest.NewLogger(t),
	}
}

// openSink connects a sink whose encoders write plain texts.
func openSink(t testing.TB, o sink.Options) *Sink {
	t.Helper()
	s, err := New(t.Context(), o)
	require.NoError(t, err)
	out := s.(*Sink)
	t.Cleanup(out.Close)
	out.newEncoder = func(context.Context) (codec.Encoder, error) { return &textEncoder{}, nil }
	return out
}

// textEncoder writes rows as "kind commit-ts first-column", at most three to a message.
type textEncoder struct {
	lines []string
}

func (e *textEncoder) AppendRow(_ context.Context, _ string, ev *codec.RowEvent) error {
	image, kind := ev.Row.New, "insert"
	switch ev.Row.Kind {
	case model.RowDelete:
		image, kind = ev.Row.Old, "delete"
	case model.RowUpdate:
		kind = "update"
	}
	e.lines = append(e.lines, fmt.Sprintf("%s %d %d", kind, ev.CommitTs, image[0].Int()))
	return nil
}

func (e *textEncoder) Messages() ([]codec.Message, error) {
	var out []codec.Message
	for len(e.lines) > 0 {
		n := min(3, len(e.lines))
		out = append(out, codec.Message{Value: []byte(strings.Join(e.lines[:n], "\n")), Rows: n})
		e.lines = e.lines[n:]
	}
	return out, nil
}

func (e *textEncoder) DDL(_ context.Context, _ string, ev *model.DDLEvent) (*codec.Message, error) {
	return &codec.Message{Key: []byte("ddl"), Value: []byte(ev.Query)}, nil
}

func (e *textEncoder) Watermark(_ context.Context, _ string, ts uint64) (*codec.Message, error) {
	return &codec.Message{Key: []byte("watermark"), Value: fmt.Appendf(nil, "watermark %d", ts)}, nil
}

func (e *textEncoder) Bootstrap(_ context.Context, _ string, table *model.Table) (*codec.Message, error) {
	return &codec.Message{Key: []byte{}, Value: []byte("schema of " + table.Name)}, nil
}

// consumer reads all partitions of some topics from the beginning.
type consumer struct {
	t      testing.TB
	client *kgo.Client

	mu      sync.Mutex
	lines   map[string][]string // by "topic/partition", one per row
	seen    map[string]struct{} // lines
	keyless int                 // messages whose key is null
	done    chan struct{}
}

func consume(t testing.TB, c *kfake.Cluster, topics ...string) *consumer {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topics...),
		kgo.MetadataMinAge(10*time.Millisecond), kgo.MetadataMaxAge(200*time.Millisecond), kgo.FetchMaxWait(50*time.Millisecond))
	require.NoError(t, err)
	out := &consumer{t: t, client: client, lines: map[string][]string{}, seen: map[string]struct{}{}, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(out.done)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(out.take)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-out.done
		client.Close()
	})
	return out
}

func (c *consumer) take(r *kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
	for line := range strings.SplitSeq(string(r.Value), "\n") {
		c.lines[key] = append(c.lines[key], line)
		c.seen[line] = struct{}{}
	}
	if r.Key == nil {
		c.keyless++
	}
}

// of returns the lines of one partition so far.
func (c *consumer) of(topic string, partition int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines[fmt.Sprintf("%s/%d", topic, partition)]...)
}

// count is the number of lines so far.
func (c *consumer) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, lines := range c.lines {
		n += len(lines)
	}
	return n
}

// different is the number of lines so far, those that came again not counted.
func (c *consumer) different() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// withoutKey is the number of messages so far whose key is null.
func (c *consumer) withoutKey() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keyless
}

// await waits for a number of lines.
func (c *consumer) await(n int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.count() >= n }, eventually, tick)
	require.Equal(c.t, n, c.count())
}

// write gives rows to the sink as one batch and returns the channel of its acknowledgement.
func write(t testing.TB, s sink.Sink, table *model.Table, rows ...model.RawChange) <-chan error {
	t.Helper()
	done := make(chan error, 2)
	require.NoError(t, s.Write(t.Context(), &model.RowBatch{
		TableID: table.ID, Table: table, Rows: rows, LastOfTxn: true, Done: func(err error) { done <- err },
	}))
	return done
}

// acked waits for an acknowledgement.
func acked(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(eventually):
		require.Fail(t, "no acknowledgement")
		return nil
	}
}
