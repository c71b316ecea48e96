package sorter

import (
	"sync"
	"sync/atomic"
)

// hardSlack is how far, in bytes and beside a quarter of the quota, a buffer
// may outgrow its quota before Add waits for the disk.
const hardSlack = 16 << 20

// Feed is the sorter of one changefeed: the spans that share its quota.
type Feed struct {
	engine *Engine
	quota  int64

	buffered atomic.Int64 // bytes of rows that could be spilled
	lent     atomic.Int64 // bytes of batches that were not released

	failed atomic.Pointer[error]
	closed atomic.Bool

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

// Held is the memory, in bytes, that counts against the quota: buffered rows
// and batches that were not released.
func (f *Feed) Held() int64 { return f.buffered.Load() + f.lent.Load() }

// Lent is the part of Held that is in batches which were not released.
func (f *Feed) Lent() int64 { return f.lent.Load() }

// Quota is the memory, in bytes, that the feed may hold.
func (f *Feed) Quota() int64 { return f.quota }

// OverQuota tells that rows are being written to disk to save memory.
func (f *Feed) OverQuota() bool { return f.Held() > f.quota || f.engine.over() }

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

func (f *Feed) buffer(n int64) {
	f.buffered.Add(n)
	f.engine.held.Add(n)
}

func (f *Feed) unbuffer(n int64) {
	f.buffered.Add(-n)
	f.engine.held.Add(-n)
	f.engine.relief.signal()
}

func (f *Feed) lend(n int64) {
	f.lent.Add(n)
	f.engine.held.Add(n)
}

func (f *Feed) released(n int64) {
	f.lent.Add(-n)
	f.engine.held.Add(-n)
	f.engine.relief.signal()
}

func (f *Feed) fail(err error) {
	f.failed.CompareAndSwap(nil, &err)
	f.engine.relief.broadcast()
}

// throttle starts spilling when the quota is exceeded and waits for it when it
// is exceeded by far. The wait ends because everything that is waited for can
// be spilled, and spilling waits for nobody.
func (f *Feed) throttle() error {
	if f.OverQuota() {
		f.engine.wake()
		f.engine.relief.wait(func() bool {
			return f.wayOver() && !f.closed.Load() && f.failed.Load() == nil
		})
	}
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *Feed) wayOver() bool {
	buffered := f.buffered.Load()
	if buffered > f.quota+f.quota/4+hardSlack {
		return true
	}
	limit := f.engine.cfg.MemoryLimit
	return limit > 0 && buffered > hardSlack && f.engine.held.Load() > limit+limit/4+hardSlack
}

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
