package changes

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

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
}

// Client is the subscription client of one cluster. One goroutine looks
// regions up, one per store sends and one per stream receives; none per
// subscription or region.
type Client struct {
	cfg    Config
	lookup *lookupQueue
	clock  atomic.Int64 // Unix ns of the last tick; see coarseNow

	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	stores map[uint64]*store
	tasks  sync.WaitGroup
}

// New makes a client; nothing happens before Run.
func New(cfg Config) *Client {
	cfg.setDefaults()
	c := &Client{
		cfg:    cfg,
		lookup: newLookupQueue(),
		subs:   make(map[*Subscription]struct{}),
		stores: make(map[uint64]*store),
	}
	c.clock.Store(time.Now().UnixNano())
	return c
}

// Run serves all subscriptions until the context ends and returns its error
// after every goroutine has ended. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	c.tasks.Go(func() { c.runLocks(ctx) })
	c.runLookups(ctx)
	c.tasks.Wait()
	return ctx.Err()
}

// Subscribe starts a subscription. It never blocks and is safe for concurrent use.
func (c *Client) Subscribe(o Options) *Subscription {
	s := newSubscription(c, o)
	c.mu.Lock()
	c.subs[s] = struct{}{}
	c.mu.Unlock()
	c.lookup.add(s.ranges[0], 0)
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

// storeFor returns the worker of a store, started on first use. It is called
// by the lookup goroutine only, which Run waits for.
func (c *Client) storeFor(ctx context.Context, id uint64) *store {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, ok := c.stores[id]
	if !ok {
		st = newStore(c, id)
		c.stores[id] = st
		c.tasks.Go(func() { st.run(ctx) })
	}
	return st
}

// retry sends a part back to the region lookup after a pause that grows with
// its failures in a row.
func (c *Client) retry(p *part, reason Reason, detail string) {
	p.note(reason, detail)
	const most = 2 * time.Second
	pause := c.cfg.RetryPause << min(p.attempts, 10)
	p.attempts++
	c.lookup.add(p, min(pause, most))
}

// coarseNow is the time, exact to a lock interval or so, without a system call.
func (c *Client) coarseNow() time.Time { return time.Unix(0, c.clock.Load()) }
