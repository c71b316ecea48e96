package processor

import "sync"

// minScanBudget is what scans of history may bring into memory, in bytes,
// for the smallest quotas.
const minScanBudget = 16 << 20

// admission paces the scans of history. Nothing that a span's scan brings can
// be delivered before all of it is there, so no more spans are scanned at a time
// than memory should pay for. How many that are depends on what the last ones
// brought: a thousand idle tables start at once, big ones one after the other,
// and the first one alone.
type admission struct {
	held   func() int64 // bytes in memory
	lent   func() int64 // those of them that are with the sink
	quota  int64
	budget int64

	mu       sync.Mutex
	scanning map[*span]struct{}
	known    bool  // a scan has ended
	guess    int64 // bytes that one scan brings, by those that have ended
}

func newAdmission(held, lent func() int64, quota int64) *admission {
	return &admission{
		held: held, lent: lent, quota: quota, budget: max(minScanBudget, quota/64),
		scanning: map[*span]struct{}{},
	}
}

// admit tells whether the span may read its history now. While the sink is at
// work, what is in memory gets less by itself, and there is no hurry. Else, as
// long as the quota is kept, one may: the checkpoint waits for it.
func (a *admission) admit(s *span) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	need, room, n := a.held(), a.quota, int64(len(a.scanning))
	if n > 0 || a.lent() > 0 {
		room = a.budget
	}
	if n > 0 {
		need += (n + 1) * a.guess
	}
	if need > room || n > 0 && !a.known {
		return false
	}
	a.scanning[s] = struct{}{}
	return true
}

// ended tells that the span's history, so many bytes, is read.
func (a *admission) ended(s *span, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.scanning[s]; ok {
		delete(a.scanning, s)
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
	delete(a.scanning, s)
}
