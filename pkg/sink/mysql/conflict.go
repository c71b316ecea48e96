package mysql

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/tidemark/tidemark/pkg/model"
)

// job is a run of rows of one table that one worker applies as a whole.
type job struct {
	batch       *pendingBatch
	plan        *tablePlan
	rows        []model.RawChange
	keys        []uint64 // conflict keys of the whole batch
	ends        []uint32 // row i has keys[ends[i]:ends[i+1]]
	replicateTs uint64
	first       int   // position of the first row in the batch
	kept        []int // rows of the batch whose old keys stay, see keptKeys
	overtaken   []int // rows of the batch whose new content must not be written
	part        bool  // of a transaction whose rows may take unique values from each other
	worker      int
	ticket      uint64
	after       []position // what must be done before, on other workers
}

func (j *job) keysOf(row int) []uint64 { return j.keys[j.ends[row]:j.ends[row+1]] }

// position is a place in a worker's queue: the job with that ticket.
type position struct {
	worker int
	ticket uint64
}

// pendingBatch counts the parts of one RowBatch that are in use.
type pendingBatch struct {
	done func(error)
	left atomic.Int32
	err  atomic.Pointer[error] // the first
}

// finish gives back one part. The batch is done with the last one, since its
// memory may be gone the moment it is done.
func (b *pendingBatch) finish(err error) {
	if err != nil {
		b.err.CompareAndSwap(nil, &err)
	}
	if b.left.Add(-1) > 0 {
		return
	}
	if first := b.err.Load(); first != nil {
		b.done(*first)
		return
	}
	b.done(nil)
}

const (
	// slotBits: 2^17 slots are 1 MiB, used only by sinks that write rows. With
	// 16 workers of 512 rows a row meets a stranger in its slot in 6 of 100
	// cases, which costs it the choice of its worker and nothing else.
	slotBits   = 17
	slotMask   = 1<<slotBits - 1
	ticketBits = 48
	ticketMask = 1<<ticketBits - 1
)

// dispatcher spreads rows over the workers such that rows with a conflict key
// in common are applied in the order in which they came.
//
// A slot remembers the last job that had one of the slot's keys. A row that
// finds such jobs unfinished goes behind one of them in its worker's queue,
// and waits there for those on other workers. Waits lead to earlier jobs only
// and queues are first in, first out, so there is always a job that can run.
type dispatcher struct {
	workers []*worker
	maxRows int // rows that fill a transaction
	plans   func(*model.Table) *tablePlan

	mu      sync.Mutex
	slots   []uint64 // worker+1 << ticketBits | ticket
	tables  map[int64]*tablePlan
	home    map[int64]int     // table → the worker that got its last free rows
	cut     map[int64]*cutTxn // physical table → the transaction that its last batch cut
	newest  overtaken
	open    *job     // being filled, not in its worker's queue yet
	done    []uint64 // scratch: finished ticket per worker
	need    []uint64 // scratch: ticket to wait for per worker
	needing []int    // scratch: workers with an entry in need
	next    int      // where the search for a worker starts
}

func newDispatcher(workers []*worker, maxRows int, plans func(*model.Table) *tablePlan) *dispatcher {
	return &dispatcher{
		workers: workers, maxRows: maxRows, plans: plans,
		tables: make(map[int64]*tablePlan), home: make(map[int64]int), cut: make(map[int64]*cutTxn),
		done: make([]uint64, len(workers)), need: make([]uint64, len(workers)),
	}
}

// maxPlans bounds the table plans that are remembered.
const maxPlans = 4096

// plan returns the plan of a table version.
func (d *dispatcher) plan(t *model.Table) *tablePlan {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.tables[t.ID]; p != nil && p.table == t {
		return p
	}
	if len(d.tables) >= maxPlans {
		clear(d.tables)
		clear(d.home)
	}
	p := d.plans(t)
	d.tables[t.ID] = p
	return p
}

// dispatch queues the rows of a batch; all is a job but for worker, ticket and
// what it waits for. Rows are dealt out by upstream transactions, those that
// are too large for one of ours row by row unless split is false. Neighbours
// that go the same way share a job. taken is what keyHasher.taken has returned.
func (d *dispatcher) dispatch(all *job, b *model.RowBatch, moves []move, taken takenKeys, split bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slots == nil {
		d.slots = make([]uint64, 1<<slotBits)
	}
	for n, w := range d.workers {
		d.done[n] = w.done.Load()
	}
	cut := d.cut[b.TableID]
	if cut == nil {
		cut = &cutTxn{}
	}
	before := cut.commitTs
	all.kept = cut.keptKeys(all.rows, moves)
	if all.plan.globalKey {
		all.overtaken = d.newest.find(all, taken)
	}
	for from := 0; from < len(all.rows); {
		to := from + 1
		for to < len(all.rows) && sameTxn(&all.rows[from], &all.rows[to]) {
			to++
		}
		// The rest of the transaction may be in the batch before or behind.
		whole := (from > 0 || before != all.rows[0].CommitTs) && (to < len(all.rows) || b.LastOfTxn)
		step := to - from
		if split && step > d.maxRows {
			step, whole = 1, false
		}
		for ; from < to; from += step {
			d.deal(all, from, from+step, all.plan.globalKey || !whole && all.plan.exchanges)
		}
	}
	d.closeJob()
	if b.LastOfTxn {
		delete(d.cut, b.TableID)
	} else {
		d.cut[b.TableID] = cut
	}
}

func sameTxn(a, b *model.RawChange) bool { return a.CommitTs == b.CommitTs && a.StartTs == b.StartTs }

// deal appends the rows of [from, to) to the open job, or opens another one.
func (d *dispatcher) deal(all *job, from, to int, part bool) {
	keys := all.keys[all.ends[from]:all.ends[to]]
	chosen := d.choose(all.plan, to-from, keys)
	j := d.open
	if j == nil || j.worker != chosen || j.part != part || len(j.rows)+to-from > d.maxRows {
		d.closeJob()
		w := d.workers[chosen]
		w.lastTicket++
		all.batch.left.Add(1)
		j = &job{
			batch: all.batch, plan: all.plan, keys: all.keys, replicateTs: all.replicateTs,
			first: from, kept: all.kept, overtaken: all.overtaken, part: part, worker: chosen, ticket: w.lastTicket,
			rows: all.rows[from:from], ends: all.ends[from : from+1],
		}
		d.open = j
	}
	j.rows = j.rows[:len(j.rows)+to-from]
	j.ends = j.ends[:len(j.rows)+1]
	for _, n := range d.needing {
		if n != chosen {
			j.after = append(j.after, position{worker: n, ticket: d.need[n]})
		}
	}
	slot := uint64(chosen+1)<<ticketBits | j.ticket
	for _, k := range keys {
		d.slots[k&slotMask] = slot
	}
}

// closeJob gives the open job to its worker.
func (d *dispatcher) closeJob() {
	if d.open != nil {
		d.workers[d.open.worker].enqueue(d.open)
		d.open = nil
	}
}

// choose finds the worker for some rows and leaves in d.need what they depend on.
func (d *dispatcher) choose(p *tablePlan, rows int, keys []uint64) int {
	for _, n := range d.needing {
		d.need[n] = 0
	}
	d.needing = d.needing[:0]
	behind := -1
	for _, k := range keys {
		slot := d.slots[k&slotMask]
		if slot == 0 {
			continue
		}
		n, ticket := int(slot>>ticketBits)-1, slot&ticketMask
		if ticket <= d.done[n] {
			continue
		}
		if d.need[n] == 0 {
			d.needing = append(d.needing, n)
		}
		d.need[n] = max(d.need[n], ticket)
		// Of several workers the one with most to do is likely the last to
		// finish: behind it there is the least waiting.
		if behind < 0 || d.workers[n].queued.Load() > d.workers[behind].queued.Load() {
			behind = n
		}
	}
	if behind >= 0 {
		return behind
	}
	return d.freeChoice(p.table.ID, rows)
}

// freeChoice prefers the worker that had the table last, until its next
// transaction is full, since rows of one table share statements. Then it is
// the worker with least to do.
func (d *dispatcher) freeChoice(table int64, rows int) int {
	if n, ok := d.home[table]; ok {
		waiting := int(d.workers[n].waiting.Load()) + rows
		if d.open != nil && d.open.worker == n {
			waiting += len(d.open.rows)
		}
		if waiting <= d.maxRows {
			return n
		}
	}
	best := d.next
	for i := range d.workers {
		n := (d.next + i) % len(d.workers)
		if d.workers[n].queued.Load() < d.workers[best].queued.Load() {
			best = n
		}
	}
	d.next = (best + 1) % len(d.workers)
	d.home[table] = best
	return best
}

// progress lets workers wait for each other's jobs.
type progress struct {
	waiters atomic.Int32
	mu      sync.Mutex
	changed chan struct{}
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

// announce wakes everyone who waits.
func (p *progress) announce() {
	if p.waiters.Load() == 0 {
		return
	}
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
}

// wait blocks until ready is true, which is asked again after each announcement.
func (p *progress) wait(ctx context.Context, ready func() bool) error {
	p.waiters.Add(1)
	defer p.waiters.Add(-1)
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if ready() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
