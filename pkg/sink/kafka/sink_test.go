package kafka

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
	"github.com/tidemark/tidemark/test/registry"
)

func TestRowsDDLAndWatermarks(t *testing.T) {
	c := newCluster(t, 2, 3)
	o := sinkOptions(t, c, "protocol=open-protocol")
	o.Config.Sink.DispatchRules = []*config.DispatchRule{
		{Matcher: []string{"db.other"}, TopicRule: "{schema}_{table}", PartitionRule: "ts"},
		{Matcher: []string{"*.*"}, PartitionRule: "index-value"},
	}
	s := openSink(t, o)
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, v INT)")
	other := sinktest.NewTable(t, 8, "CREATE TABLE db.other (id INT PRIMARY KEY)")

	var rows []model.RawChange
	for i := range 60 {
		rows = append(rows, u.Change(uint64(100+i), 0, nil, []any{i % 6, i}))
	}
	first := write(t, s, u.Model, rows...)
	second := write(t, s, other.Model, other.Change(301, 0, nil, []any{1}), other.Change(302, 0, []any{2}, nil))
	require.NoError(t, acked(t, first))
	require.NoError(t, acked(t, second))

	s.FollowTables([]*model.Table{u.Model, other.Model})
	require.NoError(t, s.WriteDDL(t.Context(), &model.DDLEvent{Schema: "db", Table: "t", Query: "alter t", CommitTs: 400}))
	require.NoError(t, s.WriteWatermark(t.Context(), 400))

	got := consume(t, c, topic, "db_other")
	got.await(60 + 2 + 3 + 6)
	seen := map[string]string{}
	for p := range 3 {
		lines := got.of(topic, p)
		require.Equal(t, []string{"alter t", "watermark 400"}, lines[len(lines)-2:])
		last := 0
		for _, line := range lines[:len(lines)-2] {
			var ts, id int
			_, err := fmt.Sscanf(line, "insert %d %d", &ts, &id)
			require.NoError(t, err)
			require.Greater(t, ts, last, "rows of a partition are in order")
			last = ts
			at := fmt.Sprintf("%d", p)
			require.Contains(t, []string{"", at}, seen[fmt.Sprint(id)], "a key keeps its partition")
			seen[fmt.Sprint(id)] = at
		}
		lines = got.of("db_other", p)
		require.Equal(t, "watermark 400", lines[len(lines)-1])
	}
	require.Equal(t, "insert 301 1", got.of("db_other", 301%3)[0])
	require.Equal(t, "delete 302 2", got.of("db_other", 302%3)[0])
	require.Empty(t, s.Status().Reason)
}

func TestDDLToPartitionZero(t *testing.T) {
	c := newCluster(t, 1, 3)
	s := openSink(t, sinkOptions(t, c, "protocol=canal-json"))
	require.NoError(t, s.WriteDDL(t.Context(), &model.DDLEvent{Schema: "db", Table: "t", Query: "alter t"}))
	got := consume(t, c, topic)
	got.await(1)
	require.Equal(t, []string{"alter t"}, got.of(topic, 0))
}

// Of a topic with more partitions only the configured number is used.
func TestFewerPartitionsThanThereAre(t *testing.T) {
	c := newCluster(t, 1, 5)
	s := openSink(t, sinkOptions(t, c, "protocol=open-protocol&partition-num=2"))
	require.NoError(t, s.WriteWatermark(t.Context(), 9))
	got := consume(t, c, topic)
	got.await(2)
	require.Len(t, got.of(topic, 0), 1)
	require.Len(t, got.of(topic, 1), 1)
}

func TestBootstrap(t *testing.T) {
	c := newCluster(t, 1, 2)
	o := sinkOptions(t, c, "protocol=simple")
	atStart := true
	o.Config.Sink.SendAllBootstrapAtStart = &atStart
	s := openSink(t, o)
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	require.NoError(t, acked(t, write(t, s, u.Model, u.Change(5, 0, nil, []any{1}))))
	require.NoError(t, acked(t, write(t, s, u.Model, u.Change(6, 0, nil, []any{2}))))
	got := consume(t, c, topic)
	got.await(4)
	rows := 0
	for p := range 2 {
		lines := got.of(topic, p)
		require.Equal(t, "schema of t", lines[0], "in every partition, before the rows")
		rows += len(lines) - 1
	}
	require.Equal(t, 2, rows)

	s.bootstrap.mu.Lock()
	s.bootstrap.tables[7].rows = s.o.bootstrap.rows
	active := s.bootstrap.tables[7].active
	s.bootstrap.mu.Unlock()
	s.bootstrap.again(active)
	got.await(6)
	s.bootstrap.again(active.Add(bootstrapForget))
	require.Empty(t, s.bootstrap.tables)

	s.FollowTables([]*model.Table{u.Model})
	keyless := got.withoutKey()
	require.NoError(t, s.WriteWatermark(t.Context(), 7))
	require.NoError(t, s.WriteWatermark(t.Context(), 8))
	got.await(6 + 2 + 4)
	require.Equal(t, keyless+2, got.withoutKey(), "the schemas sent at the start have no key")
}

// Rows that wait for a schema registry say so.
func TestRegistryAway(t *testing.T) {
	c := newCluster(t, 1, 1)
	reg := registry.Start(registry.Options{User: "user", Password: "secret"})
	t.Cleanup(reg.Close)
	reg.FailNext(math.MaxInt)
	opened, err := New(t.Context(), sinkOptions(t, c, "protocol=avro&schema-registry="+url.QueryEscape(reg.URL)))
	require.NoError(t, err)
	t.Cleanup(opened.Close)
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	done := write(t, opened, u.Model, u.Change(5, 0, nil, []any{1}))
	require.Eventually(t, func() bool { return opened.Status().Reason == model.StallSink }, eventually, tick)
	st := opened.Status()
	require.Equal(t, "CDC:ErrAvroSchemaAPIError", st.Code)
	require.Contains(t, st.Detail, "503")
	require.NotContains(t, st.Detail, "secret")
	require.False(t, st.Since.IsZero())
	reg.FailNext(0)
	require.NoError(t, acked(t, done))
	require.Equal(t, sink.Status{}, opened.Status())
}

// While a schema registry does not answer, the owner's calls end when it wants
// them to.
func TestControlEndsWhileRegistryIsAway(t *testing.T) {
	c := newCluster(t, 1, 1)
	s := openSink(t, sinkOptions(t, c, "protocol=open-protocol"))
	asked := make(chan struct{}, 2)
	s.newEncoder = func(ctx context.Context) (codec.Encoder, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	result := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { result <- s.WriteDDL(ctx, &model.DDLEvent{Schema: "db", Query: "create"}) }()
	<-asked
	cancel()
	require.ErrorIs(t, acked(t, result), context.Canceled)

	go func() { result <- s.WriteWatermark(t.Context(), 1) }()
	<-asked
	s.Close()
	require.ErrorContains(t, acked(t, result), "[CDC:ErrKafkaSendMessage]")
}

func TestTopicIsMade(t *testing.T) {
	c := newCluster(t, 1, 1)
	o := sinkOptions(t, c, "protocol=canal-json")
	o.URI = config.SinkURI(fmt.Sprintf("kafka://%s/new-topic?protocol=canal-json&partition-num=4", c.ListenAddrs()[0]))
	require.NoError(t, Probe(t.Context(), o))
	s := openSink(t, o)
	n, err := s.topics.Partitions(t.Context(), "new-topic")
	require.NoError(t, err)
	require.Equal(t, int32(4), n)
	require.Equal(t, int32(4), int32(len(c.ListenAddrs()))*4)
}

func TestRefusedByTheCluster(t *testing.T) {
	c := newCluster(t, 1, 2)
	for query, text := range map[string]string{
		"partition-num=3": "the number of partition (3) specified in sink-uri is more than that of actual topic (2)",
	} {
		err := Probe(t.Context(), sinkOptions(t, c, "protocol=canal-json&"+query))
		require.ErrorContains(t, err, text)
	}
	o := sinkOptions(t, c, "")
	o.URI = config.SinkURI(fmt.Sprintf("kafka://%s/missing?protocol=canal-json&auto-create-topic=false", c.ListenAddrs()[0]))
	require.ErrorContains(t, Probe(t.Context(), o), "[CDC:ErrKafkaInvalidConfig]")

	gone, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	o.URI = config.SinkURI(fmt.Sprintf("kafka://%s/t?protocol=canal-json", gone.ListenAddrs()[0]))
	gone.Close()
	require.ErrorContains(t, Probe(t.Context(), o), "[CDC:ErrKafkaNewProducer]")
}

func TestCloseWithRowsUnderWay(t *testing.T) {
	c := newCluster(t, 1, 2)
	s := openSink(t, sinkOptions(t, c, "protocol=open-protocol"))
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	var all []<-chan error
	for i := range 100 {
		all = append(all, write(t, s, u.Model, u.Change(uint64(5+i), 0, nil, []any{i})))
	}
	s.Close()
	s.Close()
	ended := 0
	for _, done := range all {
		select {
		case <-done:
			ended++
		default:
		}
	}
	require.Equal(t, len(all), ended, "every batch is acknowledged or given up by now")
	require.Error(t, s.Write(t.Context(), &model.RowBatch{Table: u.Model}))
	require.Error(t, s.WriteWatermark(t.Context(), 1))
	require.Error(t, s.WriteDDL(t.Context(), &model.DDLEvent{}))
}

// A capture whose lease may be over sends nothing any more.
func TestFence(t *testing.T) {
	c := newCluster(t, 1, 1)
	o := sinkOptions(t, c, "protocol=open-protocol")
	var over atomic.Bool
	o.Fence = func() error {
		if over.Load() {
			return errors.ErrCaptureSuicide.New()
		}
		return nil
	}
	s := openSink(t, o)
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	require.NoError(t, <-write(t, s, u.Model, u.Change(5, 0, nil, []any{1})))
	over.Store(true)
	require.ErrorIs(t, <-write(t, s, u.Model, u.Change(6, 0, nil, []any{2})), errors.ErrCaptureSuicide)
	require.Error(t, s.Write(t.Context(), &model.RowBatch{Table: u.Model}))
}

// TestProducerIDOfAStartingCluster asks again while the cluster is not ready
// to give an id, and at once goes on without one where none is allowed.
func TestProducerIDOfAStartingCluster(t *testing.T) {
	for name, tc := range map[string]struct {
		refusals []int16
		ordered  int // batches under way per partition
	}{
		"ready":       {nil, maxRequests},
		"loading":     {[]int16{kerr.CoordinatorLoadInProgress.Code, kerr.CoordinatorNotAvailable.Code}, maxRequests},
		"not allowed": {[]int16{kerr.ClusterAuthorizationFailed.Code}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 1, 1)
			var asked atomic.Int32
			c.ControlKey(int16(kmsg.InitProducerID), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				n := int(asked.Add(1))
				if n > len(tc.refusals) {
					return nil, nil, false
				}
				res := req.(*kmsg.InitProducerIDRequest).ResponseKind().(*kmsg.InitProducerIDResponse)
				res.ErrorCode = tc.refusals[n-1]
				return res, nil, true
			})
			s := openSink(t, sinkOptions(t, c, "protocol=open-protocol"))
			require.Equal(t, tc.ordered, s.producer.(*producer).window)
			require.GreaterOrEqual(t, int(asked.Load()), len(tc.refusals))
		})
	}
}
