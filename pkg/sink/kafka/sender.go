package kafka

import (
	stderrors "errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// sender sends the batches of the partitions that one broker leads. It ends
// when the last of them has gone to another one, as all do when the client makes
// a broker anew. Its fields are guarded by producer.mu.
type sender struct {
	p        *producer
	broker   *sarama.Broker
	led      int // partitions
	ready    []*partition
	underWay int  // requests
	broken   bool // the connection is to be closed before it is used again
	wake     sync.Cond
}

// schedule lets a partition send if it has something to send. p.mu is held.
func (p *producer) schedule(part *partition) {
	switch {
	case part.scheduled || part.searching || !part.waits(p.window):
	case part.sender == nil:
		part.searching = true
		p.homeless = append(p.homeless, part)
		p.wakeLocator()
	default:
		part.scheduled = true
		part.sender.ready = append(part.sender.ready, part)
		part.sender.wake.Signal()
	}
}

// senderOf returns the sender of a broker and starts it. p.mu is held.
func (p *producer) senderOf(b *sarama.Broker) *sender {
	s := p.senders[b]
	if s == nil {
		s = &sender{p: p, broker: b}
		s.wake.L = &p.mu
		p.senders[b] = s
		p.wg.Go(s.run)
	}
	return s
}

// move gives a partition to the sender of its leader. The partition has no
// batch under way. p.mu is held.
func (p *producer) move(part *partition, to *sender) {
	from := part.sender
	if from == to {
		return
	}
	part.sender = to
	to.led++
	if from == nil {
		return
	}
	if from.led--; from.led > 0 {
		return
	}
	delete(p.senders, from.broker)
	for _, other := range from.ready { // they have gone before
		other.scheduled = false
		p.schedule(other)
	}
	from.ready = nil
	from.wake.Signal()
}

// over tells whether there is nothing to do any more. p.mu is held.
func (s *sender) over() bool { return s.led == 0 || s.p.closed || s.p.failure != nil }

func (s *sender) run() {
	p := s.p
	for {
		p.mu.Lock()
		for !s.over() && (len(s.ready) == 0 || s.underWay >= maxRequests) {
			s.wake.Wait()
		}
		if s.over() {
			p.mu.Unlock()
			return
		}
		if p.fence != nil {
			if err := p.fence(); err != nil {
				p.fail(err)
				p.mu.Unlock()
				return
			}
		}
		req, flights := s.collect()
		if len(flights) == 0 {
			p.mu.Unlock()
			continue
		}
		s.underWay++
		p.underWay++
		p.mu.Unlock()

		err := s.broker.AsyncProduce(req, func(res *sarama.ProduceResponse, err error) { s.answered(flights, res, err) })
		if err != nil || req.RequiredAcks == sarama.NoResponse {
			s.answered(flights, nil, err)
		}
	}
}

// collect makes a request of what the ready partitions have. p.mu is held.
func (s *sender) collect() (*sarama.ProduceRequest, []*flight) {
	req, bytes := s.p.request, 0
	var flights []*flight
	n := 0
	for ; n < len(s.ready) && bytes < maxRequestBytes; n++ {
		part := s.ready[n]
		part.scheduled = false
		if part.searching || part.sender != s || !part.waits(s.p.window) {
			s.p.schedule(part) // it may have found another leader since it got in line
			continue
		}
		f := part.next(s.p)
		req.AddBatch(part.key.topic, part.key.id, f.batch)
		flights = append(flights, f)
		bytes += f.bytes
	}
	s.ready = s.ready[:copy(s.ready, s.ready[n:])]
	for _, f := range flights {
		s.p.schedule(f.part) // what did not fit goes with the next request
	}
	return &req, flights
}

// answered takes the result of a request: err when the connection broke.
func (s *sender) answered(flights []*flight, res *sarama.ProduceResponse, err error) {
	p := s.p
	var acked []*send
	p.mu.Lock()
	s.underWay--
	p.underWay--
	if err != nil {
		s.broken = true
	}
	for _, f := range flights {
		acked = p.land(f, resultOf(f, res, err), acked)
	}
	s.wake.Signal()
	p.idle.Broadcast()
	p.mu.Unlock()
	p.finish(acked, nil)
}

var errNoAnswer = stderrors.New("the broker's answer leaves the partition out")

// resultOf is what became of one batch of a request.
func resultOf(f *flight, res *sarama.ProduceResponse, err error) error {
	if err != nil || res == nil {
		return err
	}
	block := res.GetBlock(f.part.key.topic, f.part.key.id)
	switch {
	case block == nil:
		return errNoAnswer
	case block.Err == sarama.ErrNoError, block.Err == sarama.ErrDuplicateSequenceNumber:
		return nil
	}
	return block.Err
}

// land takes the result of one batch and collects what is acknowledged by it.
// p.mu is held.
func (p *producer) land(f *flight, err error, acked []*send) []*send {
	part := f.part
	part.open--
	switch {
	case p.failure != nil: // its messages are given up already
		return acked
	case err == nil:
		for _, s := range f.sends {
			if s.parts--; s.parts == 0 {
				acked = append(acked, s)
			}
		}
		part.remove(f)
		p.recovered(part)
	case stderrors.Is(err, sarama.ErrMessageSizeTooLarge) && len(f.batch.Records) > 1:
		f.failed, f.large = true, true
		part.limit = max(f.bytes/2, 1)
		p.failed(part, err)
	case !retriable(err) && !(stderrors.Is(err, sarama.ErrOutOfOrderSequenceNumber) && part.failedBefore(f)):
		p.fail(fmt.Errorf("partition %s: %w", part.key, err))
		return acked
	default:
		f.failed = true
		p.failed(part, err)
	}
	if part.landed() {
		p.retry(part)
		return acked
	}
	p.schedule(part)
	return acked
}

// retriable tells errors after which the same batch may succeed. What comes
// from the connection itself always is.
func retriable(err error) bool {
	var code sarama.KError
	if !stderrors.As(err, &code) {
		var encoding sarama.PacketEncodingError
		return !stderrors.As(err, &encoding) && !stderrors.Is(err, sarama.ErrUnsupportedVersion)
	}
	switch code {
	case sarama.ErrUnknownTopicOrPartition, sarama.ErrLeaderNotAvailable, sarama.ErrNotLeaderForPartition,
		sarama.ErrRequestTimedOut, sarama.ErrBrokerNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrNetworkException, sarama.ErrNotEnoughReplicas, sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrKafkaStorageError, sarama.ErrInvalidMessage, sarama.ErrFencedLeaderEpoch,
		sarama.ErrUnknownLeaderEpoch, sarama.ErrThrottlingQuotaExceeded:
		return true
	}
	return false
}

// failed notes that a batch of the partition did not get through. p.mu is held.
func (p *producer) failed(part *partition, err error) {
	now := time.Now()
	if part.failedSince.IsZero() {
		part.failedSince = now
		if p.failing++; p.failing == 1 {
			p.trouble.Since = now
		}
		p.logger.Warn("kafka partition fails, retry", zap.Stringer("partition", part.key), zap.Error(err))
	}
	p.metrics.retries.Inc()
	p.trouble.Reason, p.trouble.Code = model.StallSink, errors.ErrKafkaAsyncSendMessage.Text()
	p.trouble.Detail = fmt.Sprintf("partition %s: %v", part.key, err)
	if now.Sub(part.failedSince) > p.backoff.giveUp {
		p.fail(fmt.Errorf("partition %s, given up after %v: %w", part.key, p.backoff.giveUp, err))
	}
}

// recovered notes that a batch of the partition got through. p.mu is held.
func (p *producer) recovered(part *partition) {
	if part.failedSince.IsZero() || len(part.again) > 0 {
		return
	}
	part.failedSince, part.tries = time.Time{}, 0
	if p.failing--; p.failing == 0 {
		p.trouble = sink.Status{}
	}
	p.logger.Info("kafka partition works again", zap.Stringer("partition", part.key))
}

// retry sends a partition to look its leader up, after a while. p.mu is held.
func (p *producer) retry(part *partition) {
	wait := min(p.backoff.first<<min(part.tries, 16), p.backoff.most)
	part.tries++
	part.retryAt = time.Now().Add(wait)
	p.trouble.RetryAt = part.retryAt
	part.searching = true
	p.homeless = append(p.homeless, part)
	p.wakeLocator()
}

func (p *producer) wakeLocator() {
	select {
	case p.lost <- struct{}{}:
	default:
	}
}

// locate finds the leaders of partitions, until the producer ends.
func (p *producer) locate() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-p.lost:
		case <-timer.C:
		}
		due, wait := p.takeDue()
		p.find(due)
		if wait > 0 {
			timer.Reset(wait)
		}
	}
}

// takeDue takes the partitions whose time has come, and tells when to look
// again; 0 when there is nothing to wait for.
func (p *producer) takeDue() (due []*partition, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var later []*partition
	for _, part := range p.homeless {
		left := part.retryAt.Sub(now)
		if left <= 0 {
			due = append(due, part)
			continue
		}
		later = append(later, part)
		if wait == 0 || left < wait {
			wait = left
		}
	}
	p.homeless = later
	return due, wait
}

// find looks leaders up. It does I/O, so p.mu is not held.
func (p *producer) find(due []*partition) {
	refreshed := map[string]error{}
	for _, part := range due {
		p.mu.Lock()
		again, old := part.tries > 0, part.sender
		var connection *sarama.Broker
		if old != nil && old.broken {
			old.broken, connection = false, old.broker
		}
		p.mu.Unlock()
		if connection != nil {
			_ = connection.Close() // so that it is opened anew
		}
		var err error
		if again {
			known := false
			if err, known = refreshed[part.key.topic]; !known {
				err = p.brokers.RefreshMetadata(part.key.topic)
				refreshed[part.key.topic] = err
			}
		}
		var leader *sarama.Broker
		if err == nil {
			leader, err = p.brokers.Leader(part.key.topic, part.key.id)
		}
		p.mu.Lock()
		switch {
		case p.closed || p.failure != nil:
		case err != nil && part.failedSince.IsZero() && !retriable(err):
			p.fail(fmt.Errorf("partition %s: %w", part.key, err))
		case err != nil:
			p.failed(part, err)
			p.retry(part)
		default:
			p.move(part, p.senderOf(leader))
			part.searching = false
			p.schedule(part)
		}
		p.mu.Unlock()
	}
}
