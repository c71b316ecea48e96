// Package upstream is the connection to one TiDB cluster: its placement
// driver (clock, GC safepoints, versions), snapshot reads from its store and
// the stream of row changes.
package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	tikvconfig "github.com/tikv/client-go/v2/config"
	"github.com/tikv/client-go/v2/tikv"
	pd "github.com/tikv/pd/client"
	pdhttp "github.com/tikv/pd/client/http"
	"github.com/tikv/pd/client/opt"
	"github.com/tikv/pd/client/pkg/caller"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

const component = caller.Component("ticdc")

// Security names the files of the cluster's TLS; all empty means plain text.
type Security struct {
	CAPath   string
	CertPath string
	KeyPath  string
}

func (s Security) tikv() tikvconfig.Security {
	return tikvconfig.NewSecurity(s.CAPath, s.CertPath, s.KeyPath, nil)
}

// TLSConfig loads the files. It returns nil when TLS is not configured.
func (s Security) TLSConfig() (*tls.Config, error) {
	security := s.tikv()
	return security.ToTLSConfig()
}

// Config says which cluster to connect to and how.
type Config struct {
	PDEndpoints []string // URLs such as http://10.0.0.1:2379
	Security    Security
	// Version is our release version, such as v8.5.3; the store derives the
	// features of the change stream from it.
	Version    string
	Logger     *zap.Logger           // nil logs nothing
	Registerer prometheus.Registerer // nil registers nothing
	// ClockInterval is the time between two samples of the PD clock.
	// 0 means 500 ms.
	ClockInterval time.Duration
	// Changes tunes the change streams; the fields that Connect knows
	// itself are overwritten.
	Changes changes.Config
}

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.ClockInterval <= 0 {
		c.ClockInterval = 500 * time.Millisecond
	}
}

// Upstream is a connected cluster. All methods are safe for concurrent use
// and outlive restarts of PD and of stores.
type Upstream struct {
	cfg       Config
	clusterID uint64
	pd        pd.Client
	pdHTTP    pdhttp.Client
	store     *tikv.KVStore
	clock     *clock
	changes   *changes.Client
	cancel    context.CancelFunc
	tasks     sync.WaitGroup
}

// Connect connects to PD and starts the background tasks, which run until
// Close. The context bounds the connecting only. An error means that no PD
// endpoint answered as it should.
func Connect(ctx context.Context, cfg Config) (*Upstream, error) {
	cfg.setDefaults()
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	u, err := connect(life, cfg)
	if err == nil && !stop() {
		u.closeClients()
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	u.cancel = cancel
	u.tasks.Go(func() { u.clock.run(life) })
	u.tasks.Go(func() { _ = u.changes.Run(life) })
	return u, nil
}

func connect(ctx context.Context, cfg Config) (*Upstream, error) {
	tlsConfig, err := cfg.Security.TLSConfig()
	if err != nil {
		return nil, fmt.Errorf("load TLS files: %w", err)
	}
	for try := 1; ; try++ {
		pdClient, err := newPDClient(ctx, cfg)
		if err != nil {
			return nil, cerrors.ErrAPIGetPDClientFailed.Wrap(err)
		}
		u, err := open(ctx, cfg, pdClient, tlsConfig)
		if err == nil || try == openTries || ctx.Err() != nil {
			return u, err
		}
		cfg.Logger.Warn("PD answers but gives no timestamp, will connect again", zap.Error(err))
	}
}

// openTries is how often a connection is tried to a PD that answers. Its
// client, on a busy machine, sometimes ends its very first request for a
// timestamp with "context canceled" though nobody has cancelled it.
const openTries = 3

// open makes what stands on a PD client, which it closes if it fails.
func open(ctx context.Context, cfg Config, pdClient pd.Client, tlsConfig *tls.Config) (*Upstream, error) {
	store, err := newStore(cfg, pdClient, tlsConfig)
	if err != nil {
		pdClient.Close()
		return nil, cerrors.ErrNewStore.Wrap(err)
	}
	u := &Upstream{cfg: cfg, clusterID: pdClient.GetClusterID(ctx), pd: pdClient, store: store}
	u.pdHTTP = pdhttp.NewClientWithServiceDiscovery(string(component), pdClient.GetServiceDiscovery(), pdhttp.WithTLSConfig(tlsConfig))
	u.clock = newClock(u.CurrentTSO, cfg.ClockInterval, cfg.Logger)
	if err := u.clock.sample(ctx); err != nil {
		u.closeClients()
		return nil, cerrors.ErrAPIGetPDClientFailed.Wrap(err)
	}
	u.changes = changes.New(u.changesConfig(tlsConfig))
	return u, nil
}

func newPDClient(ctx context.Context, cfg Config) (pd.Client, error) {
	return pd.NewClientWithContext(ctx, component, cfg.PDEndpoints,
		pd.SecurityOption{
			CAPath:   cfg.Security.CAPath,
			CertPath: cfg.Security.CertPath,
			KeyPath:  cfg.Security.KeyPath,
		},
		opt.WithCustomTimeoutOption(3*time.Second),
		opt.WithForwardingOption(true),
		opt.WithGRPCDialOptions(
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		),
	)
}

func newStore(cfg Config, pdClient pd.Client, tlsConfig *tls.Config) (*tikv.KVStore, error) {
	safePoints, err := tikv.NewEtcdSafePointKV(cfg.PDEndpoints, tlsConfig)
	if err != nil {
		return nil, err
	}
	rpc := tikv.NewRPCClient(tikv.WithSecurity(cfg.Security.tikv()))
	name := fmt.Sprintf("tidemark-%d", pdClient.GetClusterID(context.Background()))
	store, err := tikv.NewKVStore(name, tikv.NewCodecPDClient(tikv.ModeTxn, pdClient), safePoints, rpc)
	if err != nil {
		_ = rpc.Close()
		_ = safePoints.Close()
		return nil, err
	}
	return store, nil
}

func (u *Upstream) changesConfig(tlsConfig *tls.Config) changes.Config {
	c := u.cfg.Changes
	c.ClusterID = u.clusterID
	c.Version = wireVersion(u.cfg.Version)
	c.TLS = tlsConfig
	c.Regions = &regions{pd: u.pd}
	c.Locks = &locks{store: u.store}
	c.Now = u.Now
	c.Logger = u.cfg.Logger
	c.Registerer = u.cfg.Registerer
	return c
}

// Close stops every background task and closes the connections.
func (u *Upstream) Close() {
	u.cancel()
	u.tasks.Wait()
	u.closeClients()
}

// closeClients closes the store, which closes the PD client too.
func (u *Upstream) closeClients() {
	u.pdHTTP.Close()
	if err := u.store.Close(); err != nil {
		u.cfg.Logger.Warn("closing the store client failed", zap.Error(err))
	}
}

// ClusterID is the id that PD gave the cluster.
func (u *Upstream) ClusterID() uint64 { return u.clusterID }

// PD is the client of the placement driver. Callers must not close it.
func (u *Upstream) PD() pd.Client { return u.pd }

// Changes is the client of the row change streams; it runs until Close.
func (u *Upstream) Changes() *changes.Client { return u.changes }
