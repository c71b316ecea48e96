package kv

import (
	"bytes"

	"github.com/pingcap/badger"
	"github.com/pingcap/badger/y"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

type changeKind uint8

const (
	changePrewrite   changeKind = iota // a lock appears, or its value changes
	changeLock                         // a pessimistic lock, or new times for a lock that is there
	changeCommit                       // a version appears and the lock, if there is one, goes
	changeRollback                     // a rollback record is written and the lock goes
	changeRollbackNo                   // a rollback record is written, a lock of another transaction stays
	changeUnlock                       // a pessimistic lock goes
	changeDelete                       // a version is deleted by range
)

// change is what one write does to one key.
type change struct {
	kind changeKind
	op   kvrpcpb.Op // of the lock
	key  []byte
	// value is the new value of a prewrite or commit.
	value []byte
	// lock is the encoded lock of changePrewrite and changeLock.
	lock []byte
	// primary says that the key is the primary key of its transaction.
	primary bool
	// version is what changeDelete deletes.
	version uint64
}

// writeBatch is what one command writes, all of it or nothing. Its keys are latched until the write is done.
type writeBatch struct {
	startTs  uint64
	commitTs uint64
	info     txnInfo
	flushTTL uint32
	changes  []change

	err  error
	done chan struct{}
}

// Prewrite implements mvcc.WriteBatch.
func (b *writeBatch) Prewrite(key []byte, lock *mvcc.Lock) {
	if b.info.pipelined && lock.TTL < b.flushTTL {
		// Unistore's Flush makes locks without a time to live: any reader could roll the transaction back.
		lock.TTL = b.flushTTL
	}
	b.changes = append(b.changes, change{
		kind: changePrewrite, op: kvrpcpb.Op(lock.Op), key: key, value: lock.Value, lock: lock.MarshalBinary(),
	})
}

// Commit implements mvcc.WriteBatch.
func (b *writeBatch) Commit(key []byte, lock *mvcc.Lock) {
	b.changes = append(b.changes, change{
		kind: changeCommit, op: kvrpcpb.Op(lock.Op), key: key, value: lock.Value,
		primary: bytes.Equal(key, lock.Primary),
	})
}

// Rollback implements mvcc.WriteBatch.
func (b *writeBatch) Rollback(key []byte, deleteLock bool) {
	kind := changeRollbackNo
	if deleteLock {
		kind = changeRollback
	}
	b.changes = append(b.changes, change{kind: kind, key: key})
}

// PessimisticLock implements mvcc.WriteBatch. Heartbeats write prewrite locks with it too.
func (b *writeBatch) PessimisticLock(key []byte, lock *mvcc.Lock) {
	b.changes = append(b.changes, change{
		kind: changeLock, op: kvrpcpb.Op(lock.Op), key: key, lock: lock.MarshalBinary(),
	})
}

// PessimisticRollback implements mvcc.WriteBatch.
func (b *writeBatch) PessimisticRollback(key []byte) {
	b.changes = append(b.changes, change{kind: changeUnlock, key: key})
}

// appendEntries appends what the batch writes to the engine. source is the transaction's source.
func (b *writeBatch) appendEntries(entries []*badger.Entry, source uint64) []*badger.Entry {
	for i := range b.changes {
		c := &b.changes[i]
		switch c.kind {
		case changeCommit:
			if e := b.commitEntry(c, source); e != nil {
				entries = append(entries, e)
			}
		case changeRollback, changeRollbackNo:
			entries = append(entries, &badger.Entry{
				Key:      y.KeyWithTs(mvcc.EncodeExtraTxnStatusKey(c.key, b.startTs), b.startTs),
				UserMeta: mvcc.NewDBUserMeta(b.startTs, 0),
			})
		case changeDelete:
			e := &badger.Entry{Key: y.KeyWithTs(c.key, c.version)}
			e.SetDelete()
			entries = append(entries, e)
		}
	}
	return entries
}

func (b *writeBatch) commitEntry(c *change, source uint64) *badger.Entry {
	switch {
	case c.op == kvrpcpb.Op_PessimisticLock:
		// A pessimistic lock that was never prewritten: nothing to commit.
		return nil
	case c.op != kvrpcpb.Op_Lock:
		return &badger.Entry{
			Key:      y.KeyWithTs(c.key, b.commitTs),
			Value:    c.value,
			UserMeta: versionMeta(b.startTs, b.commitTs, source),
		}
	case c.primary:
		// The record by which others learn the fate of the transaction.
		return &badger.Entry{
			Key:      y.KeyWithTs(mvcc.EncodeExtraTxnStatusKey(c.key, b.startTs), b.startTs),
			UserMeta: mvcc.NewDBUserMeta(b.startTs, b.commitTs),
		}
	}
	return nil
}

// appendLocks appends what the batch does to locks, as parts of a record of the lock journal.
func (b *writeBatch) appendLocks(record []byte) []byte {
	for i := range b.changes {
		c := &b.changes[i]
		switch c.kind {
		case changePrewrite, changeLock:
			record = appendLockPut(record, c.key, c.lock, b.info)
		case changeCommit, changeRollback, changeUnlock:
			record = appendLockDelete(record, c.key)
		}
	}
	return record
}
