package owner

import "sync"

// mailbox hands work to a changefeed's goroutine. Posting never blocks.
type mailbox struct {
	mu     sync.Mutex
	queue  []func()
	signal chan struct{}
}

func newMailbox() *mailbox { return &mailbox{signal: make(chan struct{}, 1)} }

// post queues fn to be called on the changefeed's goroutine.
func (b *mailbox) post(fn func()) {
	b.mu.Lock()
	b.queue = append(b.queue, fn)
	b.mu.Unlock()
	b.ring()
}

// ring wakes the goroutine.
func (b *mailbox) ring() {
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// leave queues fn without a signal: it is called when the goroutine is awake
// next, which somebody else sees to.
func (b *mailbox) leave(fn func()) {
	b.mu.Lock()
	b.queue = append(b.queue, fn)
	b.mu.Unlock()
}

// take empties the queue.
func (b *mailbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queue
	b.queue = nil
	return queue
}
