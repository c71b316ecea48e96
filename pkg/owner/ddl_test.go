package owner

import (
	stderrors "errors"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

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
