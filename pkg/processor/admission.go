package processor

import "sync"

// minScanBudget is what may be in memory, in bytes, when another scan of
// history starts, for the smallest quotas.
const minScanBudget = 16 << 20

// admission holds scans of history back while much is in memory: nothing that
// they bring can be delivered before they have ended. How many scans a store
// may run at a time is the change client's business.
type admission struct {
	held   func() int64 // bytes in memory
	quota  int64
	budget int64

	mu       sync.Mutex
	scanning map[*span]struct{}
}

func newAdmission(held func() int64, quota int64) *admission {
	return &admission{
		held: held, quota: quota, budget: max(minScanBudget, quota/16),
		scanning: map[*span]struct{}{},
	}
}

// admit tells whether the span may read its history now. As long as the quota
// is kept one may: the checkpoint waits for it.
func (a *admission) admit(s *span) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	room := a.budget
	if len(a.scanning) == 0 {
		room = a.quota
	}
	if a.held() > room {
		return false
	}
	a.scanning[s] = struct{}{}
	return true
}

// ended tells that the span's history is read, or that the span is gone.
func (a *admission) ended(s *span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.scanning, s)
}
