package upstream

import (
	"context"
	"fmt"

	"github.com/pingcap/kvproto/pkg/metapb"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/clients/router"
	"github.com/tikv/pd/client/opt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// regions asks PD where key ranges live. It caches nothing: the change
// streams only ask after they learnt that what they knew is wrong.
type regions struct{ pd pd.Client }

var _ changes.Regions = (*regions)(nil)

// Scan implements changes.Regions.
func (r *regions) Scan(ctx context.Context, ranges []changes.KeyRange, limit int) ([]changes.Region, error) {
	asked := make([]router.KeyRange, len(ranges))
	for i, kr := range ranges {
		asked[i] = router.KeyRange{StartKey: kr.Start, EndKey: kr.End}
	}
	found, err := r.pd.BatchScanRegions(ctx, asked, limit, opt.WithAllowPDLeaderOnly())
	if status.Code(err) == codes.Unimplemented {
		found, err = r.scanOneByOne(ctx, ranges, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("scan regions: %w", err)
	}
	out := make([]changes.Region, 0, len(found))
	for _, f := range found {
		out = append(out, changes.Region{
			ID:      f.Meta.GetId(),
			ConfVer: f.Meta.GetRegionEpoch().GetConfVer(),
			Version: f.Meta.GetRegionEpoch().GetVersion(),
			Start:   f.Meta.GetStartKey(),
			End:     f.Meta.GetEndKey(),
			Leader:  f.Leader.GetStoreId(),
		})
	}
	return out, nil
}

// scanOneByOne serves PD servers that cannot scan several ranges at once.
func (r *regions) scanOneByOne(ctx context.Context, ranges []changes.KeyRange, limit int) ([]*router.Region, error) {
	var all []*router.Region
	for _, kr := range ranges {
		if len(all) >= limit {
			break
		}
		//lint:ignore SA1019 servers without BatchScanRegions are what this is for
		found, err := r.pd.ScanRegions(ctx, kr.Start, kr.End, limit-len(all), opt.WithAllowPDLeaderOnly())
		if err != nil {
			return nil, err
		}
		// A region may hold several of the ranges.
		if n := len(all); n > 0 && len(found) > 0 && all[n-1].Meta.GetId() == found[0].Meta.GetId() {
			found = found[1:]
		}
		all = append(all, found...)
	}
	return all, nil
}

// StoreAddr implements changes.Regions.
func (r *regions) StoreAddr(ctx context.Context, storeID uint64) (string, error) {
	store, err := r.pd.GetStore(ctx, storeID)
	if err != nil {
		return "", fmt.Errorf("look up store %d: %w", storeID, err)
	}
	if store == nil || store.GetState() == metapb.StoreState_Tombstone {
		return "", fmt.Errorf("store %d is gone", storeID)
	}
	if err := checkStoreVersion(store); err != nil {
		return "", err
	}
	return store.GetAddress(), nil
}
