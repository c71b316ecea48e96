package playground

import (
	"bytes"
	"context"
	"math"
	"net"
	"os"
	"path/filepath"
	"sort"
	"sync"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/config"
	uspd "github.com/pingcap/tidb/pkg/store/mockstore/unistore/pd"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/server"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"github.com/tidemark/tidemark/pkg/playground/pd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// plainStore is TiDB's unistore as it is.
type plainStore struct {
	uspd.Client
	pd   *pd.Server
	svr  *tikv.Server
	grpc *grpc.Server
	done chan struct{}

	mu      sync.Mutex
	meta    *metapb.Store
	regions map[uint64]*metapb.Region
}

func openPlain(addr, dir string, p *pd.Server) (*plainStore, error) {
	s := &plainStore{pd: p, regions: map[uint64]*metapb.Region{}, done: make(chan struct{})}
	conf := config.DefaultConf
	conf.Server.StoreAddr = addr
	conf.Server.Raft = false
	conf.Server.RegionSize = 64 << 20
	conf.Engine.DBPath = dir
	conf.Engine.SyncWrite = false
	if err := os.MkdirAll(filepath.Join(dir, "kv"), 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.svr, err = server.New(&conf, s); err != nil {
		return nil, err
	}
	s.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(math.MaxInt32))
	tikvpb.RegisterTikvServer(s.grpc, s.svr)
	healthpb.RegisterHealthServer(s.grpc, health.NewServer())
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	go func() { defer close(s.done); _ = s.grpc.Serve(l) }()
	return s, nil
}

func (s *plainStore) Close() {
}

func (s *plainStore) stop() error {
	s.grpc.Stop()
	<-s.done
	s.svr.Stop()
	return nil
}

func (s *plainStore) GetClusterID(context.Context) uint64         { return s.pd.ClusterID() }
func (s *plainStore) AllocID(ctx context.Context) (uint64, error) { return s.pd.AllocID(ctx) }
func (s *plainStore) Bootstrap(ctx context.Context, st *metapb.Store, _ *metapb.Region) (*pdpb.BootstrapResponse, error) {
	return &pdpb.BootstrapResponse{}, s.PutStore(ctx, st)
}
func (s *plainStore) IsBootstrapped(context.Context) (bool, error) { return false, nil }
func (s *plainStore) PutStore(_ context.Context, st *metapb.Store) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meta = st
	s.meta.Version = "8.5.3"
	return nil
}
func (s *plainStore) ReportRegion(r *pdpb.RegionHeartbeatRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.regions[r.Region.Id] = r.Region
}
func (s *plainStore) GetGCSafePoint(ctx context.Context) (uint64, error) {
	return s.pd.GCSafePoint(ctx)
}
func (s *plainStore) StoreHeartbeat(context.Context, *pdpb.StoreStats) error { return nil }
func (s *plainStore) GetTS(ctx context.Context) (int64, int64, error) {
	ts, err := s.pd.TSO(ctx)
	return int64(ts >> 18), int64(ts & (1<<18 - 1)), err
}
func (s *plainStore) SetRegionHeartbeatResponseHandler(func(*pdpb.RegionHeartbeatResponse)) {}

func (s *plainStore) Meta() *metapb.Store                               { return s.meta }
func (s *plainStore) Split(context.Context, [][]byte) ([]uint64, error) { return nil, nil }
func (s *plainStore) Merge(context.Context, uint64, uint64) error       { return nil }
func (s *plainStore) Scan(start, end []byte, limit int) []pd.Region {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []pd.Region
	for _, r := range s.regions {
		if (len(end) == 0 || bytes.Compare(r.StartKey, end) < 0) && (len(r.EndKey) == 0 || bytes.Compare(start, r.EndKey) < 0) {
			all = append(all, pd.Region{Meta: r, Leader: r.Peers[0]})
		}
	}
	sort.Slice(all, func(i, j int) bool { return bytes.Compare(all[i].Meta.StartKey, all[j].Meta.StartKey) < 0 })
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}
func (s *plainStore) ByKey(key []byte) pd.Region {
	return s.Scan(key, append(bytes.Clone(key), 0), 1)[0]
}
func (s *plainStore) Prev(key []byte) (pd.Region, bool) { return pd.Region{}, false }
func (s *plainStore) ByID(id uint64) (pd.Region, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.regions[id]
	if !ok {
		return pd.Region{}, false
	}
	return pd.Region{Meta: r, Leader: r.Peers[0]}, true
}
