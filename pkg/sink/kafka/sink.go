// Package kafka is the sink for Kafka topics.
//
// Write finds the partition of every row and hands the rows to the encoder
// worker that the partition belongs to, so that rows of one partition keep
// their order. A worker decodes and encodes what has queued up and gives the
// messages to the producer, which batches them, sends them in order and tells
// when they are durable.
package kafka

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/tidemark/tidemark/pkg/codec"
	codecfactory "github.com/tidemark/tidemark/pkg/codec/factory"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/dispatch"
)

const (
	// maxQueuedBytes bounds the stored rows that wait for an encoder.
	maxQueuedBytes = 16 << 20
	// maxPlans bounds the table versions that a sink remembers.
	maxPlans = 4096
)

// messageProducer delivers messages; a *producer.
type messageProducer interface {
	// Send queues messages of one partition behind earlier ones and calls done
	// when all are durable, or with the error why they never will be. An error
	// means that nothing was taken over.
	Send(ctx context.Context, topic string, partition int32, messages []codec.Message, done func(error)) error
	// Status says what holds messages back.
	Status() sink.Status
	// Close gives up what is not sent, and waits for the goroutines.
	Close()
}

// topicManager knows topics; a *topics.
type topicManager interface {
	// Partitions is how many partitions of a topic are used; the topic is made
	// when it does not exist. An error means that nothing can be sent to it.
	Partitions(ctx context.Context, topic string) (int32, error)
}

// Sink writes rows, DDL and watermarks to Kafka. Workers start with the first
// row that they get.
type Sink struct {
	o          *options
	rules      *dispatch.Rules
	logger     *zap.Logger
	metrics    *metrics
	topics     topicManager
	producer   messageProducer
	newEncoder func(ctx context.Context) (codec.Encoder, error)

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	plans     sync.Map // *model.Table -> *dispatch.Plan
	planCount atomic.Int32
	routers   sync.Pool // *dispatch.Router
	room      *semaphore.Weighted
	seed      maphash.Seed
	workers   []*worker
	bootstrap *bootstrapper // nil unless the protocol has such messages
	control   control
	failure   atomic.Pointer[error]
	registry  atomic.Pointer[sink.Status] // what is wrong with the schema registry; nil while it answers
	// closeClaimCheck closes the storage of large messages.
	closeClaimCheck func()
	writers         sync.RWMutex // held for reading by Write
	closed          bool         // guarded by writers
}

var (
	_ sink.Sink          = (*Sink)(nil)
	_ sink.TableFollower = (*Sink)(nil)
)

// New logs in, checks the settings against the cluster and makes the default
// topic if there is none. Errors: ErrSinkURIInvalid, ErrKafkaInvalidConfig,
// ErrKafkaNewProducer, ErrKafkaCreateTopic, ErrSinkInvalidConfig and the codes
// of dispatch.NewRules. The context bounds New only: the sink lives until Close.
func New(ctx context.Context, o sink.Options) (sink.Sink, error) {
	s, c, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx, c); err != nil {
		return nil, err
	}
	return s, nil
}

// start makes the producer of a prepared sink, which owns the connection then.
func (s *Sink) start(ctx context.Context, c *cluster) error {
	id, err := c.idOf(ctx, s.o, s.logger)
	if err != nil {
		s.abandon()
		_ = c.Close()
		return err
	}
	s.producer = newProducer(c, s.o, id, s.logger, s.metrics, func(err error) { _ = s.fail(err) })
	s.wg.Go(func() { s.metrics.follow(s.ctx, c, s.waiting) })
	if s.bootstrap != nil {
		s.wg.Go(func() { s.bootstrap.run(s.ctx) })
	}
	return nil
}

// waiting counts what waits for encoders and for the producer.
func (s *Sink) waiting() (tasks, sends int) {
	for _, w := range s.workers {
		w.mu.Lock()
		tasks += len(w.queue)
		w.mu.Unlock()
	}
	if p, ok := s.producer.(*producer); ok {
		sends = p.waiting()
	}
	return tasks, sends
}

// probePatience is how long Probe waits for a schema registry that does not
// answer.
const probePatience = 30 * time.Second

// Probe tells whether New would succeed, and whether there is a schema registry
// where one is needed. It leaves nothing open, but the default topic exists
// afterwards.
func Probe(ctx context.Context, o sink.Options) error {
	s, c, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer s.abandon()
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	_, err = s.newEncoder(ctx)
	return err
}

// prepare makes a sink that has no producer yet.
func prepare(ctx context.Context, so sink.Options) (*Sink, *cluster, error) {
	o, err := parseOptions(so)
	if err != nil {
		return nil, nil, err
	}
	return prepareWith(ctx, o, so)
}

func prepareWith(ctx context.Context, o *options, so sink.Options) (*Sink, *cluster, error) {
	rules, err := dispatch.NewRules(so.Config, o.topic, o.codec.Protocol)
	if err != nil {
		return nil, nil, err
	}
	s := newSink(context.WithoutCancel(ctx), o, rules, so)
	if err := s.openClaimCheck(ctx, so); err != nil {
		s.abandon()
		return nil, nil, err
	}
	c, err := connect(ctx, o, s.logger)
	if err != nil {
		s.abandon()
		return nil, nil, err
	}
	topics := newTopics(c, o, s.logger)
	if err := topics.adjust(ctx); err != nil {
		s.abandon()
		_ = c.Close()
		return nil, nil, err
	}
	s.topics = topics
	return s, c, nil
}

// abandon ends a sink that has no producer.
func (s *Sink) abandon() {
	s.cancel()
	s.closeClaimCheck()
	s.metrics.Close()
}

// newSink makes a sink without its connections; it lives until ctx ends or Close.
func newSink(ctx context.Context, o *options, rules *dispatch.Rules, so sink.Options) *Sink {
	s := &Sink{
		o: o, rules: rules, logger: so.Logger, metrics: newMetrics(so.Registerer, so.Changefeed),
		closeClaimCheck: func() {},
		room:            semaphore.NewWeighted(maxQueuedBytes), seed: maphash.MakeSeed(),
	}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	s.logger = s.logger.With(zap.Stringer("changefeed", so.Changefeed))
	for _, w := range append(o.warnings, rules.Warnings()...) {
		s.logger.Warn(w)
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	o.codec.Avro.OnTrouble = s.noteRegistry
	s.routers.New = func() any { return dispatch.NewRouter(o.zone) }
	s.newEncoder = func(ctx context.Context) (codec.Encoder, error) { return codecfactory.NewEncoder(ctx, o.codec) }
	s.workers = make([]*worker, o.encoders)
	for i := range s.workers {
		s.workers[i] = newWorker(s)
	}
	if o.bootstrap.on {
		s.bootstrap = newBootstrapper(s, o.bootstrap)
	}
	return s
}

// Write takes over a batch. It blocks while too many rows wait for an encoder.
func (s *Sink) Write(ctx context.Context, b *model.RowBatch) error {
	s.writers.RLock()
	defer s.writers.RUnlock()
	if err := s.broken(); err != nil {
		return err
	}
	if len(b.Rows) == 0 || !b.Table.Eligible(s.o.forceReplicate) {
		b.Done(nil)
		return nil
	}
	plan, err := s.plan(b.Table)
	if err != nil {
		return s.fail(err)
	}
	partitions, err := s.topics.Partitions(ctx, plan.Topic)
	if err != nil {
		return s.failUnlessEnded(ctx, err)
	}
	router := s.routers.Get().(*dispatch.Router)
	items, err := router.Route(plan, b, partitions, make([]dispatch.Item, 0, len(b.Rows)))
	s.routers.Put(router)
	if err != nil {
		return s.fail(err)
	}
	p := &pending{batch: b, bytes: sizeOf(b.Rows)}
	if err := s.take(ctx, p.bytes); err != nil {
		return err
	}
	p.room = s.room
	p.encoding.Store(1)
	p.left.Store(1) // the whole, so that it is not done before all of it is handed out
	if s.bootstrap != nil {
		s.bootstrap.before(plan, b.TableID, partitions, len(items))
	}
	s.deal(p, plan, partitions, items)
	p.encoded()
	p.finish(nil)
	return nil
}

// take waits for room for rows, until the caller or the sink ends.
func (s *Sink) take(ctx context.Context, bytes int64) error {
	if s.room.TryAcquire(bytes) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if err := s.room.Acquire(ctx, bytes); err != nil {
		if broken := s.broken(); broken != nil {
			return broken
		}
		return err
	}
	return nil
}

// sizeOf is what rows take of the room for queued rows.
func sizeOf(rows []model.RawChange) int64 {
	n := int64(0)
	for i := range rows {
		n += rows[i].Size()
	}
	return min(n, maxQueuedBytes)
}

// deal hands the events of a batch to the workers of their partitions.
func (s *Sink) deal(p *pending, plan *dispatch.Plan, partitions int32, items []dispatch.Item) {
	if len(items) == 0 {
		return
	}
	if !plan.PerRow() || partitions == 1 {
		s.enqueue(&task{pending: p, plan: plan, partition: items[0].Partition, items: items})
		return
	}
	// A counting sort: stable, and one allocation for all partitions.
	ends := make([]int, partitions)
	for i := range items {
		ends[items[i].Partition]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	starts := make([]int, partitions)
	copy(starts[1:], ends)
	sorted, next := make([]dispatch.Item, len(items)), append([]int(nil), starts...)
	for _, item := range items {
		sorted[next[item.Partition]] = item
		next[item.Partition]++
	}
	for i := range ends {
		if part := sorted[starts[i]:ends[i]]; len(part) > 0 {
			s.enqueue(&task{pending: p, plan: plan, partition: int32(i), items: part})
		}
	}
}

// enqueue hands a task to the worker of its partition.
func (s *Sink) enqueue(t *task) {
	if t.pending != nil {
		t.pending.left.Add(1)
		t.pending.encoding.Add(1)
	}
	s.workerOf(t.plan.Topic, t.partition).enqueue(t)
}

// workerOf spreads topics over the workers, and the partitions of one topic evenly.
func (s *Sink) workerOf(topic string, partition int32) *worker {
	at := maphash.String(s.seed, topic) + uint64(partition)
	return s.workers[at%uint64(len(s.workers))]
}

// plan returns how rows of a table version are dispatched.
func (s *Sink) plan(t *model.Table) (*dispatch.Plan, error) {
	if p, ok := s.plans.Load(t); ok {
		return p.(*dispatch.Plan), nil
	}
	p, err := s.rules.Plan(t)
	if err != nil {
		return nil, err
	}
	if s.planCount.Add(1) > maxPlans {
		s.plans.Clear()
		s.planCount.Store(1)
	}
	s.plans.Store(t, p)
	return p, nil
}

// broken returns the error that ended the sink, nil while it works and
// context.Canceled after Close.
func (s *Sink) broken() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return s.ctx.Err()
}

// fail ends the sink and returns the error that did it first.
func (s *Sink) fail(err error) error {
	if s.failure.CompareAndSwap(nil, &err) {
		s.metrics.RowErrors.Inc()
	}
	s.cancel()
	return *s.failure.Load()
}

// failUnlessEnded is fail, but for errors that the caller's end causes.
func (s *Sink) failUnlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil || s.ctx.Err() != nil {
		return err
	}
	return s.fail(err)
}

// noteRegistry takes what the encoders tell of the schema registry.
func (s *Sink) noteRegistry(err error) {
	if err == nil {
		s.registry.Store(nil)
		return
	}
	since := time.Now()
	if before := s.registry.Load(); before != nil {
		since = before.Since
	}
	s.registry.Store(&sink.Status{
		Reason: model.StallSink, Code: errors.ErrAvroSchemaAPIError.Text(),
		Detail: "the schema registry does not answer: " + err.Error(), Since: since,
	})
}

// Status tells what holds messages back.
func (s *Sink) Status() sink.Status {
	if st := s.producer.Status(); st.Reason != "" {
		return st
	}
	if st := s.registry.Load(); st != nil {
		return *st
	}
	return sink.Status{}
}

// Close stops the workers, lets requests under way come to their end and
// waits for all of it. Rows that are not durable by then get Done with an error.
func (s *Sink) Close() {
	s.cancel()
	s.writers.Lock()
	first := !s.closed // and no Write that could start workers comes after this
	s.closed = true
	s.writers.Unlock()
	if !first {
		return
	}
	s.wg.Wait()
	for _, w := range s.workers {
		w.stop(s.endError(errClosed))
	}
	s.producer.Close()
	s.closeClaimCheck()
	s.metrics.Close()
}

// endError is why what is left is not delivered: what ended the sink, else err.
func (s *Sink) endError(err error) error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	return errors.ErrKafkaSendMessage.Wrap(err)
}

// pending is a batch whose rows are not all acknowledged.
type pending struct {
	batch    *model.RowBatch
	bytes    int64
	room     *semaphore.Weighted
	encoding atomic.Int32 // tasks that still read the rows, one more while they are dealt out
	left     atomic.Int32 // tasks and sends that are not finished, likewise
	failure  atomic.Pointer[error]
}

// encoded notes that a task needs the rows no more.
func (p *pending) encoded() {
	if p.encoding.Add(-1) == 0 {
		p.room.Release(p.bytes)
	}
}

// finish notes the end of one part of the batch; with the last one the batch
// is acknowledged.
func (p *pending) finish(err error) {
	if err != nil {
		p.failure.CompareAndSwap(nil, &err)
	}
	if p.left.Add(-1) > 0 {
		return
	}
	if failure := p.failure.Load(); failure != nil {
		p.batch.Done(*failure)
		return
	}
	p.batch.Done(nil)
}
