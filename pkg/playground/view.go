package playground

import (
	"context"

	"github.com/pingcap/kvproto/pkg/metapb"

	"github.com/tidemark/tidemark/pkg/playground/kv"
	"github.com/tidemark/tidemark/pkg/playground/pd"
)

// storeView shows the store to PD.
type storeView struct {
	store *kv.Store
}

var (
	_ pd.Store   = storeView{}
	_ pd.Regions = storeView{}
)

func (v storeView) Meta() *metapb.Store { return v.store.StoreMeta() }

func (v storeView) Split(ctx context.Context, keys [][]byte) ([]uint64, error) {
	before := make(map[uint64]bool)
	for _, r := range v.store.ScanRegions(nil, nil, 0) {
		before[r.Meta.GetId()] = true
	}
	regions, err := v.store.Split(ctx, keys)
	var ids []uint64
	for _, r := range regions {
		if !before[r.GetId()] {
			ids = append(ids, r.GetId())
		}
	}
	return ids, err
}

func (v storeView) Merge(ctx context.Context, source, target uint64) error {
	return v.store.Merge(ctx, source, target)
}

func (v storeView) Scan(start, end []byte, limit int) []pd.Region {
	regions := v.store.ScanRegions(start, end, limit)
	out := make([]pd.Region, 0, len(regions))
	for _, r := range regions {
		out = append(out, region(r))
	}
	return out
}

func (v storeView) ByKey(key []byte) pd.Region { return region(v.store.RegionByKey(key)) }

func (v storeView) Prev(key []byte) (pd.Region, bool) { return found(v.store.PrevRegion(key)) }

func (v storeView) ByID(id uint64) (pd.Region, bool) { return found(v.store.RegionByID(id)) }

func found(r *kv.Region) (pd.Region, bool) {
	if r == nil {
		return pd.Region{}, false
	}
	return region(r), true
}

func region(r *kv.Region) pd.Region {
	return pd.Region{Meta: r.Meta, Leader: r.Leader, Bytes: r.ApproximateBytes, Keys: r.ApproximateKeys}
}
