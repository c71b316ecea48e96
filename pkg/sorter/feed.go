package sorter

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// hardSlack is how far, in bytes and beside a quarter of the quota, a buffer
// may outgrow its quota before Add waits for the disk.
const hardSlack = 16 << 20

// Feed is the sorter of one changefeed: the spans that share its quota.
type Feed struct {
	engine *Engine
	quota  int64

	buffered   atomic.Int64 // bytes of rows that could be spilled
	lent       atomic.Int64 // bytes of batches that were not released
	unfinished atomic.Int64 // bytes that Unfinished was told of

	failed atomic.Pointer[error]
	closed atomic.Bool

	refused time.Time // since when scans have no room; guarded by budget.mu

	mu    sync.Mutex
	spans map[*Span]struct{}
}

// NewSpan adds a span without rows.
func (f *Feed) NewSpan() *Span {
	s := &Span{feed: f, id: f.engine.nextSpan.Add(1)}
	s.sorted.pool = &f.engine.pools.chunks
	f.mu.Lock()
	f.spans[s] = struct{}{}
	f.mu.Unlock()
	return s
}

func (f *Feed) forget(s *Span) {
	f.mu.Lock()
	delete(f.spans, s)
	f.mu.Unlock()
}

// Held is the memory, in bytes, that counts against the quota: buffered rows,
// batches that were not released, and what Unfinished was told of.
func (f *Feed) Held() int64 { return f.buffered.Load() + f.lent.Load() + f.unfinished.Load() }

// Unfinished counts delta bytes more, or fewer, of rows that are on their way
// to the feed but for the end of their transactions. They wait elsewhere and
// never for memory, so that others have to leave it to them.
func (f *Feed) Unfinished(delta int64) {
	f.unfinished.Add(delta)
	f.engine.budget.await(delta)
	if delta < 0 {
		f.engine.relief.signal()
	}
}

// Lent is the part of Held that is in batches which were not released.
func (f *Feed) Lent() int64 { return f.lent.Load() }

// Quota is the memory, in bytes, that the feed may hold.
func (f *Feed) Quota() int64 { return f.quota }

// LendLimit is what the feed should have lent at most, in bytes, so that no
// changefeed keeps others from lending: an equal share of what the process
// has for that. It changes as changefeeds come and go.
func (f *Feed) LendLimit() int64 {
	b := f.engine.budget
	if b.limit == 0 {
		return math.MaxInt64
	}
	return max(b.share(b.limit/lendPart), 1)
}

// BeginScan asks whether the process has memory for a scan of history that is
// expected to bring so many bytes; negative is not known. If it has, EndScan
// must follow with what was reserved.
func (f *Feed) BeginScan(bytes int64) (reserved int64, ok bool) {
	reserved, ok = f.engine.budget.beginScan(f, bytes)
	if f.engine.budget.pressed.Load() {
		f.engine.wake()
	}
	return reserved, ok
}

// EndScan tells that a scan is over and how many bytes it brought; negative is
// not known.
func (f *Feed) EndScan(reserved, brought int64) { f.engine.budget.endScan(reserved, brought) }

// Close drops all spans and releases whoever waits in Add. Batches may be
// released later.
func (f *Feed) Close() {
	f.closed.Store(true)
	f.engine.relief.broadcast()
	f.mu.Lock()
	spans := f.spans
	f.spans = map[*Span]struct{}{}
	f.mu.Unlock()
	for s := range spans {
		s.Close()
	}
	f.engine.forget(f)
}

func (f *Feed) unbuffer(n int64) {
	f.buffered.Add(-n)
	f.engine.budget.buffered.Add(-n)
	f.engine.relief.signal()
}

func (f *Feed) lend(n int64) {
	f.lent.Add(n)
	f.engine.budget.lend(n)
}

func (f *Feed) released(n int64) {
	f.lent.Add(-n)
	f.engine.budget.lent.Add(-n)
	f.engine.relief.signal()
}

func (f *Feed) fail(err error) {
	f.failed.CompareAndSwap(nil, &err)
	f.engine.relief.broadcast()
}

// failure is why rows of the feed were lost, nil while none were.
func (f *Feed) failure() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// reserve counts n bytes of rows that are about to be buffered. When the
// process has no memory for them it waits until others went to disk. The wait
// ends because everything that is waited for can be spilled, and spilling
// waits for nobody. Rows for which even that makes no room are let in alone.
func (f *Feed) reserve(n int64) {
	b := f.engine.budget
	if b.take(n) {
		return
	}
	b.waits.Add(1)
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	f.engine.wake()
	taken := false
	f.engine.relief.wait(func() bool {
		taken = b.take(n)
		return !taken && !f.closed.Load() && f.failed.Load() == nil && b.buffered.Load() > worthIt(b.limit)
	})
	if !taken {
		b.force(n)
	}
}

// throttle starts spilling when memory runs short and waits for it when the
// quota is exceeded by far, which ends as it does in reserve.
func (f *Feed) throttle() error {
	if f.Held() > f.quota || f.engine.budget.short() {
		f.engine.wake()
	}
	if f.buffered.Load() > f.most() {
		f.engine.relief.wait(func() bool {
			return f.buffered.Load() > f.most() && !f.closed.Load() && f.failed.Load() == nil
		})
	}
	return f.failure()
}

// most is how many bytes may be buffered before Add waits for the disk.
func (f *Feed) most() int64 { return f.quota + f.quota/4 + hardSlack }

// signal lets goroutines wait for a condition over atomics.
type relief struct {
	waiting atomic.Int32
	mu      sync.Mutex
	cond    sync.Cond
}

func newRelief() *relief {
	r := &relief{}
	r.cond.L = &r.mu
	return r
}

// wait blocks while the condition holds; whoever may end it calls signal.
func (r *relief) wait(while func() bool) {
	if !while() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	for while() {
		r.cond.Wait()
	}
}

// signal is cheap while nobody waits.
func (r *relief) signal() {
	if r.waiting.Load() > 0 {
		r.broadcast()
	}
}

func (r *relief) broadcast() {
	r.mu.Lock()
	r.cond.Broadcast()
	r.mu.Unlock()
}
