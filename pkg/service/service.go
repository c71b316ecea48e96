// Package service holds the use cases behind both versions of the HTTP API:
// it checks requests in the documented order, writes intents to the metadata
// and answers reads from the owner's snapshot. Nothing here knows of HTTP.
package service

import (
	"context"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
)

// Node is this capture, as the API needs to know it.
type Node interface {
	// Capture returns what this capture registered; false as long as it has
	// no registration.
	Capture() (model.CaptureInfo, bool)
	// Owner returns the owner's work while this capture holds the election.
	Owner() (Owner, bool)
	// Liveness says whether the capture is about to stop.
	Liveness() model.Liveness
	// Ready says that the metadata may be used: its layout was checked.
	Ready() bool
}

// Owner is one term of the owner's work. *owner.Owner implements it.
type Owner interface {
	// View returns the current snapshot; never nil.
	View() *owner.View
	// Submit returns when the job was accepted; see owner.Owner.
	Submit(ctx context.Context, job owner.Job) error
	// Arrange takes a wish about where tables run and never blocks. A wish
	// that cannot be met is dropped; the error is ErrOwnerNotFound when the term
	// is over.
	Arrange(wish owner.Arrangement) error
	// Resign asks for the end of the term and does not wait for it.
	Resign()
}

// Metadata is what the service reads and writes in etcd. *etcdmeta.Client
// implements it and documents the errors.
type Metadata interface {
	GetFeed(ctx context.Context, id model.ChangefeedID) (*etcdmeta.Feed, error)
	CreateFeed(ctx context.Context, info *etcdmeta.ChangefeedInfo, up *etcdmeta.UpstreamInfo) error
	UpdateFeed(ctx context.Context, read *etcdmeta.Feed, info *etcdmeta.ChangefeedInfo, up *etcdmeta.UpstreamInfo) error
	GetOwner(ctx context.Context) (etcdmeta.OwnerInfo, error)
	ListCaptures(ctx context.Context) (map[model.CaptureID]*model.CaptureInfo, error)
}

// Upstream is a PD cluster. *upstream.Upstream implements it.
type Upstream interface {
	ClusterID() uint64
	// CurrentTSO asks PD; it fails when PD does not answer.
	CurrentTSO(ctx context.Context) (uint64, error)
	// SetServiceSafePoint returns the least safe point of all services. A TTL
	// of 0 withdraws the service's own one.
	SetServiceSafePoint(ctx context.Context, serviceID string, ttlSeconds int64, ts uint64) (uint64, error)
	// ResolveLocks resolves the locks that dead transactions up to maxTs left
	// in a region. It fails when there is no such region.
	ResolveLocks(ctx context.Context, regionID, maxTs uint64) error
}

// OtherUpstream is a PD cluster that a request names, with its stores.
type OtherUpstream interface {
	Upstream
	// TablesAt lists every table as of a TSO; it fails when the store cannot
	// be read.
	TablesAt(ctx context.Context, ts uint64) ([]*model.Table, error)
	Close()
}

// PDAddress names a PD cluster other than the default one.
type PDAddress struct {
	Endpoints     []string
	CAPath        string
	CertPath      string
	KeyPath       string
	CertAllowedCN []string
}

// Target is a downstream to be checked.
type Target struct {
	ID     model.ChangefeedID
	URI    config.SinkURI
	Config *config.ReplicaConfig
}

// Options wires a Service. Every field is required unless it says otherwise.
type Options struct {
	ClusterID   string // of this TiCDC cluster
	GCServiceID string // "ticdc-<cluster id>-<etcd cluster id>"
	Node        Node
	Meta        Metadata
	// Upstream is the cluster of --pd; UpstreamInfo is how it is stored
	// beside the changefeeds that it feeds.
	Upstream     Upstream
	UpstreamInfo etcdmeta.UpstreamInfo
	// TablesAt lists every table as of a TSO. The schema stays loaded until
	// release is called, so that a changefeed starting there finds it.
	TablesAt func(ctx context.Context, ts uint64) (tables []*model.Table, release func(), err error)
	// CheckExpressions checks the expressions of event filters, against the
	// tables that they are for. See rowfilter.Check. Optional.
	CheckExpressions func(f *filter.Filter, tables []*model.Table) error
	// Probe opens the downstream and closes it again. Its errors carry the
	// codes that clients know.
	Probe func(ctx context.Context, target Target) error
	// DialPD connects to the PD cluster of a request. Optional: without it
	// requests that name their own PD are refused.
	DialPD func(ctx context.Context, addr PDAddress) (OtherUpstream, error)
	// CheckStores fails with ErrVersionIncompatible when a store of the
	// upstream is too old or too new: then no capture is drained, because what
	// follows that is mostly an upgrade. Optional.
	CheckStores func(ctx context.Context) error
	// HasRunningImport tells whether a restore or import runs upstream.
	// Optional. See RunningImport.
	HasRunningImport func(ctx context.Context) (bool, error)
	// Dump reads the whole metadata. Optional. See DumpMetadata.
	Dump   func(ctx context.Context) ([]KeyValue, error)
	Now    func() time.Time // optional, for tests
	Logger *zap.Logger      // optional
}

// Service is safe for concurrent use.
type Service struct {
	o   Options
	pid int
}

// New makes a Service; it does nothing until it is asked.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Service{o: o, pid: os.Getpid()}
}

// How long calls wait for the owner: for its first snapshot, for a created
// changefeed to show up, for a removed one to be gone.
const (
	readyTimeout   = 2 * time.Second
	visibleTimeout = 2 * time.Second
	removeTimeout  = 10 * time.Second
	pollInterval   = 2 * time.Millisecond
)

// Ready tells whether /api calls may be served.
func (s *Service) Ready() bool { return s.o.Node.Ready() }

// IsOwner tells whether this capture is the owner.
func (s *Service) IsOwner() bool {
	_, ok := s.o.Node.Owner()
	return ok
}

// owner returns the owner's work once it has loaded the metadata. Errors:
// ErrNotOwner when this capture is not or no longer the owner, and when the
// metadata does not load in time.
func (s *Service) owner(ctx context.Context) (Owner, *owner.View, error) {
	own, ok := s.o.Node.Owner()
	if !ok {
		return nil, nil, errors.ErrNotOwner.New()
	}
	if v := own.View(); v.Ready {
		return own, v, nil
	}
	ready := false
	poll(ctx, readyTimeout, func() bool {
		own, ok = s.o.Node.Owner()
		ready = ok && own.View().Ready
		return ready
	})
	if !ready {
		return nil, nil, errors.ErrNotOwner.New()
	}
	return own, own.View(), nil
}

// poll calls done until it says true, for at most the limit.
func poll(ctx context.Context, limit time.Duration, done func() bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
