package processor

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/meta/model"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tidemark/tidemark/pkg/config"
	tmodel "github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sorter"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeUpstream is PD, the stores and the schema in memory.
type fakeUpstream struct {
	mu       sync.Mutex
	subs     map[int64]*fakeSub // by table
	closed   []int64
	now      uint64
	tsoErr   error
	statuses changes.Status

	leases   int
	versions map[int64][]*tmodel.Table // by physical id, oldest first
	dropped  map[int64]uint64
	resolved uint64
	storeErr error
	changed  chan struct{}
}

func newFakeUpstream() *fakeUpstream {
	return &fakeUpstream{
		subs: map[int64]*fakeSub{}, now: 1, versions: map[int64][]*tmodel.Table{},
		dropped: map[int64]uint64{}, changed: make(chan struct{}, 1),
	}
}

type fakeSub struct {
	up     *fakeUpstream
	o      changes.Options
	mu     sync.Mutex // held while the consumer is called
	closed bool
}

func (u *fakeUpstream) Subscribe(o changes.Options) Subscription {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := &fakeSub{up: u, o: o}
	u.subs[o.Span.TableID] = s
	return s
}

func (s *fakeSub) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	s.up.closed = append(s.up.closed, s.o.Span.TableID)
	if s.up.subs[s.o.Span.TableID] == s {
		delete(s.up.subs, s.o.Span.TableID)
	}
}

func (s *fakeSub) Status() changes.Status {
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	return s.up.statuses
}

// sub returns the subscription of a table, waiting until there is one.
func (u *fakeUpstream) sub(t testing.TB, table int64) *fakeSub {
	t.Helper()
	var s *fakeSub
	require.Eventually(t, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		s = u.subs[table]
		return s != nil
	}, 30*time.Second, time.Millisecond)
	return s
}

func (s *fakeSub) rows(rows ...tmodel.RawChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.o.Consumer.OnRows(rows)
	}
}

func (s *fakeSub) resolve(ts uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.o.Consumer.OnResolved(ts)
	}
}

func (u *fakeUpstream) CurrentTSO(context.Context) (uint64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now, u.tsoErr
}

func (u *fakeUpstream) Acquire(_ context.Context, _ uint64) (SchemaLease, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.leases++
	return &fakeLease{up: u}, nil
}

type fakeLease struct{ up *fakeUpstream }

func (l *fakeLease) Store() SchemaStore { return l.up }
func (l *fakeLease) Advance(uint64)     {}
func (l *fakeLease) Release() {
	l.up.mu.Lock()
	defer l.up.mu.Unlock()
	l.up.leases--
}

func (u *fakeUpstream) ResolvedTs() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.resolved
}

func (u *fakeUpstream) Watch() (<-chan struct{}, func()) { return u.changed, func() {} }

func (u *fakeUpstream) Err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.storeErr
}

func (u *fakeUpstream) TableByPhysicalID(id int64, ts uint64) (*tmodel.Table, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at, ok := u.dropped[id]; ok && ts >= at {
		return nil, false
	}
	var found *tmodel.Table
	for _, v := range u.versions[id] {
		if v.Version <= ts {
			found = v
		}
	}
	return found, found != nil
}

// table adds a version of a table with a key.
func (u *fakeUpstream) table(id int64, version uint64) *tmodel.Table {
	u.mu.Lock()
	defer u.mu.Unlock()
	t := &tmodel.Table{ID: id, Version: version, HandleKey: []int{0}, Info: &model.TableInfo{ID: id}}
	u.versions[id] = append(u.versions[id], t)
	return t
}

func (u *fakeUpstream) set(f func()) {
	u.mu.Lock()
	f()
	u.mu.Unlock()
	notify(u.changed)
}

func (u *fakeUpstream) resolveSchema(ts uint64) { u.set(func() { u.resolved = ts }) }

// fakeSink keeps what it gets.
type fakeSink struct {
	mu      sync.Mutex
	batches []*tmodel.RowBatch
	rows    map[int64][]tmodel.RawChange // of batches, copied
	hold    bool                         // Done is left to the test
	err     error
	gate    chan struct{} // Write waits for it when set
	status  sink.Status
	closed  bool
	late    int // writes after Close
}

var errSink = errors.New("downstream is gone")

func newFakeSink() *fakeSink { return &fakeSink{rows: map[int64][]tmodel.RawChange{}} }

func (s *fakeSink) Write(ctx context.Context, b *tmodel.RowBatch) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.late++
	}
	if s.err != nil {
		return s.err
	}
	for i := range b.Rows {
		c := &b.Rows[i]
		s.rows[b.TableID] = append(s.rows[b.TableID], tmodel.NewRawChange(c.StartTs, c.CommitTs, c.Key(), c.Value(), c.OldValue()))
	}
	kept := *b
	kept.Rows = slices.Clone(s.rows[b.TableID][len(s.rows[b.TableID])-len(b.Rows):])
	s.batches = append(s.batches, &kept)
	if !s.hold {
		b.Done(nil)
	}
	return nil
}

func (s *fakeSink) WriteDDL(context.Context, *tmodel.DDLEvent) error { return nil }
func (s *fakeSink) WriteWatermark(context.Context, uint64) error     { return nil }

func (s *fakeSink) Status() sink.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *fakeSink) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *fakeSink) got() []*tmodel.RowBatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

func (s *fakeSink) rowsOf(table int64) []tmodel.RawChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rows[table])
}

// rig is a processor with everything around it.
type rig struct {
	*Processor
	t      testing.TB
	up     *fakeUpstream
	sink   *fakeSink
	engine *sorter.Engine
	cancel context.CancelFunc
	result chan error
	once   sync.Once
	err    error
}

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	up, snk := newFakeUpstream(), newFakeSink()
	o := Options{
		ID: tmodel.DefaultChangefeedID("test"), Config: &config.ReplicaConfig{MemoryQuota: 1 << 30},
		SinkURI: "blackhole://", Changes: up, Schemas: up, Clock: up,
		NewSink:    func(context.Context) (sink.Sink, error) { return snk, nil },
		Registerer: prometheus.NewRegistry(), StallAfter: 10 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	if o.Sorter == nil {
		o.Sorter = openEngine(t, sorter.Config{})
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{Processor: New(o), t: t, up: up, sink: snk, engine: o.Sorter, cancel: cancel, result: make(chan error, 1)}
	go func() { r.result <- r.Run(ctx) }()
	t.Cleanup(func() {
		r.stop()
		require.Zero(t, up.leases)
		require.Empty(t, up.subs)
		require.Zero(t, snk.late, "nothing is written after Close")
	})
	return r
}

// openEngine opens a sorter that must hold nothing when the test ends.
func openEngine(t testing.TB, cfg sorter.Config) *sorter.Engine {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "0000")
	e, err := sorter.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.Zero(t, e.Held(), "memory is given back")
		require.Zero(t, e.OnDisk(), "disk is given back")
		require.NoError(t, e.Close())
	})
	return e
}

// stop ends the run and returns its result.
func (r *rig) stop() error {
	r.once.Do(func() {
		r.cancel()
		r.err = <-r.result
	})
	return r.err
}

// failed waits until the run ends by itself.
func (r *rig) failed() error {
	r.t.Helper()
	r.once.Do(func() {
		select {
		case r.err = <-r.result:
		case <-time.After(30 * time.Second):
			require.Fail(r.t, "the run goes on")
		}
		r.cancel()
	})
	return r.err
}

func (r *rig) add(table int64, checkpoint uint64) {
	r.AddSpans([]SpanStart{{Span: tmodel.TableSpan(table), CheckpointTs: checkpoint}})
}

func (r *rig) waitCheckpoint(ts uint64) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.Progress().CheckpointTs == ts }, 30*time.Second, time.Millisecond,
		"checkpoint %d expected", ts)
}

func (r *rig) waitFor(what string, cond func() bool) {
	r.t.Helper()
	require.Eventually(r.t, cond, 30*time.Second, time.Millisecond, what)
}

func change(commitTs uint64, key string) tmodel.RawChange {
	return tmodel.NewRawChange(commitTs-1, commitTs, []byte(key), []byte("v"+key), nil)
}

func commitTimes(rows []tmodel.RawChange) []uint64 {
	var ts []uint64
	for i := range rows {
		ts = append(ts, rows[i].CommitTs)
	}
	return ts
}
