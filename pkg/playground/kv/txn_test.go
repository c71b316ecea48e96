package kv

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/kv"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/txnkv/transaction"
)

// txnKind is a way in which client-go commits.
type txnKind struct {
	name        string
	async       bool
	onePC       bool
	pessimistic bool
	noWait      bool // for locks
}

var txnKinds = []txnKind{
	{name: "two-phase"},
	{name: "async", async: true},
	{name: "1pc", async: true, onePC: true},
	{name: "pessimistic", pessimistic: true},
	{name: "pessimistic-async", pessimistic: true, async: true},
	{name: "pessimistic-1pc", pessimistic: true, async: true, onePC: true},
}

func (k txnKind) begin(t require.TestingT, client *tikv.KVStore) *transaction.KVTxn {
	txn, err := client.Begin()
	require.NoError(t, err)
	txn.SetEnableAsyncCommit(k.async)
	txn.SetEnable1PC(k.onePC)
	txn.SetPessimistic(k.pessimistic)
	return txn
}

// lock takes the pessimistic lock of a key when the kind has such.
func (k txnKind) lock(ctx context.Context, client *tikv.KVStore, txn *transaction.KVTxn, key []byte) error {
	if !k.pessimistic {
		return nil
	}
	wait := kv.LockAlwaysWait
	if k.noWait {
		wait = kv.LockNoWait
	}
	for {
		forUpdate, err := client.CurrentTimestamp("global")
		if err != nil {
			return err
		}
		err = txn.LockKeys(ctx, kv.NewLockCtx(forUpdate, wait, time.Now()), key)
		if !tikverr.IsErrWriteConflict(err) {
			return err
		}
		// Who waited for a lock tries again at a newer timestamp, as TiDB does.
	}
}

func TestTransactionsCommit(t *testing.T) {
	for _, kind := range txnKinds {
		t.Run(kind.name, func(t *testing.T) {
			c := newCluster(t)
			client := c.client()
			ctx := context.Background()
			// Some keys in another region, so that several prewrites make one transaction.
			_, err := c.store.Split(ctx, [][]byte{encodeKey([]byte("t5"))})
			require.NoError(t, err)
			for round := range 3 {
				txn := kind.begin(t, client)
				for i := range 10 {
					key := fmt.Appendf(nil, "t%d", i)
					require.NoError(t, kind.lock(ctx, client, txn, key))
					require.NoError(t, txn.Set(key, fmt.Appendf(nil, "%d-%d", round, i)))
				}
				require.NoError(t, txn.Commit(ctx))
			}
			txn := kind.begin(t, client)
			require.NoError(t, kind.lock(ctx, client, txn, []byte("t9")))
			require.NoError(t, txn.Delete([]byte("t9")))
			require.NoError(t, txn.Commit(ctx))

			txn = kind.begin(t, client)
			it, err := txn.Iter([]byte("t"), []byte("u"))
			require.NoError(t, err)
			got := map[string]string{}
			for ; it.Valid(); err = it.Next() {
				require.NoError(t, err)
				got[string(it.Key())] = string(it.Value())
			}
			require.Len(t, got, 9)
			for i := range 9 {
				require.Equal(t, fmt.Sprintf("2-%d", i), got[fmt.Sprintf("t%d", i)])
			}
			require.NoError(t, txn.Rollback())
		})
	}
}

func TestTransactionsConflict(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	ctx := context.Background()
	first := txnKind{}.begin(t, client)
	second := txnKind{}.begin(t, client)
	require.NoError(t, first.Set([]byte("t1"), []byte("first")))
	require.NoError(t, second.Set([]byte("t1"), []byte("second")))
	require.NoError(t, first.Commit(ctx))
	err := second.Commit(ctx)
	require.True(t, tikverr.IsErrWriteConflict(err), "%v", err)

	txn := txnKind{}.begin(t, client)
	value, err := txn.Get(ctx, []byte("t1"))
	require.NoError(t, err)
	require.Equal(t, "first", string(value.Value))
}

func TestDeadlockIsFound(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	ctx := context.Background()
	kind := txnKind{pessimistic: true}
	first, second := kind.begin(t, client), kind.begin(t, client)
	require.NoError(t, kind.lock(ctx, client, first, []byte("t1")))
	require.NoError(t, kind.lock(ctx, client, second, []byte("t2")))
	waits := make(chan error, 2)
	go func() { waits <- kind.lock(ctx, client, first, []byte("t2")) }()
	go func() { waits <- kind.lock(ctx, client, second, []byte("t1")) }()
	err := <-waits
	var dead *tikverr.ErrDeadlock
	require.ErrorAs(t, err, &dead)
	require.NoError(t, first.Rollback())
	require.NoError(t, second.Rollback())
	<-waits
}
