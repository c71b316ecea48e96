package kafka

import (
	"context"
	stderrors "errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
)

const (
	// maxRequests is how many requests may be under way to one broker. Brokers
	// remember as many batches of a producer and partition, which is what lets
	// them drop repeated ones.
	maxRequests = 5
	// maxBatchBytes bounds a batch of several messages. Brokers take 1 MiB
	// unless told otherwise, and it fits topics whose limit nobody asked for.
	maxBatchBytes = 1_000_000
	// maxRequestBytes is where a request to one broker is closed.
	maxRequestBytes = 4 << 20
	// maxPendingBytes bounds the messages that wait for their acknowledgement.
	maxPendingBytes = 32 << 20
	// closeGrace is how long Close lets requests under way come to their end:
	// a broker that goes on with one would append it behind what the next
	// producer writes.
	closeGrace = 5 * time.Second
)

var errClosed = stderrors.New("the kafka producer is closed")

// brokers is what a producer needs of a cluster: a sarama.Client.
type brokers interface {
	// Leader returns the connection to a partition's leader, opening it. It
	// fails while there is no leader or the metadata cannot be read.
	Leader(topic string, partition int32) (*sarama.Broker, error)
	// RefreshMetadata forgets and reads again where the partitions are.
	RefreshMetadata(topics ...string) error
	// Close ends all connections.
	Close() error
}

// producer sends messages and keeps their order in each partition.
//
// A partition's messages leave in batches; each batch carries the producer's
// id and its place in the partition, so that several may be under way and a
// broker neither repeats nor reorders them. When one fails, the partition
// stands still until all of its batches are answered, looks its leader up and
// sends again what was not appended, in order, under the same numbers and one
// batch at a time.
// Without an id (acks other than all, or a cluster that gives none) one batch
// is under way at a time.
//
// A broker gets one request at a time from each of its partitions that has
// something to send: whatever waits while requests are under way makes the
// next one. Nothing waits for a timer.
type producer struct {
	brokers brokers
	logger  *zap.Logger
	metrics *metrics
	request sarama.ProduceRequest // template
	codec   sarama.CompressionCodec
	id      producerID
	fence   func() error
	window  int // batches of one partition that may be under way
	maxSize int // bytes of a batch of several messages
	backoff backoff

	room *semaphore.Weighted // bytes, of maxPendingBytes
	wg   sync.WaitGroup
	quit chan struct{} // closed by Close
	lost chan struct{} // holds a token when homeless got an entry

	mu         sync.Mutex
	partitions map[partitionKey]*partition
	senders    map[*sarama.Broker]*sender
	homeless   []*partition // without a known leader
	failing    int          // partitions that retry
	trouble    sink.Status
	failure    error
	closed     bool
	underWay   int // requests
	idle       sync.Cond
	onFailure  func(error)
}

// producerID is what brokers recognise repeated batches by.
type producerID struct {
	id    int64 // -1: none
	epoch int16
}

// backoff is how failed batches are tried again.
type backoff struct {
	first, most time.Duration // between tries
	giveUp      time.Duration // after the first failure of a partition in a row
}

type partitionKey struct {
	topic string
	id    int32
}

// newProducer starts a producer, which owns the connection from now on.
// onFailure is called once when the producer has failed for good.
func newProducer(c brokers, o *options, id producerID, logger *zap.Logger, m *metrics, onFailure func(error)) *producer {
	p := &producer{
		brokers: c, logger: logger, metrics: m, id: id, fence: o.fence, codec: o.compression, onFailure: onFailure,
		request: sarama.ProduceRequest{
			RequiredAcks: o.acks, Version: produceVersion(o.version),
			Timeout: int32((o.readTimeout * 3 / 4).Milliseconds()),
		},
		window: 1, maxSize: min(o.codec.MaxMessageBytes, maxBatchBytes),
		backoff: backoff{first: 100 * time.Millisecond, most: 5 * time.Second, giveUp: time.Minute},
		room:    semaphore.NewWeighted(maxPendingBytes),
		quit:    make(chan struct{}), lost: make(chan struct{}, 1),
		partitions: map[partitionKey]*partition{}, senders: map[*sarama.Broker]*sender{},
	}
	p.idle.L = &p.mu
	if id.id >= 0 {
		p.window = maxRequests
	}
	p.wg.Go(p.locate)
	return p
}

// produceVersion is the newest form of the request that a broker understands.
func produceVersion(v sarama.KafkaVersion) int16 {
	switch {
	case v.IsAtLeast(sarama.V2_1_0_0):
		return 7
	case v.IsAtLeast(sarama.V2_0_0_0):
		return 6
	case v.IsAtLeast(sarama.V1_0_0_0):
		return 5
	}
	return 3
}

// send is a run of messages that are acknowledged together.
type send struct {
	messages []codec.Message
	bytes    int64 // taken from producer.room
	parts    int   // batches that hold some of it and are not acknowledged, one more until all is in batches
	done     func(error)
}

// Send queues messages behind those that were sent to the partition before,
// and calls done once all of them are durable, or never will be. It blocks
// while too much waits for acknowledgement; when it returns an error, done is
// not called.
func (p *producer) Send(ctx context.Context, topic string, id int32, messages []codec.Message, done func(error)) error {
	if len(messages) == 0 {
		done(nil)
		return nil
	}
	s := &send{messages: messages, parts: 1, done: done}
	for i := range messages {
		s.bytes += int64(messages[i].Size())
	}
	s.bytes = min(s.bytes, maxPendingBytes)
	if err := p.room.Acquire(ctx, s.bytes); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.brokenLocked(); err != nil {
		p.room.Release(s.bytes)
		return err
	}
	key := partitionKey{topic, id}
	part := p.partitions[key]
	if part == nil {
		part = &partition{key: key}
		p.partitions[key] = part
	}
	part.queue = append(part.queue, s)
	p.schedule(part)
	return nil
}

func (p *producer) brokenLocked() error {
	if p.failure == nil && p.closed {
		return errClosed
	}
	return p.failure
}

// Status tells of the partitions that cannot be written to.
func (p *producer) Status() sink.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing == 0 {
		return sink.Status{}
	}
	return p.trouble
}

// waiting counts the runs of messages that are not in batches.
func (p *producer) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, part := range p.partitions {
		n += len(part.queue)
	}
	return n
}

// Close stops sending, waits a while for requests under way and ends. What is
// not acknowledged by then gets done with an error.
func (p *producer) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.quit)
	p.wakeAll()
	p.awaitIdle()
	p.mu.Unlock()
	_ = p.brokers.Close() // the connections are gone either way
	p.wg.Wait()
	p.mu.Lock()
	sends, err := p.drop(), p.brokenLocked()
	p.mu.Unlock()
	p.finish(sends, err)
}

// awaitIdle waits until no request is under way, at most closeGrace. p.mu is held.
func (p *producer) awaitIdle() {
	late := false
	timer := time.AfterFunc(closeGrace, func() {
		p.mu.Lock()
		late = true
		p.idle.Broadcast()
		p.mu.Unlock()
	})
	defer timer.Stop()
	for p.underWay > 0 && !late {
		p.idle.Wait()
	}
}

// fail ends the producer. p.mu is held.
func (p *producer) fail(err error) {
	if p.failure != nil || p.closed {
		return
	}
	p.failure = errors.ErrKafkaAsyncSendMessage.Wrap(err)
	p.logger.Warn("kafka producer failed", zap.Error(err))
	p.metrics.errors.Inc()
	p.wakeAll()
	sends, failure := p.drop(), p.failure
	p.wg.Go(func() {
		p.onFailure(failure)
		p.finish(sends, failure)
	})
}

// drop takes everything that is not acknowledged. p.mu is held.
func (p *producer) drop() []*send {
	var out []*send
	seen := map[*send]struct{}{}
	take := func(list []*send) {
		for _, s := range list {
			if _, known := seen[s]; !known {
				seen[s] = struct{}{}
				out = append(out, s)
			}
		}
	}
	for _, part := range p.partitions {
		for _, f := range append(part.flights, part.again...) {
			take(f.sends)
			f.sends = nil
		}
		take(part.queue)
		part.queue, part.again = nil, nil
	}
	return out
}

// finish gives room back and tells the senders. p.mu is not held.
func (p *producer) finish(sends []*send, err error) {
	for _, s := range sends {
		p.room.Release(s.bytes)
		s.done(err)
	}
}

// wakeAll lets every sender look at the state again. p.mu is held.
func (p *producer) wakeAll() {
	for _, s := range p.senders {
		s.wake.Signal()
	}
}
