package kafka

import (
	"fmt"
	"math"
	"time"

	"github.com/IBM/sarama"
)

// partition is what a producer knows of one partition. Its fields are guarded
// by producer.mu.
type partition struct {
	key   partitionKey
	queue []*send
	taken int // messages of queue[0] that are in batches

	flights []*flight // under way or failed, in order
	open    int       // flights without an answer
	again   []*flight // to send once more before the queue, in order

	sender    *sender // of the leader; nil while that is not known
	searching bool    // is in producer.homeless or on the locator's desk
	scheduled bool    // is in sender.ready
	sequence  int32   // place of the next message

	failedSince time.Time // zero while all is well
	tries       int
	retryAt     time.Time
}

// flight is one batch on its way.
type flight struct {
	part   *partition
	batch  *sarama.RecordBatch
	bytes  int
	sends  []*send // that have messages in the batch
	failed bool
}

// waits tells whether the partition has a batch to send and may send it.
func (part *partition) waits(window int) bool {
	if part.open > 0 && part.open < len(part.flights) {
		return false // one has failed: the rest must be answered first
	}
	return len(part.flights) < window && (len(part.again) > 0 || len(part.queue) > 0)
}

// next takes the next batch to send.
func (part *partition) next(p *producer) *flight {
	var f *flight
	if len(part.again) > 0 {
		f = part.again[0]
		part.again = part.again[1:]
		f.failed = false
	} else {
		f = part.cut(p)
	}
	part.flights = append(part.flights, f)
	part.open++
	return f
}

// cut makes a batch of what is queued.
func (part *partition) cut(p *producer) *flight {
	n, bytes := part.measure(p.maxSize)
	f := &flight{part: part, bytes: bytes}
	slab, records := make([]sarama.Record, n), make([]*sarama.Record, n)
	for i := range records {
		s := part.queue[0]
		if part.taken == 0 || i == 0 {
			f.sends = append(f.sends, s)
			s.parts++
		}
		m := &s.messages[part.taken]
		slab[i].Key, slab[i].Value, slab[i].OffsetDelta = m.Key, m.Value, int64(i)
		records[i] = &slab[i]
		if part.taken++; part.taken == len(s.messages) {
			s.parts--
			s.messages = nil
			part.queue[0] = nil
			part.queue, part.taken = part.queue[1:], 0
		}
	}
	now := time.Now().Truncate(time.Millisecond)
	f.batch = &sarama.RecordBatch{
		Version: 2, PartitionLeaderEpoch: -1, Codec: p.codec, CompressionLevel: sarama.CompressionLevelDefault,
		FirstTimestamp: now, MaxTimestamp: now, LastOffsetDelta: int32(n - 1), Records: records,
		ProducerID: p.id.id, ProducerEpoch: p.id.epoch, FirstSequence: -1,
	}
	if p.id.id >= 0 {
		f.batch.FirstSequence = part.sequence
		part.sequence = int32((int64(part.sequence) + int64(n)) & math.MaxInt32)
	}
	return f
}

// measure tells how many messages fit the next batch, at least one.
func (part *partition) measure(limit int) (n, bytes int) {
	from := part.taken
	for _, s := range part.queue {
		for i := from; i < len(s.messages); i++ {
			size := s.messages[i].Size()
			if n > 0 && bytes+size > limit {
				return n, bytes
			}
			n++
			bytes += size
		}
		from = 0
	}
	return n, bytes
}

// landed takes the answered flights out. It is called when none is open or
// after a success; failed ones go back to be sent again once all are answered.
func (part *partition) landed() (retry bool) {
	if part.open > 0 {
		return false
	}
	var failed []*flight
	for _, f := range part.flights {
		if f.failed {
			failed = append(failed, f)
		}
	}
	part.flights = part.flights[:0]
	part.again = append(failed, part.again...)
	return len(failed) > 0
}

// remove takes an acknowledged flight out.
func (part *partition) remove(f *flight) {
	for i := range part.flights {
		if part.flights[i] == f {
			part.flights = append(part.flights[:i], part.flights[i+1:]...)
			return
		}
	}
}

// failedBefore tells whether a flight that was sent before f has failed.
func (part *partition) failedBefore(f *flight) bool {
	for _, other := range part.flights {
		if other == f {
			return false
		}
		if other.failed {
			return true
		}
	}
	return false
}

func (k partitionKey) String() string { return fmt.Sprintf("%s/%d", k.topic, k.id) }
