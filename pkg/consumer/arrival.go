package consumer

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidemark/tidemark/pkg/codec"
)

// arrival is the queue of protocols without watermarks. Rows are applied as
// they come, which keeps the order within a partition. A schema change waits
// for the rows of other partitions that were sent before it: those up to the
// end that the partition had when the schema change was read, unless their
// commit time, or their own copy of the schema change, says that they are
// younger.
type arrival struct {
	streams
	latest   func(partition) (int64, error)
	executed map[ddlKey]bool
	barrier  *barrier // nil: no schema change waits
}

// barrier is a schema change that waits.
type barrier struct {
	event codec.Event
	ends  map[partition]int64 // where partitions ended when it was read
}

func newArrival(latest func(partition) (int64, error)) *arrival {
	return &arrival{streams: streams{}, latest: latest, executed: make(map[ddlKey]bool)}
}

func (a *arrival) add(m message) error {
	s := a.stream(m.from)
	s.passed(&m)
	for _, ev := range m.events {
		if ev.Kind == codec.EventRow || ev.Kind == codec.EventDDL {
			s.pending = append(s.pending, pendingEvent{ev, m.start})
		}
	}
	return nil
}

func (a *arrival) ready(context.Context) ([]codec.Event, uint64, error) {
	var out []codec.Event
	for {
		for _, s := range a.streams {
			out = a.drain(s, out)
		}
		if a.barrier == nil {
			if err := a.raise(); err != nil || a.barrier == nil {
				return out, 0, err
			}
			continue // rows that are older than it may go now
		}
		if !a.arrived() {
			return out, 0, nil
		}
		out = append(out, a.barrier.event)
		a.executed[key(&a.barrier.event)] = true
		a.barrier = nil
	}
}

// drain moves rows out of a partition, up to a schema change or the barrier.
func (a *arrival) drain(s *stream, out []codec.Event) []codec.Event {
	n := 0
	for ; n < len(s.pending); n++ {
		ev := &s.pending[n].Event
		if ev.Kind == codec.EventDDL {
			if !a.executed[key(ev)] {
				break
			}
			continue
		}
		if a.barrier != nil && ev.CommitTs > a.barrier.event.CommitTs {
			break
		}
		out = append(out, *ev)
	}
	s.pending = slices.Delete(s.pending, 0, n)
	return out
}

// raise makes the oldest schema change at the head of a partition the barrier.
func (a *arrival) raise() error {
	var oldest *codec.Event
	for _, s := range a.streams {
		if len(s.pending) > 0 && (oldest == nil || s.pending[0].CommitTs < oldest.CommitTs) {
			oldest = &s.pending[0].Event
		}
	}
	if oldest == nil {
		return nil
	}
	b := &barrier{event: *oldest, ends: make(map[partition]int64)}
	for p := range a.streams {
		end, err := a.latest(p)
		if err != nil {
			return fmt.Errorf("end of partition %d of topic %s: %w", p.id, p.topic, err)
		}
		b.ends[p] = end
	}
	a.barrier = b
	return nil
}

// arrived tells whether every partition has given its rows from before the barrier.
func (a *arrival) arrived() bool {
	for p, end := range a.barrier.ends {
		if s := a.streams[p]; len(s.pending) == 0 && s.next < end {
			return false
		}
	}
	return true
}

func key(ev *codec.Event) ddlKey { return ddlKey{ev.CommitTs, ev.Query} }

// idle adds partitions that have had no message yet.
func (a *arrival) idle(_ context.Context, starts map[partition]int64) error {
	for p, start := range starts {
		s := a.stream(p)
		s.begun(start)
	}
	return nil
}
