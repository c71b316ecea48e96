// Package server is one capture: it connects to PD, registers in etcd, takes
// part in the election, runs the owner while elected and the changefeeds that
// the owner places here, and answers HTTP and gRPC on one port.
package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/tidemark/tidemark/api"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter/rowfilter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/schema"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/sorter"
	"github.com/tidemark/tidemark/pkg/upstream"
)

// Options say what a server is to be. Every field is required unless it says
// otherwise.
type Options struct {
	Config      *config.ServerConfig // validated
	PDEndpoints []string             // URLs
	Version     string               // release version such as v8.5.3
	GitHash     string
	Logger      *zap.Logger
	LogLevel    zap.AtomicLevel
	// Registry takes the server's metrics and is shown by /metrics.
	Registry *prometheus.Registry
	// MemoryLimit is what the process should stay below, in bytes. Rows on
	// their way take half of it at most; 0 sets no bound.
	MemoryLimit int64
	// Listener is optional; without it the server listens on Config.Addr.
	Listener net.Listener
}

// Server is one capture. Several may live in one process.
type Server struct {
	o      Options
	logger *zap.Logger
	tls    *tls.Config // of the listener; nil is plain
	client *tls.Config // towards others
	peers  *tls.Config // towards other captures, over HTTP

	hub      *peer.Hub
	metrics  *owner.Metrics
	listener atomic.Pointer[net.Listener]
	ready    atomic.Bool
	liveness atomic.Int32
	stopping chan struct{} // closed by PrepareStop
	stopOnce sync.Once
	current  atomic.Pointer[registration]
	// leftover is a session that could not be given back: its keys stand in
	// the way of the next one's until they expire.
	leftover *etcdmeta.Session
	term     atomic.Pointer[owner.Owner]

	// Set by Run before anything uses them.
	upstream  *upstream.Upstream
	etcd      *clientv3.Client
	meta      *etcdmeta.Client
	schemas   *schema.Registry
	sorter    *sorter.Engine
	dirLock   io.Closer // the sorter's directory is ours until it is closed
	location  *time.Location
	gcService string
	linger    *linger
}

// New makes a server; nothing happens before Run.
func New(o Options) *Server {
	registerRuntime(o.Registry)
	return &Server{
		o: o, logger: o.Logger, hub: peer.NewHub(o.Logger), metrics: owner.NewMetrics(o.Registry),
		stopping: make(chan struct{}), linger: newLinger(),
	}
}

// How long the parts of an orderly stop may take.
const (
	deregisterTimeout = 5 * time.Second
	cutOffTimeout     = 500 * time.Millisecond // where etcd did not answer before
	httpStopTimeout   = 3 * time.Second
)

// Run works until ctx ends, which is no error, or until the server cannot go
// on. When it returns, nothing of it runs any more.
func (s *Server) Run(ctx context.Context) (err error) {
	listener, err := s.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := s.connect(ctx); err != nil {
		s.disconnect()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer s.disconnect()
	front, err := s.serve(listener)
	if err != nil {
		return err
	}
	defer front.stop()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return front.wait(groupCtx) })
	group.Go(func() error { return s.keepRegistered(groupCtx) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// Addr is where the server listens; empty before Run does.
func (s *Server) Addr() string {
	if l := s.listener.Load(); l != nil {
		return (*l).Addr().String()
	}
	return ""
}

// PrepareStop takes no more work and gives the ownership up: the first part
// of an orderly stop. It returns when that is done or ctx ends.
func (s *Server) PrepareStop(ctx context.Context) {
	s.takeNoMore()
	if r := s.current.Load(); r != nil {
		r.agent.SetLiveness(model.LivenessStopping)
		select {
		case <-r.resigned:
		case <-r.done:
		case <-ctx.Done():
		}
	}
}

// takeNoMore makes this server one that takes no tables and is not elected.
func (s *Server) takeNoMore() {
	s.stopOnce.Do(func() {
		s.liveness.Store(int32(model.LivenessStopping))
		close(s.stopping)
	})
}

func (s *Server) listen() (net.Listener, error) {
	var err error
	if s.tls, err = s.o.Config.Security.ServerTLS(); err != nil {
		return nil, fmt.Errorf("TLS of the listener: %w", err)
	}
	if s.client, err = s.o.Config.Security.ClientTLS(); err != nil {
		return nil, fmt.Errorf("TLS of clients: %w", err)
	}
	if s.peers, err = s.o.Config.Security.PeerTLS(); err != nil {
		return nil, fmt.Errorf("TLS towards captures: %w", err)
	}
	listener := s.o.Listener
	if listener == nil {
		if listener, err = net.Listen("tcp", s.o.Config.Addr); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	s.listener.Store(&listener)
	return listener, nil
}

// connect opens everything that lives as long as the server.
func (s *Server) connect(ctx context.Context) (err error) {
	cfg := s.o.Config
	if s.location, err = cfg.Location(); err != nil {
		return err
	}
	security := upstream.Security{CAPath: cfg.Security.CAPath, CertPath: cfg.Security.CertPath, KeyPath: cfg.Security.KeyPath}
	if err := upstream.CheckPDVersion(ctx, security, s.o.PDEndpoints); err != nil {
		return err
	}
	s.upstream, err = upstream.Connect(ctx, upstream.Config{
		PDEndpoints: s.o.PDEndpoints, Security: security, Version: s.o.Version,
		Logger: s.logger, Registerer: s.o.Registry,
	})
	if err != nil {
		return err
	}
	if err := upstream.CheckStoreVersions(ctx, s.upstream.PD()); err != nil {
		s.logger.Warn("a store may not work with this server", zap.Error(err))
	}
	if s.etcd, err = newEtcdClient(s.o.PDEndpoints, s.client, s.logger); err != nil {
		return err
	}
	s.meta = etcdmeta.NewClient(s.etcd, cfg.ClusterID)
	if err := s.meta.CheckMetaVersion(ctx); err != nil {
		return err
	}
	etcdID, err := s.meta.EtcdClusterID(ctx)
	if err != nil {
		return err
	}
	s.gcService = fmt.Sprintf("ticdc-%s-%d", cfg.ClusterID, etcdID)
	var dir string
	if dir, s.dirLock, err = s.prepareDataDir(ctx); err != nil {
		return err
	}
	s.sorter, err = sorter.Open(sorter.Config{
		Dir: dir, MemoryLimit: s.o.MemoryLimit / rowsPart, Logger: s.logger, Registerer: s.o.Registry,
	})
	if err != nil {
		return err
	}
	s.schemas = schema.NewRegistry(schemaUpstream{s.upstream}, s.logger)
	s.ready.Store(true)
	return nil
}

// disconnect closes what connect opened, in the reverse order.
func (s *Server) disconnect() {
	s.ready.Store(false)
	s.linger.close()
	if s.sorter != nil {
		if err := s.sorter.Close(); err != nil {
			s.logger.Warn("closing the sorter failed", zap.Error(err))
		}
	}
	if s.dirLock != nil {
		_ = s.dirLock.Close()
	}
	if s.etcd != nil {
		if err := s.etcd.Close(); err != nil {
			s.logger.Info("closing the etcd client failed", zap.Error(err))
		}
	}
	if s.upstream != nil {
		s.upstream.Close()
	}
}

// newEtcdClient connects to the etcd inside PD. It outlives restarts of PD.
func newEtcdClient(endpoints []string, tls *tls.Config, logger *zap.Logger) (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: tls,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               logger.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)),
		DialOptions: []grpc.DialOption{
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
			reconnectQuickly(),
		},
	})
	if err != nil {
		return nil, errors.ErrPDEtcdAPIError.Wrap(err)
	}
	return client, nil
}

// How often a capture that lost its session may register again.
const (
	registerBurst = 2
	registerEvery = 20 * time.Second
)

// keepRegistered registers, and registers again under a new id whenever the
// session is lost.
func (s *Server) keepRegistered(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Every(registerEvery), registerBurst)
	for {
		if err := limit.Wait(ctx); err != nil {
			return nil //nolint:nilerr // ctx ended
		}
		err := s.capture(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.logger.Warn("registration lost, registering again", zap.Error(err))
	}
}

// upstreamInfo is how this server's upstream is stored beside changefeeds.
func (s *Server) upstreamInfo() etcdmeta.UpstreamInfo {
	sec := s.o.Config.Security
	return etcdmeta.UpstreamInfo{
		ID: s.upstream.ClusterID(), PDEndpoints: strings.Join(s.o.PDEndpoints, ","),
		KeyPath: sec.KeyPath, CertPath: sec.CertPath, CAPath: sec.CAPath, CertAllowedCN: sec.CertAllowedCN,
	}
}

// advertiseAddr is where others reach this capture.
func (s *Server) advertiseAddr() string {
	addr := s.o.Config.AdvertiseAddr
	if addr == "" || strings.HasSuffix(addr, ":0") {
		return s.Addr()
	}
	return addr
}

// newService makes the use cases behind the HTTP API.
func (s *Server) newService() *service.Service {
	return service.New(service.Options{
		ClusterID:        s.o.Config.ClusterID,
		GCServiceID:      s.gcService,
		Node:             node{s},
		Meta:             s.meta,
		Upstream:         s.upstream,
		UpstreamInfo:     s.upstreamInfo(),
		TablesAt:         s.tablesAt,
		CheckExpressions: rowfilter.Check,
		Probe:            s.probe,
		DialPD:           s.dialPD,
		CheckStores:      func(ctx context.Context) error { return upstream.CheckStoreVersions(ctx, s.upstream.PD()) },
		HasRunningImport: service.RunningImport(s.etcd),
		Dump:             service.DumpMetadata(s.etcd, s.o.Config.ClusterID),
		Logger:           s.logger,
	})
}

func (s *Server) apiOptions() api.Options {
	return api.Options{
		Service: s.newService(), Config: s.o.Config, LogLevel: s.o.LogLevel,
		Gatherer: s.o.Registry, ClientTLS: s.peers,
		Login: upstream.NewLogins(s.etcd, s.client).Check, Logger: s.logger,
	}
}
