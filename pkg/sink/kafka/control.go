package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// control is the owner's side of a sink: schema changes and watermarks. Its
// calls come one after the other.
type control struct {
	mu        sync.Mutex
	encoder   codec.Encoder
	tables    []*model.Table
	announced bool // every schema was sent at the start
}

// FollowTables tells which tables are replicated: watermarks go to their topics.
func (s *Sink) FollowTables(tables []*model.Table) {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	s.control.tables = tables
}

// WriteDDL announces one schema change, behind every row that this sink got.
// An error has the code ErrKafkaSendMessage, or that of the encoder.
func (s *Sink) WriteDDL(ctx context.Context, ev *model.DDLEvent) error {
	start := time.Now()
	err := s.controlled(func(enc codec.Encoder) error {
		if err := s.drain(ctx); err != nil {
			return err
		}
		topic := s.rules.DDLTopic(ev)
		m, err := enc.DDL(ctx, topic, ev)
		if err != nil || m == nil {
			return err
		}
		all := newWaiter()
		partitions, err := s.topics.Partitions(ctx, topic)
		if err != nil {
			return err
		}
		if ddlToOnePartition(&s.o.codec) {
			partitions = 1
		}
		return all.wait(ctx, s.broadcast(ctx, all, topic, partitions, m))
	}, ctx)
	if err != nil {
		s.metrics.DDLErrors.Inc()
		return err
	}
	s.metrics.DDLDuration.WithLabelValues(ev.Type.String()).Observe(time.Since(start).Seconds())
	s.metrics.DDLCount.WithLabelValues(ev.Type.String()).Inc()
	return nil
}

// WriteWatermark tells every partition of every topic in use that all rows up
// to ts were sent. An error has the code ErrKafkaSendMessage, or that of the encoder.
func (s *Sink) WriteWatermark(ctx context.Context, ts uint64) error {
	return s.controlled(func(enc codec.Encoder) error {
		if err := s.announceAll(ctx, enc); err != nil {
			return err
		}
		all := newWaiter()
		for _, topic := range s.rules.Topics(s.control.tables) {
			m, err := enc.Watermark(ctx, topic, ts)
			if err != nil || m == nil {
				return all.wait(ctx, err)
			}
			partitions, err := s.topics.Partitions(ctx, topic)
			if err != nil {
				return all.wait(ctx, err)
			}
			if err := s.broadcast(ctx, all, topic, partitions, m); err != nil {
				return all.wait(ctx, err)
			}
		}
		return all.wait(ctx, nil)
	}, ctx)
}

// controlled runs one of the owner's calls; an error that is not the caller's
// end ends the sink.
func (s *Sink) controlled(call func(enc codec.Encoder) error, ctx context.Context) error {
	if err := s.broken(); err != nil {
		return err
	}
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	err := s.openControl(ctx)
	if err == nil {
		err = call(s.control.encoder)
	}
	if err != nil {
		if failure := s.failure.Load(); failure != nil {
			err = *failure
		}
		if errors.CodeOf(err) == "" && ctx.Err() == nil {
			err = errors.ErrKafkaSendMessage.Wrap(err)
		}
		return err
	}
	return nil
}

// openControl makes the encoder of the owner's calls unless it is there. As
// that may ask a schema registry again and again, it ends with the caller's
// context and with the sink. control.mu is held.
func (s *Sink) openControl(ctx context.Context) error {
	if s.control.encoder != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	enc, err := s.newEncoder(ctx)
	if err == nil {
		s.control.encoder = enc
	}
	return err
}

// announceAll sends the schema of every table once, if that is asked for.
func (s *Sink) announceAll(ctx context.Context, enc codec.Encoder) error {
	b, ok := enc.(codec.Bootstrapper)
	if !ok || s.control.announced || !s.o.bootstrap.on || !s.o.bootstrap.atStart {
		return nil
	}
	all := newWaiter()
	for _, t := range s.control.tables {
		plan, err := s.plan(t)
		if err != nil {
			return all.wait(ctx, err)
		}
		m, err := b.Bootstrap(ctx, plan.Topic, plan.Table)
		if err != nil || m == nil {
			return all.wait(ctx, err)
		}
		m.Key = nil // the empty one is that of rows, and of schemas between them
		partitions, err := s.topics.Partitions(ctx, plan.Topic)
		if err != nil {
			return all.wait(ctx, err)
		}
		if !s.o.bootstrap.allPartitions {
			partitions = 1
		}
		if err := s.broadcast(ctx, all, plan.Topic, partitions, m); err != nil {
			return all.wait(ctx, err)
		}
	}
	if err := all.wait(ctx, nil); err != nil {
		return err
	}
	s.control.announced = true
	return nil
}

// broadcast sends a copy of a message to the first partitions of a topic.
func (s *Sink) broadcast(ctx context.Context, all *waiter, topic string, partitions int32, m *codec.Message) error {
	for i := range partitions {
		all.add()
		if err := s.producer.Send(ctx, topic, i, []codec.Message{*m}, all.done); err != nil {
			all.done(nil)
			return err
		}
	}
	return nil
}

// drain waits until every row that this sink got is with the producer, which
// keeps the order from there on.
func (s *Sink) drain(ctx context.Context) error {
	if err := s.take(ctx, maxQueuedBytes); err != nil {
		return err
	}
	s.room.Release(maxQueuedBytes)
	return nil
}

// waiter waits for the acknowledgements of several messages.
type waiter struct {
	mu    sync.Mutex
	left  int
	err   error
	ended chan struct{}
}

func newWaiter() *waiter { return &waiter{left: 1, ended: make(chan struct{})} }

func (w *waiter) add() {
	w.mu.Lock()
	w.left++
	w.mu.Unlock()
}

func (w *waiter) done(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.left--; w.left == 0 {
		close(w.ended)
	}
}

// wait returns the first error: the given one, or that of a message. It is
// called once, after the last add.
func (w *waiter) wait(ctx context.Context, err error) error {
	w.done(err)
	if err != nil {
		return err
	}
	select {
	case <-w.ended:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
