package kv

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/stretchr/testify/require"
	"github.com/tikv/client-go/v2/oracle"
	"github.com/tikv/client-go/v2/tikv"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/clients/gc"
	"github.com/tikv/pd/client/clients/router"
	"github.com/tikv/pd/client/clients/tso"
	"github.com/tikv/pd/client/opt"
	"github.com/tikv/pd/client/pkg/caller"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

const testCluster = 7001

// fakePD is what the tests have of PD: it makes timestamps and IDs for the store, and finds regions for client-go.
type fakePD struct {
	pd.Client // what is not needed
	mu        sync.Mutex
	physical  int64
	logical   int64
	lastID    uint64
	store     *Store
}

func (p *fakePD) timestamp(context.Context) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now().UnixMilli(); now > p.physical {
		p.physical, p.logical = now, 0
	}
	p.logical++
	return oracle.ComposeTS(p.physical, p.logical), nil
}

func (p *fakePD) allocID(context.Context) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastID++
	return p.lastID, nil
}

func (p *fakePD) ts(t testing.TB) uint64 {
	ts, err := p.timestamp(context.Background())
	require.NoError(t, err)
	return ts
}

func (p *fakePD) GetTS(ctx context.Context) (int64, int64, error) {
	ts, err := p.timestamp(ctx)
	return oracle.ExtractPhysical(ts), oracle.ExtractLogical(ts), err
}

type futureTS struct{ physical, logical int64 }

func (f futureTS) Wait() (int64, int64, error) { return f.physical, f.logical, nil }

func (p *fakePD) GetTSAsync(ctx context.Context) tso.TSFuture {
	physical, logical, _ := p.GetTS(ctx)
	return futureTS{physical, logical}
}

func (p *fakePD) GetMinTS(ctx context.Context) (int64, int64, error) { return p.GetTS(ctx) }

func fakeRegion(r *Region) *router.Region {
	if r == nil {
		return nil
	}
	return &router.Region{Meta: r.Meta, Leader: r.Leader}
}

func (p *fakePD) GetRegion(_ context.Context, key []byte, _ ...opt.GetRegionOption) (*router.Region, error) {
	return fakeRegion(p.store.RegionByKey(key)), nil
}

func (p *fakePD) GetPrevRegion(_ context.Context, key []byte, _ ...opt.GetRegionOption) (*router.Region, error) {
	return fakeRegion(p.store.PrevRegion(key)), nil
}

func (p *fakePD) GetRegionByID(_ context.Context, id uint64, _ ...opt.GetRegionOption) (*router.Region, error) {
	return fakeRegion(p.store.RegionByID(id)), nil
}

func (p *fakePD) ScanRegions(_ context.Context, start, end []byte, limit int, _ ...opt.GetRegionOption) ([]*router.Region, error) {
	var list []*router.Region
	for _, r := range p.store.ScanRegions(start, end, limit) {
		list = append(list, fakeRegion(r))
	}
	return list, nil
}

func (p *fakePD) BatchScanRegions(ctx context.Context, ranges []router.KeyRange, limit int, _ ...opt.GetRegionOption) ([]*router.Region, error) {
	var list []*router.Region
	for _, r := range ranges {
		part, err := p.ScanRegions(ctx, r.StartKey, r.EndKey, limit)
		if err != nil {
			return nil, err
		}
		for _, region := range part {
			if len(list) == 0 || list[len(list)-1].Meta.Id != region.Meta.Id {
				list = append(list, region)
			}
		}
	}
	return list, nil
}

func (p *fakePD) GetStore(context.Context, uint64, ...opt.GetStoreOption) (*metapb.Store, error) {
	return p.store.StoreMeta(), nil
}

func (p *fakePD) GetAllStores(context.Context, ...opt.GetStoreOption) ([]*metapb.Store, error) {
	return []*metapb.Store{p.store.StoreMeta()}, nil
}

func (p *fakePD) ScatterRegions(context.Context, []uint64, ...opt.RegionsOption) (*pdpb.ScatterRegionResponse, error) {
	return &pdpb.ScatterRegionResponse{FinishedPercentage: 100}, nil
}

func (p *fakePD) GetClusterID(context.Context) uint64 { return testCluster }

func (p *fakePD) WithCallerComponent(caller.Component) pd.Client { return p }

func (p *fakePD) GetGCStatesClient(uint32) gc.GCStatesClient { return fakeGC{} }

func (p *fakePD) Close() {}

type fakeGC struct{ gc.GCStatesClient }

func (fakeGC) GetGCState(context.Context) (gc.GCState, error) { return gc.GCState{}, nil }

// cluster is a store with its PD, and clients when they are asked for.
type cluster struct {
	t     testing.TB
	pd    *fakePD
	store *Store
	dir   string
}

func openCluster(t testing.TB, dir string, p *fakePD, change ...func(*Options)) *cluster {
	if p == nil {
		p = &fakePD{}
	}
	o := Options{
		Addr: "127.0.0.1:0", DataDir: dir, ClusterID: testCluster,
		TSO: p.timestamp, AllocID: p.allocID,
		ResolvedInterval: 5 * time.Millisecond,
		Logger:           zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)),
	}
	for _, c := range change {
		c(&o)
	}
	store, err := Open(context.Background(), o)
	require.NoError(t, err)
	p.store = store
	return &cluster{t: t, pd: p, store: store, dir: dir}
}

// newCluster is a new store that the end of the test closes.
func newCluster(t testing.TB, change ...func(*Options)) *cluster {
	c := openCluster(t, t.TempDir(), nil, change...)
	t.Cleanup(func() { require.NoError(t, c.store.Close()) })
	return c
}

// client returns a transactional client that the end of the test closes, before the store.
func (c *cluster) client() *tikv.KVStore {
	kv, err := tikv.NewTestTiKVStore(tikv.NewRPCClient(), c.pd, nil, nil, 0)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, kv.Close()) })
	return kv
}
