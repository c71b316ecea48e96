package processor

import "sync"

const (
	// minScanBudget is what scans of history may bring into memory at a time,
	// in bytes, for the smallest quotas.
	minScanBudget = 16 << 20
	// firstScanGuess is what one scan is expected to bring before any has ended.
	firstScanGuess = 32 << 20
)

// admission paces the scans of history. Nothing of a span can be delivered
// before its scan has ended, so a few at a time is all that memory should pay
// for. How many a few are depends on what the last ones brought: thousands of
// idle tables start at once, big ones one after the other.
type admission struct {
	held   func() int64 // bytes in memory
	quota  int64
	budget int64

	mu       sync.Mutex
	scanning map[*span]struct{}
	guess    int64 // bytes that the next scan will bring
}

func newAdmission(held func() int64, quota int64) *admission {
	return &admission{
		held: held, quota: quota, budget: max(minScanBudget, quota/16),
		scanning: map[*span]struct{}{}, guess: firstScanGuess,
	}
}

// admit tells whether the span may read its history now.
func (a *admission) admit(s *span) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, again := a.scanning[s]; again {
		return true
	}
	held, n := a.held(), int64(len(a.scanning))
	if n == 0 && held > a.quota || n > 0 && held+(n+1)*a.guess > a.budget {
		return false
	}
	a.scanning[s] = struct{}{}
	return true
}

// scanned tells that the span's history is read.
func (a *admission) scanned(s *span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.scanning[s]; !ok {
		return
	}
	delete(a.scanning, s)
	a.guess = (a.guess + s.rows.Added()) / 2
}

// forget takes a span out that was removed.
func (a *admission) forget(s *span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.scanning, s)
}
