package consumer

import (
	"cmp"
	"context"
	"slices"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// retireAfterMs is how far, in milliseconds, the watermark of a partition
	// falls behind the newest one until the partition is asked whether it still
	// gets messages: the topic of a dropped table does not.
	retireAfterMs = 60_000
	// forgetAfterMs is how long executed schema changes are remembered, in
	// milliseconds: a partition that was added may bring them again.
	forgetAfterMs = 3_600_000
)

// ordered is the queue of protocols with watermarks. A watermark of a
// partition says that no row up to it comes there for the first time; so what
// is not above the lowest watermark of all partitions is complete, and can be
// applied in the order in which it was committed.
type ordered struct {
	streams
	latest   func(partition) (int64, error)
	executed map[ddlKey]bool
	newest   uint64 // the highest watermark of any partition
	moved    bool   // a watermark has come since the last call of ready
}

// stream is one partition's share.
type stream struct {
	watermark uint64
	pending   []pendingEvent // not applied yet, in order of arrival
	next      int64          // offset of the message that comes next
	restart   int64          // where to go back to while the decoder withholds rows; else next
	retired   bool           // gets no messages any more
}

// streams are the partitions that a queue knows.
type streams map[partition]*stream

// stream returns the share of a partition, which may be a new one.
func (all streams) stream(p partition) *stream {
	s := all[p]
	if s == nil {
		s = &stream{}
		all[p] = s
	}
	return s
}

// positions is where to go on after a restart: at what was not applied yet.
func (all streams) positions() map[partition]int64 {
	out := make(map[partition]int64, len(all))
	for p, s := range all {
		out[p] = s.restart
		if len(s.pending) > 0 {
			out[p] = min(out[p], s.pending[0].offset)
		}
	}
	return out
}

// passed notes that a message has been read.
func (s *stream) passed(m *message) {
	s.next = m.offset + 1
	s.restart = s.next
	if m.withheld {
		s.restart = m.start
	}
}

// begun notes the offset from which a partition is read.
func (s *stream) begun(at int64) {
	if at > s.next {
		s.next, s.restart = at, at
	}
}

type pendingEvent struct {
	codec.Event
	offset int64 // where to start to get it again
}

// ddlKey is what the copies of one schema change have in common.
type ddlKey struct {
	commitTs uint64
	query    string
}

func newOrdered(latest func(partition) (int64, error)) *ordered {
	return &ordered{streams: streams{}, latest: latest, executed: make(map[ddlKey]bool)}
}

func (o *ordered) add(m message) error {
	s := o.stream(m.from)
	s.passed(&m)
	s.retired = false
	for _, ev := range m.events {
		switch {
		case ev.Kind == codec.EventWatermark:
			s.watermark = max(s.watermark, ev.CommitTs)
			o.newest = max(o.newest, ev.CommitTs)
			o.moved = true
		case ev.Kind == codec.EventBootstrap:
			// The decoder knows the schema, there is nothing to apply.
		case ev.CommitTs <= s.watermark:
			// It came before: after a restart the sink repeats what it is not
			// sure of.
		default:
			s.pending = append(s.pending, pendingEvent{ev, m.start})
		}
	}
	return nil
}

func (o *ordered) ready(context.Context) ([]codec.Event, uint64, error) {
	if !o.moved {
		return nil, 0, nil
	}
	o.moved = false
	resolved := o.resolved()
	if resolved == 0 {
		return nil, 0, nil
	}
	var out []codec.Event
	for _, p := range o.sorted() {
		s := o.streams[p]
		kept := s.pending[:0]
		for _, ev := range s.pending {
			if ev.CommitTs > resolved {
				kept = append(kept, ev)
			} else if o.first(&ev.Event) {
				out = append(out, ev.Event)
			}
		}
		clear(s.pending[len(kept):])
		s.pending = kept
	}
	slices.SortStableFunc(out, func(a, b codec.Event) int {
		return cmp.Or(cmp.Compare(a.CommitTs, b.CommitTs), cmp.Compare(rank(&a), rank(&b)))
	})
	return out, resolved, nil
}

// resolved is the lowest watermark of the partitions at work.
func (o *ordered) resolved() uint64 {
	lowest := uint64(0)
	for _, s := range o.streams {
		if s.retired {
			continue
		}
		if s.watermark == 0 {
			return 0
		}
		if lowest == 0 || s.watermark < lowest {
			lowest = s.watermark
		}
	}
	return lowest
}

// first tells whether an event is no further copy of a schema change.
func (o *ordered) first(ev *codec.Event) bool {
	if ev.Kind != codec.EventDDL {
		return true
	}
	key := ddlKey{ev.CommitTs, ev.Query}
	if o.executed[key] {
		return false
	}
	o.executed[key] = true
	return true
}

// sorted returns the partitions in a fixed order: where one job makes several
// schema changes, the order of one partition is that of the job.
func (o *ordered) sorted() []partition {
	out := make([]partition, 0, len(o.streams))
	for p := range o.streams {
		out = append(out, p)
	}
	slices.SortFunc(out, comparePartitions)
	return out
}

func comparePartitions(a, b partition) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
}

// rank orders what was committed together: an update that changed a key
// comes as a delete and an insert, maybe by two partitions; the delete must
// not hit the new row. Schema changes come after the rows.
func rank(ev *codec.Event) int {
	if ev.Kind == codec.EventDDL {
		return 3
	}
	switch ev.Row.Kind {
	case model.RowDelete:
		return 0
	case model.RowUpdate:
		return 1
	}
	return 2
}

// idle adds partitions that have had no message yet: they hold everything
// back until their first watermark. It takes out those that get none any more.
func (o *ordered) idle(_ context.Context, starts map[partition]int64) error {
	for p, start := range starts {
		s := o.stream(p)
		s.begun(start)
		if s.retired || model.PhysicalMs(o.newest)-model.PhysicalMs(s.watermark) < retireAfterMs || len(s.pending) > 0 {
			continue
		}
		if end, err := o.latest(p); err == nil && s.next >= end {
			s.retired, o.moved = true, true
		}
	}
	for key := range o.executed {
		if model.PhysicalMs(o.newest)-model.PhysicalMs(key.commitTs) > forgetAfterMs {
			delete(o.executed, key)
		}
	}
	return nil
}
