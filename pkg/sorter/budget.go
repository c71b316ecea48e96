package sorter

import (
	"sync"
	"sync/atomic"
	"time"
)

// lendPart is the part of the memory limit, one over this, that may be lent
// out in batches. The rest is for rows that wait and can go to disk. Keeping
// the two apart lets both always go on: who waits for room to buffer waits for
// the disk only, however long a sink stands still.
const lendPart = 4

// scanPatience is how long a scan that does not fit waits for sinks to make
// room before rows of others may be sent to disk for it, and the time between
// two such scans.
const scanPatience = 2 * time.Second

// budget is the memory that all changefeeds of the process share. Without a
// limit it only counts.
type budget struct {
	limit int64 // of the three below; 0 is none

	buffered   atomic.Int64 // bytes of rows that could go to disk
	lent       atomic.Int64 // bytes of batches that were not released
	unfinished atomic.Int64 // bytes of rows of unfinished transactions
	peak       atomic.Int64 // the most that all were
	waiting    atomic.Int64 // who waits for rows to go to disk
	waits      atomic.Int64 // times that somebody did
	feeds      atomic.Int64
	// pressed is set while rows go to disk because scans of who has little wait.
	pressed atomic.Bool

	now func() time.Time

	mu       sync.Mutex
	scans    int   // of history, under way
	expected int64 // bytes that they will bring
	average  int64 // bytes that the last ones brought
	forced   time.Time
}

func newBudget(limit int64) *budget { return &budget{limit: limit, now: time.Now} }

// forBuffers is what buffered must not exceed, in bytes. Unfinished transactions
// take from it what they need, but for a quarter: their rows can go nowhere.
func (b *budget) forBuffers() int64 {
	most := b.limit - b.limit/lendPart
	return max(most-b.unfinished.Load(), most/4)
}

// high is from where on rows go to disk.
func (b *budget) high() int64 { return b.forBuffers() / 4 * 3 }

// low is down to where rows go to disk.
func (b *budget) low() int64 { return b.forBuffers() / 2 }

// short tells that rows should go to disk.
func (b *budget) short() bool {
	if b.limit == 0 {
		return false
	}
	buffered := b.buffered.Load()
	if buffered <= b.low() {
		b.pressed.Store(false)
	}
	return buffered > b.high() || b.waiting.Load() > 0 || b.pressed.Load()
}

// excess is how many bytes should go to disk when memory is short: down to
// half of what there is or, for rows that need more than that, as much as possible.
func (b *budget) excess() int64 {
	buffered := b.buffered.Load()
	if more := buffered - b.low(); more > 0 {
		return more
	}
	return buffered
}

func (b *budget) held() int64 { return b.buffered.Load() + b.lent.Load() + b.unfinished.Load() }

// share is what each changefeed may have lent out or, of the rest, buffered
// when memory is short.
func (b *budget) share(of int64) int64 { return of / max(b.feeds.Load(), 1) }

func (b *budget) join(n int64) { b.feeds.Add(n) }

// take counts rows that are to be buffered and returns false, counting
// nothing, when they do not fit.
func (b *budget) take(n int64) bool {
	for {
		now := b.buffered.Load()
		if b.limit > 0 && now+n > b.forBuffers() {
			return false
		}
		if b.buffered.CompareAndSwap(now, now+n) {
			b.risen()
			return true
		}
	}
}

// force counts rows that have to be buffered although they do not fit.
func (b *budget) force(n int64) {
	b.buffered.Add(n)
	b.risen()
}

func (b *budget) lend(n int64) {
	b.lent.Add(n)
	b.risen()
}

func (b *budget) await(n int64) {
	b.unfinished.Add(n)
	b.risen()
}

func (b *budget) risen() {
	held := b.held()
	for {
		peak := b.peak.Load()
		if held <= peak || b.peak.CompareAndSwap(peak, held) {
			return
		}
	}
}

// beginScan tells whether a scan of history may start that is expected to
// bring so many bytes, or when that is negative as many as others. It may when
// that fits beside everything else, and then it is reserved; what needs most
// of the memory goes to disk anyway and counts as half of it. Normally sinks
// soon make room. When they do not, and the changefeed has less than its share
// buffered, rows of others, whose sinks may be slow or stand still, have to go
// to disk, and now and then it may start a scan beside no other nevertheless.
func (b *budget) beginScan(f *Feed, bytes int64) (reserved int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes < 0 {
		bytes = b.average
	}
	if b.limit > 0 {
		bytes = min(bytes, b.high()/2)
	}
	if b.limit > 0 && b.buffered.Load()+b.expected+bytes > b.high() && !b.forcesScan(f) {
		return 0, false
	}
	f.refused = time.Time{}
	b.scans++
	b.expected += bytes
	return bytes, true
}

// forcesScan tells whether a scan may start although it does not fit. mu is held.
func (b *budget) forcesScan(f *Feed) bool {
	now := b.now()
	if f.refused.IsZero() {
		f.refused = now
	}
	if f.buffered.Load() > b.share(b.forBuffers()) || now.Sub(f.refused) < scanPatience {
		return false
	}
	if b.buffered.Load() > b.low() {
		b.pressed.Store(true)
	}
	if b.scans > 0 || now.Sub(b.forced) < scanPatience {
		return false
	}
	b.forced = now
	return true
}

// endScan gives back what was reserved and learns what the scan brought,
// negative when that is not known.
func (b *budget) endScan(reserved, brought int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scans--
	b.expected -= reserved
	if brought >= 0 {
		b.average = (b.average + brought) / 2
	}
}
