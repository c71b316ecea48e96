package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/simple"
)

// partition names one partition of one topic.
type partition struct {
	topic string
	id    int32
}

// message is one Kafka message, decoded.
type message struct {
	from   partition
	offset int64
	events []codec.Event
	// start is the offset of the first message that the events, or rows that
	// are still withheld, came with.
	start    int64
	withheld bool
}

// withholder is a decoder that keeps rows back until it knows their table.
type withholder interface {
	// Withholds tells whether rows of earlier messages wait.
	Withholds() bool
}

// reader follows all partitions of the topics, also those that appear later.
type reader struct {
	o        *Options
	client   sarama.Client
	consumer sarama.Consumer
	offsets  sarama.OffsetManager // nil without a group
	messages chan message
	schemas  simple.Schemas // of protocol simple, which may announce them in one partition only

	mu     sync.Mutex // protects follow
	follow map[partition]*follower
}

// follower is what the reader keeps per partition.
type follower struct {
	start    int64                         // the first offset that is read
	position sarama.PartitionOffsetManager // nil without a group
}

func newReader(o *Options) (*reader, error) {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_4_0_0
	if o.Kafka != nil {
		c := *o.Kafka
		cfg = &c
	}
	cfg.Metadata.AllowAutoTopicCreation = false
	cfg.Consumer.Return.Errors = true
	cfg.Consumer.MaxWaitTime = 100 * time.Millisecond
	cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
	client, err := sarama.NewClient(o.Brokers, cfg)
	if err != nil {
		return nil, err
	}
	r := &reader{o: o, client: client, messages: make(chan message, inFlight), follow: make(map[partition]*follower)}
	if r.consumer, err = sarama.NewConsumerFromClient(client); err == nil && o.Group != "" {
		r.offsets, err = sarama.NewOffsetManagerFromClient(o.Group, client)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// run follows partitions until ctx ends or reading one of them fails.
func (r *reader) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer cancel(nil)
	tick := time.NewTicker(r.o.Refresh)
	defer tick.Stop()
	for {
		for _, p := range r.discover() {
			decoder, err := r.o.newDecoder(ctx)
			if err != nil {
				return err
			}
			if d, ok := decoder.(*simple.Decoder); ok {
				d.Share(&r.schemas)
			}
			pc, err := r.open(p)
			if err != nil {
				// A partition that has just been made may not have a leader yet.
				r.o.Logger.Warn("partition cannot be read yet", zap.String("topic", p.topic), zap.Int32("partition", p.id), zap.Error(err))
				continue
			}
			r.o.Logger.Info("reading", zap.String("topic", p.topic), zap.Int32("partition", p.id))
			followers.Go(func() {
				if err := r.read(ctx, p, pc, decoder); err != nil && ctx.Err() == nil {
					cancel(err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// discover returns partitions that are not followed yet. What cannot be looked
// up now is next time.
func (r *reader) discover() []partition {
	topics := slices.Clone(r.o.Topics)
	if r.o.Pattern != nil {
		all, err := r.client.Topics()
		if err == nil {
			err = r.client.RefreshMetadata()
		}
		if err != nil {
			r.o.Logger.Warn("topics cannot be listed", zap.Error(err))
		}
		for _, name := range all {
			if r.o.Pattern.MatchString(name) && !slices.Contains(topics, name) {
				topics = append(topics, name)
			}
		}
	}
	var found []partition
	for _, topic := range topics {
		err := r.client.RefreshMetadata(topic)
		if err == nil {
			var ids []int32
			ids, err = r.client.Partitions(topic)
			for _, id := range ids {
				if p := (partition{topic, id}); !r.knows(p) {
					found = append(found, p)
				}
			}
		}
		if err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			r.o.Logger.Warn("topic cannot be looked up", zap.String("topic", topic), zap.Error(err))
		}
	}
	return found
}

func (r *reader) knows(p partition) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.follow[p] != nil
}

// open starts to fetch a partition from where the group left off.
func (r *reader) open(p partition) (sarama.PartitionConsumer, error) {
	f := &follower{}
	var err error
	if f.start, err = r.client.GetOffset(p.topic, p.id, sarama.OffsetOldest); err != nil {
		return nil, err
	}
	if r.offsets != nil {
		if f.position, err = r.offsets.ManagePartition(p.topic, p.id); err != nil {
			return nil, err
		}
		stored, _ := f.position.NextOffset()
		f.start = max(f.start, stored)
	}
	pc, err := r.consumer.ConsumePartition(p.topic, p.id, f.start)
	if err != nil {
		if f.position != nil {
			f.position.AsyncClose()
		}
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.follow[p] = f
	return pc, nil
}

// read hands over the messages of a partition until ctx ends or one of them
// cannot be decoded.
func (r *reader) read(ctx context.Context, p partition, pc sarama.PartitionConsumer, d codec.Decoder) error {
	defer func() {
		pc.AsyncClose()
		for range pc.Messages() { // sarama wants its channels emptied
		}
		for range pc.Errors() {
		}
	}()
	errs := pc.Errors()
	next := message{from: p}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			r.o.Logger.Warn("reading failed, it goes on", zap.Error(err))
		case m, ok := <-pc.Messages():
			if !ok {
				return fmt.Errorf("partition %d of topic %s cannot be read any more: its position has been removed", p.id, p.topic)
			}
			events, err := r.o.decode(ctx, d, m.Key, m.Value)
			if err != nil {
				return fmt.Errorf("message %d in partition %d of topic %s: %w", m.Offset, p.id, p.topic, err)
			}
			if !next.withheld {
				next.start = m.Offset
			}
			w, ok := d.(withholder)
			next.offset, next.events, next.withheld = m.Offset, events, ok && w.Withholds()
			select {
			case r.messages <- next:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// latest returns the offset that the next message of a partition will get.
func (r *reader) latest(p partition) (int64, error) {
	return r.client.GetOffset(p.topic, p.id, sarama.OffsetNewest)
}

// starts returns the partitions that are followed, with their first offsets.
func (r *reader) starts() map[partition]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[partition]int64, len(r.follow))
	for p, f := range r.follow {
		out[p] = f.start
	}
	return out
}

// mark notes where the next start of the group begins.
func (r *reader) mark(positions map[partition]int64) error {
	if r.offsets == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, offset := range positions {
		if f := r.follow[p]; f != nil {
			f.position.MarkOffset(offset, "")
		}
	}
	return nil
}

// close stores the marked positions. Nothing is read any more.
func (r *reader) close() {
	if r.offsets != nil {
		r.offsets.Commit()
		for _, f := range r.follow {
			_ = f.position.Close()
		}
		_ = r.offsets.Close()
	}
	if r.consumer != nil {
		_ = r.consumer.Close()
	}
	_ = r.client.Close()
}
