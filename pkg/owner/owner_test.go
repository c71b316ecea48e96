package owner

import (
	stderrors "errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/etcdmeta/etcdtest"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// etcd is shared by the tests; each has a cluster id of its own.
var (
	etcd     *clientv3.Client
	clusters atomic.Int32
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(withEtcd{m},
		goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}

// withEtcd runs the tests while an etcd runs.
type withEtcd struct{ m *testing.M }

func (w withEtcd) Run() int {
	dir, err := os.MkdirTemp("", "owner-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	client, stop, err := etcdtest.Run(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	etcd = client
	return w.m.Run()
}

func TestRunAndAdvance(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b"), table(3, "c")))
	registry := prometheus.NewRegistry()
	c.metrics = NewMetrics(registry)
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(200)
	eventually(t, "resolved", func() bool { return c.view().ResolvedTs == 200 })
	v := c.view()
	require.True(t, v.Scheduled)
	require.Equal(t, []Task{{CaptureID: "c-a", TableIDs: []int64{1, 2}}, {CaptureID: "c-b", TableIDs: []int64{3}}}, v.Tasks)
	require.Equal(t, map[int64]uint64{1: 100, 2: 100}, a.tables(feedID), "tables begin at the start-ts")
	require.Equal(t, []uint64{99}, c.schema.acquired, "a DDL at the start-ts would be seen")
	stored := c.stored()
	require.Equal(t, uint64(200), stored.Status.CheckpointTs)
	require.Equal(t, uint64(201), stored.Status.MinTableBarrierTs, "no DDL at the checkpoint is in doubt")

	c.schema.advance(300)
	c.waitCheckpoint(300)
	require.Equal(t, []string{"ticdc-default-1", "ticdc-default-1-initializing-default_f"}, c.upstream.services())
	captures := c.owner.View().Captures
	require.Len(t, captures, 2)
	require.True(t, captures[0].Connected)

	figures := func() string {
		families, err := registry.Gather()
		require.NoError(t, err)
		var out strings.Builder
		for _, f := range families {
			fmt.Fprintln(&out, f)
		}
		return out.String()
	}
	require.Contains(t, figures(), "ticdc_owner_checkpoint_ts_lag")
	require.Contains(t, figures(), `value:"f"`)
	c.stopOwner()
	require.NotContains(t, figures(), "ticdc_owner_checkpoint_ts_lag", "only the owner shows changefeeds")
	require.Contains(t, figures(), "ticdc_owner_ownership_counter")
}

// A capture that is behind holds the checkpoint of the changefeed.
func TestSlowCaptureHoldsCheckpoint(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	b.limit = 150
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(150)
	c.shift.Store(int64(stallAfter))
	c.schema.advance(201)
	eventually(t, "the stall is told", func() bool { return c.view().Stalled != nil })
	require.Equal(t, model.StallCatchingUp, c.view().Stalled.Reason)
	require.Contains(t, c.view().Stalled.Detail, "c-b:1")
	c.upstream.set(func() { c.upstream.silence = time.Minute })
	c.schema.advance(202)
	eventually(t, "PD is the reason", func() bool { return c.view().Stalled.Reason == model.StallUpstream })
	c.upstream.set(func() { c.upstream.silence = 0 })
	b.with(func() { b.limit = 0 })
	c.waitCheckpoint(202)
	eventually(t, "no stall any more", func() bool { return c.view().Stalled == nil })
}

func TestNoTables(t *testing.T) {
	c := newCluster(t, newFakeSchema(200))
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	require.True(t, c.view().Scheduled)
	require.Empty(t, c.view().Tasks)
}

func TestDDLBarrier(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.sink.gate = make(chan struct{})
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)

	c.schema.define(220, table(1, "a"), table(2, "b"))
	c.schema.define(240, table(2, "b"))
	c.schema.advance(300,
		ddl(220, timodel.ActionCreateTable, "create table b"),
		ddl(230, timodel.ActionAddColumn, ""), // not for downstream
		ddl(240, timodel.ActionDropTable, "drop table a"),
	)
	c.waitCheckpoint(220)
	eventually(t, "stored before the DDL", func() bool { return c.stored().Status.MinTableBarrierTs == 220 })
	require.Equal(t, map[int64]uint64{1: 100}, a.tables(feedID), "the new table waits for the DDL")
	c.shift.Store(int64(stallAfter))
	c.schema.advance(310)
	eventually(t, "the DDL is the reason", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallDDL && s.Detail == "create table b"
	})
	close(c.sink.gate)
	c.waitCheckpoint(310)
	require.Equal(t, []string{"create table b", "drop table a"}, c.sink.executed())
	require.Equal(t, map[int64]uint64{2: 220}, a.tables(feedID), "the new table begins at its DDL, the dropped one is gone")
	eventually(t, "stored", func() bool { return c.stored().Status.MinTableBarrierTs == 311 })
}

// A slow DDL of one changefeed does not hold up another one.
func TestSlowDDLOfAnotherFeed(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.sink.gate = make(chan struct{})
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	c.schema.advance(220, ddl(210, timodel.ActionAddIndex, "slow"))
	c.waitCheckpoint(210)
	other := model.DefaultChangefeedID("other")
	require.NoError(t, c.meta.CreateFeed(t.Context(), &etcdmeta.ChangefeedInfo{
		Namespace: "default", ID: "other", SinkURI: "blackhole://", StartTs: 215, State: model.StateNormal, Epoch: 8,
		Config: config.DefaultReplicaConfig(),
	}, nil))
	eventually(t, "the other one moves", func() bool {
		v := c.owner.View().Feeds[other]
		return v != nil && v.Status != nil && v.Status.CheckpointTs == 220
	})
	require.Equal(t, uint64(210), c.view().Status.CheckpointTs)
	require.NoError(t, c.owner.Submit(t.Context(), Job{ID: feedID, Type: model.AdminRemove}), "nor does it hold up a job")
}

func TestPauseResumeRemove(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)

	c.submit(model.AdminStop, 0)
	stored := c.stored()
	require.Equal(t, model.StateStopped, stored.Info.State, "stored when the call returns")
	require.Equal(t, model.AdminStop, stored.Info.AdminJobType)
	require.Equal(t, model.AdminStop, stored.Status.AdminJobType)
	require.NotEqual(t, uint64(7), stored.Info.Epoch)
	eventually(t, "the processor ends", func() bool { return len(a.tables(feedID)) == 0 })
	require.Equal(t, model.StallPaused, c.view().Stalled.Reason)
	require.Zero(t, c.view().ResolvedTs)
	c.schema.advance(300)

	c.submit(model.AdminStop, 0) // not allowed now: ignored
	c.submit(model.AdminResume, 0)
	require.Equal(t, model.AdminNone, c.stored().Info.AdminJobType)
	c.waitCheckpoint(300)
	require.Equal(t, map[int64]uint64{1: 200}, a.tables(feedID))

	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 150)
	require.Equal(t, uint64(150), c.stored().Info.StartTs)
	eventually(t, "goes back to where it was told", func() bool { return a.tables(feedID)[1] == 150 })
	c.waitCheckpoint(300)

	c.submit(model.AdminRemove, 0)
	_, err := c.meta.GetFeed(t.Context(), feedID)
	require.ErrorIs(t, err, errors.ErrChangeFeedNotExists)
	eventually(t, "gone from the view", func() bool { return c.view() == nil })
	require.ErrorIs(t, c.owner.Submit(t.Context(), Job{ID: feedID, Type: model.AdminStop}), errors.ErrChangeFeedNotExists)
	eventually(t, "the safe points are withdrawn", func() bool { return len(c.upstream.services()) == 1 })
	eventually(t, "the processor ends", func() bool { return len(a.tables(feedID)) == 0 })

	c.create() // the same id again
	c.waitCheckpoint(300)
}

func TestErrorRetriedAndProven(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	a.fail = &peerpb.Failure{Code: "CDC:ErrMySQLTxnError", Message: "[CDC:ErrMySQLTxnError]x"}
	c.startOwner(a)
	c.create()
	// It fails once, is started again at once, and proves itself.
	eventually(t, "started again", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.starts == 2 })
	c.waitCheckpoint(200)
	c.waitState(model.StateNormal)
	stored := c.stored()
	require.Equal(t, "CDC:ErrMySQLTxnError", stored.Info.Error.Code, "the error stays until it is resumed")
	require.Equal(t, "c-a:1", stored.Info.Error.Addr)
}

func TestUnretryableError(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	a.fail = &peerpb.Failure{Code: "CDC:ErrDispatcherFailed", Message: "[CDC:ErrDispatcherFailed]x"}
	c.startOwner(a)
	c.create()
	c.waitState(model.StateFailed)
	require.Equal(t, model.StallFailed, c.view().Stalled.Reason)
	c.submit(model.AdminResume, 0)
	c.waitCheckpoint(200)
	require.Nil(t, c.stored().Info.Error)
}

func TestDDLError(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.sink.err = stderrors.New("downstream says no")
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	c.schema.advance(300, ddl(250, timodel.ActionAddColumn, "alter"))
	eventually(t, "the second try fails too", func() bool {
		return c.view().Info.State == model.StatePending && c.view().Stalled.RetryAt.After(c.clock())
	})
	v := c.view()
	require.Equal(t, model.StallBackoff, v.Stalled.Reason)
	require.Equal(t, errors.ErrOwnerUnknown.Text(), v.Info.Error.Code)
	require.Equal(t, uint64(250), v.Status.CheckpointTs)
	c.sink.mu.Lock()
	c.sink.err = nil
	c.sink.mu.Unlock()
	c.shift.Store(int64(30 * time.Second))
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	c.waitCheckpoint(300)
	require.Equal(t, []string{"alter"}, c.sink.executed())
}

func TestFinish(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create(func(i *etcdmeta.ChangefeedInfo) { i.TargetTs = 250 })
	c.waitCheckpoint(200)
	c.schema.advance(300, ddl(250, timodel.ActionAddColumn, "at the target"), ddl(260, timodel.ActionAddColumn, "behind"))
	c.waitState(model.StateFinished)
	require.Equal(t, []string{"at the target"}, c.sink.executed())
	stored := c.stored()
	require.Equal(t, uint64(250), stored.Status.CheckpointTs)
	require.Equal(t, model.AdminFinish, stored.Info.AdminJobType)
	eventually(t, "the processor ends", func() bool { return len(a.tables(feedID)) == 0 })
	require.Nil(t, c.view().Stalled)
}

// A new owner finds what runs and does not start it again.
func TestOwnerChangeAdopts(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	c.stopOwner()
	c.detach(a)
	c.schema.advance(300)
	c.startOwner(a)
	c.waitCheckpoint(300)
	require.Equal(t, 1, a.starts)
	require.Equal(t, map[int64]uint64{1: 100, 2: 100}, a.tables(feedID))
	require.Len(t, c.view().Tasks[0].TableIDs, 2)
}

// A changefeed that was paused while a capture was cut off is stopped there as
// soon as it is back, before anything new starts.
func TestStopReachesReturningCapture(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	c.detach(a)
	eventually(t, "cut off", func() bool { return !c.owner.View().Captures[0].Connected })
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	c.shift.Store(int64(stallAfter))
	c.schema.advance(300)
	eventually(t, "the reason is told", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling
	})
	require.Equal(t, 1, a.starts)
	c.attach(a)
	c.waitCheckpoint(300)
	require.Equal(t, 2, a.starts)
}

// Kill the owner before, in and after a DDL: it is executed at least once, and
// not again once it is known to be done.
func TestDDLAcrossOwners(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.sink.gate = make(chan struct{})
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	c.schema.define(250, table(1, "a"), table(2, "b"))
	c.schema.advance(300, ddl(250, timodel.ActionCreateTable, "create table b"))
	c.waitCheckpoint(250)
	c.stopOwner()
	c.detach(a)
	require.Empty(t, c.sink.executed())
	require.Equal(t, &etcdmeta.ChangefeedStatus{CheckpointTs: 250, MinTableBarrierTs: 250}, c.stored().Status)

	close(c.sink.gate)
	c.startOwner(a)
	c.waitCheckpoint(300)
	require.Equal(t, []string{"create table b"}, c.sink.executed())
	require.Equal(t, map[int64]uint64{1: 100, 2: 250}, a.tables(feedID))
	c.stopOwner()
	c.detach(a)
	c.schema.advance(310)
	c.startOwner(a)
	c.waitCheckpoint(310)
	require.Len(t, c.sink.executed(), 1)
	require.Equal(t, 1, a.starts)
}

func TestLostCapture(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a"), table(2, "b")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	c.startOwner(a, b)
	c.create()
	c.waitCheckpoint(200)
	require.Len(t, b.tables(feedID), 1)
	c.detach(b)
	require.NoError(t, b.session.Close(t.Context()))
	eventually(t, "its key is gone", func() bool {
		c.owner.fleet.mu.Lock()
		defer c.owner.fleet.mu.Unlock()
		m := c.owner.fleet.members["c-b"]
		return m == nil || !m.goneAt.IsZero()
	})
	c.schema.advance(300)
	require.Len(t, a.tables(feedID), 1, "it may still be writing")
	c.shift.Store(int64(minGrace))
	c.waitCheckpoint(300)
	require.Equal(t, map[int64]uint64{1: 100, 2: 200}, a.tables(feedID))
	require.Len(t, c.owner.View().Captures, 1)
}

// Nothing is placed before every capture of the term's begin has said what it
// is doing.
func TestWaitsForRegisteredCaptures(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a, b := c.addCapture("c-a"), c.addCapture("c-b")
	c.startOwner(a)
	c.create()
	c.shift.Store(int64(stallAfter))
	eventually(t, "the reason is told", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling
	})
	require.Zero(t, a.starts)
	c.attach(b)
	c.waitCheckpoint(200)
}

func TestLosesElection(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	require.NoError(t, c.session.Resign(t.Context(), c.owner.meta.Fence()))
	<-c.owner.over
	require.ErrorIs(t, c.stop(), errors.ErrNotOwner)
	c.stop = nil
	require.ErrorIs(t, c.owner.Submit(t.Context(), Job{ID: feedID, Type: model.AdminStop}), errors.ErrOwnerNotFound)
	require.NoError(t, c.session.Close(t.Context()))
}

func TestResign(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.startOwner(c.addCapture("c-a"))
	c.owner.Resign()
	c.owner.Resign()
	<-c.owner.over
}

func TestStaleFeedFails(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	a.limit = 150
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(150)
	c.submit(model.AdminStop, 0)
	// Another service's safe point passes the checkpoint.
	c.upstream.set(func() { c.upstream.least = 180; c.upstream.safe = map[string]uint64{} })
	c.owner.keeper.least.Store(180)
	c.waitState(model.StateFailed)
	require.Equal(t, errors.ErrSnapshotLostByGC.Text(), c.stored().Info.Error.Code)
}

func TestStartBeforeGCFails(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.upstream.least = 100
	c.startOwner(c.addCapture("c-a"))
	c.create(func(i *etcdmeta.ChangefeedInfo) { i.StartTs = 100 })
	c.waitState(model.StateFailed)
	// Whichever check comes first.
	require.True(t, errors.IsGCFastFailCode(c.stored().Info.Error.Code))
}

func TestStale(t *testing.T) {
	hour := uint64(3600*1000) << 18
	tests := []struct {
		name                        string
		checkpoint, least, own, now uint64
		want                        *errors.Code
	}{
		{"fresh", 10 * hour, 10*hour - 1, 10*hour - 1, 10*hour + hour/2, nil},
		{"we hold GC back for too long", 10 * hour, 10*hour - 1, 10*hour - 1, 12 * hour, errors.ErrGCTTLExceeded},
		{"another one holds GC back", 10 * hour, 5 * hour, 10*hour - 1, 12 * hour, nil},
		{"passed", 10 * hour, 11 * hour, 11*hour + 1, 12 * hour, errors.ErrSnapshotLostByGC},
		{"just in time", 10*hour + 1, 10 * hour, 11 * hour, 10 * hour, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := stale(feedID, tt.checkpoint, tt.least, tt.own, tt.now, time.Hour)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.want)
		})
	}
}

// Somebody deletes the info by hand.
func TestInfoDeletedByHand(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	_, err := c.meta.Etcd().Delete(t.Context(), c.meta.Keys().Info(feedID))
	require.NoError(t, err)
	eventually(t, "gone", func() bool { return c.view() == nil })
	state, err := c.meta.Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, state.Feeds)
	eventually(t, "the processor ends", func() bool { return len(a.tables(feedID)) == 0 })
}

// A change of the configuration that another server writes starts a new run.
func TestChangedInfoRestarts(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	info := c.stored().Info
	info.SinkURI = "blackhole://other"
	require.NoError(t, c.meta.PutInfo(t.Context(), info))
	eventually(t, "runs with it", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		r := a.runs[feedID]
		return r != nil && r.config.SinkURI == "blackhole://other"
	})
	require.NotEqual(t, uint64(7), c.stored().Info.Epoch)
}

func TestSchemaFailure(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	c.schema.mu.Lock()
	c.schema.err = stderrors.New("the stream broke")
	c.schema.mu.Unlock()
	c.schema.advance(201)
	eventually(t, "pending", func() bool { return c.view().Info.State == model.StatePending })
	c.schema.mu.Lock()
	c.schema.err = nil
	c.schema.mu.Unlock()
	c.shift.Store(int64(time.Minute))
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	c.waitCheckpoint(201)
}

// Every lease and sink of ended runs is given back.
func TestReleasesLeases(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	c.waitCheckpoint(200)
	c.stopOwner()
	require.Zero(t, c.schema.leases)
}

// A thousand tables are placed and confirmed in a moment.
func TestThousandTables(t *testing.T) {
	tables := make([]*model.Table, 1000)
	for i := range tables {
		tables[i] = table(int64(i+1), fmt.Sprintf("t%d", i))
	}
	c := newCluster(t, newFakeSchema(200, tables...))
	c.startOwner(c.addCapture("c-a"), c.addCapture("c-b"))
	begun := time.Now()
	c.create()
	c.waitCheckpoint(200)
	t.Logf("first checkpoint after %s", time.Since(begun))
	require.Len(t, c.view().Tasks[0].TableIDs, 500)
}

// Captures of more than two versions must not work together.
func TestIncompatibleVersionsFreeze(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	for _, version := range []string{"v8.5.4", "v8.5.5"} {
		require.NoError(t, a.session.Register(t.Context(), &model.CaptureInfo{ID: "c-" + version, Version: version}))
	}
	eventually(t, "seen", func() bool { return c.owner.View().Incompatible != nil })
	c.shift.Store(int64(stallAfter))
	c.schema.advance(300)
	eventually(t, "the reason is told", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallScheduling
	})
	require.Equal(t, uint64(200), c.view().Status.CheckpointTs)
	_, err := c.meta.Etcd().Delete(t.Context(), c.meta.Keys().Capture("c-v8.5.5"))
	require.NoError(t, err)
	eventually(t, "gone", func() bool { return c.owner.fleet.snapshot().members["c-v8.5.5"].gone })
	c.shift.Store(int64(stallAfter + minGrace))
	c.waitCheckpoint(300)
}

// What a TiCDC capture that is gone has left is cleaned up.
func TestPositionsOfVanishedCaptures(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	keys := c.meta.Keys()
	a := c.addCapture("c-a")
	for _, capture := range []string{"c-a", "c-old"} {
		_, err := c.meta.Etcd().Put(t.Context(), keys.Position(capture, feedID), "{}")
		require.NoError(t, err)
	}
	c.startOwner(a)
	eventually(t, "cleaned", func() bool {
		state, err := c.meta.Load(t.Context())
		require.NoError(t, err)
		return len(state.Positions) == 1
	})
}
