package kv

import (
	"bytes"
	"math"
	"sync"

	"github.com/pingcap/badger"
	"github.com/pingcap/badger/y"
	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
	"go.uber.org/zap"
)

const (
	// scanWorkers is how many regions of one stream are scanned at a time.
	scanWorkers = 4
	// lockChunk is how many locks a scan looks at while it holds up the writers.
	lockChunk = 256
	// scanCheckKeys is how many keys a scan passes before it asks whether it is still wanted.
	scanCheckKeys = 4096
)

// scanQueue holds the subscriptions of a stream whose incremental scan has not begun.
type scanQueue struct {
	mu      sync.Mutex
	waiting []*subscription
	workers int
}

// add queues a scan and reports whether a worker must be started for it.
func (q *scanQueue) add(s *subscription) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, s)
	if q.workers == scanWorkers {
		return false
	}
	q.workers++
	return true
}

// next returns nil when there is nothing to do and the worker ends.
func (q *scanQueue) next() *subscription {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.workers--
		return nil
	}
	s := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	return s
}

// scanAll is a worker: it runs the scans of a stream until there are none.
func (f *feed) scanAll(st *stream) {
	for {
		s := st.scans.next()
		if s == nil {
			return
		}
		if err := f.scan(s); err != nil && st.ctx.Err() == nil {
			f.logger.Warn("incremental scan failed", zap.Uint64("region", s.part.regionID), zap.Error(err))
			f.mu.Lock()
			f.end(s, &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: err.Error()}})
			f.mu.Unlock()
		}
	}
}

// scan sends what a new subscription has to know from before: a PREWRITE for every lock and a COMMITTED for every
// version above its checkpoint, and INITIALIZED.
//
// The subscription gets live events already, so only what was written before counts here. A lock that was there at the
// registration is either still there when the scan passes it, or its end was a live event; as long as the scan runs,
// the commits among those events bring their PREWRITE along. A version that was there is in the engine, with a
// commit-ts below a timestamp taken now. What the engine gets meanwhile may be sent twice.
func (f *feed) scan(s *subscription) error {
	needVersions := f.scanLocks(s)
	if needVersions {
		ts, err := f.clock.tso(s.stream.ctx)
		if err != nil {
			return err
		}
		if err := f.scanVersions(s, ts); err != nil {
			return err
		}
	}
	f.initialized(s)
	return nil
}

// initialized ends the scan phase of a subscription.
func (f *feed) initialized(s *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.ended.Load() {
		return
	}
	f.rows.reset()
	f.rows.add(&row{kind: cdcpb.Event_INITIALIZED})
	s.live = f.flushRows(s)
}

// scanLocks sends the locks, and reports whether the region may have versions above the checkpoint.
func (f *feed) scanLocks(s *subscription) (needVersions bool) {
	from := s.start
	for more := true; more && !s.ended.Load(); {
		if !s.stream.waitForRoom(s) {
			return false
		}
		f.mu.Lock()
		needVersions = s.region.maxCommit > s.checkpoint
		if len(s.region.locks) == 0 || s.ended.Load() {
			f.mu.Unlock()
			return needVersions
		}
		from, more = f.scanLockChunk(s, from)
		f.mu.Unlock()
	}
	return needVersions
}

// scanLockChunk sends the locks of some keys at and after from. It returns where to go on. That all of it happens
// under feed.mu keeps a PREWRITE from coming behind the end of its transaction.
func (f *feed) scanLockChunk(s *subscription, from []byte) (next []byte, more bool) {
	defer f.reader.close()
	f.rows.reset()
	it := f.locks.iterate(from)
	for n := 0; it.Valid() && beforeEnd(it.Key(), s.end); n++ {
		if n == lockChunk || f.rows.len() >= messageBytes {
			next, more = bytes.Clone(it.Key()), true
			break
		}
		f.addLock(s, it.Key(), it.Value())
		it.Next()
	}
	return next, f.flushRows(s) && more
}

// addLock adds the PREWRITE of a lock, if it has one.
func (f *feed) addLock(s *subscription, key, encoded []byte) {
	h := lockHeader(encoded)
	info := f.locks.info(h.StartTS)
	if !isChangeLock(h.Op) || info.pipelined || !s.wants(info.source) {
		return
	}
	lock := mvcc.DecodeLock(encoded)
	r := row{
		kind: cdcpb.Event_PREWRITE, op: rowOp(kvrpcpb.Op(h.Op)), startTs: h.StartTS, source: info.source,
		key: key, value: lock.Value,
	}
	e := changeEvent{row: r, oldAt: math.MaxUint64}
	r.oldValue = f.oldValue(s, &e)
	f.rows.add(&r)
}

// scanVersions sends the versions with a commit-ts in (checkpoint, ts].
func (f *feed) scanVersions(s *subscription, ts uint64) error {
	txn := f.db.NewTransaction(false)
	defer txn.Discard()
	txn.SetReadTS(ts)
	opts := badger.DefaultIteratorOptions
	if len(s.start) > 0 && len(s.end) > 0 {
		opts.StartKey = y.KeyWithTs(s.start, ts)
		opts.EndKey = y.KeyWithTs(s.end, ts)
	}
	it, err := f.db.iterator(s.stream.ctx, txn, opts)
	if err != nil {
		return err
	}
	defer it.Close()
	v := versionScan{sub: s, it: it}
	return v.run()
}

// versionScan walks over all versions of a range, newest first within a key.
type versionScan struct {
	sub *subscription
	it  *badger.Iterator
	key []byte
	// data is the buffer that out builds an event in, nil between two events.
	data *[]byte
	out  eventBuffer
	// over is set when the subscription or its stream ended.
	over bool
}

func (v *versionScan) run() error {
	v.it.SetAllVersions(false)
	v.it.Seek(v.sub.start)
	for n := 1; v.it.Valid() && !v.over; n++ {
		item := v.it.Item()
		if !beforeEnd(item.Key(), v.sub.end) {
			break
		}
		if n%scanCheckKeys == 0 && v.sub.ended.Load() {
			break
		}
		if item.Version() <= v.sub.checkpoint {
			v.it.Next()
			continue
		}
		if err := v.walkKey(); err != nil {
			return err
		}
	}
	v.flush()
	return nil
}

// walkKey emits the versions of the key at the iterator and leaves that at the next key. A version is emitted when the
// one before it is known, which is its old value. Values stay valid meanwhile, see openEngine.
func (v *versionScan) walkKey() error {
	v.key = append(v.key[:0], v.it.Item().Key()...)
	v.it.SetAllVersions(true)
	defer v.it.SetAllVersions(false)
	var newer row
	for have := false; ; {
		item := v.it.Item()
		if item.IsDeleted() {
			if have {
				v.emit(&newer, nil)
			}
			break
		}
		if start, source, ok := dataVersion(item.UserMeta(), item.Version()); ok {
			value, err := item.Value()
			if err != nil {
				return err
			}
			if have {
				v.emit(&newer, value)
			}
			if item.Version() <= v.sub.checkpoint {
				break
			}
			newer = v.committed(start, item.Version(), source, value)
			have = true
		}
		v.it.Next()
		if !v.it.Valid() || !bytes.Equal(v.it.Item().Key(), v.key) {
			if have {
				v.emit(&newer, nil)
			}
			return nil
		}
	}
	v.it.SetAllVersions(false)
	v.it.Next()
	return nil
}

func (v *versionScan) committed(startTs, commitTs, source uint64, value []byte) row {
	op := cdcpb.Event_Row_PUT
	if len(value) == 0 {
		op = cdcpb.Event_Row_DELETE
	}
	return row{
		kind: cdcpb.Event_COMMITTED, op: op, startTs: startTs, commitTs: commitTs, source: source,
		key: v.key, value: value,
	}
}

func (v *versionScan) emit(r *row, oldValue []byte) {
	if !v.sub.wants(r.source) {
		return
	}
	if v.sub.oldValues {
		r.oldValue = oldValue
	}
	if v.data == nil {
		v.data = v.sub.stream.buffers.Get(messageBytes + smallEvent)
		v.out.buf = *v.data
		v.out.reset()
	}
	v.out.add(r)
	if v.out.len() >= messageBytes {
		v.flush()
	}
}

// flush sends what was emitted and waits when the reader is behind.
func (v *versionScan) flush() {
	if v.data == nil {
		return
	}
	*v.data = v.out.buf
	events := v.out.finish(v.sub.part.regionID, v.sub.part.requestID)
	if !v.sub.stream.pushScan(v.sub, v.data, events) {
		v.over = true
	}
	v.data, v.out.buf = nil, nil
}
