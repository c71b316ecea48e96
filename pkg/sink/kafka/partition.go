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
	limit     int     // bytes of a batch of several messages, once the broker has refused one; else 0

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
	repeat bool // it was sent before
	large  bool // the broker refused it for its size: it goes again in two
}

// waits tells whether the partition has a batch to send and may send it.
//
// What is sent again goes alone. The broker may have it, although it said
// otherwise or its answer was lost, and then takes what comes behind. With too
// much behind it the broker would not know the batch any more when it comes
// once more, and refuse it as out of order.
func (part *partition) waits(window int) bool {
	switch {
	case len(part.again) > 0:
		return len(part.flights) == 0
	case part.open < len(part.flights): // one has failed: the rest must be answered first
		return false
	case len(part.flights) > 0 && part.flights[0].repeat:
		return false
	}
	return len(part.flights) < window && len(part.queue) > 0
}

// next takes the next batch to send.
func (part *partition) next(p *producer) *flight {
	var f *flight
	if len(part.again) > 0 {
		f = part.again[0]
		part.again = part.again[1:]
		f.failed, f.repeat = false, true
	} else {
		f = part.cut(p)
	}
	part.flights = append(part.flights, f)
	part.open++
	return f
}

// cut makes a batch of what is queued.
func (part *partition) cut(p *producer) *flight {
	limit := p.maxSize
	if part.limit > 0 {
		limit = min(limit, part.limit)
	}
	n, bytes := part.measure(limit)
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
		part.sequence = advance(part.sequence, n)
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
		switch {
		case f.large:
			failed = append(failed, f.halves()...)
		case f.failed:
			failed = append(failed, f)
		}
	}
	part.flights = part.flights[:0]
	part.again = append(failed, part.again...)
	return len(failed) > 0
}

// halves cuts a batch in two, which take its place in the partition.
func (f *flight) halves() []*flight {
	middle := len(f.batch.Records) / 2
	for _, s := range f.sends {
		s.parts++ // both halves count for all of them
	}
	batch := f.batch
	part := func(records []*sarama.Record, skipped int) *flight {
		half := &flight{part: f.part, bytes: f.bytes / 2, sends: f.sends, batch: &sarama.RecordBatch{
			Version: batch.Version, PartitionLeaderEpoch: batch.PartitionLeaderEpoch,
			Codec: batch.Codec, CompressionLevel: batch.CompressionLevel,
			FirstTimestamp: batch.FirstTimestamp, MaxTimestamp: batch.MaxTimestamp,
			ProducerID: batch.ProducerID, ProducerEpoch: batch.ProducerEpoch, FirstSequence: batch.FirstSequence,
			LastOffsetDelta: int32(len(records) - 1), Records: records,
		}}
		if batch.FirstSequence >= 0 {
			half.batch.FirstSequence = advance(batch.FirstSequence, skipped)
		}
		for i, r := range records {
			r.OffsetDelta = int64(i)
		}
		return half
	}
	return []*flight{part(f.batch.Records[:middle], 0), part(f.batch.Records[middle:], middle)}
}

// advance moves a place in a partition on; after the greatest comes 0.
func advance(sequence int32, n int) int32 {
	return int32((int64(sequence) + int64(n)) & math.MaxInt32)
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
