package changes_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
	"github.com/tidemark/tidemark/pkg/upstream/changes/changestest"
)

const (
	patience = 30 * time.Second
	tick     = 2 * time.Millisecond
)

// start runs a client over a cluster; no goroutine may outlive the test.
func start(t *testing.T, o changestest.Options, tune func(*changes.Config)) (*changestest.Cluster, *changes.Client) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	c := changestest.New(t, o)
	cfg := changes.Config{
		ClusterID: changestest.ClusterID, Version: "8.5.3", Regions: c, Now: c.Now,
		StorePause: 5 * time.Millisecond, RetryPause: time.Millisecond, LookupPause: 2 * time.Millisecond,
	}
	if tune != nil {
		tune(&cfg)
	}
	client := changes.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = client.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return c, client
}

// collector is a Consumer that checks what every consumer is promised.
type collector struct {
	mu       sync.Mutex
	seen     map[string]bool
	resolved uint64
	err      error
	closed   bool
	broken   []string
	onRows   func() // when set, called before rows are taken
}

func rowID(key, value string, commitTs uint64) string {
	return fmt.Sprintf("%s=%s@%d", key, value, commitTs)
}

func (c *collector) OnRows(rows []model.RawChange) {
	if c.onRows != nil {
		c.onRows()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called("OnRows")
	for i := range rows {
		r := &rows[i]
		id := rowID(string(r.Key()), string(r.Value()), r.CommitTs)
		if r.CommitTs <= c.resolved && !c.seen[id] {
			c.broken = append(c.broken, fmt.Sprintf("%s delivered after resolved-ts %d", id, c.resolved))
		}
		c.seen[id] = true
	}
}

func (c *collector) OnResolved(ts uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called("OnResolved")
	if ts <= c.resolved {
		c.broken = append(c.broken, fmt.Sprintf("resolved-ts from %d to %d", c.resolved, ts))
	}
	c.resolved = ts
}

func (c *collector) OnError(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called("OnError")
	c.err, c.closed = err, true
}

func (c *collector) called(what string) {
	if c.closed {
		c.broken = append(c.broken, what+" after the end")
	}
}

// over tells the collector that nothing may follow.
func (c *collector) over() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

func (c *collector) has(ids ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if !c.seen[id] {
			return false
		}
	}
	return true
}

func (c *collector) at() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resolved
}

func (c *collector) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// subscribe follows a span; the promises are checked when the test ends.
func subscribe(t *testing.T, client *changes.Client, o changes.Options) (*changes.Subscription, *collector) {
	t.Helper()
	col := &collector{seen: make(map[string]bool), resolved: o.StartTs}
	o.Consumer = col
	s := client.Subscribe(o)
	t.Cleanup(func() {
		s.Close()
		col.mu.Lock()
		defer col.mu.Unlock()
		require.Empty(t, col.broken)
	})
	return s, col
}

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, patience, tick, what)
}

// catchUp waits until the resolved-ts passes everything committed so far.
func catchUp(t *testing.T, c *changestest.Cluster, cols ...*collector) {
	t.Helper()
	now := c.Now()
	eventually(t, func() bool {
		c.Resolve()
		for _, col := range cols {
			if col.at() <= now {
				return false
			}
		}
		return true
	}, "resolved-ts does not reach what was committed")
}

// put commits a row and returns its id.
func put(c *changestest.Cluster, key, value string) string {
	return rowID(key, value, c.Put(key, value))
}
