package kv

import (
	"context"
	"errors"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/tikv/client-go/v2/oracle"
	"github.com/tikv/pd/client/clients/router"
	"github.com/tikv/pd/client/opt"
)

var errNoPD = errors.New("the store does not ask PD for this")

// pdClient is what unistore takes for its client of PD. It answers from within the process; unistore asks for
// timestamps, the safe point and regions only.
type pdClient struct {
	clusterID uint64
	store     *metapb.Store
	table     *regionTable
	clock     *clock
	allocID   func(ctx context.Context) (uint64, error)
}

// GetClusterID implements unistore's pd.Client.
func (c *pdClient) GetClusterID(context.Context) uint64 { return c.clusterID }

// AllocID implements unistore's pd.Client.
func (c *pdClient) AllocID(ctx context.Context) (uint64, error) { return c.allocID(ctx) }

// GetTS implements unistore's pd.Client.
func (c *pdClient) GetTS(ctx context.Context) (physical, logical int64, err error) {
	ts, err := c.clock.tso(ctx)
	return oracle.ExtractPhysical(ts), oracle.ExtractLogical(ts), err
}

// GetGCSafePoint implements unistore's pd.Client. The engine keeps all versions.
func (c *pdClient) GetGCSafePoint(context.Context) (uint64, error) { return 0, nil }

// GetStore implements unistore's pd.Client.
func (c *pdClient) GetStore(context.Context, uint64, ...opt.GetStoreOption) (*metapb.Store, error) {
	return c.store, nil
}

// GetRegion implements unistore's pd.Client. The key is encoded.
func (c *pdClient) GetRegion(_ context.Context, key []byte, _ ...opt.GetRegionOption) (*router.Region, error) {
	sorted := c.table.all()
	meta := sorted[max(indexEncoded(sorted, key), 0)].meta
	return &router.Region{Meta: meta, Leader: meta.Peers[0]}, nil
}

// GetRegionByID implements unistore's pd.Client.
func (c *pdClient) GetRegionByID(_ context.Context, id uint64, _ ...opt.GetRegionOption) (*router.Region, error) {
	r := c.table.get(id)
	if r == nil {
		return nil, nil
	}
	return &router.Region{Meta: r.meta, Leader: r.meta.Peers[0]}, nil
}

// IsBootstrapped implements unistore's pd.Client.
func (c *pdClient) IsBootstrapped(context.Context) (bool, error) { return true, nil }

// Bootstrap implements unistore's pd.Client.
func (c *pdClient) Bootstrap(context.Context, *metapb.Store, *metapb.Region) (*pdpb.BootstrapResponse, error) {
	return nil, errNoPD
}

// PutStore implements unistore's pd.Client.
func (c *pdClient) PutStore(context.Context, *metapb.Store) error { return nil }

// ReportRegion implements unistore's pd.Client.
func (c *pdClient) ReportRegion(*pdpb.RegionHeartbeatRequest) {}

// AskSplit implements unistore's pd.Client.
func (c *pdClient) AskSplit(context.Context, *metapb.Region) (*pdpb.AskSplitResponse, error) {
	return nil, errNoPD
}

// AskBatchSplit implements unistore's pd.Client.
func (c *pdClient) AskBatchSplit(context.Context, *metapb.Region, int) (*pdpb.AskBatchSplitResponse, error) {
	return nil, errNoPD
}

// ReportBatchSplit implements unistore's pd.Client.
func (c *pdClient) ReportBatchSplit(context.Context, []*metapb.Region) error { return nil }

// StoreHeartbeat implements unistore's pd.Client.
func (c *pdClient) StoreHeartbeat(context.Context, *pdpb.StoreStats) error { return nil }

// SetRegionHeartbeatResponseHandler implements unistore's pd.Client.
func (c *pdClient) SetRegionHeartbeatResponseHandler(func(*pdpb.RegionHeartbeatResponse)) {}

// Close implements unistore's pd.Client.
func (c *pdClient) Close() {}
