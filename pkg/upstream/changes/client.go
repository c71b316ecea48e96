package changes

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxRetryPause bounds the pause before a region is tried again.
const maxRetryPause = 2 * time.Second

func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.StorePause, time.Second)
	def(&c.RetryPause, 20*time.Millisecond)
	def(&c.LookupPause, 100*time.Millisecond)
	def(&c.IdleTimeout, time.Minute)
	def(&c.LockInterval, 2*time.Second)
	def(&c.LockAge, 4*time.Second)
	def(&c.LockRepeat, 10*time.Second)
	def(&c.AdmitTimeout, 10*time.Second)
	if c.MaxScans <= 0 {
		c.MaxScans = 256
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = func() uint64 { return 0 }
	}
}

// Client is the subscription client of one cluster. One goroutine looks
// regions up, one per store sends and one per stream receives; none per
// subscription or region.
type Client struct {
	cfg       Config
	metrics   *metrics
	lookup    *lookupQueue
	overruled atomic.Int64 // Unix ns of the last subscription that started against its owner's wish

	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	stores map[uint64]*store
	tasks  sync.WaitGroup
	ctx    context.Context // of Run
}

// New makes a client; nothing happens before Run.
func New(cfg Config) *Client {
	cfg.setDefaults()
	return &Client{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		lookup:  newLookupQueue(),
		subs:    make(map[*Subscription]struct{}),
		stores:  make(map[uint64]*store),
	}
}

// Run serves all subscriptions until the context ends and returns its error
// after every goroutine has ended. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	c.ctx = ctx
	c.mu.Unlock()
	defer c.metrics.unregister()
	if c.cfg.Locks != nil {
		c.tasks.Go(func() { c.runLocks(ctx) })
	}
	c.runLookups(ctx)
	c.tasks.Wait()
	return ctx.Err()
}

// Subscribe starts a subscription. It never blocks and is safe for concurrent use.
func (c *Client) Subscribe(o Options) *Subscription {
	s := newSubscription(c, o)
	first := s.frontier.parts[0]
	c.mu.Lock()
	c.subs[s] = struct{}{}
	c.mu.Unlock()
	c.lookup.add(first, 0)
	return s
}

// forget takes a subscription out of every store.
func (c *Client) forget(s *Subscription) {
	c.mu.Lock()
	delete(c.subs, s)
	stores := make([]*store, 0, len(c.stores))
	for _, st := range c.stores {
		stores = append(stores, st)
	}
	c.mu.Unlock()
	for _, st := range stores {
		st.forget(s)
	}
}

// assign hands a part to the store that leads its region; the store's worker
// is started on first use. It is called from tasks that Run waits for.
func (c *Client) assign(p *part, storeID uint64) {
	c.mu.Lock()
	st, ok := c.stores[storeID]
	if !ok {
		st = newStore(c, storeID)
		c.stores[storeID] = st
		ctx := c.ctx
		c.tasks.Go(func() { st.run(ctx) })
	}
	c.mu.Unlock()
	st.enqueue(p)
}

// retry sends a part back to the region lookup after a pause that grows with
// its failures in a row, and is at least the one given.
func (c *Client) retry(p *part, reason Reason, detail string, least time.Duration) {
	p.note(reason, detail)
	pause := min(c.cfg.RetryPause<<min(p.attempts, 10), maxRetryPause)
	p.attempts++
	// Regions of one store fail together: let them not return all at once.
	jitter := time.Duration(rand.Int64N(int64(pause)/4 + 1))
	c.lookup.add(p, max(pause+jitter, least))
}

// overrule tells whether a subscription whose owner has no room for it has
// waited for so long that it starts nevertheless. Only one at a time does.
func (c *Client) overrule(s *Subscription, now time.Time) bool {
	last := c.overruled.Load()
	if now.Sub(s.started) < c.cfg.AdmitTimeout || now.UnixNano()-last < c.cfg.AdmitTimeout.Nanoseconds() {
		return false
	}
	return c.overruled.CompareAndSwap(last, now.UnixNano())
}

// sleep waits and returns false when the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
