package owner

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
	"github.com/tidemark/tidemark/pkg/scheduler"
)

const (
	// lookups is how many tables PD is asked about at a time.
	lookups = 8
	// maxLookupFailures is how many answers may fail until the other tables of
	// the batch stay whole without a question.
	maxLookupFailures = lookups
	// lookupTimeout bounds the answer about one table, which may have very many
	// regions.
	lookupTimeout = 30 * time.Second
)

// cutting decides which tables of a run are cut into pieces. A table is looked
// at when it needs a place for the first time; what that gives stays for the
// rest of the run, as in TiCDC, and over changes of the owner.
type cutting struct {
	on   bool
	rule scheduler.SplitRule
	// whole are tables that were looked at and not cut.
	whole map[int64]struct{}
	// asking says that PD is being asked about tables.
	asking bool
}

func newCutting(c *config.SchedulerConfig) cutting {
	if !c.EnableTableAcrossNodes {
		return cutting{}
	}
	return cutting{
		on:    true,
		rule:  scheduler.SplitRule{Regions: c.RegionThreshold, WrittenKeys: uint64(c.WriteKeyThreshold)},
		whole: map[int64]struct{}{},
	}
}

// wanted is how many places there are to give.
func (r *run) wanted() int { return len(r.planner.tables) + r.pieces.extra() }

// busy tells whether a number has a place or is on its way to one.
func (r *run) busy(n int64) bool {
	_, placed := r.place.spots[n]
	return placed || r.arr.moves[n] != nil
}

// placePieces gives pieces of cut tables to captures. Of the given tables,
// which have no place, it returns those that are placed whole; those that PD
// has to be asked about first are left for later. There are so many captures
// that take tables.
func (r *run) placePieces(fleet *fleetView, tables []int64, captures int) (whole []int64) {
	if !r.cut.on && len(r.pieces.byTable) == 0 {
		return tables
	}
	var unknown []int64
	for _, table := range tables {
		_, known := r.cut.whole[table]
		switch {
		case len(r.pieces.byTable[table]) > 0:
			r.placeTable(fleet, table)
		case known || !r.cut.on:
			whole = append(whole, table)
		default:
			unknown = append(unknown, table)
		}
	}
	if len(unknown) > 0 && !r.cut.asking {
		r.cut.asking = true
		r.f.o.spawn(&r.tasks, func() {
			cuts := r.lookAt(unknown, captures)
			r.f.post(func() { r.onLookedAt(unknown, cuts) })
		})
	}
	return whole
}

// placeTable gives the pieces of a table that have no place to captures.
func (r *run) placeTable(fleet *fleetView, table int64) {
	r.pieces.fill(table)
	unplaced := slices.DeleteFunc(slices.Clone(r.pieces.byTable[table]), r.busy)
	candidates := r.candidates(fleet, table)
	for capture, numbers := range scheduler.Assign(scheduler.Interleave(unplaced, len(candidates)), candidates) {
		r.add(capture, fleet.members[capture].conn, numbers)
	}
}

// lookAt asks PD how large tables are, and cuts those that are to be cut. It
// runs in a task. Where PD does not answer, the table stays whole: that is
// slower, but goes on. It is not asked in vain over and over.
func (r *run) lookAt(tables []int64, captures int) map[int64][]model.Span {
	var mu sync.Mutex
	failures := 0
	cuts := map[int64][]model.Span{}
	var group errgroup.Group
	group.SetLimit(lookups)
	for _, table := range tables {
		group.Go(func() error {
			mu.Lock()
			away := failures > maxLookupFailures
			mu.Unlock()
			if away || r.ctx.Err() != nil {
				return nil
			}
			spans, err := r.lookAtOne(table, captures)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && spans != nil:
				cuts[table] = spans
			case err != nil:
				failures++
				r.f.logger.Warn("a table stays whole, its regions are not known",
					zap.Int64("tableID", table), zap.Bool("othersToo", failures > maxLookupFailures), zap.Error(err))
			}
			return nil
		})
	}
	_ = group.Wait() // no function fails
	return cuts
}

// lookAtOne cuts a table; nil when it stays whole.
func (r *run) lookAtOne(table int64, captures int) ([]model.Span, error) {
	ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
	defer cancel()
	span := model.TableSpan(table)
	regions, err := r.f.o.upstream.TableRegions(ctx, span, r.cut.rule.WrittenKeys > 0)
	if err != nil {
		return nil, err
	}
	return scheduler.Split(span, regions, captures, r.cut.rule), nil
}

// onLookedAt takes over what PD said about tables. One that has found a place
// meanwhile, because a capture has come that holds it, is left as it is.
func (r *run) onLookedAt(tables []int64, cuts map[int64][]model.Span) {
	r.cut.asking = false
	if r.f.run != r {
		return
	}
	for _, table := range tables {
		if _, ok := r.planner.tables[table]; !ok || r.busy(table) || len(r.pieces.byTable[table]) > 0 {
			continue
		}
		if cuts[table] == nil {
			r.cut.whole[table] = struct{}{}
			continue
		}
		for _, span := range cuts[table] {
			r.pieces.add(span)
		}
		r.f.logger.Info("table is cut", zap.Int64("tableID", table), zap.Int("spans", len(cuts[table])))
	}
}

// adopt finds the number of a span that a capture holds. Pieces that an
// earlier owner has made are taken over as they are; own ones that have no
// place give way. False means that others have a part of the span.
func (r *run) adopt(s *peerpb.Span) (int64, bool) {
	n, known := r.pieces.find(s)
	switch {
	case known && n < 0:
		return n, true
	case known:
		if len(r.pieces.byTable[n]) == 0 {
			return n, true
		}
		if slices.ContainsFunc(r.pieces.byTable[n], r.busy) {
			return 0, false
		}
		r.pieces.forget(n)
		return n, true
	}
	span := model.Span{TableID: s.TableId, StartKey: s.StartKey, EndKey: s.EndKey}
	overlapping := r.pieces.overlapping(span)
	if r.busy(s.TableId) || slices.ContainsFunc(overlapping, r.busy) {
		return 0, false
	}
	for _, other := range overlapping {
		r.pieces.remove(other)
	}
	n = r.pieces.add(span)
	r.pieces.gaps[s.TableId] = struct{}{}
	return n, true
}

// forgetCut forgets how a table that is not replicated any more was cut, or
// the piece that a number stands for.
func (r *run) forgetCut(n int64) {
	if n < 0 {
		r.pieces.remove(n)
		return
	}
	delete(r.cut.whole, n)
}

// group is what is spread over captures by itself: all whole tables together,
// or the pieces of one table, so that each capture gets its share of them.
type group struct {
	table  int64 // 0: the whole tables
	placed map[model.CaptureID][]int64
}

// groups lists what has a place.
func (r *run) groups() []group {
	list := []group{{placed: map[model.CaptureID][]int64{}}}
	for capture, numbers := range r.place.lists() {
		list[0].placed[capture] = numbers[cutNumbers(numbers):]
	}
	for _, table := range slices.Sorted(maps.Keys(r.pieces.byTable)) {
		g := group{table, map[model.CaptureID][]int64{}}
		for _, n := range r.pieces.byTable[table] {
			if capture := r.place.of(n); capture != "" {
				g.placed[capture] = append(g.placed[capture], n)
			}
		}
		list = append(list, g)
	}
	return list
}
