package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/pingcap/badger"
	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"go.uber.org/zap"
)

// feed turns the writes of the store into the events of its subscriptions and computes their resolved-ts.
//
// Everything that decides about resolved-ts happens under its mutex: locks appear and go together with their events,
// regions are exchanged together with the end of their subscriptions, and a round of resolved-ts sees one state of
// all of it. The order of locks is feed.mu, then regionTable.mu or stream.mu.
type feed struct {
	db     *engine
	locks  *lockTable
	table  *regionTable
	clock  *clock
	logger *zap.Logger

	mu      sync.Mutex
	streams map[*stream]struct{}
	guards  map[*guard]struct{}
	// lastTs is the newest timestamp that a round of resolved-ts was computed with.
	lastTs uint64
	round  uint64

	// Reused by apply, under mu.
	events []changeEvent
	rows   eventBuffer
	reader oldValueReader
}

// subscription is one registered request: changes of the keys [start, end) of a region for one stream.
type subscription struct {
	stream     *stream
	part       *requestRegion
	region     *region
	checkpoint uint64
	start, end []byte // raw; an empty end is no bound
	oldValues  bool
	filterLoop bool

	// Guarded by feed.mu.

	// live is set when the incremental scan is over.
	live bool
	// ended is set when nothing may be sent any more, before the event that says so is queued.
	ended atomic.Bool
}

// wants reports whether changes of a transaction with that source are sent.
func (s *subscription) wants(source uint64) bool {
	const loopBits = 8
	if source>>loopBits != 0 {
		return false // rewrites by DDL and physical imports are no changes of rows
	}
	return !s.filterLoop || source == 0
}

func (s *subscription) contains(key []byte) bool {
	return bytes.Compare(s.start, key) <= 0 && beforeEnd(key, s.end)
}

// changeEvent is an event before it is fitted to a subscription.
type changeEvent struct {
	row       row // without old value
	pipelined bool
	// oldAt is the timestamp to read the old value at.
	oldAt    uint64
	oldRead  bool
	oldValue []byte
}

func newFeed(db *engine, locks *lockTable, table *regionTable, c *clock, logger *zap.Logger) *feed {
	return &feed{
		db: db, locks: locks, table: table, clock: c, logger: logger,
		streams: make(map[*stream]struct{}), guards: make(map[*guard]struct{}),
	}
}

// apply makes the locks of the batches visible and sends their events.
func (f *feed) apply(group []*writeBatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.reader.close()
	regions := f.table.sorted
	for _, b := range group {
		var r *region
		for i := range b.changes {
			c := &b.changes[i]
			if r == nil || !r.contains(c.key) {
				f.publish(r)
				r = regions[indexRaw(regions, c.key)]
			}
			f.applyChange(r, b, c)
		}
		f.publish(r)
	}
}

// applyChange updates locks and sums, and adds the event to those of the region.
func (f *feed) applyChange(r *region, b *writeBatch, c *change) {
	switch c.kind {
	case changePrewrite, changeLock:
		old, replaced := f.locks.put(c.key, c.lock, b.info)
		if replaced && isChangeLock(old.Op) {
			r.unlock(old.StartTS)
		}
		if !isChangeLock(uint8(c.op)) {
			return
		}
		r.locks[b.startTs]++
		if c.kind == changePrewrite {
			f.addEvent(r, b, c, cdcpb.Event_PREWRITE, math.MaxUint64)
		}
	case changeCommit:
		old, had := f.locks.remove(c.key)
		prewritten := had && isChangeLock(old.Op)
		if prewritten {
			r.unlock(old.StartTS)
		}
		if !isChangeLock(uint8(c.op)) {
			return
		}
		r.maxCommit = max(r.maxCommit, b.commitTs)
		r.size.bytes += int64(len(c.key) + len(c.value))
		r.size.keys++
		kind := cdcpb.Event_COMMITTED
		if prewritten {
			kind = cdcpb.Event_COMMIT
		}
		f.addEvent(r, b, c, kind, b.commitTs-1)
	case changeRollback, changeUnlock:
		old, had := f.locks.remove(c.key)
		if had && isChangeLock(old.Op) {
			r.unlock(old.StartTS)
			c.op = kvrpcpb.Op(old.Op)
			f.addEvent(r, b, c, cdcpb.Event_ROLLBACK, 0)
		}
	}
}

func (f *feed) addEvent(r *region, b *writeBatch, c *change, kind cdcpb.Event_LogType, oldAt uint64) {
	if len(r.subs) == 0 {
		return
	}
	e := changeEvent{pipelined: b.info.pipelined, oldAt: oldAt}
	e.row = row{kind: kind, op: rowOp(c.op), startTs: b.startTs, source: b.info.source, key: c.key, value: c.value}
	if kind == cdcpb.Event_COMMIT || kind == cdcpb.Event_COMMITTED {
		e.row.commitTs = b.commitTs
	}
	f.events = append(f.events, e)
}

func rowOp(op kvrpcpb.Op) cdcpb.Event_Row_OpType {
	if op == kvrpcpb.Op_Del {
		return cdcpb.Event_Row_DELETE
	}
	return cdcpb.Event_Row_PUT
}

// publish sends the events gathered for a region to its subscriptions.
func (f *feed) publish(r *region) {
	if r == nil || len(f.events) == 0 {
		return
	}
	// From the end, because a subscription that cannot take its events is removed.
	for i := len(r.subs) - 1; i >= 0; i-- {
		f.publishTo(r.subs[i])
	}
	clear(f.events)
	f.events = f.events[:0]
}

func (f *feed) publishTo(s *subscription) {
	f.rows.reset()
	for i := range f.events {
		e := &f.events[i]
		if !s.wants(e.row.source) || !s.contains(e.row.key) {
			continue
		}
		f.addRows(s, e)
		if f.rows.len() >= messageBytes && !f.flushRows(s) {
			return
		}
	}
	f.flushRows(s)
}

// addRows adds the rows that tell a subscription of an event.
func (f *feed) addRows(s *subscription, e *changeEvent) {
	r := e.row
	switch e.row.kind {
	case cdcpb.Event_PREWRITE:
		if e.pipelined {
			return // its value may change; the commit sends it
		}
		r.oldValue = f.oldValue(s, e)
	case cdcpb.Event_COMMIT:
		if e.pipelined || !s.live {
			// The prewrite may not have been sent: a scan has yet to reach the lock, or will not find it any more.
			prewrite := r
			prewrite.kind, prewrite.commitTs = cdcpb.Event_PREWRITE, 0
			prewrite.oldValue = f.oldValue(s, e)
			f.rows.add(&prewrite)
		}
		r.value = nil
	case cdcpb.Event_COMMITTED:
		r.oldValue = f.oldValue(s, e)
	case cdcpb.Event_ROLLBACK:
		if e.pipelined {
			return
		}
		r.value = nil
	}
	f.rows.add(&r)
}

// oldValue reads the value that the event replaces, once for all subscriptions.
func (f *feed) oldValue(s *subscription, e *changeEvent) []byte {
	if !s.oldValues {
		return nil
	}
	if !e.oldRead {
		e.oldRead = true
		value, err := f.reader.read(f.db, e.row.key, e.oldAt, e.row.startTs)
		if err != nil {
			f.logger.Error("old value is not readable", zap.Binary("key", e.row.key), zap.Error(err))
		}
		e.oldValue = value
	}
	return e.oldValue
}

// flushRows sends the rows gathered so far and reports false when the subscription had to be ended.
func (f *feed) flushRows(s *subscription) bool {
	if f.rows.len() == 0 {
		return true
	}
	if s.stream.pushLive(f.rows.finish(s.part.regionID, s.part.requestID)) {
		f.rows.reset()
		return true
	}
	f.logger.Warn("change feed reader is too slow, its request ends",
		zap.Uint64("region", s.part.regionID), zap.Uint64("request", s.part.requestID))
	f.end(s, &cdcpb.Error{Congested: &cdcpb.Congested{RegionId: s.part.regionID}})
	return false
}

// end removes a subscription and, unless the client asked for it, tells the client why.
func (f *feed) end(s *subscription, reason *cdcpb.Error) {
	if s.ended.Load() {
		return
	}
	s.ended.Store(true)
	s.region.removeSub(s)
	s.part.remove(s)
	s.stream.wake()
	if reason == nil {
		return
	}
	if err := s.stream.pushError(s.part.regionID, s.part.requestID, reason); err != nil {
		f.logger.Error("error event was not sent", zap.Error(err))
	}
}

// unlock takes one lock out of the region's count.
func (r *region) unlock(startTs uint64) {
	if r.locks[startTs]--; r.locks[startTs] <= 0 {
		delete(r.locks, startTs)
	}
}

func (r *region) removeSub(s *subscription) {
	for i, other := range r.subs {
		if other == s {
			last := len(r.subs) - 1
			r.subs[i], r.subs[last] = r.subs[last], nil
			r.subs = r.subs[:last]
			return
		}
	}
}

// swap exchanges regions for others that cover the same keys, after record has made it last, and ends the subscriptions
// of the old ones. current is what their error shows as the regions of today.
func (f *feed) swap(removed, added []*region, current []*metapb.Region, record func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := record(); err != nil {
		return err
	}
	for _, r := range removed {
		for len(r.subs) > 0 {
			f.end(r.subs[0], &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: current}})
		}
	}
	for _, r := range added {
		for _, old := range removed {
			r.maxCommit = max(r.maxCommit, old.maxCommit)
		}
		f.countLocks(r)
	}
	f.table.replace(removed, added)
	return nil
}

// countLocks fills the lock counts of a region that is new.
func (f *feed) countLocks(r *region) {
	for it := f.locks.iterate(r.rawStart); it.Valid() && beforeEnd(it.Key(), r.rawEnd); it.Next() {
		if h := lockHeader(it.Value()); isChangeLock(h.Op) {
			r.locks[h.StartTS]++
		}
	}
}

// oldValueReader reads with one transaction for a group of batches. What it returns is valid until close.
type oldValueReader struct {
	txn *badger.Txn
}

// read returns the newest value at or before ts that is not the transaction's own: while a commit is being written, its
// version is there and its lock still too. It returns nil when there is none or it is a deletion.
func (r *oldValueReader) read(db *engine, key []byte, ts, startTs uint64) ([]byte, error) {
	if r.txn == nil {
		r.txn = db.NewTransaction(false)
	}
	for {
		r.txn.SetReadTS(ts)
		item, err := r.txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if item.Version() > ts {
			return nil, fmt.Errorf("the engine has version %d of %x at %d", item.Version(), key, ts)
		}
		if start, _, ok := dataVersion(item.UserMeta(), item.Version()); !ok || start != startTs {
			return item.Value()
		}
		ts = item.Version() - 1
	}
}

func (r *oldValueReader) close() {
	if r.txn != nil {
		r.txn.Discard()
		r.txn = nil
	}
}
