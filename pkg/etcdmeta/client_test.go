package etcdmeta_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/etcdmeta/etcdtest"
	"github.com/tidemark/tidemark/pkg/model"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The embedded etcd of the tests leaves these behind.
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/lease.(*lessor).expireExists"),
		goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}

const ttl = 10 * time.Second

func info(id string) *etcdmeta.ChangefeedInfo {
	return &etcdmeta.ChangefeedInfo{
		UpstreamID: 1, Namespace: "default", ID: id, SinkURI: "blackhole://", StartTs: 100,
		Config: config.DefaultReplicaConfig(), State: model.StateNormal, Epoch: 7,
	}
}

// elect makes a capture the owner and returns a client with its rights.
func elect(t *testing.T, c *etcdmeta.Client, capture string) (*etcdmeta.Session, *etcdmeta.OwnerClient) {
	t.Helper()
	ctx := t.Context()
	session, err := c.NewSession(ctx, ttl, capture)
	require.NoError(t, err)
	fence, err := session.Campaign(ctx)
	require.NoError(t, err)
	return session, c.AsOwner(fence)
}

func TestCreateAndUpdate(t *testing.T) {
	ctx := t.Context()
	c := etcdmeta.NewClient(etcdtest.Start(t), "default")
	up := &etcdmeta.UpstreamInfo{ID: 1, PDEndpoints: "http://a"}
	id := model.DefaultChangefeedID("f")

	_, err := c.GetFeed(ctx, id)
	require.ErrorIs(t, err, errors.ErrChangeFeedNotExists)
	require.NoError(t, c.CreateFeed(ctx, info("f"), up))
	require.ErrorIs(t, c.CreateFeed(ctx, info("f"), up), errors.ErrMetaOpFailed)
	stored, err := c.GetUpstream(ctx, "default", 1)
	require.NoError(t, err)
	require.Equal(t, up, stored)

	read, err := c.GetFeed(ctx, id)
	require.NoError(t, err)
	require.Nil(t, read.Status)
	require.Equal(t, uint64(100), read.CheckpointTs())
	changed := read.Info.Clone()
	changed.TargetTs = 500
	moved := &etcdmeta.UpstreamInfo{ID: 1, PDEndpoints: "http://b"}
	require.NoError(t, c.UpdateFeed(ctx, read, changed, moved))
	require.ErrorIs(t, c.UpdateFeed(ctx, read, changed, moved), errors.ErrMetaOpFailed, "the record read is old now")
	stored, err = c.GetUpstream(ctx, "default", 1)
	require.NoError(t, err)
	require.Equal(t, moved, stored)

	feeds, err := c.ListFeeds(ctx)
	require.NoError(t, err)
	require.Len(t, feeds, 1)
	require.Equal(t, uint64(500), feeds[id].Info.TargetTs)
}

// unheard is an etcd whose first answers to transactions get lost.
type unheard struct {
	clientv3.KV
	lost int
}

func (u *unheard) Txn(ctx context.Context) clientv3.Txn { return unheardTxn{u.KV.Txn(ctx), u} }

type unheardTxn struct {
	clientv3.Txn
	u *unheard
}

func (t unheardTxn) If(cmps ...clientv3.Cmp) clientv3.Txn { return unheardTxn{t.Txn.If(cmps...), t.u} }
func (t unheardTxn) Then(ops ...clientv3.Op) clientv3.Txn { return unheardTxn{t.Txn.Then(ops...), t.u} }

func (t unheardTxn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	if t.u.lost--; t.u.lost >= 0 {
		return nil, status.Error(codes.Unavailable, "error reading from server: EOF")
	}
	return resp, err
}

// What was stored is not called a failure because its answer was lost.
func TestCreateWithoutAnswer(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	etcd.KV = &unheard{KV: etcd.KV, lost: 1}
	require.NoError(t, c.CreateFeed(ctx, info("f"), nil))
	etcd.KV = &unheard{KV: etcd.KV, lost: 1}
	other := info("f")
	other.StartTs++
	require.ErrorIs(t, c.CreateFeed(ctx, other, nil), errors.ErrMetaOpFailed)
}

// A status that is left of an earlier changefeed of the same id must not be
// taken for the new one's.
func TestCreateRefusesLeftoverStatus(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	_, err := etcd.Put(ctx, c.Keys().Status(model.DefaultChangefeedID("f")), `{"checkpoint-ts":1}`)
	require.NoError(t, err)
	require.ErrorIs(t, c.CreateFeed(ctx, info("f"), nil), errors.ErrMetaOpFailed)
}

func TestModifyAndRemove(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	id := model.DefaultChangefeedID("f")
	session, owner := elect(t, c, "c-1")
	defer session.Close(ctx)

	_, err := owner.ModifyFeed(ctx, id, func(*etcdmeta.Feed) error { return nil })
	require.ErrorIs(t, err, errors.ErrChangeFeedNotExists)
	require.NoError(t, c.CreateFeed(ctx, info("f"), nil))
	feed, err := owner.ModifyFeed(ctx, id, func(f *etcdmeta.Feed) error {
		f.Info.State = model.StateStopped
		f.Status = &etcdmeta.ChangefeedStatus{CheckpointTs: 120, MinTableBarrierTs: 121}
		return nil
	})
	require.NoError(t, err)
	read, err := c.GetFeed(ctx, id)
	require.NoError(t, err)
	require.Equal(t, feed, read)

	// One that was read and not changed is not written.
	again, err := owner.ModifyFeed(ctx, id, func(*etcdmeta.Feed) error { return nil })
	require.NoError(t, err)
	require.Equal(t, read.InfoRev, again.InfoRev)

	_, err = etcd.Put(ctx, c.Keys().Position("c-9", id), `{}`)
	require.NoError(t, err)
	_, err = owner.RemoveFeed(ctx, id)
	require.NoError(t, err)
	_, err = owner.RemoveFeed(ctx, id)
	require.NoError(t, err, "what is gone already is no error")
	resp, err := etcd.Get(ctx, c.Keys().DeleteCount())
	require.NoError(t, err)
	require.Equal(t, "3", string(resp.Kvs[0].Value), "every transaction that deletes raises the counter")
	state, err := c.Load(ctx)
	require.NoError(t, err)
	require.Empty(t, state.Feeds)
	require.Empty(t, state.Positions)
}

// An owner that lost its election must not write any more, whatever it wants
// to write and whoever follows.
func TestFencing(t *testing.T) {
	ctx := t.Context()
	c := etcdmeta.NewClient(etcdtest.Start(t), "default")
	id := model.DefaultChangefeedID("f")
	require.NoError(t, c.CreateFeed(ctx, info("f"), nil))

	first, old := elect(t, c, "c-1")
	revs, err := old.WriteStatuses(ctx, []etcdmeta.StatusWrite{{ID: id, Status: etcdmeta.ChangefeedStatus{CheckpointTs: 110}}})
	require.NoError(t, err)
	require.NotZero(t, revs[0])

	won := make(chan *etcdmeta.OwnerClient, 1)
	second, err := c.NewSession(ctx, ttl, "c-2")
	require.NoError(t, err)
	defer second.Close(ctx)
	go func() {
		fence, err := second.Campaign(ctx)
		if err == nil {
			won <- c.AsOwner(fence)
		}
		close(won)
	}()
	require.NoError(t, first.Close(ctx))
	next := <-won
	require.NotNil(t, next)

	_, err = old.WriteStatuses(ctx, []etcdmeta.StatusWrite{{ID: id, Rev: revs[0], Status: etcdmeta.ChangefeedStatus{CheckpointTs: 120}}})
	require.ErrorIs(t, err, errors.ErrNotOwner)
	_, err = old.ModifyFeed(ctx, id, func(f *etcdmeta.Feed) error { f.Info.State = model.StateFailed; return nil })
	require.ErrorIs(t, err, errors.ErrNotOwner)
	_, err = old.RemoveFeed(ctx, id)
	require.ErrorIs(t, err, errors.ErrNotOwner)
	require.ErrorIs(t, old.CheckFence(ctx), errors.ErrNotOwner)
	require.NoError(t, next.CheckFence(ctx))

	who, err := c.GetOwner(ctx)
	require.NoError(t, err)
	require.Equal(t, "c-2", who.Capture)
	require.Equal(t, next.Fence(), who.Fence)
	read, err := c.GetFeed(ctx, id)
	require.NoError(t, err)
	require.Equal(t, uint64(110), read.Status.CheckpointTs)
	require.Equal(t, model.StateNormal, read.Info.State)
}

// One changefeed's conflict must not keep the others' checkpoints back, and
// batches may exceed what one transaction holds.
func TestWriteStatuses(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	session, owner := elect(t, c, "c-1")
	defer session.Close(ctx)
	var writes []etcdmeta.StatusWrite
	var infos []clientv3.Op
	for i := range 300 {
		id := model.ChangefeedID{Namespace: "ns", ID: string(rune('a'+i%26)) + time.Duration(i).String()}
		writes = append(writes, etcdmeta.StatusWrite{ID: id, Status: etcdmeta.ChangefeedStatus{CheckpointTs: uint64(i)}})
		if i != 100 { // which is removed already
			infos = append(infos, clientv3.OpPut(c.Keys().Info(id), `{}`))
		}
	}
	for batch := range slices.Chunk(infos, 100) {
		_, err := etcd.Txn(ctx).Then(batch...).Commit()
		require.NoError(t, err)
	}
	writes[200].Rev = 12345
	revs, err := owner.WriteStatuses(ctx, writes)
	require.NoError(t, err)
	require.Len(t, revs, 300)
	for i, rev := range revs {
		require.Equal(t, i == 100 || i == 200, rev == 0, "write %d", i)
		writes[i].Rev = rev
	}
	revs, err = owner.WriteStatuses(ctx, writes[150:])
	require.NoError(t, err)
	for i, rev := range revs {
		require.NotZero(t, rev, "write %d", 150+i)
	}
}

// A status that nothing belongs to is deleted; one of a changefeed is not.
func TestRemoveOrphan(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	session, owner := elect(t, c, "c-1")
	defer session.Close(ctx)
	id := model.DefaultChangefeedID("f")
	require.NoError(t, owner.RemoveOrphan(ctx, id), "there is none")
	_, err := etcd.Put(ctx, c.Keys().Status(id), `{"checkpoint-ts":1}`)
	require.NoError(t, err)
	require.NoError(t, owner.RemoveOrphan(ctx, id))
	require.NoError(t, c.CreateFeed(ctx, info("f"), nil), "the id is free")
	revs, err := owner.WriteStatuses(ctx, []etcdmeta.StatusWrite{{ID: id, Status: etcdmeta.ChangefeedStatus{CheckpointTs: 110}}})
	require.NoError(t, err)
	require.NotZero(t, revs[0])
	require.NoError(t, owner.RemoveOrphan(ctx, id))
	read, err := c.GetFeed(ctx, id)
	require.NoError(t, err)
	require.NotNil(t, read.Status)

	// An info that cannot be read is one.
	_, err = etcd.Put(ctx, c.Keys().Info(id), `{`)
	require.NoError(t, err)
	require.Error(t, owner.RemoveOrphan(ctx, id))
	resp, err := etcd.Get(ctx, c.Keys().Status(id))
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
}

func TestElectionKeyAndRegistration(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	require.NoError(t, c.CheckMetaVersion(ctx))
	require.NoError(t, c.CheckMetaVersion(ctx))

	_, err := c.GetOwner(ctx)
	require.ErrorIs(t, err, errors.ErrOwnerNotFound)
	session, owner := elect(t, c, "c-1")
	capture := &model.CaptureInfo{ID: "c-1", AdvertiseAddr: "h:1", Version: "v8.5.3"}
	require.NoError(t, session.Register(ctx, capture))
	require.NoError(t, session.Announce(ctx, "ticdc-default-1", capture))
	require.Regexp(t, `^/tidb/cdc/default/__cdc_meta__/owner/[0-9a-f]+$`, owner.Fence().Key)
	captures, err := c.ListCaptures(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]*model.CaptureInfo{"c-1": capture}, captures)

	// Everything that hangs on the session goes with it.
	require.NoError(t, session.Close(ctx))
	resp, err := etcd.Get(ctx, "/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
	require.Equal(t, c.Keys().MetaVersion(), string(resp.Kvs[0].Key))
}

func TestResign(t *testing.T) {
	ctx := t.Context()
	c := etcdmeta.NewClient(etcdtest.Start(t), "default")
	session, owner := elect(t, c, "c-1")
	defer session.Close(ctx)
	require.NoError(t, session.Resign(ctx, owner.Fence()))
	_, err := c.GetOwner(ctx)
	require.ErrorIs(t, err, errors.ErrOwnerNotFound)
	fence, err := session.Campaign(ctx)
	require.NoError(t, err)
	require.Greater(t, fence.Rev, owner.Fence().Rev, "a later term has a greater revision")
}

func TestNewerMetaVersionStops(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	_, err := etcd.Put(ctx, c.Keys().MetaVersion(), "2")
	require.NoError(t, err)
	require.ErrorIs(t, c.CheckMetaVersion(ctx), errors.ErrVersionIncompatible)
}

func TestSessionLost(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	session, err := c.NewSession(ctx, ttl, "c-1")
	require.NoError(t, err)
	leases, err := etcd.Leases(ctx)
	require.NoError(t, err)
	for _, l := range leases.Leases {
		_, err = etcd.Revoke(ctx, l.ID)
		require.NoError(t, err)
	}
	select {
	case <-session.Done():
	case <-time.After(20 * time.Second):
		require.FailNow(t, "a lost lease is not noticed")
	}
	_ = session.Close(ctx)
}

// The watch brings a loaded state forward, and nothing of a cluster whose id
// begins with this one's.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	id := model.DefaultChangefeedID("f")
	state, err := c.Load(ctx)
	require.NoError(t, err)
	updates := c.Watch(ctx, c.Keys().Prefix(), state.Revision)

	other := etcdmeta.NewClient(etcd, "default2")
	require.NoError(t, other.CreateFeed(ctx, info("x"), nil))
	require.NoError(t, c.CreateFeed(ctx, info("f"), &etcdmeta.UpstreamInfo{ID: 1}))
	session, owner := elect(t, c, "c-1")
	require.NoError(t, session.Register(ctx, &model.CaptureInfo{ID: "c-1"}))
	_, err = owner.WriteStatuses(ctx, []etcdmeta.StatusWrite{{ID: id, Status: etcdmeta.ChangefeedStatus{CheckpointTs: 110}}})
	require.NoError(t, err)
	var stopped []model.CaptureID
	apply := func(until func() bool) {
		for !until() {
			update, open := <-updates
			require.True(t, open)
			stopped = append(stopped, state.Apply(update).Stopped...)
		}
	}
	apply(func() bool { f := state.Feeds[id]; return f != nil && f.Status != nil })
	who, ok := state.Owner()
	require.True(t, ok)
	require.Equal(t, owner.Fence(), who.Fence)
	require.Contains(t, state.Captures, "c-1")
	require.Len(t, state.Feeds, 1)
	loaded, err := c.Load(ctx)
	require.NoError(t, err)
	require.Equal(t, loaded.Feeds, state.Feeds)

	before := state.Feeds[id]
	_, err = owner.RemoveFeed(ctx, id)
	require.NoError(t, err)
	require.Empty(t, stopped)
	require.NoError(t, session.Close(ctx))
	apply(func() bool { return len(state.Captures) == 0 && len(state.Feeds) == 0 && len(state.Candidates) == 0 })
	require.Equal(t, []model.CaptureID{"c-1"}, stopped, "it did not just vanish")
	require.NotNil(t, before.Info, "a record that was handed out stays as it was")
	cancel()
	for range updates { //nolint:revive // until it is closed
	}
}

// A value that nobody can read must not hide the others.
func TestUnreadableValue(t *testing.T) {
	ctx := t.Context()
	etcd := etcdtest.Start(t)
	c := etcdmeta.NewClient(etcd, "default")
	require.NoError(t, c.CreateFeed(ctx, info("good"), nil))
	_, err := etcd.Put(ctx, c.Keys().Info(model.DefaultChangefeedID("bad")), "{")
	require.NoError(t, err)
	state, err := c.Load(ctx)
	require.NoError(t, err)
	require.Len(t, state.Feeds, 1)
	require.Len(t, state.Bad, 1)
}
