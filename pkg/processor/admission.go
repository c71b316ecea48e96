package processor

import (
	"sync"
	"time"
)

const (
	// minScanBudget is what scans of history may bring into memory, in bytes,
	// for the smallest quotas.
	minScanBudget = 16 << 20

	// idleSink is how long a sink must have had nothing to do before that is
	// taken for a standstill: between a scan and its first rows in the sink, and
	// between two batches, there is always a moment in which it has nothing.
	idleSink = 500 * time.Millisecond
)

// memory is what admission has to keep within; a *sorter.Feed.
type memory interface {
	Held() int64  // bytes in memory
	Lent() int64  // those of them that are with the sink
	Quota() int64 // what Held should not exceed
	// BeginScan asks for a part of what all changefeeds share, for as many
	// bytes as a scan should bring, negative when that is not known; false: not now.
	BeginScan(bytes int64) (reserved int64, ok bool)
	// EndScan gives the part back and tells what the scan brought, negative
	// when that is not known.
	EndScan(reserved, brought int64)
}

// admission paces the scans of history. Nothing that a span's scan brings can
// be delivered before all of it is there, so no more spans are scanned at a time
// than memory should pay for. How many that are depends on what the last ones
// brought: a thousand idle tables start at once, big ones one after the other,
// and the first one alone. What other changefeeds do counts too.
type admission struct {
	memory memory
	budget int64
	now    func() time.Time

	mu       sync.Mutex
	busyAt   time.Time       // when the sink or a scan was last seen at work
	scanning map[*span]int64 // and what is reserved for each
	known    bool            // a scan has ended
	guess    int64           // bytes that one scan brings, by those that have ended
}

func newAdmission(m memory, now func() time.Time) *admission {
	return &admission{memory: m, budget: max(minScanBudget, m.Quota()/64), now: now, busyAt: now(), scanning: map[*span]int64{}}
}

// admit tells whether the span may read its history now. While the sink is at
// work, what is in memory gets less by itself, and there is no hurry. Else, as
// long as the quota is kept, one may: the checkpoint waits for it. Spans that
// were refused ask again every few milliseconds.
func (a *admission) admit(s *span) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.scanning[s]; ok {
		return true
	}
	need, room, n := a.memory.Held(), a.memory.Quota(), int64(len(a.scanning))
	now := a.now()
	if n > 0 || a.memory.Lent() > 0 {
		a.busyAt = now
	}
	if now.Sub(a.busyAt) < idleSink {
		room = a.budget
	}
	if n > 0 {
		need += (n + 1) * a.guess
	}
	if need > room || n > 0 && !a.known {
		return false
	}
	guess := a.guess
	if !a.known {
		guess = -1
	}
	reserved, ok := a.memory.BeginScan(guess)
	if ok {
		a.scanning[s] = reserved
	}
	return ok
}

// ended tells that the span's history, so many bytes, is read.
func (a *admission) ended(s *span, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.drop(s, bytes) {
		if !a.known {
			a.known, a.guess = true, bytes
			return
		}
		a.guess = (a.guess + bytes) / 2
	}
}

// forget takes out a span that is gone.
func (a *admission) forget(s *span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(s, -1)
}

// drop ends a scan that brought so many bytes. It returns false for a span
// that is not being scanned. admission.mu is held.
func (a *admission) drop(s *span, brought int64) bool {
	reserved, ok := a.scanning[s]
	if ok {
		delete(a.scanning, s)
		a.memory.EndScan(reserved, brought)
	}
	return ok
}

// close gives up all scans.
func (a *admission) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.scanning {
		a.drop(s, -1)
	}
}
