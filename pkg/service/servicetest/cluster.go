// Package servicetest is a cluster in memory for tests of the service and of
// the API above it: one capture that is the owner, its metadata and its PD.
package servicetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service"
)

// What a fresh cluster looks like.
const (
	ClusterID   = "default"
	GCServiceID = "ticdc-default-1"
	CaptureID   = "561c3784-77f0-4863-ad52-65a3436db6af"
	Address     = "127.0.0.1:8300"
	UpstreamID  = uint64(7204115354417354325)
	// NowTSO is 2023-02-27 15:46:52.888 UTC.
	NowTSO = uint64(439749918821711874)
)

// CreateTime is when every changefeed is created.
func CreateTime() time.Time { return time.Date(2023, 2, 27, 23, 46, 52, 123456789, time.UTC) }

// Cluster is the fake. Fields may be set before use; everything that calls
// change is behind its mutex.
type Cluster struct {
	IsReady    bool
	Registered bool
	IsOwner    bool
	TSO        uint64
	MinSafe    uint64 // least service safe point of the others
	Tables     []*model.Table
	Importing  bool

	// Errors to answer with.
	TSOErr, SafePointErr, CreateErr, ProbeErr, SubmitErr, ExpressionErr, StoresErr error
	// OwnerCapture is who holds the election for those who ask etcd; empty
	// is nobody.
	OwnerCapture model.CaptureID
	// Hidden keeps created changefeeds out of the owner's view.
	Hidden bool

	mu         sync.Mutex
	view       *owner.View
	stored     map[model.ChangefeedID]*etcdmeta.ChangefeedInfo
	upstreams  map[uint64]*etcdmeta.UpstreamInfo
	safePoints map[string]uint64
	writes     int
	jobs       []owner.Job
	wishes     []owner.Arrangement
	probes     []service.Target
	resigned   int
	resolved   []Locks
}

// Locks are what one call of ResolveLocks was about.
type Locks struct{ Region, MaxTs uint64 }

// Region is the only region of the upstream.
const Region = uint64(8)

// New makes a healthy cluster without changefeeds.
func New() *Cluster {
	c := &Cluster{
		IsReady: true, Registered: true, IsOwner: true, TSO: NowTSO, OwnerCapture: CaptureID,
		stored:     map[model.ChangefeedID]*etcdmeta.ChangefeedInfo{},
		upstreams:  map[uint64]*etcdmeta.UpstreamInfo{},
		safePoints: map[string]uint64{},
	}
	info := c.captureInfo()
	c.view = &owner.View{
		Ready:    true,
		Feeds:    map[model.ChangefeedID]*owner.FeedView{},
		Captures: []owner.CaptureView{{Info: &info, IsOwner: true, Connected: true}},
	}
	return c
}

// Service makes a service over the cluster.
func (c *Cluster) Service() *service.Service { return service.New(c.Options()) }

// Options wires a service over the cluster.
func (c *Cluster) Options() service.Options {
	return service.Options{
		ClusterID: ClusterID, GCServiceID: GCServiceID,
		Node: c, Meta: c, Upstream: c,
		UpstreamInfo: etcdmeta.UpstreamInfo{ID: UpstreamID, PDEndpoints: "http://127.0.0.1:2379"},
		TablesAt: func(context.Context, uint64) ([]*model.Table, func(), error) {
			return c.Tables, func() {}, nil
		},
		CheckExpressions: c.checkExpressions,
		Probe:            c.probe,
		CheckStores:      func(context.Context) error { return c.StoresErr },
		HasRunningImport: func(context.Context) (bool, error) { return c.Importing, nil },
		Dump: func(context.Context) ([]service.KeyValue, error) {
			return []service.KeyValue{{Key: "/tidb/cdc/default/__cdc_meta__/meta/meta-version", Value: "1"}}, nil
		},
		Now: CreateTime,
	}
}

func (c *Cluster) probe(_ context.Context, t service.Target) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probes = append(c.probes, t)
	return c.ProbeErr
}

// BadExpression is an expression that does not parse.
const BadExpression = "bad"

func (c *Cluster) checkExpressions(f *filter.Filter, _ []*model.Table) error {
	if slices.Contains(f.Expressions(), BadExpression) {
		return errors.ErrExpressionParseFailed.New(BadExpression)
	}
	return c.ExpressionErr
}

func (c *Cluster) captureInfo() model.CaptureInfo {
	return model.CaptureInfo{ID: CaptureID, AdvertiseAddr: Address, Version: "v8.5.3", GitHash: "0123abcd"}
}

// Capture implements service.Node.
func (c *Cluster) Capture() (model.CaptureInfo, bool) { return c.captureInfo(), c.Registered }

// Owner implements service.Node.
func (c *Cluster) Owner() (service.Owner, bool) {
	if !c.IsOwner {
		return nil, false
	}
	return ownerOf{c}, true
}

// Liveness implements service.Node.
func (c *Cluster) Liveness() model.Liveness { return model.LivenessAlive }

// Ready implements service.Node.
func (c *Cluster) Ready() bool { return c.IsReady }

// ClusterID implements service.Upstream.
func (c *Cluster) ClusterID() uint64 { return UpstreamID }

// CurrentTSO implements service.Upstream.
func (c *Cluster) CurrentTSO(context.Context) (uint64, error) { return c.TSO, c.TSOErr }

// SetServiceSafePoint implements service.Upstream as PD does it.
func (c *Cluster) SetServiceSafePoint(_ context.Context, id string, ttl int64, ts uint64) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.SafePointErr != nil {
		return 0, c.SafePointErr
	}
	if ttl <= 0 {
		delete(c.safePoints, id)
		return c.MinSafe, nil
	}
	c.writes++
	if ts >= c.MinSafe {
		c.safePoints[id] = ts
	}
	least := ts
	for _, sp := range c.safePoints {
		least = min(least, sp)
	}
	if c.MinSafe > 0 {
		least = c.MinSafe
	}
	return least, nil
}

// ResolveLocks implements service.Upstream.
func (c *Cluster) ResolveLocks(_ context.Context, region, maxTs uint64) error {
	if region != Region {
		return fmt.Errorf("region not found for regionID %d", region)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resolved = append(c.resolved, Locks{region, maxTs})
	return nil
}

// GetFeed implements service.Metadata.
func (c *Cluster) GetFeed(_ context.Context, id model.ChangefeedID) (*etcdmeta.Feed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.view.Feeds[id]
	if !ok {
		return nil, errors.ErrChangeFeedNotExists.New(id)
	}
	return &etcdmeta.Feed{ID: id, Info: f.Info, InfoRev: 1, Status: f.Status, StatusRev: 1}, nil
}

// CreateFeed implements service.Metadata; the changefeed shows up in the view.
func (c *Cluster) CreateFeed(_ context.Context, info *etcdmeta.ChangefeedInfo, up *etcdmeta.UpstreamInfo) error {
	if c.CreateErr != nil {
		return c.CreateErr
	}
	c.mu.Lock()
	c.stored[info.FeedID()] = info
	c.upstreams[up.ID] = up
	c.mu.Unlock()
	if !c.Hidden {
		c.Add(&owner.FeedView{ID: info.FeedID(), Info: info})
	}
	return nil
}

// UpdateFeed implements service.Metadata.
func (c *Cluster) UpdateFeed(
	_ context.Context, read *etcdmeta.Feed, info *etcdmeta.ChangefeedInfo, _ *etcdmeta.UpstreamInfo,
) error {
	c.mu.Lock()
	c.stored[read.ID] = info
	c.mu.Unlock()
	c.modify(read.ID, func(f *owner.FeedView) { f.Info = info })
	return nil
}

// GetOwner implements service.Metadata.
func (c *Cluster) GetOwner(context.Context) (etcdmeta.OwnerInfo, error) {
	if c.OwnerCapture == "" {
		return etcdmeta.OwnerInfo{}, errors.ErrOwnerNotFound.New()
	}
	return etcdmeta.OwnerInfo{Capture: c.OwnerCapture}, nil
}

// ListCaptures implements service.Metadata.
func (c *Cluster) ListCaptures(context.Context) (map[model.CaptureID]*model.CaptureInfo, error) {
	v := ownerOf{c}.View()
	m := map[model.CaptureID]*model.CaptureInfo{}
	for _, cp := range v.Captures {
		m[cp.Info.ID] = cp.Info
	}
	return m, nil
}

// ownerOf is the owner's side of the cluster; its ClusterID would clash.
type ownerOf struct{ c *Cluster }

func (o ownerOf) View() *owner.View {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	return o.c.view
}

func (o ownerOf) Resign() {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.c.resigned++
}

func (o ownerOf) Arrange(wish owner.Arrangement) error {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.c.wishes = append(o.c.wishes, wish)
	return nil
}

func (o ownerOf) Submit(_ context.Context, job owner.Job) error {
	if o.c.SubmitErr != nil {
		return o.c.SubmitErr
	}
	o.c.mu.Lock()
	o.c.jobs = append(o.c.jobs, job)
	o.c.mu.Unlock()
	switch job.Type {
	case model.AdminStop:
		o.c.SetState(job.ID, model.StateStopped)
	case model.AdminResume:
		o.c.SetState(job.ID, model.StateNormal)
	case model.AdminRemove:
		o.c.swap(func(v *owner.View) { delete(v.Feeds, job.ID) })
	default:
		return fmt.Errorf("job type %d", job.Type)
	}
	return nil
}

// swap replaces the view by a changed copy, as the owner does.
func (c *Cluster) swap(change func(*owner.View)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := *c.view
	v.Feeds = maps.Clone(v.Feeds)
	change(&v)
	c.view = &v
}

// SetView changes a copy of the view and puts it in place.
func (c *Cluster) SetView(change func(*owner.View)) { c.swap(change) }

// Add shows a changefeed.
func (c *Cluster) Add(f *owner.FeedView) {
	c.swap(func(v *owner.View) { v.Feeds[f.ID] = f })
}

func (c *Cluster) modify(id model.ChangefeedID, change func(*owner.FeedView)) {
	c.swap(func(v *owner.View) {
		f := *v.Feeds[id]
		change(&f)
		v.Feeds[id] = &f
	})
}

// SetState stores a state of a shown changefeed.
func (c *Cluster) SetState(id model.ChangefeedID, state model.FeedState) {
	c.modify(id, func(f *owner.FeedView) {
		info := f.Info.Clone()
		info.State, info.AdminJobType = state, state.AdminJob()
		f.Info = info
	})
}

// Feed makes a running changefeed with a checkpoint, for Add.
func Feed(id string, state model.FeedState, uri config.SinkURI) *owner.FeedView {
	feedID := model.DefaultChangefeedID(id)
	return &owner.FeedView{
		ID: feedID,
		Info: &etcdmeta.ChangefeedInfo{
			UpstreamID: UpstreamID, Namespace: feedID.Namespace, ID: id, SinkURI: uri,
			CreateTime: CreateTime(), StartTs: 426919038970232833, Engine: "unified", State: state,
			AdminJobType: state.AdminJob(), Config: config.DefaultReplicaConfig(), CreatorVersion: "v8.5.3", Epoch: 1,
		},
		Status:     &etcdmeta.ChangefeedStatus{CheckpointTs: 426921294362574849, MinTableBarrierTs: 426921294362574849},
		ResolvedTs: 426921294362574850,
		Tasks: []owner.Task{{
			CaptureID: CaptureID, TableIDs: []int64{63, 65}, CheckpointTs: 426921294362574849, ResolvedTs: 426921294362574850,
		}},
		Scheduled: true,
	}
}

// Stored returns what was written to the metadata for a changefeed, nil if
// nothing was.
func (c *Cluster) Stored(id model.ChangefeedID) *etcdmeta.ChangefeedInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored[id]
}

// StoredUpstream returns the upstream that was written, nil if none.
func (c *Cluster) StoredUpstream() *etcdmeta.UpstreamInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.upstreams[UpstreamID]
}

// SafePoints returns the service safe points in force.
func (c *Cluster) SafePoints() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.safePoints)
}

// SafePointWrites counts the safe points that were asked for.
func (c *Cluster) SafePointWrites() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// Jobs returns the jobs that the owner got.
func (c *Cluster) Jobs() []owner.Job {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]owner.Job(nil), c.jobs...)
}

// Wishes returns what the owner was asked about the placement of tables.
func (c *Cluster) Wishes() []owner.Arrangement {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]owner.Arrangement(nil), c.wishes...)
}

// Resolved returns the locks that were resolved.
func (c *Cluster) Resolved() []Locks {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Locks(nil), c.resolved...)
}

// Probes returns the downstreams that were opened.
func (c *Cluster) Probes() []service.Target {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]service.Target(nil), c.probes...)
}

// Resigned counts the requests to resign.
func (c *Cluster) Resigned() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resigned
}
