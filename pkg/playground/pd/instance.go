package pd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pingcap/kvproto/pkg/keyspacepb"
	"github.com/pingcap/kvproto/pkg/meta_storagepb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	rmpb "github.com/pingcap/kvproto/pkg/resource_manager"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tidemark/tidemark/pkg/freeport"
)

const (
	memberName = "pd-playground"
	// Short election time-outs: there is nobody to elect against, so they only delay the start.
	tickMillis     = 50
	electionMillis = 5 * tickMillis
	saveTimeout    = 5 * time.Second
	// etcdServers share the client port: gRPC, HTTP, and what tells them apart.
	etcdServers  = 3
	cutTimeout   = time.Second
	clusterIDKey = "/pd/cluster_id"
	// portAttempts bounds how often a port that was free a moment ago may turn out to be taken.
	portAttempts = 5
)

// instance is one run of the server, from a start to a stop.
type instance struct {
	opts      Options
	port      int
	clusterID uint64
	memberID  uint64
	started   time.Time
	log       *zap.Logger

	etcd    *embed.Etcd
	grpc    atomic.Pointer[grpc.Server]
	kv      *clientv3.Client // in-process, no connection
	cluster atomic.Pointer[cluster]
	// ready opens when everything below is loaded: etcd serves its port before that.
	ready   chan struct{}
	stopped chan struct{}

	tso  *oracle
	ids  *allocator
	gc   *gcKeeper
	docs *documents
}

// startInstance starts etcd and loads what earlier runs saved. Port 0 picks the port.
func startInstance(ctx context.Context, o Options, port int) (*instance, error) {
	host, portText, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("pd: address %q: %w", o.Addr, err)
	}
	if port == 0 {
		if port, err = strconv.Atoi(portText); err != nil {
			return nil, fmt.Errorf("pd: address %q: %w", o.Addr, err)
		}
	}
	if port != 0 {
		return startOn(ctx, o, host, port)
	}
	for range portAttempts {
		if port, err = freeport.Find(host); err != nil {
			return nil, fmt.Errorf("pd: %w", err)
		}
		var in *instance
		if in, err = startOn(ctx, o, host, port); !errors.Is(err, syscall.EADDRINUSE) {
			return in, err
		}
	}
	return nil, err
}

func startOn(ctx context.Context, o Options, host string, port int) (*instance, error) {
	in := &instance{
		opts: o, port: port, started: o.Now(), log: o.Logger,
		ready: make(chan struct{}), stopped: make(chan struct{}),
	}
	var err error
	if in.etcd, err = embed.StartEtcd(in.etcdConfig(host)); err != nil {
		return nil, fmt.Errorf("pd: start etcd: %w", err)
	}
	in.kv = v3client.New(in.etcd.Server)
	if err := in.load(ctx); err != nil {
		in.stop(false)
		return nil, err
	}
	close(in.ready)
	return in, nil
}

func (in *instance) etcdConfig(host string) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = memberName
	cfg.Dir = in.opts.DataDir
	cfg.TickMs, cfg.ElectionMs = tickMillis, electionMillis
	cfg.UnsafeNoFsync = in.opts.NoSync
	cfg.EnableGRPCGateway = false
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = "1h"
	// A single member needs no peer port: the URL is its name in the member list only.
	peer := url.URL{Scheme: "http", Host: net.JoinHostPort("localhost", "2380")}
	cfg.ListenPeerUrls = nil
	cfg.AdvertisePeerUrls = []url.URL{peer}
	cfg.InitialCluster = memberName + "=" + peer.String()
	listen := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(in.port))}
	advertise := url.URL{Scheme: "http", Host: advertised(in.opts, in.port)}
	cfg.ListenClientUrls = []url.URL{listen}
	cfg.AdvertiseClientUrls = []url.URL{advertise}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(in.log.Named("etcd").WithOptions(zap.IncreaseLevel(zap.WarnLevel)))
	cfg.ServiceRegister = in.register
	cfg.UserHandlers = map[string]http.Handler{"/pd/": in.httpHandler()}
	for path, h := range in.opts.Handlers {
		cfg.UserHandlers[path] = h
	}
	return cfg
}

// register adds PD's services to etcd's gRPC server.
func (in *instance) register(s *grpc.Server) {
	pdpb.RegisterPDServer(s, &pdService{instance: in})
	keyspacepb.RegisterKeyspaceServer(s, &keyspaceService{instance: in})
	meta_storagepb.RegisterMetaStorageServer(s, &metaStorageService{instance: in})
	rmpb.RegisterResourceManagerServer(s, &resourceService{instance: in})
	in.grpc.Store(s)
}

// load waits for etcd and reads or creates the state.
func (in *instance) load(ctx context.Context) error {
	select {
	case <-in.etcd.Server.ReadyNotify():
	case err := <-in.etcd.Err():
		return fmt.Errorf("pd: etcd ended: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("pd: start etcd: %w", ctx.Err())
	}
	in.memberID = uint64(in.etcd.Server.ID())
	if err := in.loadClusterID(ctx); err != nil {
		return err
	}
	prefix := fmt.Sprintf("/pd/%d/", in.clusterID)
	var err error
	if in.tso, err = loadOracle(ctx, in.opts.Now, in.counter(prefix+"timestamp")); err != nil {
		return err
	}
	if in.ids, err = loadAllocator(ctx, in.counter(prefix+"alloc_id")); err != nil {
		return err
	}
	if in.gc, err = loadGC(ctx, in.opts.Now, in.kv, prefix+"gc/"); err != nil {
		return err
	}
	in.docs = &documents{kv: in.kv, prefix: prefix + "documents/"}
	return initResourceGroups(ctx, in.kv)
}

// loadClusterID makes up an ID at the first start: clients recognise a cluster by it.
func (in *instance) loadClusterID(ctx context.Context) error {
	c := in.counter(clusterIDKey)
	id, err := c.load(ctx)
	if err != nil {
		return err
	}
	if id == 0 {
		id = uint64(in.opts.Now().Unix())<<32 | uint64(rand.Uint32())
		if err := c.save(ctx, id); err != nil {
			return err
		}
	}
	in.clusterID = id
	return nil
}

func (in *instance) endLeases(ctx context.Context, prefix string, except []string) error {
	resp, err := in.kv.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("pd: list leases: %w", err)
	}
	ended := map[int64]bool{0: true}
	for _, item := range resp.Kvs {
		under := func(p string) bool { return strings.HasPrefix(string(item.Key), p) }
		if ended[item.Lease] || slices.ContainsFunc(except, under) {
			continue
		}
		ended[item.Lease] = true
		if _, err := in.kv.Revoke(ctx, clientv3.LeaseID(item.Lease)); err != nil {
			return fmt.Errorf("pd: end the lease of %s: %w", item.Key, err)
		}
	}
	return nil
}

func (in *instance) counter(key string) counter { return counter{kv: in.kv, key: key} }

func (in *instance) attach(c cluster) { in.cluster.Store(&c) }

// stop cuts all connections and ends etcd. With a farewell the clock is saved to the point, so that the next start
// need not begin ahead of time.
func (in *instance) stop(farewell bool) {
	close(in.stopped)
	in.cut()
	if farewell && in.tso != nil {
		if err := in.tso.release(context.Background()); err != nil {
			in.log.Warn("the last timestamp was not saved", zap.Error(err))
		}
	}
	if in.kv != nil {
		_ = in.kv.Close()
	}
	in.etcd.Close()
}

// cut ends every call and connection: etcd would wait for seconds that streams end by themselves.
func (in *instance) cut() {
	s := in.grpc.Load()
	if s == nil {
		return
	}
	s.Stop()
	// Etcd's servers now report that they ended. The reports have to be gone before etcd closes their channel.
	timer := time.NewTimer(cutTimeout)
	defer timer.Stop()
	for range etcdServers {
		select {
		case <-in.etcd.Err():
		case <-timer.C:
			return
		}
	}
}

func (in *instance) clientURL() string { return clientURL(in.opts, in.port) }

func clientURL(o Options, port int) string { return "http://" + advertised(o, port) }

func advertised(o Options, port int) string {
	host := o.AdvertiseHost
	if host == "" {
		host, _, _ = net.SplitHostPort(o.Addr)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// counter is a number in etcd.
type counter struct {
	kv  *clientv3.Client
	key string
}

// load returns 0 when the number was never saved.
func (c counter) load(ctx context.Context) (uint64, error) {
	resp, err := c.kv.Get(ctx, c.key)
	if err != nil {
		return 0, fmt.Errorf("pd: load %s: %w", c.key, err)
	}
	if len(resp.Kvs) == 0 {
		return 0, nil
	}
	if v := resp.Kvs[0].Value; len(v) == 8 {
		return binary.BigEndian.Uint64(v), nil
	}
	return 0, fmt.Errorf("pd: load %s: %d bytes where 8 belong", c.key, len(resp.Kvs[0].Value))
}

func (c counter) save(ctx context.Context, n uint64) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if _, err := c.kv.Put(ctx, c.key, string(binary.BigEndian.AppendUint64(nil, n))); err != nil {
		return fmt.Errorf("pd: save %s: %w", c.key, err)
	}
	return nil
}
