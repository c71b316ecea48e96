package processor

import "sync"

const (
	// minScanBudget is what scans of history may bring into memory, in bytes,
	// for the smallest quotas.
	minScanBudget = 16 << 20
	// firstScanGuess is what a scan is expected to bring before any has ended.
	firstScanGuess = 16 << 20
)

// admission paces the scans of history. Nothing that a span's scan brings can
// be delivered before all of it is there, so no more spans are scanned at a time
// than memory should pay for. How many that are depends on what the last ones
// brought: a thousand idle tables start at once, big ones one after the other.
type admission struct {
	held   func() int64 // bytes in memory
	lent   func() int64 // those of them that are with the sink
	quota  int64
	budget int64

	mu       sync.Mutex
	scanning map[*span]struct{}
	guess    int64 // bytes that one scan brings
}

func newAdmission(held, lent func() int64, quota int64) *admission {
	return &admission{
		held: held, lent: lent, quota: quota, budget: max(minScanBudget, quota/32),
		scanning: map[*span]struct{}{}, guess: firstScanGuess,
	}
}

// admit tells whether the span may read its history now. While the sink is at
// work, what is in memory gets less by itself, and there is no hurry. Else, as
// long as the quota is kept, one may: the checkpoint waits for it.
func (a *admission) admit(s *span) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	need, room := a.held(), a.quota
	if n := int64(len(a.scanning)); n > 0 {
		need += (n + 1) * a.guess
		room = a.budget
	} else if a.lent() > 0 {
		room = a.budget
	}
	if need > room {
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
		a.guess = (a.guess + bytes) / 2
	}
}

// forget takes out a span that is gone.
func (a *admission) forget(s *span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.scanning, s)
}
