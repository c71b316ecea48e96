package owner

import (
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

// FilterDDL turns a job into the events that go downstream: none, one or
// several. An error means that the changefeed cannot go on.
type FilterDDL func(ev *model.DDLEvent, f *filter.Filter, forceReplicate bool) ([]*model.DDLEvent, error)

// planner walks through the DDLs of one run. It knows which tables are
// replicated as of the last DDL that is done, and what the next one changes.
type planner struct {
	schema Schema
	filter *filter.Filter
	split  FilterDDL
	force  bool
	bdr    bool   // DDL goes downstream from the primary cluster only
	target uint64 // 0: none

	done   uint64             // every DDL with CommitTs <= done is done or void
	tables map[int64]struct{} // physical ids to replicate after done
	next   *step
}

// step is a TSO at which the changefeed has to stop: every row up to it goes
// first, then the events, then rows of the changed set of tables.
type step struct {
	ts        uint64
	events    []*model.DDLEvent
	add, drop []int64
}

func newPlanner(schema Schema, f *filter.Filter, split FilterDDL, cfg *config.ReplicaConfig, start, target uint64) *planner {
	p := &planner{schema: schema, filter: f, split: split, force: cfg.ForceReplicate, target: target, done: start}
	p.bdr = cfg.BDRMode != nil && *cfg.BDRMode
	p.tables = p.replicated(schema.Tables(start))
	return p
}

// replicated lists the physical tables to replicate among some tables.
func (p *planner) replicated(tables []*model.Table) map[int64]struct{} {
	set := map[int64]struct{}{}
	for _, t := range tables {
		if !p.replicates(t) {
			continue
		}
		for _, id := range t.PhysicalIDs() {
			set[id] = struct{}{}
		}
	}
	return set
}

func (p *planner) replicates(t *model.Table) bool {
	return t.Eligible(p.force) && p.filter.MatchTable(t.Schema, t.Name)
}

// versions lists the replicated tables after the last DDL that is done.
func (p *planner) versions() []*model.Table {
	var out []*model.Table
	for _, t := range p.schema.Tables(p.done) {
		if p.replicates(t) {
			out = append(out, t)
		}
	}
	return out
}

// advance looks for the next DDL that matters and returns the barrier: rows
// with a greater commit-ts must stay where they are.
func (p *planner) advance() (barrier uint64, err error) {
	if p.next == nil {
		if err := p.findNext(); err != nil {
			return 0, err
		}
	}
	if p.next != nil {
		return p.next.ts, nil
	}
	if p.target != 0 && p.done > p.target {
		return p.target, nil
	}
	return p.done, nil
}

// findNext moves done forward over DDLs that do not matter.
func (p *planner) findNext() error {
	resolved := p.schema.ResolvedTs()
	if p.target != 0 {
		resolved = min(resolved, p.target)
	}
	if resolved <= p.done {
		return nil
	}
	jobs := p.schema.DDLs(p.done, resolved)
	for len(jobs) > 0 {
		same := 1
		for same < len(jobs) && jobs[same].CommitTs == jobs[0].CommitTs {
			same++
		}
		next, err := p.plan(jobs[:same])
		if err != nil {
			return err
		}
		if next != nil {
			p.next = next
			return nil
		}
		p.done = jobs[0].CommitTs
		jobs = jobs[same:]
	}
	p.done = resolved
	return nil
}

// plan looks at the jobs of one commit-ts; nil when they change nothing for
// this changefeed.
func (p *planner) plan(jobs []*model.DDLEvent) (*step, error) {
	s := &step{ts: jobs[0].CommitTs}
	for _, job := range jobs {
		events, err := p.split(job, p.filter, p.force)
		if err != nil {
			return nil, err
		}
		if p.replicatesDDL(job) {
			s.events = append(s.events, events...)
		}
	}
	before, now := p.schema.ChangedTables(p.done, s.ts)
	old, set := p.replicated(before), p.replicated(now)
	s.add, s.drop = difference(set, old), difference(old, set)
	if len(s.events) == 0 && len(s.add) == 0 && len(s.drop) == 0 {
		return nil, nil
	}
	return s, nil
}

// replicatesDDL is false for a DDL that the other clusters of a BDR group do
// not get: those of a cluster that is not the primary one, which include what
// a changefeed has executed there, change the tables here alone.
func (p *planner) replicatesDDL(job *model.DDLEvent) bool {
	return !p.bdr || job.BDRRole == string(ast.BDRRolePrimary) && job.CDCWriteSource == 0
}

// finish marks the planned step as done.
func (p *planner) finish() {
	for _, id := range p.next.drop {
		delete(p.tables, id)
	}
	for _, id := range p.next.add {
		p.tables[id] = struct{}{}
	}
	p.done, p.next = p.next.ts, nil
}

// difference lists what is in a but not in b, sorted.
func difference(a, b map[int64]struct{}) []int64 {
	var out []int64
	for id := range a {
		if _, ok := b[id]; !ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
