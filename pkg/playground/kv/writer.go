package kv

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/pingcap/badger"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

var errClosed = errors.New("the store is closed")

const (
	writeQueue      = 1024
	writeGroupMax   = 256
	deleteBatchKeys = 4096
)

// writer is unistore's DBWriter: the one way by which locks and versions change. One goroutine applies the batches,
// several at a time, in three steps: versions into the engine, locks into the lock journal, and then, in one critical
// section of the feed, locks in memory together with their events. A batch is acknowledged after the third, so what a
// client knows to be locked or committed has been seen by the feed.
type writer struct {
	db    *engine
	locks *lockTable
	feed  *feed
	// flushes holds the Flush requests that are being executed, by their context, see NewWriteBatch.
	flushes sync.Map // *kvrpcpb.Context → *kvrpcpb.FlushRequest

	queue chan *writeBatch
	// closing is held shared while a batch is handed over and exclusively to close the queue.
	closing sync.RWMutex
	closed  bool
	wg      sync.WaitGroup
}

func newWriter(db *engine, locks *lockTable, f *feed) *writer {
	return &writer{db: db, locks: locks, feed: f, queue: make(chan *writeBatch, writeQueue)}
}

// Open implements mvcc.DBWriter.
func (w *writer) Open() {
	w.wg.Add(1)
	go w.run()
}

// Close implements mvcc.DBWriter.
func (w *writer) Close() {
	w.closing.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.closing.Unlock()
	w.wg.Wait()
}

// NewWriteBatch implements mvcc.DBWriter. The context is the one of the request that writes; by it a batch learns what
// unistore does not pass on.
func (w *writer) NewWriteBatch(startTs, commitTs uint64, ctx *kvrpcpb.Context) mvcc.WriteBatch {
	b := &writeBatch{startTs: startTs, commitTs: commitTs, done: make(chan struct{})}
	b.info.source = ctx.GetTxnSource()
	if req, ok := w.flushes.Load(ctx); ok {
		b.info.pipelined = true
		b.flushTTL = uint32(min(req.(*kvrpcpb.FlushRequest).GetLockTtl(), math.MaxUint32))
	}
	return b
}

// Write implements mvcc.DBWriter.
func (w *writer) Write(batch mvcc.WriteBatch) error {
	b := batch.(*writeBatch)
	if len(b.changes) == 0 {
		return nil
	}
	for i := range b.changes {
		c := &b.changes[i]
		if size := len(c.key) + len(c.lock); len(c.key) > math.MaxUint16 || size > w.locks.mem.MaxEntrySize() {
			return fmt.Errorf("a lock of %d bytes is too large", size)
		}
	}
	return w.submit(b)
}

func (w *writer) submit(b *writeBatch) error {
	w.closing.RLock()
	if w.closed {
		w.closing.RUnlock()
		return errClosed
	}
	w.queue <- b
	w.closing.RUnlock()
	<-b.done
	return b.err
}

// DeleteRange implements mvcc.DBWriter: it deletes what is committed, without events, as TiKV does.
func (w *writer) DeleteRange(start, end []byte, latch mvcc.LatchHandle) error {
	for {
		b, next, err := w.collectRange(start, end)
		if err != nil || len(b.changes) == 0 {
			return err
		}
		if err := w.submit(b); err != nil || next == nil {
			return err
		}
		start = next
	}
}

// collectRange returns a batch that deletes the first keys of the range, and where to go on.
func (w *writer) collectRange(start, end []byte) (b *writeBatch, next []byte, err error) {
	txn := w.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	b = &writeBatch{done: make(chan struct{})}
	for it.Seek(start); it.Valid() && beforeEnd(it.Item().Key(), end); it.Next() {
		item := it.Item()
		if _, _, ok := dataVersion(item.UserMeta(), item.Version()); !ok {
			continue
		}
		key := item.KeyCopy(nil)
		if len(b.changes) == deleteBatchKeys {
			return b, key, nil
		}
		b.changes = append(b.changes, change{kind: changeDelete, key: key, version: item.Version() + 1})
	}
	return b, nil, nil
}

func (w *writer) run() {
	defer w.wg.Done()
	group := make([]*writeBatch, 0, writeGroupMax)
	for b := range w.queue {
		group = append(group[:0], b)
	more:
		for len(group) < writeGroupMax {
			select {
			case b, ok := <-w.queue:
				if !ok {
					break more
				}
				group = append(group, b)
			default:
				break more
			}
		}
		err := w.apply(group)
		for i, b := range group {
			b.err = err
			close(b.done)
			group[i] = nil
		}
	}
}

// apply writes a group of batches. After an error some of it may be in the engine; the locks are still there then, and
// whoever meets them completes the transactions.
func (w *writer) apply(group []*writeBatch) error {
	var entries []*badger.Entry
	record := w.locks.journal.begin()
	empty := len(record)
	for _, b := range group {
		entries = b.appendEntries(entries, w.completeInfo(b))
		record = b.appendLocks(record)
	}
	if len(entries) > 0 {
		if err := w.db.write(entries); err != nil {
			return fmt.Errorf("write versions: %w", err)
		}
	}
	if len(record) > empty {
		if err := w.locks.journal.append(record); err != nil {
			return fmt.Errorf("write locks: %w", err)
		}
	}
	w.feed.apply(group)
	return w.locks.compact()
}

// completeInfo sets what is special about the batch's transaction and returns its source. Only the prewrite tells
// it reliably: a commit may come from anybody who resolves locks. A commit without a prewrite is its own prewrite.
func (w *writer) completeInfo(b *writeBatch) uint64 {
	if known, ok := w.locks.txns[b.startTs]; ok {
		b.info = *known
		return b.info.source
	}
	if b.commitTs > 0 && b.info.source != 0 && len(b.changes) > 0 {
		if lock := w.locks.get(b.changes[0].key); len(lock) > 0 {
			if h := lockHeader(lock); h.StartTS == b.startTs && h.Op != uint8(kvrpcpb.Op_PessimisticLock) {
				b.info = txnInfo{}
			}
		}
	}
	return b.info.source
}
