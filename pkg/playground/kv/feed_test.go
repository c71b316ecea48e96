package kv

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/badger"
	"github.com/stretchr/testify/require"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/txnkv/transaction"
)

const (
	waitLong = 30 * time.Second
	tick     = 2 * time.Millisecond
)

var (
	spanStart = []byte("t")
	spanEnd   = []byte("u")
)

func allVersions() badger.IteratorOptions {
	opts := badger.DefaultIteratorOptions
	opts.AllVersions = true
	return opts
}

// write commits one transaction; empty values are deletions.
func write(t testing.TB, client *tikv.KVStore, kind txnKind, values map[string]string) *transaction.KVTxn {
	txn := kind.begin(t, client)
	for key, value := range values {
		require.NoError(t, kind.lock(context.Background(), client, txn, []byte(key)))
		if value == "" {
			require.NoError(t, txn.Delete([]byte(key)))
		} else {
			require.NoError(t, txn.Set([]byte(key), []byte(value)))
		}
	}
	require.NoError(t, txn.Commit(context.Background()))
	return txn
}

func TestFeedSendsEveryKindOfTransaction(t *testing.T) {
	for _, kind := range txnKinds {
		t.Run(kind.name, func(t *testing.T) {
			c := newCluster(t)
			client := c.client()
			start := c.pd.ts(t)
			write(t, client, kind, map[string]string{"t1": "before", "t2": "before"})
			f := newFeedClient(t, c, spanStart, spanEnd, start)
			require.Eventually(t, func() bool { return f.resolved() > start }, waitLong, tick)
			write(t, client, kind, map[string]string{"t1": "after", "t2": "", "t3": "new"})
			write(t, client, kind, map[string]string{"t1": "", "t2": "again"})
			f.requireEqual(t, c, spanStart, spanEnd, c.pd.ts(t))
			require.Len(t, f.rows, 7)
		})
	}
}

func TestFeedPipelinedTransaction(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	start := c.pd.ts(t)
	write(t, client, txnKind{}, map[string]string{"t0005": "before", "t0007": "before"})
	live := newFeedClient(t, c, spanStart, spanEnd, start)
	require.Eventually(t, func() bool { return live.resolved() > start }, waitLong, tick)

	txn, err := client.Begin(tikv.WithDefaultPipelinedTxn())
	require.NoError(t, err)
	flush := func() {
		_, err := txn.GetMemBuffer().Flush(true)
		require.NoError(t, err)
		require.NoError(t, txn.GetMemBuffer().FlushWait())
	}
	for i := range 3000 {
		require.NoError(t, txn.Set(fmt.Appendf(nil, "t%04d", i), fmt.Appendf(nil, "first-%d", i)))
	}
	flush()
	// A feed that starts in the middle of it, and keys that change again.
	late := newFeedClient(t, c, spanStart, spanEnd, start)
	for i := range 100 {
		require.NoError(t, txn.Set(fmt.Appendf(nil, "t%04d", i), fmt.Appendf(nil, "second-%d", i)))
	}
	require.NoError(t, txn.Delete([]byte("t0007")))
	flush()
	require.NoError(t, txn.Commit(context.Background()))
	// Its locks are resolved in the background.
	require.Eventually(t, func() bool {
		return len(c.versions(spanStart, spanEnd, start, c.pd.ts(t))) == 3002
	}, waitLong, tick)
	ts := c.pd.ts(t)
	for _, f := range []*feedClient{live, late} {
		f.requireEqual(t, c, spanStart, spanEnd, ts)
	}
}

func TestFeedRollback(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	ctx := context.Background()
	start := c.pd.ts(t)
	f := newFeedClient(t, c, spanStart, spanEnd, start)
	kind := txnKind{pessimistic: true}
	txn := kind.begin(t, client)
	require.NoError(t, kind.lock(ctx, client, txn, []byte("t1")))
	// A pessimistic lock does not hold resolved-ts back.
	ts := c.pd.ts(t)
	require.Eventually(t, func() bool { return f.resolved() >= ts }, waitLong, tick)
	require.NoError(t, txn.Rollback())
	write(t, client, kind, map[string]string{"t1": "value"})
	f.requireEqual(t, c, spanStart, spanEnd, c.pd.ts(t))
	require.Len(t, f.rows, 1)
}

// TestFeedUnderTorture runs random transactions of all kinds while regions split and merge and streams break.
func TestFeedUnderTorture(t *testing.T) {
	c := newCluster(t, func(o *Options) { o.MemTableBytes = 4 << 20 })
	client := c.client()
	start := c.pd.ts(t)
	feeds := []*feedClient{
		newFeedClient(t, c, spanStart, spanEnd, start),
		newFeedClient(t, c, []byte("t3000"), []byte("t7000"), start),
	}
	length := 4 * time.Second
	if testing.Short() {
		length = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var wg sync.WaitGroup
	background := func(run func(r *rand.Rand)) {
		wg.Add(1)
		seed := rand.Uint64()
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(seed, 1))
			for ctx.Err() == nil {
				run(r)
			}
		}()
	}
	for range 12 {
		background(func(r *rand.Rand) { randomTransaction(t, client, r) })
	}
	// What transactions leave behind holds the feeds back until somebody meets the locks.
	resolve := func() { requireReadable(t, client) }
	pause := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	background(func(r *rand.Rand) {
		randomRegionChange(t, c, r)
		pause(time.Duration(r.IntN(250)) * time.Millisecond)
	})
	background(func(r *rand.Rand) {
		pause(time.Duration(r.IntN(200)) * time.Millisecond)
		feeds[r.IntN(len(feeds))].cutStream()
	})
	background(func(r *rand.Rand) {
		// Feeds that begin in the middle scan what others got live.
		pause(time.Duration(50+r.IntN(200)) * time.Millisecond)
		f := newFeedClient(t, c, spanStart, spanEnd, start)
		resolve()
		f.requireEqual(t, c, spanStart, spanEnd, c.pd.ts(t))
		f.close()
	})
	wg.Wait()
	resolve()
	ts := c.pd.ts(t)
	feeds[0].requireEqual(t, c, spanStart, spanEnd, ts)
	feeds[1].requireEqual(t, c, []byte("t3000"), []byte("t7000"), ts)
	t.Logf("%d changes, errors of the streams: %v and %v", len(feeds[0].rows), feeds[0].errors, feeds[1].errors)
	require.NotEmpty(t, feeds[0].errors)
}

// requireReadable reads the whole span, which resolves all locks in it.
func requireReadable(t *testing.T, client *tikv.KVStore) {
	txn, err := client.Begin()
	require.NoError(t, err)
	it, err := txn.Iter(spanStart, spanEnd)
	for ; err == nil && it.Valid(); err = it.Next() {
		continue
	}
	require.NoError(t, err)
}

func randomKey(r *rand.Rand) []byte { return fmt.Appendf(nil, "t%04d", r.IntN(10000)) }

// randomTransaction commits or rolls back a transaction; conflicts are part of it.
func randomTransaction(t *testing.T, client *tikv.KVStore, r *rand.Rand) {
	ctx := context.Background()
	kind := txnKinds[r.IntN(len(txnKinds))]
	kind.noWait = true
	txn := kind.begin(t, client)
	for range 1 + r.IntN(12) {
		key := randomKey(r)
		if r.IntN(12) == 0 {
			key = fmt.Appendf(nil, "t%04d", 1000*r.IntN(10)) // hot
		}
		if err := kind.lock(ctx, client, txn, key); err != nil {
			_ = txn.Rollback()
			return
		}
		switch r.IntN(6) {
		case 0:
			_ = txn.Delete(key)
		case 1:
			_ = txn.Set(key, bytes.Repeat([]byte{'x'}, 1+r.IntN(20000)))
		default:
			_ = txn.Set(key, fmt.Appendf(nil, "%d", r.Uint64()))
		}
	}
	if r.IntN(10) == 0 {
		_ = txn.Rollback()
		return
	}
	_ = txn.Commit(ctx)
}

func randomRegionChange(t *testing.T, c *cluster, r *rand.Rand) {
	ctx := context.Background()
	if r.IntN(2) == 0 {
		keys := [][]byte{encodeKey(randomKey(r)), encodeKey(randomKey(r))}
		_, err := c.store.Split(ctx, keys[:1+r.IntN(2)])
		require.NoError(t, err)
		return
	}
	regions := c.store.ScanRegions(nil, nil, 0)
	if len(regions) < 2 {
		return
	}
	i := r.IntN(len(regions) - 1)
	a, b := regions[i].Meta.Id, regions[i+1].Meta.Id
	if r.IntN(2) == 0 {
		a, b = b, a
	}
	_ = c.store.Merge(ctx, a, b)
}
