package kv

import (
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pingcap/badger"
	"github.com/pingcap/badger/options"
	"github.com/pingcap/badger/y"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

const (
	engineDir            = "engine"
	defaultMemTableBytes = 32 << 20
	// oneBlock is more than a table holds.
	oneBlock = 1 << 30
	// flushSettle is how long badger may take at the end of a flush, after the new table is visible.
	flushSettle = 20 * time.Millisecond
)

// markKey is written for the sake of writing. Its metadata are those of no transaction, so no reader takes it for data.
var markKey = []byte{0}

// engine is badger, used so that every version of a key stays and is found. Badger was made to find the newest one:
//
//   - A compaction that writes several tables forgets the older versions of the first key in all but the first of
//     them that has any. There are no compactions here, so old versions are never removed either.
//   - A read at a timestamp that meets a collision in a table's hash index returns the newest version instead. Only
//     keys in different blocks of a table collide, so every table has a single block.
//   - An iterator that sees one version of a key from two sources, as around the end of a flush, takes it for the last
//     one. See iterator here, and recentKeys for the other occasion.
//
// Values are neither compressed nor cached, so what an iterator returns points into memory-mapped tables and write
// buffers and stays valid as long as its transaction. The change-feed scan relies on it.
type engine struct {
	*badger.DB

	mu     sync.Mutex
	tables int // when it was last looked
	since  time.Time
}

func openEngine(dir string, memTableBytes int64) (*engine, error) {
	opts := badger.DefaultOptions
	opts.Dir = filepath.Join(dir, engineDir)
	opts.ValueDir = opts.Dir
	opts.ManagedTxns = true
	opts.SyncWrites = false // a kill of the process loses nothing that was written
	opts.Truncate = true
	opts.ValueThreshold = 0
	opts.MaxBlockCacheSize = 0
	opts.MaxIndexCacheSize = 0
	opts.MaxMemTableSize = memTableBytes
	opts.NumMemtables = 3
	opts.DoNotCompact = true
	opts.CompactL0WhenClose = false
	opts.NumLevelZeroTables = math.MaxInt32 - 1
	opts.NumLevelZeroTablesStall = math.MaxInt32
	opts.ValueLogFileSize = 64 << 20
	opts.ValueLogMaxNumFiles = 2
	opts.ValueLogWriteOptions.WriteBufferSize = 1 << 20
	opts.TableBuilderOptions.BlockSize = oneBlock
	opts.TableBuilderOptions.CompressionPerLevel = make([]options.CompressionType, opts.TableBuilderOptions.MaxLevels)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	db, err := badger.Open(opts)
	if err != nil {
		return nil, err
	}
	return &engine{DB: db}, nil
}

// iterator returns an iterator that was not made while a flush ended: then both the write buffer and its table would be
// its sources. It returns nil when the context ends.
func (e *engine) iterator(ctx context.Context, txn *badger.Txn, opts badger.IteratorOptions) *badger.Iterator {
	for {
		wait := e.settling()
		if wait <= 0 {
			it := txn.NewIterator(opts)
			if e.settling() <= 0 {
				return it
			}
			it.Close()
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// settling returns how long it takes until the newest table is certain to have replaced its write buffer.
func (e *engine) settling() time.Duration {
	tables := len(e.Tables())
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if tables != e.tables {
		e.tables, e.since = tables, now
	}
	return flushSettle - now.Sub(e.since)
}

// mark writes nothing of interest.
func (e *engine) mark(version uint64) error {
	return e.write([]*badger.Entry{{Key: y.KeyWithTs(markKey, version), UserMeta: mvcc.NewDBUserMeta(0, 0)}})
}

// write writes all entries or none, also when the process is killed. No key may be in it twice.
func (e *engine) write(entries []*badger.Entry) error {
	return e.Update(func(txn *badger.Txn) error {
		for _, e := range entries {
			if err := txn.SetEntry(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// A version's metadata are unistore's start-ts and commit-ts, followed by the transaction's source when it has one.
const (
	metaBytes           = 16
	metaBytesWithSource = 24
)

func versionMeta(startTs, commitTs, source uint64) []byte {
	meta := mvcc.NewDBUserMeta(startTs, commitTs)
	if source == 0 {
		return meta
	}
	return appendUint64(meta, source)
}

// dataVersion splits the metadata of a version. It reports false for what is no data: rollbacks, committed locks,
// deletions by range and marks.
func dataVersion(meta []byte, version uint64) (startTs, source uint64, ok bool) {
	if len(meta) < metaBytes {
		return 0, 0, false
	}
	m := mvcc.DBUserMeta(meta)
	if m.CommitTS() != version {
		return 0, 0, false
	}
	if len(meta) >= metaBytesWithSource {
		source = readUint64(meta[metaBytes:])
	}
	return m.StartTS(), source, true
}

func appendUint64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

func readUint64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
