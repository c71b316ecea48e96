package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/consumer"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/factory"
	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/compare"
	"github.com/tidemark/tidemark/test/kafka"
	"github.com/tidemark/tidemark/test/registry"
)

// queue is a Kafka broker and a schema registry, started with the first test
// that wants them. SCHEMA_REGISTRY names another registry to be used, such as
// Apicurio's at http://host:8080/apis/ccompat/v6.
type queue struct {
	once     sync.Once
	err      error
	dir      string
	broker   *kafka.Cluster
	own      *registry.Server
	registry string // its address
}

// start returns when the broker is at work.
func (q *queue) start(ctx context.Context, t *testing.T) {
	t.Helper()
	q.once.Do(func() {
		if q.dir, q.err = os.MkdirTemp("", "tidemark-kafka-"); q.err != nil {
			return
		}
		if q.registry = os.Getenv("SCHEMA_REGISTRY"); q.registry == "" {
			q.own = registry.Start(registry.Options{})
			q.registry = q.own.URL
		}
		q.broker, q.err = kafka.Start(ctx, q.dir, 1)
	})
	require.NoError(t, q.err)
}

func (q *queue) close() {
	if q.broker != nil {
		q.broker.Close()
	}
	if q.own != nil {
		q.own.Close()
	}
	_ = os.RemoveAll(q.dir)
}

// protocolCase is one protocol with the options that its consumer needs too.
type protocolCase struct {
	name    string
	params  string // of the sink URI
	options codec.Options
	ddl     bool     // it tells schema changes, and watermarks
	skip    []string // groups of types that it cannot carry, see docs
}

// protocolCases are all protocols.
func protocolCases() []protocolCase {
	return []protocolCase{
		{name: "open", params: "protocol=open-protocol", ddl: true, options: codec.Options{Protocol: config.ProtocolOpen}},
		{name: "canaljson", params: "protocol=canal-json&enable-tidb-extension=true", ddl: true,
			options: codec.Options{Protocol: config.ProtocolCanalJSON, EnableTiDBExtension: true}},
		{name: "simplejson", params: "protocol=simple", ddl: true,
			options: codec.Options{Protocol: config.ProtocolSimple, SimpleFormat: "json"}},
		{name: "simpleavro", params: "protocol=simple&encoding-format=avro", ddl: true,
			options: codec.Options{Protocol: config.ProtocolSimple, SimpleFormat: "avro"}},
		{name: "canal", params: "protocol=canal", options: codec.Options{Protocol: config.ProtocolCanal}},
		{name: "maxwell", params: "protocol=maxwell", options: codec.Options{Protocol: config.ProtocolMaxwell}},
		{name: "avro", params: "protocol=avro", options: codec.Options{Protocol: config.ProtocolAvro}},
		{name: "debezium", params: "protocol=debezium", options: codec.Options{Protocol: config.ProtocolDebezium},
			// Debezium's types have no room for these: decimals are doubles, dates
			// are days, and a NULL in a column with a default becomes the default.
			skip: []string{"decimals", "zerodates", "dates", "uints", "defaults"}},
	}
}

// dispatchers are the rules to spread rows by. Every table of the tests has a
// column "id".
func dispatchers() map[string]map[string]any {
	return map[string]map[string]any{
		"table":   {"partition": "table"},
		"ts":      {"partition": "ts"},
		"index":   {"partition": "index-value"},
		"columns": {"partition": "columns", "columns": []string{"id"}},
	}
}

// queueFeed is one changefeed into Kafka and its consumer.
type queueFeed struct {
	id       string
	p        protocolCase
	suffix   string // of the downstream databases' names
	topic    string
	resolved atomic.Uint64
	failed   atomic.Pointer[error]
}

// feedOptions shape a changefeed into Kafka.
type feedOptions struct {
	name     string
	protocol protocolCase
	dispatch map[string]any
	startTs  uint64
	rules    []string
	params   string         // more of the sink URI
	sink     map[string]any // more of the sink's configuration
	config   map[string]any // more of the changefeed's configuration
	prepare  func(*consumer.Options)
	// anyPartitions takes the topic's partitions, however many there are.
	anyPartitions bool
}

// startQueueFeed makes a changefeed and consumes it into MariaDB, into
// databases of its own, until the test ends.
func startQueueFeed(ctx context.Context, t *testing.T, s *sharedStack, o feedOptions) *queueFeed {
	t.Helper()
	f := &queueFeed{id: o.name + "-" + o.protocol.name, p: o.protocol}
	f.suffix = "_" + strings.ReplaceAll(f.id, "-", "_")
	f.topic = f.id
	options := consumer.Options{
		Brokers: s.queue.broker.Addrs(), Kafka: kafka.ClientConfig(), Codec: o.protocol.options,
		Topics: []string{f.topic}, Refresh: 200 * time.Millisecond,
	}
	options.Codec.TimeZone = time.UTC
	rule := map[string]any{"matcher": []string{"*.*"}}
	for k, v := range o.dispatch {
		rule[k] = v
	}
	uri := "kafka://" + options.Brokers[0] + "/" + f.topic + "?" + o.protocol.params + o.params
	if !o.anyPartitions {
		uri += "&partition-num=3"
	}
	if o.protocol.name == "avro" {
		uri += "&schema-registry=" + s.queue.registry
		options.Codec.Avro.Registry = config.SinkURI(s.queue.registry)
		rule["topic"] = f.id + "-{schema}-{table}"
		options.Topics, options.Pattern = nil, regexp.MustCompile("^"+f.id+"-.*")
	}
	if o.prepare != nil {
		o.prepare(&options)
	}
	sinkConfig := map[string]any{"dispatchers": []any{rule}}
	for k, v := range o.sink {
		sinkConfig[k] = v
	}
	replica := map[string]any{"filter": map[string]any{"rules": o.rules}, "sink": sinkConfig}
	for k, v := range o.config {
		replica[k] = v
	}
	feed := cluster.Feed{ID: f.id, SinkURI: uri, StartTs: o.startTs, ReplicaConfig: replica}
	// A busy broker may need longer to make a topic than a client waits.
	require.NoError(t, cluster.Until(ctx, "changefeed "+f.id, func() (bool, error) {
		err := s.server.API.Create(ctx, feed)
		var refused *cluster.APIError
		if errors.As(err, &refused) && refused.Code != "CDC:ErrKafkaCreateTopic" {
			require.NoError(t, err, f.id)
		}
		return err == nil, err
	}))
	t.Cleanup(func() { _ = s.server.API.Delete(context.Background(), f.id) })
	f.consume(t, s, options)
	return f
}

// consume applies what comes, until the test ends.
func (f *queueFeed) consume(t *testing.T, s *sharedStack, options consumer.Options) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	address := "mysql://root@" + s.maria.Addr() + "/"
	db, err := consumer.OpenMySQL(address, time.UTC)
	require.NoError(t, err)
	ddl, err := factory.New(ctx, sink.Options{
		Changefeed: model.DefaultChangefeedID(f.id), URI: config.SinkURI(address + "?has-vector-type=true"),
		Config: config.DefaultReplicaConfig(), TimeZone: time.UTC,
	})
	require.NoError(t, err)
	options.Target = &renamed{
		Target: consumer.NewMySQL(db, ddl, options.Codec.Protocol, f.resolved.Store),
		suffix: f.suffix,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := consumer.Run(ctx, options); err != nil {
			f.failed.Store(&err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		ddl.Close()
		_ = db.Close()
		if e := f.failed.Load(); e != nil {
			t.Errorf("consumer of %s: %v", f.id, *e)
		}
	})
}

// renamed gives databases a suffix, so that many consumers share a server.
type renamed struct {
	consumer.Target
	suffix string
}

// quotedSchema is a database of the Kafka tests, as it stands in statements.
var quotedSchema = regexp.MustCompile("`(k(?:types|ddl|inserts|large|faults|split)[0-9]?(?:load)?|spread|cut)`")

func (r *renamed) Rows(ctx context.Context, rows []codec.Event) error {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Schema += r.suffix
	}
	return r.Target.Rows(ctx, rows)
}

func (r *renamed) DDL(ctx context.Context, ev codec.Event) error {
	ev.Query = quotedSchema.ReplaceAllString(ev.Query, "`${1}"+r.suffix+"`")
	if ev.Schema != "" {
		ev.Schema += r.suffix
	}
	return r.Target.DDL(ctx, ev)
}

// requireConsumed waits until a feed's consumer has applied everything up to
// the TSO ts, and holds both sides against each other.
func (f *queueFeed) requireConsumed(ctx context.Context, t *testing.T, s *sharedStack, ts uint64, schemas []string, ignore ...string) {
	t.Helper()
	require.NoError(t, s.server.API.WaitCheckpoint(ctx, f.id, ts))
	o := compare.Options{Schemas: schemas, SnapshotTs: ts, Downstream: map[string]string{}, Ignore: ignore}
	for _, name := range schemas {
		o.Downstream[name] = name + f.suffix
	}
	var res *compare.Result
	err := cluster.Until(ctx, "the consumer of "+f.id, func() (bool, error) {
		if e := f.failed.Load(); e != nil {
			return true, *e
		}
		if f.p.ddl && f.resolved.Load() < ts {
			return false, fmt.Errorf("resolved %d of %d", f.resolved.Load(), ts)
		}
		var err error
		if res, err = compare.Databases(ctx, s.upDB, s.downs[1].db, o); err != nil {
			return true, err
		}
		// Without watermarks nobody knows when everything has come.
		if f.p.ddl || res.Equal() {
			return true, nil
		}
		return false, errors.New(res.String())
	})
	require.NoError(t, err)
	if e := f.failed.Load(); e != nil {
		require.NoError(t, *e)
	}
	require.True(t, res.Equal(), "%s at %d: %s", f.id, ts, res)
	require.NotZero(t, res.Tables, "nothing was compared")
	t.Logf("%s: %s", f.id, res)
}

// makeDownstream executes statements with the names of a feed's own databases,
// for protocols that do not tell schema changes.
func (f *queueFeed) makeDownstream(ctx context.Context, t *testing.T, db *sql.DB, stmts ...string) {
	t.Helper()
	out := make([]string, len(stmts))
	for i, text := range stmts {
		out[i] = quotedSchema.ReplaceAllString(text, "`${1}"+f.suffix+"`")
	}
	exec(ctx, t, db, out...)
}
