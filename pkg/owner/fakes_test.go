package owner

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// fakeUpstream is a PD.
type fakeUpstream struct {
	mu    sync.Mutex
	now   uint64
	least uint64 // safe point of another service
	safe  map[string]uint64
	ttls  map[string]int64 // of the safe points, in seconds

	silence time.Duration
	// withdrawn, when set, is called when a safe point goes.
	withdrawn func(id string)
	// regions are those of a table; nil: tables have one.
	regions func(table int64) ([]model.TableRegion, error)
}

func (u *fakeUpstream) TableRegions(_ context.Context, span model.Span, _ bool) ([]model.TableRegion, error) {
	if u.regions == nil {
		return make([]model.TableRegion, 1), nil
	}
	return u.regions(span.TableID)
}

func (u *fakeUpstream) CurrentTSO(context.Context) (uint64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now++
	return u.now, nil
}

func (u *fakeUpstream) Silence() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.silence
}

func (u *fakeUpstream) Now() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now
}

func (u *fakeUpstream) set(fn func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fn()
}

func (u *fakeUpstream) SetServiceSafePoint(_ context.Context, id string, ttl int64, ts uint64) (uint64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if fn := u.withdrawn; fn != nil && ttl == 0 {
		u.mu.Unlock()
		fn(id)
		u.mu.Lock()
	}
	if ttl == 0 {
		delete(u.safe, id)
	} else if ts >= u.least { // what GC has passed cannot be held
		u.safe[id] = ts
		u.ttls[id] = ttl
	}
	least := u.least
	for _, s := range u.safe {
		if least == 0 || s < least {
			least = s
		}
	}
	return least, nil
}

func (u *fakeUpstream) services() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var names []string
	for name := range u.safe {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fakeSchema is the schema of an upstream that the test writes.
type fakeSchema struct {
	mu       sync.Mutex
	resolved uint64
	jobs     []*model.DDLEvent
	tables   map[uint64][]*model.Table // by the TSO from which they are valid
	err      error
	watchers map[chan struct{}]struct{}
	acquired []uint64
	leases   int
}

func newFakeSchema(resolved uint64, tables ...*model.Table) *fakeSchema {
	return &fakeSchema{resolved: resolved, tables: map[uint64][]*model.Table{0: tables}, watchers: map[chan struct{}]struct{}{}}
}

func (s *fakeSchema) Acquire(_ context.Context, ts uint64) (Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acquired = append(s.acquired, ts)
	s.leases++
	return fakeLease{s}, nil
}

type fakeLease struct{ s *fakeSchema }

func (l fakeLease) Schema() Schema { return l.s }
func (l fakeLease) Advance(uint64) {}
func (l fakeLease) Release() {
	l.s.mu.Lock()
	l.s.leases--
	l.s.mu.Unlock()
}

func (s *fakeSchema) ResolvedTs() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resolved
}

func (s *fakeSchema) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *fakeSchema) Watch() (<-chan struct{}, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	s.watchers[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		delete(s.watchers, ch)
		s.mu.Unlock()
	}
}

// ChangedTables compares by pointer.
func (s *fakeSchema) ChangedTables(after, upTo uint64) (before, now []*model.Table) {
	old, fresh := s.Tables(after), s.Tables(upTo)
	known := make(map[*model.Table]bool, len(old))
	for _, t := range old {
		known[t] = true
	}
	for _, t := range fresh {
		if known[t] {
			known[t] = false
		} else {
			now = append(now, t)
		}
	}
	for _, t := range old {
		if known[t] {
			before = append(before, t)
		}
	}
	return before, now
}

func (s *fakeSchema) Tables(ts uint64) []*model.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := uint64(0)
	for at := range s.tables {
		if at <= ts && at >= best {
			best = at
		}
	}
	return s.tables[best]
}

func (s *fakeSchema) DDLs(after, upTo uint64) []*model.DDLEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*model.DDLEvent
	for _, j := range s.jobs {
		if j.CommitTs > after && j.CommitTs <= upTo {
			out = append(out, j)
		}
	}
	return out
}

// advance lets time pass: DDLs, if any, finish at their commit-ts.
func (s *fakeSchema) advance(resolved uint64, jobs ...*model.DDLEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolved = resolved
	s.jobs = append(s.jobs, jobs...)
	for ch := range s.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// define sets the tables that are valid from ts on.
func (s *fakeSchema) define(ts uint64, tables ...*model.Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[ts] = tables
}

func table(id int64, name string) *model.Table {
	return &model.Table{
		ID: id, Schema: "db", Name: name, HandleKey: []int{0},
		Info: &timodel.TableInfo{ID: id, Name: ast.NewCIStr(name)},
	}
}

func tables(n int64) []*model.Table {
	all := make([]*model.Table, n)
	for i := range all {
		all[i] = table(int64(i+1), fmt.Sprintf("t%d", i+1))
	}
	return all
}

const (
	dropTable   = timodel.ActionDropTable
	createTable = timodel.ActionCreateTable
)

func ddl(ts uint64, kind timodel.ActionType, query string) *model.DDLEvent {
	return &model.DDLEvent{JobID: int64(ts), Type: kind, CommitTs: ts, Query: query, Schema: "db"}
}

// passDDL is the FilterDDL of the tests: a job without a query is not for
// downstream.
func passDDL(ev *model.DDLEvent, _ *filter.Filter, _ bool) ([]*model.DDLEvent, error) {
	if ev.Query == "" {
		return nil, nil
	}
	return []*model.DDLEvent{ev}, nil
}

// fakeCapture is a capture whose processors deliver everything up to the
// barrier, or up to limit, at once.
type fakeCapture struct {
	id      model.CaptureID
	stop    context.CancelFunc
	done    chan struct{}
	session *etcdmeta.Session
	changed chan struct{}

	mu     sync.Mutex
	runs   map[model.ChangefeedID]*fakeRun
	ended  []*peerpb.FeedKey
	starts int
	limit  uint64 // 0: none
	// leaving makes it stop everything and say so.
	leaving  bool
	stopping bool                              // was asked to take no tables any more
	unready  bool                              // prepared tables do not become ready
	clinging bool                              // tables are not let go
	slow     bool                              // runs that are to stop do not end
	held     []*peerpb.FeedKey                 // those runs
	overlap  func(table int64, c *fakeCapture) // sees every table that begins to be delivered
	// fail makes the next run report this error.
	fail *peerpb.Failure
}

type fakeRun struct {
	key   *peerpb.FeedKey
	spans map[int64]uint64 // table id to the checkpoint it was added with
	// prepared are tables that are only collected; told are those of them that
	// were said to be ready.
	prepared, told map[int64]uint64
	going          map[int64]struct{} // to be let go
	removed        []*peerpb.SpanStart
	barrier        uint64
	applied        uint64
	failure        *peerpb.Failure
	config         *etcdmeta.ChangefeedInfo
}

func (c *fakeCapture) with(fn func()) {
	c.mu.Lock()
	fn()
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *fakeCapture) Isolated() {}

func (c *fakeCapture) Changed() <-chan struct{} { return c.changed }

func (c *fakeCapture) Apply(orders []*peerpb.Order) {
	c.with(func() {
		for _, o := range orders {
			c.apply(o)
		}
	})
}

func (c *fakeCapture) apply(o *peerpb.Order) {
	if o.Leave {
		c.stopping = true
		return
	}
	id := peer.FeedID(o.Feed)
	r := c.runs[id]
	if o.Start != nil && (r == nil || r.key.Epoch != o.Feed.Epoch) {
		r = &fakeRun{
			key: o.Feed, spans: map[int64]uint64{}, config: &etcdmeta.ChangefeedInfo{},
			prepared: map[int64]uint64{}, told: map[int64]uint64{}, going: map[int64]struct{}{},
		}
		_ = json.Unmarshal(o.Start, r.config)
		c.runs[id] = r
		c.starts++
		r.failure, c.fail = c.fail, nil
	}
	if r == nil || r.key.Epoch != o.Feed.Epoch {
		if o.Stop && len(c.held) == 0 {
			c.ended = append(c.ended, o.Feed)
		}
		return
	}
	for _, s := range o.Add {
		if s.Prepare {
			r.prepared[s.Span.TableId] = s.CheckpointTs
			continue
		}
		delete(r.prepared, s.Span.TableId)
		r.spans[s.Span.TableId] = s.CheckpointTs
		if c.overlap != nil {
			c.overlap(s.Span.TableId, c)
		}
	}
	for _, s := range o.Remove {
		r.going[s.TableId] = struct{}{}
	}
	r.barrier = max(r.barrier, o.BarrierTs)
	r.applied = max(r.applied, o.Seq)
	if o.Stop {
		delete(c.runs, id)
		if c.slow {
			c.held = append(c.held, o.Feed)
		} else {
			c.ended = append(c.ended, o.Feed)
		}
	}
}

// letGo ends what is to be removed, unless the test wants it to stay.
func (r *fakeRun) letGo(ts uint64) {
	for id := range r.going {
		delete(r.going, id)
		gone := &peerpb.SpanStart{Span: &peerpb.Span{TableId: id}, CheckpointTs: ts}
		if start, ok := r.prepared[id]; ok {
			gone.CheckpointTs = start
		}
		delete(r.prepared, id)
		delete(r.told, id)
		delete(r.spans, id)
		r.removed = append(r.removed, gone)
	}
}

func (c *fakeCapture) report(r *fakeRun) *peerpb.FeedReport {
	ts := r.barrier
	if c.limit != 0 {
		ts = min(ts, c.limit)
	}
	if r.failure != nil {
		ts = 0
	}
	for _, start := range r.spans {
		ts = max(ts, start)
	}
	if !c.clinging {
		r.letGo(ts)
	}
	report := &peerpb.FeedReport{
		Feed: r.key, Applied: r.applied, Spans: uint32(len(r.spans)), CheckpointTs: ts, ResolvedTs: ts, Error: r.failure,
		Removed: r.removed,
	}
	r.removed = nil
	for id, start := range r.prepared {
		if _, ok := r.told[id]; !ok && !c.unready {
			r.told[id] = start
			report.Prepared = append(report.Prepared, &peerpb.Span{TableId: id})
		}
	}
	return report
}

func (c *fakeCapture) Hello() *peerpb.Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	hello := &peerpb.Hello{}
	for _, r := range c.runs {
		report := c.report(r)
		for id := range r.spans {
			report.Held = append(report.Held, &peerpb.Span{TableId: id})
		}
		report.Prepared = nil
		for id := range r.prepared {
			report.Prepared = append(report.Prepared, &peerpb.Span{TableId: id})
		}
		hello.Feeds = append(hello.Feeds, report)
	}
	c.ended = nil
	return hello
}

func (c *fakeCapture) Report() *peerpb.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	report := &peerpb.Report{}
	if c.stopping {
		report.Liveness = int32(model.LivenessStopping)
	}
	if c.leaving {
		report.Liveness = int32(model.LivenessStopping)
		for id, r := range c.runs {
			c.ended = append(c.ended, r.key)
			delete(c.runs, id)
		}
	}
	for _, r := range c.runs {
		report.Feeds = append(report.Feeds, c.report(r))
	}
	for _, key := range c.ended {
		report.Feeds = append(report.Feeds, &peerpb.FeedReport{Feed: key, Stopped: true})
	}
	c.ended = nil
	return report
}

// tables lists the tables that run, with the checkpoints they began with.
func (c *fakeCapture) tables(id model.ChangefeedID) map[int64]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[int64]uint64{}
	if r := c.runs[id]; r != nil {
		for table, start := range r.spans {
			out[table] = start
		}
	}
	return out
}

// prepares lists the tables that are only collected.
func (c *fakeCapture) prepares(id model.ChangefeedID) []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.runs[id]; r != nil {
		return slices.Sorted(maps.Keys(r.prepared))
	}
	return nil
}

// wire is the network of the tests: one hub behind an in-memory listener.
type wire struct {
	hub      *peer.Hub
	listener *bufconn.Listener
	server   *grpc.Server
}

func newWire(t testing.TB) *wire {
	w := &wire{hub: peer.NewHub(zap.NewNop()), listener: bufconn.Listen(1 << 20), server: grpc.NewServer()}
	w.hub.Register(w.server)
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(w.listener) }()
	t.Cleanup(func() {
		w.server.Stop()
		require.NoError(t, <-served)
	})
	return w
}

func (w *wire) dial(string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///owner", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.listener.DialContext(ctx) }))
}

// eventually waits for a condition with a short tick.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 30*time.Second, 2*time.Millisecond, what)
}
