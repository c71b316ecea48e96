package kv

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// committedRow is a change as a client puts it together from the rows of the feed.
type committedRow struct {
	commitTs, startTs uint64
	key               string
	value, oldValue   string
	deleted           bool
}

// String keeps failures readable: values can be large.
func (r committedRow) String() string {
	return fmt.Sprintf("%s %d..%d deleted=%v value=%.20q(%d) old=%.20q(%d)", r.key, r.startTs, r.commitTs, r.deleted,
		r.value, len(r.value), r.oldValue, len(r.oldValue))
}

type rowID struct {
	commitTs, startTs uint64
	key               string
}

// feedSpan is a range of the span that is not registered, encoded keys, with the resolved-ts that it has reached.
type feedSpan struct {
	start, end []byte
	resolved   uint64
}

// registration is one request of the client. Its rules are those that TiCDC has for what a feed may send.
type registration struct {
	feedSpan
	regionID    uint64
	checkpoint  uint64
	initialized bool
	prewrites   map[rowID]*cdcpb.Event_Row // without commit-ts
	commits     []*cdcpb.Event_Row
	rollbacks   []rowID
}

// feedClient follows a span through splits, merges and cut streams and checks every promise of the feed on the way.
type feedClient struct {
	store   *Store
	conn    *grpc.ClientConn
	startTs uint64
	version string
	loop    bool // filter_loop

	mu       sync.Mutex
	rows     map[rowID]committedRow
	problems []string
	waiting  []feedSpan
	active   map[uint64]*registration
	lastID   uint64
	cut      context.CancelFunc
	errors   map[string]int
	messages int
	largest  int

	cancel context.CancelFunc
	done   chan struct{}
}

func newFeedClient(t testing.TB, c *cluster, start, end []byte, startTs uint64, change ...func(*feedClient)) *feedClient {
	conn, err := grpc.NewClient(c.store.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	require.NoError(t, err)
	f := &feedClient{
		store: c.store, conn: conn, startTs: startTs, version: "8.5.3",
		rows: make(map[rowID]committedRow), active: make(map[uint64]*registration), errors: make(map[string]int),
		waiting: []feedSpan{{start: encodeKey(start), end: encodeKey(end), resolved: startTs}},
		done:    make(chan struct{}), cut: func() {},
	}
	for _, ch := range change {
		ch(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go f.run(ctx)
	t.Cleanup(f.close)
	return f
}

func (f *feedClient) close() {
	f.cancel()
	<-f.done
	_ = f.conn.Close()
}

func (f *feedClient) problem(format string, args ...any) {
	if len(f.problems) < 20 {
		f.problems = append(f.problems, fmt.Sprintf(format, args...))
	}
}

// cutStream ends the stream of now.
func (f *feedClient) cutStream() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut()
}

// resolved returns the resolved-ts of the whole span.
func (f *feedClient) resolved() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	ts := uint64(math.MaxUint64)
	for _, s := range f.waiting {
		ts = min(ts, s.resolved)
	}
	for _, r := range f.active {
		ts = min(ts, r.resolved)
	}
	return ts
}

func (f *feedClient) run(ctx context.Context) {
	defer close(f.done)
	for ctx.Err() == nil {
		f.follow(ctx)
	}
}

// follow runs one stream until it breaks.
func (f *feedClient) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	f.cut = cancel
	f.mu.Unlock()
	ctx = metadata.AppendToOutgoingContext(ctx, featuresKey, featureMultiplexed)
	stream, err := cdcpb.NewChangeDataClient(f.conn).EventFeedV2(ctx)
	for err == nil {
		if err = f.registerWaiting(stream); err != nil {
			break
		}
		var event *cdcpb.ChangeDataEvent
		if event, err = stream.Recv(); err == nil {
			f.handle(event)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, r := range f.active {
		f.waiting = append(f.waiting, r.feedSpan)
		delete(f.active, id)
	}
}

func (f *feedClient) registerWaiting(stream cdcpb.ChangeData_EventFeedV2Client) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	spans := f.waiting
	f.waiting = nil
	for i, span := range spans {
		for _, region := range f.store.ScanRegions(span.start, span.end, 0) {
			part := span
			if bytes.Compare(region.Meta.StartKey, part.start) > 0 {
				part.start = region.Meta.StartKey
			}
			if e := region.Meta.EndKey; len(e) > 0 && (len(part.end) == 0 || bytes.Compare(e, part.end) < 0) {
				part.end = e
			}
			f.lastID++
			req := &cdcpb.ChangeDataRequest{
				Header:   &cdcpb.Header{ClusterId: testCluster, TicdcVersion: f.version},
				RegionId: region.Meta.Id, RegionEpoch: region.Meta.RegionEpoch, RequestId: f.lastID,
				CheckpointTs: part.resolved, StartKey: part.start, EndKey: part.end,
				ExtraOp: kvrpcpb.ExtraOp_ReadOldValue, FilterLoop: f.loop,
			}
			f.active[f.lastID] = &registration{
				feedSpan: part, regionID: region.Meta.Id, checkpoint: part.resolved,
				prewrites: make(map[rowID]*cdcpb.Event_Row),
			}
			if err := stream.Send(req); err != nil {
				f.waiting = append(f.waiting, spans[i+1:]...)
				if len(part.end) > 0 && !bytes.Equal(part.end, span.end) {
					f.waiting = append(f.waiting, feedSpan{start: part.end, end: span.end, resolved: span.resolved})
				}
				return err
			}
		}
	}
	return nil
}

func (f *feedClient) handle(event *cdcpb.ChangeDataEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages++
	f.largest = max(f.largest, event.Size())
	if len(event.Events) > 0 && event.ResolvedTs != nil {
		f.problem("events and a resolved-ts in one message")
	}
	for _, e := range event.Events {
		r := f.active[e.RequestId]
		if r == nil || r.regionID != e.RegionId {
			f.problem("event for request %d of region %d, which is not registered", e.RequestId, e.RegionId)
			continue
		}
		switch x := e.Event.(type) {
		case *cdcpb.Event_Error:
			f.errors[errorName(x.Error)]++
			delete(f.active, e.RequestId)
			f.waiting = append(f.waiting, r.feedSpan)
		case *cdcpb.Event_Entries_:
			for _, row := range x.Entries.Entries {
				f.row(r, row)
			}
		case *cdcpb.Event_ResolvedTs:
			f.advance(r, x.ResolvedTs)
		}
	}
	if ts := event.ResolvedTs; ts != nil {
		r := f.active[ts.RequestId]
		if r == nil || len(ts.Regions) != 1 || ts.Regions[0] != r.regionID {
			f.problem("resolved-ts %v for a request that is not registered", ts)
			return
		}
		f.advance(r, ts.Ts)
	}
}

func (f *feedClient) advance(r *registration, ts uint64) {
	if !r.initialized {
		f.problem("resolved-ts before INITIALIZED")
	}
	if ts <= r.resolved && ts <= r.checkpoint && ts != r.resolved {
		f.problem("resolved-ts %d after %d", ts, r.resolved)
	}
	r.resolved = max(r.resolved, ts)
}

func (f *feedClient) row(r *registration, row *cdcpb.Event_Row) {
	if row.Type == cdcpb.Event_INITIALIZED {
		f.initialize(r)
		return
	}
	if start, _ := decodeKey(r.start); bytes.Compare(row.Key, start) < 0 {
		f.problem("key %q before the range", row.Key)
	}
	if end, _ := decodeKey(r.end); !beforeEnd(row.Key, end) {
		f.problem("key %q after the range", row.Key)
	}
	id := rowID{startTs: row.StartTs, key: string(row.Key)}
	switch row.Type {
	case cdcpb.Event_PREWRITE:
		if old := r.prewrites[id]; old == nil || len(row.Value) > 0 && row.Generation >= old.Generation {
			r.prewrites[id] = row
		}
	case cdcpb.Event_COMMIT:
		p := r.prewrites[id]
		switch {
		case p != nil && (r.initialized || len(p.Value) > 0):
			f.commit(r, p, row)
		case r.initialized:
			f.problem("COMMIT of %q without PREWRITE", row.Key)
		default:
			r.commits = append(r.commits, row)
		}
	case cdcpb.Event_ROLLBACK:
		if r.initialized {
			delete(r.prewrites, id)
		} else {
			r.rollbacks = append(r.rollbacks, id)
		}
	case cdcpb.Event_COMMITTED:
		f.emit(r, row)
	default:
		f.problem("row of type %v", row.Type)
	}
}

func (f *feedClient) initialize(r *registration) {
	if r.initialized {
		f.problem("INITIALIZED twice")
	}
	r.initialized = true
	for _, c := range r.commits {
		if p := r.prewrites[rowID{startTs: c.StartTs, key: string(c.Key)}]; p != nil {
			f.commit(r, p, c)
		}
	}
	for _, id := range r.rollbacks {
		delete(r.prewrites, id)
	}
	r.commits, r.rollbacks = nil, nil
}

func (f *feedClient) commit(r *registration, prewrite, commit *cdcpb.Event_Row) {
	delete(r.prewrites, rowID{startTs: commit.StartTs, key: string(commit.Key)})
	row := *prewrite
	row.CommitTs = commit.CommitTs
	f.emit(r, &row)
}

func (f *feedClient) emit(r *registration, row *cdcpb.Event_Row) {
	if row.CommitTs <= f.startTs {
		return
	}
	if row.CommitTs <= r.resolved {
		f.problem("%v %q committed at %d, at or below the resolved-ts %d (checkpoint %d)",
			row.Type, row.Key, row.CommitTs, r.resolved, r.checkpoint)
	}
	got := committedRow{
		commitTs: row.CommitTs, startTs: row.StartTs, key: string(row.Key), value: string(row.Value),
		oldValue: string(row.OldValue), deleted: row.OpType == cdcpb.Event_Row_DELETE,
	}
	id := rowID{row.CommitTs, row.StartTs, string(row.Key)}
	if before, ok := f.rows[id]; ok && before != got {
		f.problem("two versions: %v and %v", before, got)
	}
	f.rows[id] = got
}

func errorName(e *cdcpb.Error) string {
	switch {
	case e.EpochNotMatch != nil:
		return "epoch_not_match"
	case e.RegionNotFound != nil:
		return "region_not_found"
	case e.DuplicateRequest != nil:
		return "duplicate_request"
	case e.ClusterIdMismatch != nil:
		return "cluster_id_mismatch"
	case e.Compatibility != nil:
		return "compatibility"
	case e.Congested != nil:
		return "congested"
	case e.ServerIsBusy != nil:
		return "server_is_busy"
	}
	return "unknown"
}

// versions returns what the engine has committed in (after, upTo] within raw keys, with old values.
func (c *cluster) versions(start, end []byte, after, upTo uint64) map[rowID]committedRow {
	txn := c.store.db.NewTransaction(false)
	defer txn.Discard()
	it, err := c.store.db.iterator(context.Background(), txn, allVersions())
	require.NoError(c.t, err)
	defer it.Close()
	want := make(map[rowID]committedRow)
	var newer *rowID // the version of the same key that is waiting for its old value
	for it.Seek(start); it.Valid() && beforeEnd(it.Item().Key(), end); it.Next() {
		item := it.Item()
		startTs, _, ok := dataVersion(item.UserMeta(), item.Version())
		if !ok {
			continue
		}
		value, err := item.ValueCopy(nil)
		require.NoError(c.t, err)
		if newer != nil && newer.key == string(item.Key()) {
			row := want[*newer]
			row.oldValue = string(value)
			want[*newer] = row
		}
		newer = nil
		if item.Version() <= after || item.Version() > upTo {
			continue
		}
		id := rowID{item.Version(), startTs, string(item.Key())}
		want[id] = committedRow{
			commitTs: id.commitTs, startTs: id.startTs, key: id.key, value: string(value), deleted: len(value) == 0,
		}
		newer = &id
	}
	return want
}

// locks describes the locks of the store.
func (c *cluster) locks() []string {
	var list []string
	for it := c.store.locks.iterate(nil); it.Valid(); it.Next() {
		lock := mvcc.DecodeLock(it.Value())
		list = append(list, fmt.Sprintf("%s %v primary %s min commit %d", it.Key(), &lock, lock.Primary, lock.MinCommitTS))
	}
	return list
}

// requireEqual waits until the client has everything up to ts and compares it with the engine.
func (f *feedClient) requireEqual(t testing.TB, c *cluster, start, end []byte, ts uint64) {
	if !assert.Eventually(t, func() bool { return f.resolved() >= ts }, waitLong, tick) {
		t.Fatalf("the resolved-ts %d does not reach %d; locks: %v", f.resolved(), ts, c.locks())
	}
	want := c.versions(start, end, f.startTs, ts)
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Empty(t, f.problems)
	missing, wrong := 0, 0
	for id, row := range want {
		got, ok := f.rows[id]
		if !ok {
			missing++
			if missing <= 5 {
				t.Errorf("missing: %v", row)
			}
		} else if got != row {
			wrong++
			if wrong <= 5 {
				t.Errorf("wrong: %v, the engine has %v", got, row)
			}
		}
	}
	invented := 0
	for id, row := range f.rows {
		if _, ok := want[id]; !ok && id.commitTs <= ts {
			invented++
			if invented <= 5 {
				t.Errorf("invented: %v", row)
			}
		}
	}
	require.Zero(t, missing+wrong+invented, "%d missing, %d wrong, %d invented of %d", missing, wrong, invented, len(want))
}
