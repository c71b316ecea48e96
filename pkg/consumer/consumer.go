// Package consumer reads the topics that a Kafka changefeed writes and applies
// them to a database. It shows how to treat each protocol: what the watermarks
// mean, that schema changes come once per partition, and that rows repeat.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/factory"
	"github.com/tidemark/tidemark/pkg/config"
)

const (
	// defaultRefresh is how often topics and partitions are looked up.
	defaultRefresh = time.Second
	// inFlight is how many decoded messages wait to be applied.
	inFlight = 1024
)

// Target is where the events go.
type Target interface {
	// Rows applies row changes in the given order and returns when they are
	// durable. The rows may have been applied before. An error is final.
	Rows(ctx context.Context, rows []codec.Event) error
	// DDL executes a schema change, which may have been executed before. An
	// error is final.
	DDL(ctx context.Context, ddl codec.Event) error
	// Resolved tells that everything up to ts (a TSO) has been applied. Only
	// protocols with watermarks know. An error is final.
	Resolved(ctx context.Context, ts uint64) error
}

// Snapshots read the upstream, for rows of which a message has the key only.
type Snapshots interface {
	// Row returns the row as it was at the TSO ts, an error when it was not there.
	Row(ctx context.Context, schema, table string, key []codec.Cell, ts uint64) ([]codec.Cell, error)
}

// Files read the storage of messages that were too large for Kafka.
type Files interface {
	// Get returns the message that lies at an address; an error when it is not there.
	Get(ctx context.Context, location string) ([]byte, error)
}

// Options say what is read and where it goes. Brokers, Topics or Pattern,
// Codec and Target are required.
type Options struct {
	Brokers []string
	Topics  []string       // names
	Pattern *regexp.Regexp // more topics, also such that are created later
	Kafka   *sarama.Config // nil: sarama's own
	// Group keeps the positions in Kafka under this name, so that the next
	// start goes on from there. Empty: read everything from the start.
	Group string
	// Codec are the options that the changefeed has too.
	Codec     codec.Options
	Target    Target
	Snapshots Snapshots // nil: rows with nothing but their key are an error
	Files     Files     // nil: rows that lie in a file are an error
	Refresh   time.Duration
	Logger    *zap.Logger
}

// Run reads and applies until ctx ends (nil) or an error that it cannot cure.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Refresh == 0 {
		o.Refresh = defaultRefresh
	}
	r, err := newReader(&o)
	if err != nil {
		return err
	}
	defer r.close()
	c := &applier{o: &o, reader: r, queue: newQueue(&o, r)}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.run(gctx) })
	g.Go(func() error { return c.run(gctx) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// HasWatermarks tells whether messages of the protocol carry watermarks.
func HasWatermarks(o *codec.Options) bool {
	switch o.Protocol {
	case config.ProtocolOpen, config.ProtocolSimple:
		return true
	case config.ProtocolCanalJSON:
		return o.EnableTiDBExtension
	case config.ProtocolAvro:
		return o.EnableTiDBExtension && o.Avro.EnableWatermark
	}
	return false
}

// queue decides what may be applied, and in which order.
type queue interface {
	// add takes the events of one message.
	add(m message) error
	// ready returns what can be applied now, in order, and the TSO up to which
	// everything has been applied then; 0 if that is not known.
	ready(ctx context.Context) (events []codec.Event, resolved uint64, err error)
	// positions returns, for each partition, the offset to start from if all
	// that ready returned has been applied.
	positions() map[partition]int64
	// idle is called now and then, with the partitions that are followed and
	// the offsets at which that began.
	idle(ctx context.Context, starts map[partition]int64) error
}

func newQueue(o *Options, r *reader) queue {
	if HasWatermarks(&o.Codec) {
		return newOrdered(r.latest)
	}
	return newArrival(r.latest)
}

// applier brings what the queue lets out to the target.
type applier struct {
	o        *Options
	reader   *reader
	queue    queue
	resolved uint64
}

func (a *applier) run(ctx context.Context) error {
	tick := time.NewTicker(a.o.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := a.queue.idle(ctx, a.reader.starts()); err != nil {
				return err
			}
		case m := <-a.reader.messages:
			if err := a.take(m); err != nil {
				return err
			}
		}
		if err := a.apply(ctx); err != nil {
			return err
		}
	}
}

// take adds a message and whatever else has come meanwhile.
func (a *applier) take(m message) error {
	for range inFlight {
		if err := a.queue.add(m); err != nil {
			return err
		}
		select {
		case m = <-a.reader.messages:
		default:
			return nil
		}
	}
	return a.queue.add(m)
}

// apply empties the queue as far as that is allowed.
func (a *applier) apply(ctx context.Context) error {
	events, resolved, err := a.queue.ready(ctx)
	if err != nil {
		return err
	}
	for len(events) > 0 {
		n := 0
		for n < len(events) && events[n].Kind == codec.EventRow {
			n++
		}
		if n > 0 {
			if err := a.rows(ctx, events[:n]); err != nil {
				return err
			}
		} else {
			n = 1
			if err := a.o.Target.DDL(ctx, events[0]); err != nil {
				return err
			}
		}
		events = events[n:]
	}
	if resolved > a.resolved {
		a.resolved = resolved
		if err := a.o.Target.Resolved(ctx, resolved); err != nil {
			return err
		}
	}
	return a.reader.mark(a.queue.positions())
}

// rows completes rows of which the message had the key only, and applies all.
func (a *applier) rows(ctx context.Context, rows []codec.Event) error {
	for i := range rows {
		ev := &rows[i]
		if !ev.Row.HandleKeyOnly || len(ev.Row.New) == 0 {
			continue // a delete needs no more than the key
		}
		if a.o.Snapshots == nil {
			return fmt.Errorf("a row of %s.%s has its key only: an upstream is needed to read the rest", ev.Schema, ev.Table)
		}
		full, err := a.o.Snapshots.Row(ctx, ev.Schema, ev.Table, ev.Row.New, ev.CommitTs)
		if err != nil {
			return fmt.Errorf("row of %s.%s at %d: %w", ev.Schema, ev.Table, ev.CommitTs, err)
		}
		ev.Row.New, ev.Row.HandleKeyOnly = full, false
	}
	return a.o.Target.Rows(ctx, rows)
}

// decode turns a Kafka message into events, those of claim-check files included.
func (o *Options) decode(ctx context.Context, d codec.Decoder, key, value []byte) ([]codec.Event, error) {
	events, err := d.Decode(ctx, key, value)
	if err != nil {
		return nil, err
	}
	for i := range events {
		if events[i].Kind != codec.EventRow || events[i].Row.ClaimCheck == "" {
			continue
		}
		if o.Files == nil {
			return nil, fmt.Errorf("a row of %s.%s lies in %s: its storage is needed", events[i].Schema, events[i].Table, events[i].Row.ClaimCheck)
		}
		if events[i], err = o.fetch(ctx, d, key, events[i].Row.ClaimCheck); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// fetch reads the row that lies in a file.
func (o *Options) fetch(ctx context.Context, d codec.Decoder, key []byte, location string) (codec.Event, error) {
	content, err := o.Files.Get(ctx, location)
	if err != nil {
		return codec.Event{}, err
	}
	value := content
	if !o.Codec.LargeMessage.RawValue {
		if key, value, err = codec.ParseClaimCheck(content); err != nil {
			return codec.Event{}, err
		}
	}
	events, err := d.Decode(ctx, key, value)
	if err != nil {
		return codec.Event{}, fmt.Errorf("%s: %w", location, err)
	}
	if len(events) != 1 || events[0].Kind != codec.EventRow {
		return codec.Event{}, errors.New(location + " does not hold one row")
	}
	return events[0], nil
}

func (o *Options) newDecoder(ctx context.Context) (codec.Decoder, error) {
	return factory.NewDecoder(ctx, o.Codec)
}
