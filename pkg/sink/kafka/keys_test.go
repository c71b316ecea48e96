package kafka

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
	"github.com/tidemark/tidemark/test/registry"
)

// fileOptions are those of a changefeed with a file and the parameters of a URI.
func fileOptions(t testing.TB, c *kfake.Cluster, query, file string) sink.Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "changefeed.toml")
	require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	o := sinkOptions(t, c, query)
	require.NoError(t, o.Config.LoadFile(path), file)
	return o
}

// played is what a cluster saw of a sink: requests, and messages as text.
type played struct {
	acks, replication []int16
	produce           []int16 // versions of the requests
	messages          []string
	schemas           []string // of the registry
	files             []string // of the claim check
	err               error    // of the sink
}

func (p *played) String() string {
	bootstraps := 0
	for _, m := range p.messages {
		if strings.Contains(m, `"type":"BOOTSTRAP"`) {
			bootstraps++
		}
	}
	return fmt.Sprintf("acks %v replication %v versions %v messages %d, bootstraps %d.\n%s\n%s\n%s\nerror: %v",
		p.acks, p.replication, p.produce, len(p.messages), bootstraps, strings.Join(p.messages, "\n"), strings.Join(p.schemas, "\n"), strings.Join(p.files, "\n"), p.err)
}

// play runs a sink with the file over some rows, a statement and a watermark.
// {registry} and {dir} stand for a registry and a directory of the run.
func play(t *testing.T, query, file string) *played {
	t.Helper()
	reg := registry.Start(registry.Options{})
	defer reg.Close()
	dir := t.TempDir()
	c := newCluster(t, 1, 3)
	out := &played{}
	var mu sync.Mutex
	c.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		c.KeepControl()
		switch r := r.(type) {
		case *kmsg.ProduceRequest:
			out.acks, out.produce = append(out.acks, r.Acks), append(out.produce, r.GetVersion())
		case *kmsg.CreateTopicsRequest:
			out.replication = append(out.replication, r.Topics[0].ReplicationFactor)
		}
		return nil, nil, false
	})
	fill := strings.NewReplacer("{registry}", reg.URL, "{dir}", dir)
	o := fileOptions(t, c, fill.Replace(query), fill.Replace(file))
	out.err = playOnto(t, o)
	out.messages = stored(t, c)
	for _, subject := range reg.Subjects() {
		for _, id := range reg.Versions(subject) {
			out.schemas = append(out.schemas, reg.Schema(id))
		}
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		out.files = append(out.files, string(text))
	}
	mu.Lock()
	defer mu.Unlock()
	return out
}

// playOnto is play without an audience; an error is the sink's.
func playOnto(t *testing.T, o sink.Options) error {
	s, err := New(t.Context(), o)
	if err != nil {
		return err
	}
	defer s.Close()
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, a INT, n BIGINT UNSIGNED, d DECIMAL(9,2), s TEXT)")
	text := strings.Repeat("x", 500)
	before, after := []any{1, 10, 5, nil, text}, []any{1, 11, 5, nil, text}
	send := func(table *model.Table, rows ...model.RawChange) error {
		done := make(chan error, 1)
		b := &model.RowBatch{TableID: table.ID, Table: table, Rows: rows, LastOfTxn: true, Done: func(err error) { done <- err }}
		if err := s.Write(t.Context(), b); err != nil {
			return err
		}
		return acked(t, done)
	}
	if err := send(u.Model, u.Change(5, 0, nil, before), u.Change(6, 0, before, after), u.Change(7, 0, after, nil)); err != nil {
		return err
	}
	other := sinktest.NewTable(t, 8, "CREATE TABLE other.t (id INT PRIMARY KEY)")
	if err := send(other.Model, other.Change(8, 0, nil, []any{1}), other.Change(9, 0, nil, []any{2}), other.Change(10, 0, nil, []any{3})); err != nil {
		return err
	}
	s.(*Sink).FollowTables([]*model.Table{u.Model, other.Model})
	return s.WriteWatermark(t.Context(), 11)
}

// stored reads all that a cluster has got, topic by topic.
func stored(t *testing.T, c *kfake.Cluster) []string {
	t.Helper()
	admin, err := sarama.NewClient(c.ListenAddrs(), sarama.NewConfig())
	require.NoError(t, err)
	defer func() { _ = admin.Close() }()
	names, err := admin.Topics()
	require.NoError(t, err)
	total := 0
	for _, name := range names {
		partitions, err := admin.Partitions(name)
		require.NoError(t, err)
		for _, p := range partitions {
			end, err := admin.GetOffset(name, p, sarama.OffsetNewest)
			require.NoError(t, err)
			total += int(end)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(names...), kgo.FetchMaxWait(50*time.Millisecond))
	require.NoError(t, err)
	defer client.Close()
	var out []string
	for len(out) < total {
		client.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			out = append(out, fmt.Sprintf("%s/%d codec %d: %s %s", r.Topic, r.Partition, r.Attrs.CompressionType(), r.Key, r.Value))
		})
	}
	slices.Sort(out)
	return out
}

// TestKeys: with every key of the file, or its parameter of the URI, what a
// cluster sees of a sink changes.
func TestKeys(t *testing.T) {
	const (
		kafka  = "[sink.kafka-config]\n"
		codecs = "[sink.kafka-config.codec-config]\n"
		large  = "[sink.kafka-config.large-message-handle]\n"
		canal  = "protocol=canal-json"
		open   = "protocol=open-protocol"
		simple = "protocol=simple"
		// A row in each partition of a table, each behind what came before it.
		spread = "[sink]\ndispatchers = [{matcher=['*.*'], partition='ts'}]\n"
		avro   = "protocol=avro&schema-registry={registry}"
		small  = "&max-message-bytes=500"
	)
	for _, tc := range []struct {
		key, query, base, set string // the file, and what is added to it
		parameter             string // of the URI, in its place
		without, with         string // what is seen
	}{
		{key: "protocol", set: "[sink]\nprotocol = 'maxwell'", parameter: "protocol=maxwell", without: "ErrSinkUnknownProtocol", with: `"database":"db","table":"t","type":"insert"`},
		{key: "schema-registry", query: "protocol=avro", set: "[sink]\nschema-registry = '{registry}'", parameter: "schema-registry={registry}",
			without: "ErrCodecInvalidConfig", with: `"type":"record"`},
		{key: "only-output-updated-columns", query: canal, set: "[sink]\nonly-output-updated-columns = true", parameter: "only-output-updated-columns=true",
			without: `"old":[{"id":"1","a":"10"`, with: `"old":[{"a":"10"}]`},
		{key: "content-compatible", query: canal, set: "[sink]\ncontent-compatible = true", parameter: "content-compatible=true",
			without: `"old":[{"id":"1","a":"10"`, with: `"old":[{"a":"10"}]`},
		{key: "delete-only-output-handle-key-columns", query: canal, set: "[sink]\ndelete-only-output-handle-key-columns = true",
			without: `"old":null,"data":[{"id":"1","a":"11"`, with: `"data":[{"id":"1"}]`},
		{key: "debezium-disable-schema", query: "protocol=debezium", set: "[sink]\ndebezium-disable-schema = true", parameter: "debezium-disable-schema=true",
			without: `"schema":{`, with: `{"payload":{`},
		{key: "debezium.output-old-value", query: "protocol=debezium", set: "[sink.debezium]\noutput-old-value = false",
			without: `"before":{"id":1,"a":10`, with: `"op":"u"`},
		{key: "open.output-old-value", query: open, set: "[sink.open]\noutput-old-value = false", without: `"p":{`, with: `"u":{`},
		{key: "send-bootstrap-to-all-partition", query: simple, base: spread, set: "send-bootstrap-to-all-partition = false",
			without: "bootstraps 6.", with: "bootstraps 2."},
		{key: "send-bootstrap-interval-in-sec", query: simple, base: spread, set: "send-bootstrap-interval-in-sec = 0",
			without: "bootstraps 6.", with: "bootstraps 0."},
		{key: "send-bootstrap-in-msg-count", query: simple, base: spread, set: "send-bootstrap-in-msg-count = 0",
			without: "bootstraps 6.", with: "bootstraps 0."},
		{key: "send-all-bootstrap-at-start", query: simple, base: spread, set: "send-all-bootstrap-at-start = true",
			without: "bootstraps 6.", with: "bootstraps 12."},
		{key: "partition-num", query: open, set: kafka + "partition-num = 1", parameter: "partition-num=1", without: "rows/2", with: "rows/0"},
		{key: "replication-factor", query: canal, base: "[sink]\ndispatchers = [{matcher=['other.*'], topic='made'}]\n",
			set: kafka + "replication-factor = 2", parameter: "replication-factor=2", without: "replication [1]", with: "replication [2"},
		{key: "auto-create-topic", query: canal, base: "[sink]\ndispatchers = [{matcher=['other.*'], topic='made'}]\n",
			set: kafka + "auto-create-topic = false", parameter: "auto-create-topic=false", without: "made/", with: "`auto-create-topic` is false, and topic made does not exist"},
		{key: "kafka-version", query: canal, set: kafka + "kafka-version = '0.11.0.0'", parameter: "kafka-version=0.11.0.0", without: "versions [7", with: "versions [3"},
		{key: "max-message-bytes", query: canal, set: kafka + "max-message-bytes = 500", parameter: "max-message-bytes=500", without: "error: <nil>", with: "ErrMessageTooLarge"},
		{key: "compression", query: canal, set: kafka + "compression = 'lz4'", parameter: "compression=lz4", without: "codec 0", with: "codec 3"},
		{key: "required-acks", query: canal, set: kafka + "required-acks = 1", parameter: "required-acks=1", without: "acks [-1", with: "acks [1"},
		{key: "enable-tidb-extension", query: canal, set: codecs + "enable-tidb-extension = true", parameter: "enable-tidb-extension=true", without: `"data":[{"id":"2"}]}`, with: `"_tidb":{`},
		{key: "max-batch-size", query: open, base: "[sink]\ndispatchers = [{matcher=['*.*'], partition='table'}]\n",
			set: codecs + "max-batch-size = 1", parameter: "max-batch-size=1", without: "messages 5,", with: "messages 9,"},
		{key: "avro-enable-watermark", query: avro + "&enable-tidb-extension=true", set: codecs + "avro-enable-watermark = true", parameter: "avro-enable-watermark=true",
			without: "messages 6,", with: "messages 9,"},
		{key: "avro-decimal-handling-mode", query: avro, set: codecs + "avro-decimal-handling-mode = 'string'", parameter: "avro-decimal-handling-mode=string",
			without: `"logicalType":"decimal"`, with: `"tidb_type":"DECIMAL"`},
		{key: "avro-bigint-unsigned-handling-mode", query: avro, set: codecs + "avro-bigint-unsigned-handling-mode = 'string'", parameter: "avro-bigint-unsigned-handling-mode=string",
			without: `"type":"long"`, with: `"tidb_type":"BIGINT UNSIGNED"`},
		{key: "encoding-format", query: simple, set: codecs + "encoding-format = 'avro'", parameter: "encoding-format=avro", without: `{"version":1`, with: "messages"},
		{key: "large-message-handle-option", query: open + small, set: large + "large-message-handle-option = 'handle-key-only'",
			without: "ErrMessageTooLarge", with: `"ohk":true`},
		{key: "large-message-handle-compression", query: canal, set: large + "large-message-handle-compression = 'lz4'",
			without: strings.Repeat("x", 30), with: "\x04\x22\x4d\x18"},
		{key: "claim-check-raw-value", query: canal + "&enable-tidb-extension=true&max-message-bytes=700",
			base: large + "large-message-handle-option = 'claim-check'\nclaim-check-storage-uri = 'file://{dir}'\n",
			set:  "claim-check-raw-value = true", without: `{"key":null,"value":"`, with: `"database":"db","table":"t"`},
	} {
		t.Run(tc.key, func(t *testing.T) {
			without, with := play(t, tc.query, tc.base).String(), play(t, tc.query, tc.base+tc.set).String()
			require.Contains(t, without, tc.without)
			require.Contains(t, with, tc.with)
			require.NotContains(t, with, tc.without)
			if tc.parameter != "" {
				with = play(t, tc.query+"&"+tc.parameter, tc.base).String()
				require.Contains(t, with, tc.with)
				require.NotContains(t, with, tc.without)
			}
		})
	}
}

// TestKeysWithoutEffect: with these a cluster sees the same as without.
func TestKeysWithoutEffect(t *testing.T) {
	plain := play(t, "protocol=open-protocol", "")
	require.NoError(t, plain.err)
	for key, file := range map[string]string{
		"enable-table-monitor":   "enable-table-monitor = true",
		"sql-mode":               "sql-mode = 'ANSI_QUOTES'",
		"enable-kafka-sink-v2":   "[sink]\nenable-kafka-sink-v2 = true",
		"advance-timeout-in-sec": "[sink]\nadvance-timeout-in-sec = 1",
	} {
		t.Run(key, func(t *testing.T) {
			with := play(t, "protocol=open-protocol", file)
			require.NoError(t, with.err)
			require.Equal(t, plain.messages, with.messages)
		})
	}
}
