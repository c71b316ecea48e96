package owner

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
)

var feedID = model.DefaultChangefeedID("f")

// cluster is an owner with everything around it faked but etcd and the wire.
type cluster struct {
	t        testing.TB
	meta     *etcdmeta.Client
	upstream *fakeUpstream
	schema   *fakeSchema
	sink     *fakeSink
	wire     *wire
	shift    atomic.Int64 // of the clock
	owner    *Owner
	session  *etcdmeta.Session
	stop     func() error
	lastRev  int64
	metrics  *Metrics
	lost     model.CaptureID // by kill
}

func newCluster(t testing.TB, schema *fakeSchema) *cluster {
	c := &cluster{
		t: t, meta: etcdmeta.NewClient(etcd, fmt.Sprintf("c%d", clusters.Add(1))),
		upstream: &fakeUpstream{now: 1000, safe: map[string]uint64{}, ttls: map[string]int64{}, least: 1},
		schema:   schema, sink: &fakeSink{}, wire: newWire(t),
	}
	t.Cleanup(func() { c.stopOwner() })
	return c
}

func (c *cluster) clock() time.Time { return time.Now().Add(time.Duration(c.shift.Load())) }

// startOwner begins a term.
func (c *cluster) startOwner(captures ...*fakeCapture) {
	ctx := c.t.Context()
	session, err := c.meta.NewSession(ctx, 10*time.Second, "owner")
	require.NoError(c.t, err)
	fence, err := session.Campaign(ctx)
	require.NoError(c.t, err)
	c.session, c.lastRev = session, fence.Rev
	c.owner = New(Options{
		Self: model.CaptureInfo{ID: "owner", AdvertiseAddr: "owner:1"}, Meta: c.meta.AsOwner(fence), Hub: c.wire.hub,
		UpstreamID: 1, Upstream: c.upstream, Schemas: c.schema, FilterDDL: passDDL, OpenSink: c.sink.open,
		GCServiceID: "ticdc-default-1", GCTTL: time.Hour, SessionTTL: 10 * time.Second, Clock: c.clock, Metrics: c.metrics,
	})
	runCtx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- c.owner.Run(runCtx) }()
	c.stop = func() error {
		cancel()
		return <-result
	}
	eventually(c.t, "the owner is ready", func() bool { return c.owner.View().Ready })
	for _, capture := range captures {
		c.attach(capture)
	}
}

// stopOwner ends the term and gives the election up.
func (c *cluster) stopOwner() {
	if c.stop == nil {
		return
	}
	require.NoError(c.t, c.stop())
	c.stop = nil
	require.NoError(c.t, c.session.Close(context.Background()))
}

// addCapture registers a capture and attaches it to the owner.
func (c *cluster) addCapture(id model.CaptureID) *fakeCapture {
	session, err := c.meta.NewSession(context.Background(), 10*time.Second, id)
	require.NoError(c.t, err)
	require.NoError(c.t, session.Register(c.t.Context(), &model.CaptureInfo{ID: id, AdvertiseAddr: id + ":1", Version: "v8.5.3"}))
	f := &fakeCapture{id: id, session: session, changed: make(chan struct{}, 1), runs: map[model.ChangefeedID]*fakeRun{}}
	c.t.Cleanup(func() {
		c.detach(f)
		_ = session.Close(context.Background())
	})
	if c.stop != nil {
		c.attach(f)
	}
	return f
}

func (c *cluster) attach(f *fakeCapture) {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop, f.done = cancel, make(chan struct{})
	targets := make(chan peer.Target, 1)
	targets <- peer.Target{Capture: "owner", Addr: "owner:1", Revision: c.lastRev}
	link := peer.NewLink(f.id, f, c.wire.dial, time.Minute, zap.NewNop())
	go func() {
		defer close(f.done)
		_ = link.Run(ctx, targets)
	}()
}

func (c *cluster) detach(f *fakeCapture) {
	if f.stop != nil {
		f.stop()
		<-f.done
		f.stop = nil
	}
}

// kill cuts a capture off for good: its key goes, and its grace passes.
func (c *cluster) kill(f *fakeCapture) {
	c.lost = f.id
	c.detach(f)
	_, err := c.meta.Etcd().Delete(c.t.Context(), c.meta.Keys().Capture(f.id))
	require.NoError(c.t, err)
	eventually(c.t, "its key is gone", func() bool {
		c.owner.fleet.mu.Lock()
		defer c.owner.fleet.mu.Unlock()
		m := c.owner.fleet.members[f.id]
		return m == nil || !m.goneAt.IsZero()
	})
	c.shift.Store(int64(minGrace))
}

// changeOwner begins another term with the same captures.
func (c *cluster) changeOwner(captures ...*fakeCapture) {
	c.stopOwner()
	for _, f := range captures {
		c.detach(f)
	}
	c.startOwner(captures...)
}

func (c *cluster) create(change ...func(*etcdmeta.ChangefeedInfo)) {
	info := &etcdmeta.ChangefeedInfo{
		UpstreamID: 1, Namespace: feedID.Namespace, ID: feedID.ID, SinkURI: "blackhole://", StartTs: 100,
		Config: config.DefaultReplicaConfig(), State: model.StateNormal, Epoch: 7,
	}
	for _, fn := range change {
		fn(info)
	}
	require.NoError(c.t, c.meta.CreateFeed(c.t.Context(), info, nil))
	eventually(c.t, "the owner knows the changefeed", func() bool { return c.owner.View().Feeds[feedID] != nil })
}

// overwrite puts an info as someone does who looks at nothing before.
func (c *cluster) overwrite(info *etcdmeta.ChangefeedInfo) {
	value, err := json.Marshal(info)
	require.NoError(c.t, err)
	_, err = c.meta.Etcd().Put(c.t.Context(), c.meta.Keys().Info(info.FeedID()), string(value))
	require.NoError(c.t, err)
}

func (c *cluster) view() *FeedView { return c.owner.View().Feeds[feedID] }

func (c *cluster) stored() *etcdmeta.Feed {
	feed, err := c.meta.GetFeed(c.t.Context(), feedID)
	require.NoError(c.t, err)
	return feed
}

func (c *cluster) waitCheckpoint(ts uint64) {
	c.t.Helper()
	eventually(c.t, "checkpoint", func() bool {
		v := c.view()
		return v != nil && v.Status != nil && v.Status.CheckpointTs >= ts
	})
	require.Equal(c.t, ts, c.view().Status.CheckpointTs)
}

func (c *cluster) waitState(state model.FeedState) {
	c.t.Helper()
	eventually(c.t, string(state), func() bool { return c.view().Info.State == state })
}

func (c *cluster) submit(job model.AdminJobType, overwrite uint64) {
	c.t.Helper()
	require.NoError(c.t, c.owner.Submit(c.t.Context(), Job{ID: feedID, Type: job, OverwriteCheckpointTs: overwrite}))
}
