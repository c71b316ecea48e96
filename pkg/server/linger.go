package server

import (
	"sync"
	"time"
)

// leaseLinger is how long a schema that was loaded to check a new changefeed
// is kept for the owner and the processor, who need it next.
const leaseLinger = 3 * time.Second

// schemaTimeout bounds how long a check of tables waits for the schema to
// reach the present; normally that takes a fraction of a second.
const schemaTimeout = 10 * time.Second

// linger calls functions some time after it was asked to, or at its end.
type linger struct {
	mu      sync.Mutex
	pending map[*time.Timer]func()
	closed  bool
}

func newLinger() *linger { return &linger{pending: map[*time.Timer]func(){}} }

// after calls fn once: after d, or when the linger is closed.
func (l *linger) after(d time.Duration, fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		fn()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		l.mu.Lock()
		_, due := l.pending[timer]
		delete(l.pending, timer)
		l.mu.Unlock()
		if due {
			fn()
		}
	})
	l.pending[timer] = fn
}

// close calls whatever is still pending.
func (l *linger) close() {
	l.mu.Lock()
	pending := l.pending
	l.pending, l.closed = nil, true
	l.mu.Unlock()
	for timer, fn := range pending {
		timer.Stop()
		fn()
	}
}
