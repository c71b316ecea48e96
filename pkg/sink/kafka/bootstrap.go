package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/tidemark/tidemark/pkg/sink/dispatch"
)

const (
	bootstrapTick   = 5 * time.Second
	bootstrapForget = 30 * time.Minute // without rows
)

// bootstrapOptions say how often the schema of a table is sent.
type bootstrapOptions struct {
	on            bool
	interval      time.Duration
	rows          int
	allPartitions bool // else partition 0 only
	atStart       bool // the owner sends all of them once
}

// bootstrapper sends the schema of a table before its first row of this sink,
// and again after a while or a number of rows.
type bootstrapper struct {
	sink *Sink
	o    bootstrapOptions

	mu     sync.Mutex             // held while messages are queued: rows that come later are behind them
	tables map[int64]*announcedAs // by physical id
}

// announcedAs is when and how a table was announced last.
type announcedAs struct {
	plan       *dispatch.Plan
	partitions int32
	sent       time.Time
	active     time.Time
	rows       int
}

func newBootstrapper(s *Sink, o bootstrapOptions) *bootstrapper {
	return &bootstrapper{sink: s, o: o, tables: map[int64]*announcedAs{}}
}

// before is called ahead of a number of rows.
func (b *bootstrapper) before(plan *dispatch.Plan, physicalID int64, partitions int32, rows int) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.tables[physicalID]
	fresh := a == nil || a.partitions < partitions
	if a == nil {
		a = &announcedAs{}
		b.tables[physicalID] = a
	}
	a.plan, a.partitions, a.active = plan, partitions, now
	if fresh {
		b.announce(a, now)
	}
	a.rows += rows
}

// announce queues the schema for the partitions. b.mu is held.
func (b *bootstrapper) announce(a *announcedAs, now time.Time) {
	a.sent, a.rows = now, 0
	partitions := a.partitions
	if !b.o.allPartitions {
		partitions = 1
	}
	for i := range partitions {
		b.sink.enqueue(&task{plan: a.plan, partition: i, table: a.plan.Table})
	}
}

// run announces tables again until ctx ends.
func (b *bootstrapper) run(ctx context.Context) {
	tick := time.NewTicker(bootstrapTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.again(now)
		}
	}
}

// again announces the tables whose time has come and forgets idle ones.
func (b *bootstrapper) again(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, a := range b.tables {
		switch {
		case now.Sub(a.active) >= bootstrapForget:
			delete(b.tables, id)
		case now.Sub(a.sent) >= b.o.interval || a.rows >= b.o.rows:
			b.announce(a, now)
		}
	}
}
