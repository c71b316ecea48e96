package kv

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/pingcap/badger"
	"github.com/pingcap/badger/options"
	"github.com/pingcap/badger/y"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

const (
	engineDir            = "engine"
	defaultMemTableBytes = 32 << 20
	// maxTableBytes is above what a compaction of a playground writes, see openEngine.
	maxTableBytes = 3 << 30
	// sentinelEvery is how many written bytes may pass between two writes of the sentinels. It must be well below
	// the size of a write buffer.
	sentinelEvery = 1 << 20
)

// Sentinels are the first and the last key of the engine. See openEngine.
var (
	lowSentinel  = []byte{0}
	highSentinel = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// openEngine opens badger so that no version of a key is lost.
//
// When one compaction of badger writes several tables, every table but the first forgets all but the newest version
// of the first key in it that has older ones. So a compaction must write one table. It starts another one
// when the table is full (hence maxTableBytes), when a filter's guard says so (ours has none), or when it passes over
// a table of the lower level that has nothing to do with it. The sentinels rule out the last case: every write
// buffer holds both of them, so every table spans the whole key space, each level has one table, and that overlaps.
//
// Values are neither compressed nor cached, so what an iterator returns points into memory-mapped tables and write
// buffers and stays valid as long as its transaction. The change-feed scan relies on it.
func openEngine(dir string, memTableBytes int64, safePoint *atomic.Uint64) (*badger.DB, error) {
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
	opts.NumLevelZeroTables = 6
	opts.NumLevelZeroTablesStall = 24
	opts.LevelOneSize = 512 << 20
	opts.NumCompactors = 1
	opts.CompactL0WhenClose = false
	opts.ValueLogFileSize = 64 << 20
	opts.ValueLogMaxNumFiles = 2
	opts.ValueLogWriteOptions.WriteBufferSize = 1 << 20
	opts.TableBuilderOptions.MaxTableSize = maxTableBytes
	opts.TableBuilderOptions.CompressionPerLevel = make([]options.CompressionType, opts.TableBuilderOptions.MaxLevels)
	opts.CompactionFilterFactory = func(int, []byte, []byte) badger.CompactionFilter {
		return gcFilter{safePoint: safePoint.Load()}
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	return badger.Open(opts)
}

// gcFilter removes what only transactions below the safe point could ask for: deletions and transaction records.
// Badger calls it for the newest version of a key at or below the safe point and drops the older ones itself.
type gcFilter struct {
	safePoint uint64
}

// Filter implements badger.CompactionFilter.
func (f gcFilter) Filter(key, value, userMeta []byte) badger.Decision {
	if len(value) > 0 || len(userMeta) < metaBytes || isSentinel(key) {
		return badger.DecisionKeep
	}
	meta := mvcc.DBUserMeta(userMeta)
	if meta.CommitTS() == 0 && meta.StartTS() < f.safePoint {
		return badger.DecisionDrop // a rollback record: its key has one version
	}
	if meta.CommitTS() != 0 && meta.CommitTS() < f.safePoint {
		return badger.DecisionMarkTombstone
	}
	return badger.DecisionKeep
}

// Guards implements badger.CompactionFilter.
func (gcFilter) Guards() []badger.Guard { return nil }

func isSentinel(key []byte) bool {
	return string(key) == string(lowSentinel) || string(key) == string(highSentinel)
}

// sentinelEntries returns the sentinels as a write. Their values are empty and their metadata is that of no
// transaction, so that no reader takes them for data.
func sentinelEntries(version uint64) []*badger.Entry {
	return []*badger.Entry{
		{Key: y.KeyWithTs(lowSentinel, version), UserMeta: mvcc.NewDBUserMeta(0, 0)},
		{Key: y.KeyWithTs(highSentinel, version), UserMeta: mvcc.NewDBUserMeta(0, 0)},
	}
}

func writeEntries(db *badger.DB, entries []*badger.Entry) error {
	return db.Update(func(txn *badger.Txn) error {
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
// deletions by range and sentinels.
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
