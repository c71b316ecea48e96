// Package kv is a TiKV-compatible store in one process: TiDB's own unistore behind TiKV's gRPC services, with regions
// that really split and merge, a data directory that survives a kill, and the change-feed service of TiKV.
package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/deadlock"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/config"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

const (
	identityFile = "store.json"
	locksFile    = "locks"
	regionsFile  = "regions"

	// maxMessageBytes is the largest message taken from a client.
	maxMessageBytes = 256 << 20
)

// Region is a region as PD sees it. Its key bounds are in the memcomparable form.
type Region struct {
	Meta   *metapb.Region
	Leader *metapb.Peer
	// ApproximateBytes and ApproximateKeys count all versions.
	ApproximateBytes int64
	ApproximateKeys  int64
}

// Store is an open store that serves its clients.
type Store struct {
	options Options
	logger  *zap.Logger
	meta    *metapb.Store
	clock   *clock

	db       *engine
	locks    *lockTable
	table    *regionTable
	regions  *regionMap
	feed     *feed
	unistore *tikv.Server
	changes  *changeData

	listener net.Listener
	grpc     *grpc.Server
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// identity is what a data directory says about its store.
type identity struct {
	ClusterID uint64 `json:"cluster_id"`
	StoreID   uint64 `json:"store_id"`
}

// Open opens or creates the store in o.DataDir and starts to serve. The context bounds the opening only.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Store{options: o, logger: o.Logger, clock: &clock{source: o.TSO}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.discard())
		}
	}()
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", o.Addr); err != nil {
		return nil, err
	}
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	s.start()
	return s, nil
}

// identify reads who the store is, or decides it.
func (s *Store) identify(ctx context.Context) error {
	path := filepath.Join(s.options.DataDir, identityFile)
	var id identity
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		id.ClusterID = s.options.ClusterID
		if id.StoreID, err = s.options.AllocID(ctx); err != nil {
			return fmt.Errorf("allocate store ID: %w", err)
		}
		if data, err = json.Marshal(id); err != nil {
			return err
		}
		if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(data, &id); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	if id.ClusterID != s.options.ClusterID {
		return fmt.Errorf("%s holds data of cluster %d, not of %d", s.options.DataDir, id.ClusterID, s.options.ClusterID)
	}
	addr := s.listener.Addr().String()
	s.meta = &metapb.Store{
		Id: id.StoreID, Address: addr, PeerAddress: addr, StatusAddress: addr,
		Version: s.options.Version, State: metapb.StoreState_Up, NodeState: metapb.NodeState_Serving,
		StartTimestamp: time.Now().Unix(), DeployPath: s.options.DataDir,
	}
	return nil
}

// load opens what is on the disk and puts the parts together.
func (s *Store) load(ctx context.Context) error {
	o := &s.options
	// Everything on the disk is older than this.
	ts, err := s.clock.tso(ctx)
	if err != nil {
		return fmt.Errorf("get a timestamp: %w", err)
	}
	if s.db, err = openEngine(o.DataDir, o.MemTableBytes, ts); err != nil {
		return fmt.Errorf("open engine: %w", err)
	}
	if s.locks, err = openLockTable(filepath.Join(o.DataDir, locksFile), s.db); err != nil {
		return err
	}
	if err := s.loadRegions(ctx, ts); err != nil {
		return err
	}
	w := newWriter(s.db, s.locks, s.feed)
	pd := &pdClient{
		clusterID: o.ClusterID, store: s.meta, table: s.table, clock: s.clock, allocID: o.AllocID,
	}
	s.serveWith(w, pd)
	return nil
}

func (s *Store) loadRegions(ctx context.Context, ts uint64) error {
	l := newLatches()
	journal, table, err := openRegions(filepath.Join(s.options.DataDir, regionsFile), l)
	if err != nil {
		return err
	}
	s.table = table
	s.feed = newFeed(s.db, s.locks, table, s.clock, s.logger)
	s.regions = &regionMap{
		feed: s.feed, table: table, latches: l, storeID: s.meta.Id, allocID: s.options.AllocID, journal: journal,
	}
	if len(table.sorted) == 0 {
		if err := s.regions.bootstrap(ctx); err != nil {
			return err
		}
	}
	for _, r := range table.sorted {
		r.maxCommit = ts
		s.feed.countLocks(r)
	}
	return nil
}

// serveWith makes the gRPC services.
func (s *Store) serveWith(w *writer, pd *pdClient) {
	conf := config.DefaultConf
	conf.Engine.DBPath = s.options.DataDir
	bundle := &mvcc.DBBundle{DB: s.db.DB, LockStore: s.locks.mem}
	store := tikv.NewMVCCStore(&conf, bundle, filepath.Join(s.options.DataDir, engineDir), &tikv.SafePoint{}, w, pd)
	store.DeadlockDetectSvr.ChangeRole(tikv.Leader)
	store.StartDeadlockDetection(false)
	r := &regionRouter{store: s.meta, table: s.table, regions: s.regions}
	s.unistore = tikv.NewServer(r, pd, store, tikv.NewStandAlongInnerServer(bundle))
	srv := &server{Server: s.unistore, router: r, feed: s.feed, writer: w, clock: s.clock, logger: s.logger}
	s.changes = &changeData{feed: s.feed, clusterID: s.options.ClusterID, limit: s.options.StreamBuffer}

	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(newWireCodec()),
		grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.WriteBufferSize(256<<10),
		grpc.ReadBufferSize(64<<10),
		grpc.InitialWindowSize(1<<20),
		grpc.InitialConnWindowSize(4<<20),
		// TiDB and TiCDC ping every ten seconds, with or without streams.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(srv.recoverUnary),
		grpc.ChainStreamInterceptor(srv.recoverStream),
	)
	tikvpb.RegisterTikvServer(s.grpc, srv)
	deadlock.RegisterDeadlockServer(s.grpc, s.unistore)
	cdcpb.RegisterChangeDataServer(s.grpc, s.changes)
	grpc_health_v1.RegisterHealthServer(s.grpc, health.NewServer())
}

func (s *Store) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.background(func() {
		if err := s.grpc.Serve(s.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.logger.Error("the store stopped serving", zap.Error(err))
		}
	})
	s.background(func() { s.feed.runResolved(ctx, s.options.ResolvedInterval) })
	split := &splitter{
		db: s.db, regions: s.regions, maxBytes: s.options.RegionMaxBytes, maxKeys: s.options.RegionMaxKeys,
		logger: s.logger,
	}
	s.background(func() { split.run(ctx, s.options.SplitInterval) })
}

func (s *Store) background(run func()) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		run()
	}()
}

// Close ends every stream with an error status, writes out what is in memory and waits for every goroutine.
func (s *Store) Close() error {
	s.cancel()
	s.grpc.Stop()
	s.wg.Wait()
	s.changes.wg.Wait()
	s.unistore.Stop() // closes the writer and the engine too
	return errors.Join(s.regions.close(), s.locks.close(), s.db.closed())
}

// discard closes what a failed Open has opened.
func (s *Store) discard() error {
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	if s.regions != nil {
		errs = append(errs, s.regions.journal.close())
	}
	if s.locks != nil {
		errs = append(errs, s.locks.close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close(), s.db.closed())
	}
	return errors.Join(errs...)
}

// Addr returns the host:port that the store listens on.
func (s *Store) Addr() string { return s.meta.Address }

// StoreMeta returns a copy of the store's metadata.
func (s *Store) StoreMeta() *metapb.Store { return proto.Clone(s.meta).(*metapb.Store) }

// ScanRegions returns the regions that overlap [start, end), in order, at most limit of them (all when limit <= 0).
// An empty end is the end of the key space.
func (s *Store) ScanRegions(start, end []byte, limit int) []*Region {
	return s.feed.describe(s.table.scan(start, end, limit)...)
}

// RegionByKey returns the region that holds the key.
func (s *Store) RegionByKey(key []byte) *Region {
	sorted := s.table.all()
	return s.feed.describe(sorted[max(indexEncoded(sorted, key), 0)])[0]
}

// PrevRegion returns the region before the one that holds the key, nil when that is the first.
func (s *Store) PrevRegion(key []byte) *Region {
	sorted := s.table.all()
	i := indexEncoded(sorted, key)
	if i <= 0 {
		return nil
	}
	return s.feed.describe(sorted[i-1])[0]
}

// RegionByID returns nil when there is no such region.
func (s *Store) RegionByID(id uint64) *Region {
	r := s.table.get(id)
	if r == nil {
		return nil
	}
	return s.feed.describe(r)[0]
}

// describe returns copies: PD and its clients may keep them.
func (f *feed) describe(regions ...*region) []*Region {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*Region, len(regions))
	for i, r := range regions {
		meta := proto.Clone(r.meta).(*metapb.Region)
		list[i] = &Region{
			Meta: meta, Leader: meta.Peers[0], ApproximateBytes: r.size.bytes, ApproximateKeys: r.size.keys,
		}
	}
	return list
}

// Split splits regions at the encoded keys and returns the regions that came into being or changed, in order.
// Keys that are already a boundary change nothing; their regions are returned as they are.
func (s *Store) Split(ctx context.Context, encodedKeys [][]byte) ([]*metapb.Region, error) {
	keys := make([][]byte, 0, len(encodedKeys))
	for _, encoded := range encodedKeys {
		raw, err := decodeKey(bytes.Clone(encoded))
		if err != nil {
			return nil, err
		}
		keys = append(keys, raw)
	}
	parts, err := s.regions.split(ctx, keys)
	list := metas(parts)
	for i, meta := range list {
		list[i] = proto.Clone(meta).(*metapb.Region)
	}
	return list, err
}

// Merge merges the region source into its neighbour target, which keeps its ID.
func (s *Store) Merge(ctx context.Context, source, target uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.regions.merge(source, target)
}
