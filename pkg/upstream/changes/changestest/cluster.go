// Package changestest serves cdcpb change streams from memory, with regions
// that split, merge and move, for tests of what subscribes to them.
package changestest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/stretchr/testify/require"
	"github.com/tikv/client-go/v2/util/codec"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// ClusterID is what requests have to name.
const ClusterID = 7

// Cluster is a set of stores and the regions on them. It is also the
// changes.Regions that leads to them. Its methods are safe for concurrent use.
type Cluster struct {
	t        testing.TB
	mu       sync.Mutex
	clock    uint64
	regions  []*region // by start key, without holes
	stores   []*store
	nextID   uint64
	history  []commit
	latest   map[string]string
	locks    map[*Txn]struct{}
	refuse   func(*cdcpb.ChangeDataRequest) *cdcpb.Error
	held     bool // scans wait
	addrErr  error
	requests []*cdcpb.ChangeDataRequest
	messages int // resolved-ts messages sent
}

type region struct {
	id, version, leader uint64
	start, end          []byte // encoded
}

type commit struct {
	key, value, old   string
	startTs, commitTs uint64
}

// Options shape a cluster.
type Options struct {
	Stores  int  // 1 when zero
	Classic bool // the stores know EventFeed only
}

// New starts a cluster with one region; it stops with the test.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{
		t: t, clock: model.TSOFromTime(time.Now()),
		latest: make(map[string]string), locks: make(map[*Txn]struct{}),
		regions: []*region{{id: 1, version: 1, leader: 1}}, nextID: 1,
	}
	for i := range max(o.Stores, 1) {
		st, err := startStore(c, uint64(i+1), o.Classic)
		require.NoError(t, err)
		c.stores = append(c.stores, st)
	}
	t.Cleanup(func() {
		for _, st := range c.stores {
			st.stop()
		}
	})
	return c
}

// Scan implements changes.Regions.
func (c *Cluster) Scan(_ context.Context, ranges []changes.KeyRange, limit int) ([]changes.Region, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []changes.Region
	for _, r := range c.regions {
		if len(out) == limit {
			break
		}
		if slices.ContainsFunc(ranges, func(k changes.KeyRange) bool { return overlap(r.start, r.end, k.Start, k.End) }) {
			out = append(out, changes.Region{ID: r.id, ConfVer: 1, Version: r.version, Start: r.start, End: r.end, Leader: r.leader})
		}
	}
	return out, nil
}

// StoreAddr implements changes.Regions.
func (c *Cluster) StoreAddr(_ context.Context, id uint64) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.addrErr != nil {
		return "", c.addrErr
	}
	return c.stores[id-1].addr, nil
}

// FailStoreAddr makes StoreAddr fail; nil heals it.
func (c *Cluster) FailStoreAddr(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addrErr = err
}

func overlap(aStart, aEnd, bStart, bEnd []byte) bool {
	return (len(aEnd) == 0 || bytes.Compare(bStart, aEnd) < 0) && (len(bEnd) == 0 || bytes.Compare(aStart, bEnd) < 0)
}

func encode(key string) []byte { return codec.EncodeBytes(nil, []byte(key)) }

// Now is the last timestamp that was handed out.
func (c *Cluster) Now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

func (c *Cluster) tick() uint64 {
	c.clock++
	return c.clock
}

// Txn is an open transaction of one key.
type Txn struct {
	c          *Cluster
	key, value string
	startTs    uint64
}

// Begin writes the lock of a transaction; an empty value deletes.
func (c *Cluster) Begin(key, value string) *Txn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begin(key, value)
}

func (c *Cluster) begin(key, value string) *Txn {
	x := &Txn{c: c, key: key, value: value, startTs: c.tick()}
	c.locks[x] = struct{}{}
	c.emit(key, x.row(cdcpb.Event_PREWRITE, 0))
	return x
}

// Commit commits and returns the commit-ts.
func (x *Txn) Commit() uint64 {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	return x.commit()
}

func (x *Txn) commit() uint64 {
	c, ts := x.c, x.c.tick()
	delete(c.locks, x)
	c.history = append(c.history, commit{x.key, x.value, c.latest[x.key], x.startTs, ts})
	c.latest[x.key] = x.value
	r := x.row(cdcpb.Event_COMMIT, ts)
	r.Value, r.OldValue = nil, nil
	c.emit(x.key, r)
	return ts
}

// Rollback gives the transaction up.
func (x *Txn) Rollback() {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	delete(x.c.locks, x)
	x.c.emit(x.key, x.row(cdcpb.Event_ROLLBACK, 0))
}

func (x *Txn) row(typ cdcpb.Event_LogType, commitTs uint64) *cdcpb.Event_Row {
	return row(typ, commit{x.key, x.value, x.c.latest[x.key], x.startTs, commitTs})
}

func row(typ cdcpb.Event_LogType, m commit) *cdcpb.Event_Row {
	r := &cdcpb.Event_Row{Type: typ, OpType: cdcpb.Event_Row_PUT, StartTs: m.startTs, CommitTs: m.commitTs,
		Key: []byte(m.key), Value: []byte(m.value), OldValue: []byte(m.old)}
	if m.value == "" {
		r.OpType = cdcpb.Event_Row_DELETE
	}
	return r
}

// Put commits one key and returns the commit-ts; an empty value deletes.
func (c *Cluster) Put(key, value string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begin(key, value).commit()
}

// emit sends a row to every registration that covers its key.
func (c *Cluster) emit(key string, r *cdcpb.Event_Row) {
	k := encode(key)
	c.eachFeed(func(f *feed) {
		if f.covers(k) {
			f.send(r)
		}
	})
}

// Resolve tells every registration whose scan has ended the resolved-ts, and
// returns it: now, or what the oldest lock allows.
func (c *Cluster) Resolve() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	ts := c.tick()
	for x := range c.locks {
		ts = min(ts, x.startTs-1)
	}
	for _, st := range c.stores {
		for sm := range st.streams {
			c.messages += sm.resolve(ts)
		}
	}
	return ts
}

// ResolvedMessages is the number of resolved-ts messages sent.
func (c *Cluster) ResolvedMessages() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.messages
}

// Split cuts the region of key in two at key.
func (c *Cluster) Split(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := encode(key)
	i := c.find(k)
	r := c.regions[i]
	if bytes.Equal(r.start, k) {
		return
	}
	c.nextID++
	right := &region{id: c.nextID, version: r.version + 1, leader: r.leader, start: k, end: r.end}
	r.end, r.version = k, r.version+1
	c.regions = slices.Insert(c.regions, i+1, right)
	c.endFeeds(r.id, epochNotMatch())
}

// Merge joins the region of key with the one on its right, if any.
func (c *Cluster) Merge(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.find(encode(key))
	if i+1 == len(c.regions) {
		return
	}
	r, gone := c.regions[i], c.regions[i+1]
	r.end, r.version = gone.end, max(r.version, gone.version)+1
	c.regions = slices.Delete(c.regions, i+1, i+2)
	c.endFeeds(r.id, epochNotMatch())
	c.endFeeds(gone.id, regionNotFound(gone.id))
}

// Move makes another store lead the region of key; 0 leaves it leaderless.
func (c *Cluster) Move(key string, storeID uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.regions[c.find(encode(key))]
	r.leader = storeID
	c.endFeeds(r.id, NotLeader(r.leader))
}

// Fail ends the registrations of the region of key with an error.
func (c *Cluster) Fail(key string, e *cdcpb.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endFeeds(c.regions[c.find(encode(key))].id, e)
}

// Send brings an arbitrary row to the registrations of the region of key.
func (c *Cluster) Send(key string, r *cdcpb.Event_Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emit(key, r)
}

// Cut breaks every stream of a store.
func (c *Cluster) Cut(storeID uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for sm := range c.stores[storeID-1].streams {
		sm.cut()
	}
}

// Stop closes every connection of a store and takes no new ones, as a killed
// process does.
func (c *Cluster) Stop(storeID uint64) { c.stores[storeID-1].stop() }

// Restart lets a stopped store serve again, on the same address.
func (c *Cluster) Restart(storeID uint64) {
	c.t.Helper()
	require.NoError(c.t, c.stores[storeID-1].restart())
}

// Streams is the number of open change streams of a store.
func (c *Cluster) Streams(storeID uint64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.stores[storeID-1].streams)
}

// Refuse sets what decides on new registrations: an error, or nil to accept.
func (c *Cluster) Refuse(fn func(*cdcpb.ChangeDataRequest) *cdcpb.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = fn
}

// HoldScans lets scans of history wait until called with false.
func (c *Cluster) HoldScans(hold bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = hold
	if !hold {
		c.eachFeed(func(f *feed) { c.scan(f) })
	}
}

// FinishScan lets the waiting scans of the region of key finish.
func (c *Cluster) FinishScan(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.regions[c.find(encode(key))].id
	c.eachFeed(func(f *feed) {
		if f.region == id {
			c.scan(f)
		}
	})
}

// Feeds is the number of registrations, and how many of them still scan.
func (c *Cluster) Feeds() (all, scanning int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eachFeed(func(f *feed) {
		all++
		if !f.ready {
			scanning++
		}
	})
	return all, scanning
}

// Requests returns what was received so far.
func (c *Cluster) Requests() []*cdcpb.ChangeDataRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// scan sends the history of a registration: locks, commits, INITIALIZED.
func (c *Cluster) scan(f *feed) {
	if f.ready {
		return
	}
	for x := range c.locks {
		if f.covers(encode(x.key)) {
			f.send(x.row(cdcpb.Event_PREWRITE, 0))
		}
	}
	for _, m := range c.history {
		if m.commitTs > f.checkpoint && f.covers(encode(m.key)) {
			f.send(row(cdcpb.Event_COMMITTED, m))
		}
	}
	f.send(&cdcpb.Event_Row{Type: cdcpb.Event_INITIALIZED})
	f.ready = true
}

func (c *Cluster) find(k []byte) int {
	i, ok := slices.BinarySearchFunc(c.regions, k, func(r *region, k []byte) int { return bytes.Compare(r.start, k) })
	if ok {
		return i
	}
	return i - 1
}

func (c *Cluster) byID(id uint64) *region {
	for _, r := range c.regions {
		if r.id == id {
			return r
		}
	}
	return nil
}

func (c *Cluster) eachFeed(fn func(*feed)) {
	for _, st := range c.stores {
		for sm := range st.streams {
			for _, f := range sm.feeds {
				fn(f)
			}
		}
	}
}

// endFeeds ends every registration of a region with an error.
func (c *Cluster) endFeeds(regionID uint64, e *cdcpb.Error) {
	c.eachFeed(func(f *feed) {
		if f.region == regionID {
			f.stream.fail(f.request, f.region, e)
			delete(f.stream.feeds, f.key())
		}
	})
}

// SpanOf covers the keys in [start, end).
func SpanOf(start, end string) model.Span {
	return model.Span{TableID: 1, StartKey: []byte(start), EndKey: []byte(end)}
}

// Key names keys so that they sort by number.
func Key(i int) string { return fmt.Sprintf("k%06d", i) }
