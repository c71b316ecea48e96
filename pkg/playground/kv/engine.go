package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
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
	engineDir = "engine"
	// runningFile is there while the engine is open, and after it was not closed in order.
	runningFile          = "running"
	defaultMemTableBytes = 32 << 20
	// oneBlock is more than a table holds.
	oneBlock = 1 << 30
	// flushSettle is how long badger may take at the end of a flush, after the new table is visible.
	flushSettle = 200 * time.Millisecond
)

// markKey is written for the sake of writing. Its metadata are those of no transaction, so no reader takes it for data.
var markKey = []byte{0}

// engine is badger, used so that every version of a key stays and is found. Badger was made to find the newest one:
//
//   - A compaction that writes several tables forgets the older versions of the first key in all but the first of
//     them that has any. There are no compactions here, so old versions are never removed either.
//   - A read at a timestamp that meets a collision in a table's hash index returns the newest version instead. Only
//     keys in different blocks of a table collide, so every table has a single block.
//   - An iterator that merges two sources expects all versions in one to be newer than all in the other, and takes the
//     first for which that is not so for the last. A write buffer has two sources while what was written is not merged
//     into its list, and so has every key around the end of a flush. See write and iterator.
//
// Values are neither compressed nor cached, so what an iterator returns points into memory-mapped tables and write
// buffers and stays valid as long as its transaction. The change-feed scan relies on it.
type engine struct {
	*badger.DB
	dir string

	// writing serialises writes and the making of iterators.
	writing sync.Mutex
	recent  recentKeys
	maxTs   uint64 // the greatest version written
	merged  bool   // nothing but marks was written since the last time that all was merged

	mu     sync.Mutex
	tables int // when it was last looked
	since  time.Time
}

// openEngine opens or creates the engine. Versions written from now on are above ts.
func openEngine(dir string, memTableBytes int64, ts uint64) (*engine, error) {
	dir = filepath.Join(dir, engineDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	running := filepath.Join(dir, runningFile)
	if _, err := os.Stat(running); err == nil {
		if err := recoverEngine(dir, memTableBytes, ts); err != nil {
			return nil, fmt.Errorf("recover: %w", err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.WriteFile(running, nil, 0o600); err != nil {
		return nil, err
	}
	e, err := openBadger(dir, memTableBytes)
	if err != nil {
		return nil, err
	}
	return e, e.start(ts)
}

// recoverEngine has what is only in badger's log written to a table. Badger itself replays the log into write buffers
// of the usual size, and when one is full it notes a place in the log that is too early. What is replayed from there
// after the next kill is in two sources. So this replays into a write buffer that holds all of the log.
func recoverEngine(dir string, memTableBytes int64, ts uint64) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		return err
	}
	const (
		overhead = 3 // of a write buffer over the log, at most
		maxBytes = 3 << 30
	)
	size := memTableBytes
	for _, path := range logs {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		size += overhead * info.Size()
	}
	e, err := openBadger(dir, min(size, maxBytes))
	if err != nil {
		return err
	}
	return errors.Join(e.start(ts), e.DB.Close())
}

func openBadger(dir string, memTableBytes int64) (*engine, error) {
	opts := badger.DefaultOptions
	opts.Dir = dir
	opts.ValueDir = dir
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
	db, err := badger.Open(opts)
	if err != nil {
		return nil, err
	}
	return &engine{DB: db, dir: dir, recent: newRecentKeys()}, nil
}

// closed notes that the engine was closed in order.
func (e *engine) closed() error { return os.Remove(filepath.Join(e.dir, runningFile)) }

// iterator returns an iterator that finds all versions. It returns nil when the context ends.
func (e *engine) iterator(ctx context.Context, txn *badger.Txn, opts badger.IteratorOptions) (*badger.Iterator, error) {
	for {
		if wait := e.settling(); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil, ctx.Err()
			case <-timer.C:
			}
		}
		it, err := e.tryIterator(txn, opts)
		if it != nil || err != nil {
			return it, err
		}
	}
}

// tryIterator returns nil when a flush ended meanwhile.
func (e *engine) tryIterator(txn *badger.Txn, opts badger.IteratorOptions) (*badger.Iterator, error) {
	e.writing.Lock()
	defer e.writing.Unlock()
	if err := e.merge(); err != nil {
		return nil, err
	}
	if e.settling() > 0 {
		return nil, nil
	}
	it := txn.NewIterator(opts)
	if e.settling() > 0 {
		it.Close()
		return nil, nil
	}
	return it, nil
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

// write writes all entries or none, also when the process is killed. No key may be in it twice.
func (e *engine) write(entries []*badger.Entry) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	if e.recent.overlap(entries) {
		// A flush or a reader must not meet a key in two writes that are not merged yet.
		if err := e.merge(); err != nil {
			return err
		}
	}
	e.recent.add(entries)
	for _, entry := range entries {
		e.maxTs = max(e.maxTs, entry.Key.Version)
	}
	e.merged = false
	return e.update(entries)
}

// merge has all that was written merged into the write buffer's list: marks push it through badger's queues.
func (e *engine) merge() error {
	if e.merged {
		return nil
	}
	for range pendingWrites {
		mark := &badger.Entry{Key: y.KeyWithTs(markKey, e.maxTs), UserMeta: mvcc.NewDBUserMeta(0, 0)}
		if err := e.update([]*badger.Entry{mark}); err != nil {
			return err
		}
	}
	e.recent.clear()
	e.merged = true
	return nil
}

// start prepares for writes at and above ts. Badger notes where to replay its log from with the first write after a
// start only, so there must be one.
func (e *engine) start(ts uint64) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.maxTs = ts
	return e.merge()
}

func (e *engine) update(entries []*badger.Entry) error {
	return e.Update(func(txn *badger.Txn) error {
		for _, entry := range entries {
			if err := txn.SetEntry(entry); err != nil {
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

// pendingWrites is how many writes badger can have acknowledged without having merged them.
const pendingWrites = 3

// recentKeysKeep is the size up to which a set is cleared for reuse; clearing takes as long as it was ever large.
const recentKeysKeep = 4096

// recentKeys remembers the keys of the last few writes to the engine.
type recentKeys struct {
	seed maphash.Seed
	sets [pendingWrites]map[uint64]struct{}
	next int
}

func newRecentKeys() recentKeys {
	r := recentKeys{seed: maphash.MakeSeed()}
	for i := range r.sets {
		r.sets[i] = make(map[uint64]struct{})
	}
	return r
}

func (r *recentKeys) overlap(entries []*badger.Entry) bool {
	for _, e := range entries {
		h := maphash.Bytes(r.seed, e.Key.UserKey)
		for _, set := range r.sets {
			if _, ok := set[h]; ok {
				return true
			}
		}
	}
	return false
}

func (r *recentKeys) add(entries []*badger.Entry) {
	if len(r.sets[r.next]) > recentKeysKeep {
		r.sets[r.next] = make(map[uint64]struct{})
	}
	set := r.sets[r.next]
	r.next = (r.next + 1) % len(r.sets)
	clear(set)
	for _, e := range entries {
		set[maphash.Bytes(r.seed, e.Key.UserKey)] = struct{}{}
	}
}

func (r *recentKeys) clear() {
	for _, set := range r.sets {
		clear(set)
	}
}
