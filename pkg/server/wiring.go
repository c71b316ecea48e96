package server

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/filter/rowfilter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/processor"
	"github.com/tidemark/tidemark/pkg/schema"
	"github.com/tidemark/tidemark/pkg/server/agent"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/factory"
	"github.com/tidemark/tidemark/pkg/upstream"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// ownerOptions wires one term.
func (s *Server) ownerOptions(r *registration, fence etcdmeta.Fence) owner.Options {
	return owner.Options{
		Self: r.info, Meta: s.meta.AsOwner(fence), Hub: s.hub,
		UpstreamID: s.upstream.ClusterID(), Upstream: s.upstream,
		Schemas: ownerSchemas{s.schemas}, FilterDDL: schema.FilterDDL,
		OpenSink: func(ctx context.Context, info *etcdmeta.ChangefeedInfo) (owner.DDLSink, error) {
			return s.openSink(ctx, r, info)
		},
		GCServiceID:     s.gcService,
		GCTTL:           time.Duration(s.o.Config.GCTTL) * time.Second,
		SessionTTL:      time.Duration(s.o.Config.CaptureSessionTTL) * time.Second,
		BalanceInterval: s.o.Config.Debug.Scheduler.CheckBalanceInterval,
		Logger:          s.logger, Metrics: s.metrics,
	}
}

// newProcessor makes the processor of a run.
func (s *Server) newProcessor(r *registration, info *etcdmeta.ChangefeedInfo) (agent.Processor, error) {
	rules, err := filter.New(info.Config.Filter, info.Config.CaseSensitive)
	if err != nil {
		return nil, err
	}
	return processor.New(processor.Options{
		ID: info.FeedID(), Epoch: info.Epoch, Config: info.Config, SinkURI: info.SinkURI, TargetTs: info.TargetTs,
		Changes: processor.FromClient(s.upstream.Changes()),
		Schemas: processor.FromRegistry(s.schemas),
		Clock:   s.upstream, Sorter: s.sorter,
		NewSink:      func(ctx context.Context) (sink.Sink, error) { return s.openSink(ctx, r, info) },
		NewRowFilter: s.newRowFilter(rules),
		Logger:       s.logger, Registerer: s.o.Registry,
	}), nil
}

// newRowFilter returns nil when the rules are not about single rows: then no
// row is looked at.
func (s *Server) newRowFilter(rules *filter.Filter) func() processor.RowFilter {
	if !rules.FiltersRows() {
		return nil
	}
	return func() processor.RowFilter { return rowfilter.New(rules, s.location) }
}

// openSink connects a sink that writes: only as long as no other capture can
// have got its work. What it writes has the mark of the upstream.
func (s *Server) openSink(ctx context.Context, r *registration, info *etcdmeta.ChangefeedInfo) (sink.Sink, error) {
	o := s.sinkOptions(info.FeedID(), info.SinkURI, info.Config)
	var err error
	if o.SourceID, err = s.upstream.SourceID(ctx); err != nil {
		return nil, err
	}
	o.Fence = r.fence
	return factory.New(ctx, o)
}

func (s *Server) sinkOptions(id model.ChangefeedID, uri config.SinkURI, cfg *config.ReplicaConfig) sink.Options {
	return sink.Options{
		Changefeed: id, ClusterID: s.o.Config.ClusterID, Capture: s.advertiseAddr(),
		URI: uri, Config: cfg, TimeZone: s.location,
		Logger: s.logger, Registerer: s.o.Registry,
	}
}

// probe opens a downstream and closes it again.
func (s *Server) probe(ctx context.Context, t service.Target) error {
	return factory.Probe(ctx, s.sinkOptions(t.ID, t.URI, t.Config))
}

// tablesAt lists the tables that a changefeed starting at ts begins with: a
// DDL at ts itself is still to come for it. The schema stays loaded for a
// while after the release, so that the owner finds it.
func (s *Server) tablesAt(ctx context.Context, ts uint64) ([]*model.Table, func(), error) {
	ts -= min(ts, 1)
	lease, err := s.schemas.Acquire(ctx, ts)
	if err != nil {
		return nil, nil, err
	}
	release := func() { s.linger.after(leaseLinger, lease.Release) }
	// A schema that is loaded already may be a little behind the present.
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	if err := lease.Store().WaitResolved(ctx, ts); err != nil {
		release()
		return nil, nil, fmt.Errorf("wait for the schema at %d: %w", ts, err)
	}
	return lease.Store().Tables(ts), release, nil
}

// dialPD connects to the PD cluster that a request names.
func (s *Server) dialPD(ctx context.Context, addr service.PDAddress) (service.OtherUpstream, error) {
	up, err := upstream.Connect(ctx, upstream.Config{
		PDEndpoints: addr.Endpoints,
		Security:    upstream.Security{CAPath: addr.CAPath, CertPath: addr.CertPath, KeyPath: addr.KeyPath},
		Version:     s.o.Version, Logger: s.logger,
	})
	if err != nil {
		return nil, err
	}
	return otherUpstream{up, s.logger}, nil
}

// otherUpstream is the cluster of one request.
type otherUpstream struct {
	*upstream.Upstream
	logger *zap.Logger
}

// TablesAt loads the schema for this one look at it.
func (o otherUpstream) TablesAt(ctx context.Context, ts uint64) ([]*model.Table, error) {
	ts -= min(ts, 1)
	lease, err := schema.NewRegistry(schemaUpstream{o.Upstream}, o.logger).Acquire(ctx, ts)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	return lease.Store().Tables(ts), nil
}

// node is this capture as the API sees it.
type node struct{ s *Server }

func (n node) Capture() (model.CaptureInfo, bool) {
	if r := n.s.current.Load(); r != nil {
		return r.info, true
	}
	return model.CaptureInfo{}, false
}

func (n node) Owner() (service.Owner, bool) {
	if term := n.s.term.Load(); term != nil {
		return term, true
	}
	return nil, false
}

func (n node) Liveness() model.Liveness { return model.Liveness(n.s.liveness.Load()) }

func (n node) Ready() bool { return n.s.ready.Load() }

// ownerSchemas gives the owner the shared schema registry.
type ownerSchemas struct{ registry *schema.Registry }

// Acquire also waits for a schema that is loaded but not as far as ts: the
// owner begins with the tables at ts, and only asks for DDLs after it.
func (o ownerSchemas) Acquire(ctx context.Context, ts uint64) (owner.Lease, error) {
	lease, err := o.registry.AcquireKnown(ctx, ts)
	if err != nil {
		return nil, err
	}
	return ownerLease{lease}, nil
}

type ownerLease struct{ *schema.Lease }

func (l ownerLease) Schema() owner.Schema { return l.Store() }

// schemaUpstream lets the schema read from and subscribe to the upstream.
type schemaUpstream struct{ up *upstream.Upstream }

func (u schemaUpstream) CurrentTSO(ctx context.Context) (uint64, error) { return u.up.CurrentTSO(ctx) }

func (u schemaUpstream) Get(ctx context.Context, ts uint64, key []byte) ([]byte, error) {
	return u.up.Storage().Snapshot(ts).Get(ctx, key)
}

func (u schemaUpstream) Scan(ctx context.Context, ts uint64, start, end []byte, fn func(key, value []byte) error) error {
	it, err := u.up.Storage().Snapshot(ts).Iter(ctx, start, end)
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Valid() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
		if err := it.Next(); err != nil {
			return err
		}
	}
	return nil
}

func (u schemaUpstream) Subscribe(o changes.Options) schema.Subscription {
	return u.up.Changes().Subscribe(o)
}
