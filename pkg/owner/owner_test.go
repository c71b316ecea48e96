package owner

import (
	stderrors "errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	require.Len(t, v.Tasks, 2)
	for i, want := range []Task{{CaptureID: "c-a", TableIDs: []int64{1, 2}}, {CaptureID: "c-b", TableIDs: []int64{3}}} {
		require.Equal(t, want.CaptureID, v.Tasks[i].CaptureID)
		require.Equal(t, want.TableIDs, v.Tasks[i].TableIDs)
		require.GreaterOrEqual(t, v.Tasks[i].CheckpointTs, v.Status.CheckpointTs, "live, not stored")
		require.GreaterOrEqual(t, v.Tasks[i].ResolvedTs, v.Tasks[i].CheckpointTs)
	}
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

func TestNoTables(t *testing.T) {
	c := newCluster(t, newFakeSchema(200))
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	require.True(t, c.view().Scheduled)
	require.Empty(t, c.view().Tasks)
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

// A status that nothing belongs to would keep its id from being used again.
func TestLeftoverStatusIsDeleted(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	put := func() {
		_, err := c.meta.Etcd().Put(t.Context(), c.meta.Keys().Status(feedID), `{"checkpoint-ts":150}`)
		require.NoError(t, err)
	}
	gone := func() bool {
		state, err := c.meta.Load(t.Context())
		require.NoError(t, err)
		return len(state.Feeds) == 0
	}
	put()
	c.startOwner(c.addCapture("c-a"))
	eventually(t, "gone at the begin of a term", gone)
	put()
	eventually(t, "gone later", gone)
	c.create()
	c.waitCheckpoint(200)
}

// A changefeed that gets the id of one that was just removed begins when all of
// that has ended: what it has under way may be older.
func TestCreateAfterRemoveWaits(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	a.with(func() { a.slow = true })
	c.submit(model.AdminRemove, 0)
	b := c.addCapture("c-b")
	c.create(func(i *etcdmeta.ChangefeedInfo) { i.Epoch = 8 })
	f := c.owner.find(feedID)
	waits := make(chan bool, 1)
	eventually(t, "it could begin", func() bool {
		f.post(func() {
			waits <- f.run != nil && f.run.planner != nil && f.heardAll(c.owner.fleet.snapshot()) && len(f.draining) == 1
		})
		return <-waits
	})
	require.Empty(t, b.tables(feedID))
	require.Equal(t, 1, a.starts)
	a.with(func() { a.slow, a.ended, a.held = false, a.held, nil })
	c.waitCheckpoint(200)
}

// An id can be taken again as soon as its keys are gone, before all that belongs
// to the removal is done.
func TestCreateBeforeRemovalEnds(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	old := c.owner.find(feedID)
	var once sync.Once
	c.upstream.set(func() {
		c.upstream.withdrawn = func(string) {
			if _, err := c.meta.GetFeed(t.Context(), feedID); !stderrors.Is(err, errors.ErrChangeFeedNotExists) {
				return // not yet removed
			}
			once.Do(func() {
				c.create(func(info *etcdmeta.ChangefeedInfo) { info.Epoch, info.StartTs = 8, 150 })
				eventually(t, "the owner has heard of it", func() bool {
					c.owner.mu.Lock()
					defer c.owner.mu.Unlock()
					return old.latest != nil && old.latest.Info != nil && old.latest.Info.Epoch == 8
				})
			})
		}
	})
	c.submit(model.AdminRemove, 0)
	eventually(t, "the next one runs", func() bool {
		v := c.view()
		return v != nil && v.Info.Epoch == 8 && v.Status != nil && v.Status.CheckpointTs == 200
	})
}

// A changefeed that was written by hand gets a status, running or not.
func TestStatusOfStoppedByHand(t *testing.T) {
	for _, state := range []model.FeedState{model.StateStopped, model.StateFailed} {
		t.Run(string(state), func(t *testing.T) {
			c := newCluster(t, newFakeSchema(200, table(1, "a")))
			c.startOwner(c.addCapture("c-a"))
			c.overwrite(&etcdmeta.ChangefeedInfo{
				UpstreamID: 1, Namespace: feedID.Namespace, ID: feedID.ID, SinkURI: "blackhole://", StartTs: 100,
				Config: config.DefaultReplicaConfig(), State: state, Epoch: 7,
			})
			eventually(t, "a status", func() bool { return c.view() != nil && c.view().Status != nil })
			stored := c.stored()
			require.Equal(t, uint64(100), stored.Status.CheckpointTs)
			require.Equal(t, state.AdminJob(), stored.Status.AdminJobType)
			require.Equal(t, state, stored.Info.State)
			c.submit(model.AdminResume, 0)
			c.waitCheckpoint(200)
		})
	}
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
	c.overwrite(info)
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

// In a crowd progress is looked at with the next resolved-ts of the schema,
// and the checkpoint follows as before.
func TestNewsWaitsInACrowd(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(200)
	f := c.owner.find(feedID)
	eventually(t, "nothing to do", f.calm.Load)
	c.owner.count.Store(crowd)
	ts := uint64(300)
	eventually(t, "the checkpoint follows", func() bool {
		ts++
		c.schema.advance(ts)
		return c.view().Status.CheckpointTs > 300
	})

	quiet := &feed{o: c.owner, box: newMailbox()}
	quiet.calm.Store(true)
	quiet.postNews(func() {})
	require.Empty(t, quiet.box.signal)
	require.Len(t, quiet.box.take(), 1)
	quiet.calm.Store(false)
	quiet.postNews(func() {})
	require.Len(t, quiet.box.signal, 1)
}
