// Package tidb runs one TiDB SQL server in this process, over a PD and a TiKV that it reaches by gRPC as in
// production. TiDB keeps its configuration in variables of its packages: there can be one server per process.
package tidb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/pingcap/tidb/pkg/config"
	"github.com/pingcap/tidb/pkg/ddl"
	"github.com/pingcap/tidb/pkg/domain"
	"github.com/pingcap/tidb/pkg/executor"
	"github.com/pingcap/tidb/pkg/executor/mppcoordmanager"
	"github.com/pingcap/tidb/pkg/kv"
	"github.com/pingcap/tidb/pkg/resourcemanager"
	"github.com/pingcap/tidb/pkg/server"
	"github.com/pingcap/tidb/pkg/session"
	kvstore "github.com/pingcap/tidb/pkg/store"
	"github.com/pingcap/tidb/pkg/store/copr"
	"github.com/pingcap/tidb/pkg/store/driver"
	"github.com/tikv/client-go/v2/tikv"
	"go.uber.org/zap"
)

const (
	healthPoll = 2 * time.Millisecond
	// openLimit is how long PD and the store may take to answer, openPause is between two tries.
	openLimit = time.Minute
	openPause = 100 * time.Millisecond
	// cancelWait is how long statements that run may take to notice that their connection is gone.
	cancelWait = time.Second
)

// Options say how to run the server. All fields but DataDir's and Logger's defaults are required.
type Options struct {
	PDAddr     string // host:port
	Host       string // to listen on
	Advertise  string // by which others reach it
	Port       int
	StatusPort int
	DataDir    string // for temporary files
	Version    string // TiDB version to claim, with "v"
	Logger     *zap.Logger
}

// Server is a running TiDB.
type Server struct {
	opts    Options
	storage kv.Storage
	domain  *domain.Domain
	server  *server.Server
	done    chan struct{}
	err     error // of the server, valid once done is closed
}

// Start starts TiDB, creates its system tables in a new cluster, and returns when it answers. An error leaves parts
// of TiDB behind that only the end of the process removes.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	// TiDB tells much about itself that nobody here wants to know, and while it creates its tables it warns a thousand
	// times of a resource group that is not there yet.
	level := zap.NewAtomicLevelAt(zap.ErrorLevel)
	if err := configure(o, level); err != nil {
		return nil, err
	}
	s := &Server{opts: o, done: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.closeParts())
	}
	level.SetLevel(zap.WarnLevel)
	go func() {
		defer close(s.done)
		s.err = s.server.Run(s.domain)
	}()
	if err := s.awaitHealth(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open follows what TiDB's main function does.
func (s *Server) open(ctx context.Context) error {
	// Parts of TiDB open a second handle by URL. A second registration in one process changes nothing.
	_ = kvstore.Register(config.StoreTypeTiKV, &driver.TiKVDriver{})
	executor.Start()
	resourcemanager.InstanceResourceManager.Start()
	var err error
	if s.storage, err = s.openStore(ctx); err != nil {
		return fmt.Errorf("tidb: open the store: %w", err)
	}
	copr.GlobalMPPFailedStoreProber.Run()
	mppcoordmanager.InstanceMPPCoordinatorManager.Run()
	if err := ddl.StartOwnerManager(context.WithoutCancel(ctx), s.storage); err != nil {
		return fmt.Errorf("tidb: start the DDL owner: %w", err)
	}
	if s.domain, err = session.BootstrapSession(s.storage); err != nil {
		return fmt.Errorf("tidb: bootstrap: %w", err)
	}
	if s.server, err = server.NewServer(config.GetGlobalConfig(), server.NewTiDBDriver(s.storage)); err != nil {
		return fmt.Errorf("tidb: create the server: %w", err)
	}
	s.server.SetDomain(s.domain)
	// These end with the domain.
	go s.domain.ExpensiveQueryHandle().SetSessionManager(s.server).Run()
	go s.domain.MemoryUsageAlarmHandle().SetSessionManager(s.server).Run()
	go s.domain.ServerMemoryLimitHandle().SetSessionManager(s.server).Run()
	s.domain.InfoSyncer().SetSessionManager(s.server)
	return nil
}

// openStore connects to PD and the store. On a busy machine PD's client sometimes ends its very first request with
// "context canceled", though nobody has cancelled it: that is tried again. No context reaches what the client does in
// there, so after openLimit it is left alone.
func (s *Server) openStore(ctx context.Context) (kv.Storage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, openLimit,
		fmt.Errorf("PD at %s did not answer within %s", s.opts.PDAddr, openLimit))
	defer cancel()
	type result struct {
		storage kv.Storage
		err     error
	}
	opened := make(chan result, 1)
	var failure error
	for {
		go func() {
			storage, err := kvstore.New("tikv://" + s.opts.PDAddr)
			opened <- result{storage, err}
		}()
		select {
		case r := <-opened:
			if r.err == nil {
				return r.storage, nil
			}
			failure = r.err
			s.opts.Logger.Warn("tidb: cannot open the store, will try again", zap.Error(r.err))
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), failure)
		}
		select {
		case <-time.After(openPause):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), failure)
		}
	}
}

// awaitHealth returns when the server accepts connections.
func (s *Server) awaitHealth(ctx context.Context) error {
	tick := time.NewTicker(healthPoll)
	defer tick.Stop()
	for !s.server.Health() {
		select {
		case <-s.done:
			return errors.New("tidb: the server ended early") // Close says why
		case <-ctx.Done():
			return fmt.Errorf("tidb: start the server: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Addr returns the host:port by which MySQL clients reach the server.
func (s *Server) Addr() string { return net.JoinHostPort(s.opts.Advertise, strconv.Itoa(s.opts.Port)) }

// Done is closed when the server has ended, by Close or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close cuts the connections and ends the server. PD and the store have to be there still.
func (s *Server) Close() error {
	s.server.Close()
	<-s.done
	resourcemanager.InstanceResourceManager.Stop()
	s.domain.StopAutoAnalyze()
	s.server.DrainClients(0, cancelWait)
	s.server.KillSysProcesses()
	err := s.closeParts()
	executor.Stop()
	if s.err != nil {
		err = errors.Join(err, fmt.Errorf("tidb: %w", s.err))
	}
	return err
}

func (s *Server) closeParts() error {
	tikv.StoreShuttingDown(1)
	defer tikv.StoreShuttingDown(0)
	if s.domain != nil {
		s.domain.Close()
	}
	if s.storage == nil {
		return nil
	}
	ddl.CloseOwnerManager(s.storage)
	copr.GlobalMPPFailedStoreProber.Stop()
	mppcoordmanager.InstanceMPPCoordinatorManager.Stop()
	if err := s.storage.Close(); err != nil {
		return fmt.Errorf("tidb: close the store: %w", err)
	}
	return nil
}
