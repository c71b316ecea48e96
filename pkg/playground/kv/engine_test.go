package kv

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pingcap/badger"
	"github.com/pingcap/badger/y"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
	"github.com/stretchr/testify/require"
)

// TestEngineKilledTwice kills the process while badger's log holds more than a write buffer, and again before the next
// flush. Old versions have left the log by then.
func TestEngineKilledTwice(t *testing.T) {
	const (
		writing    = 4 << 20 // the write buffer while writing
		recovering = 1 << 20 // and after a kill
		versions   = 1825    // 58 tables, and most of a write buffer
	)
	key, value := []byte("k"), make([]byte, 128<<10)
	open := func(dir string, memTableBytes int64, ts uint64) *engine {
		e, err := openEngine(dir, memTableBytes, ts)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, e.DB.Close()) })
		return e
	}
	dir := t.TempDir()
	e := open(dir, writing, 1)
	for v := uint64(1); v <= versions; v++ {
		require.NoError(t, e.write([]*badger.Entry{{Key: y.KeyWithTs(key, v), Value: value, UserMeta: mvcc.NewDBUserMeta(v-1, v)}}))
	}
	for ts := uint64(versions); ts < versions+3; ts++ {
		require.Eventually(t, func() bool { return e.settling() <= 0 }, time.Minute, 10*time.Millisecond)
		dir = killed(t, dir)
		e = open(dir, recovering, ts+1)
		require.Equal(t, versions, countVersions(t, e, key))
	}
}

// killed returns a copy of an engine's directory as it is now.
func killed(t *testing.T, dir string) string {
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	require.NoError(t, os.RemoveAll(filepath.Join(to, engineDir, "LOCK")))
	return to
}

func countVersions(t *testing.T, e *engine, key []byte) (n int) {
	txn := e.NewTransaction(false)
	defer txn.Discard()
	txn.SetReadTS(math.MaxUint64)
	it, err := e.iterator(context.Background(), txn, badger.IteratorOptions{AllVersions: true})
	require.NoError(t, err)
	defer it.Close()
	for it.Seek(key); it.ValidForPrefix(key); it.Next() {
		n++
	}
	return n
}
