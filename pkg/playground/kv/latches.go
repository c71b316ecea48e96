package kv

import "sync"

// latches serialise commands on the same keys. They belong to the store and not to a region, so that a split between
// a command's region check and its write cannot let two commands work on one key.
type latches struct {
	slots [256]latchSlot
}

type latchSlot struct {
	mu   sync.Mutex
	held map[uint64]chan struct{} // closed when its holder releases
}

func newLatches() *latches {
	l := &latches{}
	for i := range l.slots {
		l.slots[i].held = make(map[uint64]chan struct{})
	}
	return l
}

// acquire blocks until all hashes are held. They must be sorted and distinct, which rules out deadlocks.
func (l *latches) acquire(hashes []uint64) {
	mine := make(chan struct{})
	for _, h := range hashes {
		slot := &l.slots[h>>56]
		for {
			slot.mu.Lock()
			other, busy := slot.held[h]
			if !busy {
				slot.held[h] = mine
			}
			slot.mu.Unlock()
			if !busy {
				break
			}
			<-other
		}
	}
}

// release releases hashes that were acquired by one call.
func (l *latches) release(hashes []uint64) {
	var mine chan struct{}
	for _, h := range hashes {
		slot := &l.slots[h>>56]
		slot.mu.Lock()
		mine = slot.held[h]
		delete(slot.held, h)
		slot.mu.Unlock()
	}
	if mine != nil {
		close(mine)
	}
}
