package kv

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/stretchr/testify/require"
	"github.com/tikv/client-go/v2/tikv"
)

const childEnv = "KV_TEST_CHILD_DIR"

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	c := openCluster(t, dir, nil)
	rpc := tikvpb.NewTikvClient(c.dial())
	start := c.pd.ts(t)
	c.prewrite(rpc, start, put("t1", "t2"))
	c.commit(rpc, start, "t1", "t2")
	_, err := c.store.Split(context.Background(), [][]byte{encodeKey([]byte("t5"))})
	require.NoError(t, err)
	// An unfinished transaction whose source must not be forgotten, and a pessimistic one.
	open := c.pd.ts(t)
	c.prewrite(rpc, open, put("t3"), func(r *kvrpcpb.PrewriteRequest) { r.Context.TxnSource = 5 })
	_, err = rpc.KvPessimisticLock(context.Background(), &kvrpcpb.PessimisticLockRequest{
		Context: c.context("t7"), Mutations: []*kvrpcpb.Mutation{{Op: kvrpcpb.Op_PessimisticLock, Key: []byte("t7")}},
		PrimaryLock: []byte("t7"), StartVersion: open, ForUpdateTs: open, LockTtl: 1000,
	})
	require.NoError(t, err)
	regions, locks := c.store.ScanRegions(nil, nil, 0), c.locks()
	require.Len(t, locks, 2)
	meta := c.store.StoreMeta()
	require.NoError(t, c.store.Close())

	c = openCluster(t, dir, c.pd)
	defer func() { require.NoError(t, c.store.Close()) }()
	require.Equal(t, regions, c.store.ScanRegions(nil, nil, 0))
	require.Equal(t, locks, c.locks())
	require.Equal(t, meta.Id, c.store.StoreMeta().Id)
	// The open transaction holds the feed back, and its commit keeps its source.
	all := newFeedClient(t, c, spanStart, spanEnd, start-1)
	others := newFeedClient(t, c, spanStart, spanEnd, start-1, func(f *feedClient) { f.loop = true })
	require.Eventually(t, func() bool { return all.resolved() == open && others.resolved() == open }, waitLong, tick)
	ts := c.commit(tikvpb.NewTikvClient(c.dial()), open, "t3")
	require.Eventually(t, func() bool { return all.resolved() > ts && others.resolved() > ts }, waitLong, tick)
	require.Len(t, all.rows, 3)
	require.Len(t, others.rows, 2, "filter_loop leaves out what a feed wrote")
	all.close()
	others.close()
}

func TestDataOfAnotherClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := openCluster(t, dir, nil)
	require.NoError(t, c.store.Close())
	_, err := Open(context.Background(), Options{
		Addr: "127.0.0.1:0", DataDir: dir, ClusterID: testCluster + 1, TSO: c.pd.timestamp, AllocID: c.pd.allocID,
	})
	require.ErrorContains(t, err, "cluster")
}

// TestKillLosesNothing kills a process in the middle of its writes and looks for everything that it had acknowledged.
func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	var acknowledged map[string]string
	for round := range 3 {
		acknowledged = runAndKill(t, dir, 400*(round+1))
	}
	p := &fakePD{lastID: 1 << 30}
	c := openCluster(t, dir, p)
	t.Cleanup(func() { require.NoError(t, c.store.Close()) })
	client := c.client()
	txn, err := client.Begin()
	require.NoError(t, err)
	for key, value := range acknowledged {
		got, err := txn.Get(context.Background(), []byte(key))
		require.NoError(t, err, key)
		n, err := strconv.Atoi(string(got.Value))
		require.NoError(t, err)
		want, err := strconv.Atoi(value)
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, want, key)
	}
	// Transactions that were cut off hold the feed back until their locks are resolved.
	ts := c.pd.ts(t)
	for it := c.store.locks.iterate(nil); it.Valid(); it.Next() {
		ts = min(ts, lockHeader(it.Value()).StartTS)
	}
	f := newFeedClient(t, c, spanStart, spanEnd, 1)
	f.requireEqual(t, c, spanStart, spanEnd, ts)
	require.NotEmpty(t, f.rows)
	sorted := c.store.ScanRegions(nil, nil, 0)
	require.Greater(t, len(sorted), 1)
	for i, r := range sorted[1:] {
		require.Equal(t, sorted[i].Meta.EndKey, r.Meta.StartKey)
	}
}

// runAndKill runs a child process on the directory, kills it after some acknowledged transactions and returns the
// newest acknowledged value of each key. The values of a key only rise, over all children.
func runAndKill(t *testing.T, dir string, after int) map[string]string {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	acknowledged := make(map[string]string)
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		key, value, ok := strings.Cut(lines.Text(), "=")
		require.True(t, ok, lines.Text())
		acknowledged[key] = value
		if n == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait())
	require.Greater(t, len(acknowledged), 10)
	return acknowledged
}

// runChild writes until it is killed. Every line of its output is a key and a value that was acknowledged.
func runChild(dir string) error {
	p := &fakePD{lastID: uint64(time.Now().UnixMilli())}
	store, err := Open(context.Background(), Options{
		Addr: "127.0.0.1:0", DataDir: dir, ClusterID: testCluster, TSO: p.timestamp, AllocID: p.allocID,
		MemTableBytes: 1 << 20, RegionMaxKeys: 300, SplitInterval: 10 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	p.store = store
	client, err := tikv.NewTestTiKVStore(tikv.NewRPCClient(), p, nil, nil, 0)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				childTransaction(client, g, &mu)
			}
		}()
	}
	wg.Wait()
	return nil
}

func childTransaction(client *tikv.KVStore, g int, mu *sync.Mutex) {
	ctx := context.Background()
	value := strconv.FormatInt(time.Now().UnixNano(), 10)
	kind := txnKinds[time.Now().UnixNano()%int64(len(txnKinds))]
	txn, err := client.Begin()
	if err != nil {
		return
	}
	txn.SetEnableAsyncCommit(kind.async)
	txn.SetEnable1PC(kind.onePC)
	txn.SetPessimistic(kind.pessimistic)
	var keys []string
	for i := range 10 {
		key := fmt.Sprintf("t%d-%d", g, (time.Now().UnixNano()+int64(i)*7919)%500)
		if err := kind.lock(ctx, client, txn, []byte(key)); err != nil {
			_ = txn.Rollback()
			return
		}
		_ = txn.Set([]byte(key), []byte(value))
		keys = append(keys, key)
	}
	if txn.Commit(ctx) != nil {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	for _, key := range keys {
		fmt.Printf("%s=%s\n", key, value)
	}
}
