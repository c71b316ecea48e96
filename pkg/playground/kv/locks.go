package kv

import (
	"encoding/binary"
	"errors"
	"math"
	"unsafe"

	"github.com/pingcap/badger"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/lockstore"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

const (
	lockArenaBytes = 8 << 20
	// The lock journal is rewritten when it is larger than lockJournalMin and than lockJournalRatio times the locks.
	lockJournalMin   = 16 << 20
	lockJournalRatio = 4
)

// lockTable is unistore's lock store with a journal, and with what that has no room for. The writer changes it,
// and only while it holds feed.mu; so the writer may read all of it, and who holds feed.mu as well.
type lockTable struct {
	mem     *lockstore.MemStore
	journal *journal
	bytes   int64
	// txns holds what is special about transactions that have locks; most have nothing.
	txns map[uint64]*txnInfo
	buf  []byte
}

// txnInfo is kept from the first lock of a transaction to its last.
type txnInfo struct {
	// source is kvrpcpb.Context.TxnSource: who wrote, for loop prevention.
	source uint64
	// pipelined is set for transactions that write their locks, even one key's several times, while they still run.
	pipelined bool
	locks     int
}

func (i txnInfo) special() bool { return i.source != 0 || i.pipelined }

// openLockTable reads the locks back. Locks whose transaction is already decided for their key, because the process
// was killed between that and the removal of the lock, are left out.
func openLockTable(path string, db *engine) (*lockTable, error) {
	t := &lockTable{mem: lockstore.NewMemStore(lockArenaBytes), txns: make(map[uint64]*txnInfo)}
	var err error
	t.journal, err = openJournal(path, func(record []byte) error {
		return parseLockRecord(record, func(key, lock []byte, info txnInfo) {
			if lock == nil {
				t.remove(key)
				return
			}
			t.put(key, lock, info)
		})
	})
	if err != nil {
		return nil, err
	}
	if err := t.dropDecided(db); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *lockTable) dropDecided(db *engine) error {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	var decided [][]byte
	for it := t.iterate(nil); it.Valid(); it.Next() {
		done, err := isDecided(txn, it.Key(), lockHeader(it.Value()).StartTS)
		if err != nil {
			return err
		}
		if done {
			decided = append(decided, append([]byte(nil), it.Key()...))
		}
	}
	record := t.journal.begin()
	for _, key := range decided {
		t.remove(key)
		record = appendLockDelete(record, key)
	}
	if len(decided) == 0 {
		return nil
	}
	return t.journal.append(record)
}

// isDecided reports whether the engine has a commit or a rollback of the transaction for the key.
func isDecided(txn *badger.Txn, key []byte, startTs uint64) (bool, error) {
	if _, err := txn.Get(mvcc.EncodeExtraTxnStatusKey(key, startTs)); err == nil {
		return true, nil
	} else if !errors.Is(err, badger.ErrKeyNotFound) {
		return false, err
	}
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// The lock kept every later transaction from the key.
	start, _, ok := dataVersion(item.UserMeta(), item.Version())
	return ok && start == startTs, nil
}

// iterate returns an iterator at the first lock at or after the key.
func (t *lockTable) iterate(from []byte) *lockstore.Iterator {
	it := t.mem.NewIterator()
	if len(from) == 0 {
		it.SeekToFirst()
	} else {
		it.Seek(from)
	}
	return it
}

// get returns the encoded lock, valid until the next call, or nil.
func (t *lockTable) get(key []byte) []byte {
	b := t.mem.Get(key, t.buf)
	if b != nil {
		t.buf = b
	}
	return b
}

// put stores the lock and returns the header of the lock that it replaces, if there was one.
func (t *lockTable) put(key, lock []byte, info txnInfo) (old mvcc.LockHdr, replaced bool) {
	old, replaced = t.forget(key)
	t.mem.Put(key, lock)
	t.bytes += int64(len(key) + len(lock))
	startTs := lockHeader(lock).StartTS
	known := t.txns[startTs]
	if known == nil {
		if !info.special() {
			return old, replaced
		}
		known = &txnInfo{}
		t.txns[startTs] = known
	}
	known.locks++
	if info.special() {
		known.source, known.pipelined = info.source, info.pipelined
	}
	return old, replaced
}

// remove removes the lock of a key and returns its header, if there was one.
func (t *lockTable) remove(key []byte) (old mvcc.LockHdr, removed bool) {
	old, removed = t.forget(key)
	if removed {
		t.mem.Delete(key)
	}
	return old, removed
}

// forget takes an existing lock out of the sums.
func (t *lockTable) forget(key []byte) (mvcc.LockHdr, bool) {
	b := t.get(key)
	if len(b) == 0 {
		return mvcc.LockHdr{}, false
	}
	h := lockHeader(b)
	t.bytes -= int64(len(key) + len(b))
	if known := t.txns[h.StartTS]; known != nil {
		if known.locks--; known.locks <= 0 {
			delete(t.txns, h.StartTS)
		}
	}
	return h, true
}

// info returns what is special about a transaction with locks.
func (t *lockTable) info(startTs uint64) txnInfo {
	if known := t.txns[startTs]; known != nil {
		return *known
	}
	return txnInfo{}
}

// compact rewrites the journal when most of it is history.
func (t *lockTable) compact() error {
	if t.journal.size < lockJournalMin || t.journal.size < lockJournalRatio*t.bytes {
		return nil
	}
	return t.journal.rewrite(func(emit func([]byte) error) error {
		var record []byte
		for it := t.iterate(nil); it.Valid(); it.Next() {
			record = appendLockPut(record, it.Key(), it.Value(), t.info(lockHeader(it.Value()).StartTS))
			if len(record) >= 1<<20 {
				if err := emit(record); err != nil {
					return err
				}
				record = record[:0]
			}
		}
		return emit(record)
	})
}

func (t *lockTable) close() error { return t.journal.close() }

// lockHeader reads the fixed part of an encoded lock without decoding the rest, which would copy its value.
func lockHeader(lock []byte) mvcc.LockHdr {
	if len(lock) < int(unsafe.Sizeof(mvcc.LockHdr{})) {
		return mvcc.LockHdr{}
	}
	var h mvcc.LockHdr
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), lock)
	return h
}

// isChangeLock reports whether a lock becomes a change of its key when it is committed. Only these hold resolved-ts
// back: pessimistic locks are followed by a prewrite, which is what gets a commit-ts.
func isChangeLock(op uint8) bool {
	return op == uint8(kvrpcpb.Op_Put) || op == uint8(kvrpcpb.Op_Del)
}

// A record of the lock journal is a list of these.
const (
	lockDelete     = 'D'
	lockPut        = 'P'
	lockPutSpecial = 'S' // with txnInfo
)

func appendLockPut(b, key, lock []byte, info txnInfo) []byte {
	op := byte(lockPut)
	if info.special() {
		op = lockPutSpecial
	}
	b = appendField(append(b, op), key)
	b = appendField(b, lock)
	if info.special() {
		b = binary.AppendUvarint(b, info.source)
		b = append(b, boolByte(info.pipelined))
	}
	return b
}

func appendLockDelete(b, key []byte) []byte { return appendField(append(b, lockDelete), key) }

func appendField(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

var errLockRecord = errors.New("malformed lock record")

// parseLockRecord calls visit for each part of a record; a nil lock is a removal.
func parseLockRecord(b []byte, visit func(key, lock []byte, info txnInfo)) error {
	d := decoder{b: b}
	for len(d.b) > 0 {
		var lock []byte
		var info txnInfo
		op := d.byte()
		key := d.bytes()
		switch op {
		case lockDelete:
		case lockPut, lockPutSpecial:
			lock = d.bytes()
			if op == lockPutSpecial {
				info.source = d.uvarint()
				info.pipelined = d.byte() != 0
			}
			if len(lock) < int(unsafe.Sizeof(mvcc.LockHdr{})) {
				return errLockRecord
			}
		default:
			return errLockRecord
		}
		if d.bad || len(key) == 0 || len(key) > math.MaxUint16 {
			return errLockRecord
		}
		visit(key, lock, info)
	}
	return nil
}
