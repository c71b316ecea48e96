package kv

import (
	"context"
	"errors"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
)

// regionRouter is unistore's RegionManager: it checks that a request is for a region of today.
type regionRouter struct {
	store   *metapb.Store
	table   *regionTable
	regions *regionMap
}

var _ tikv.RegionManager = (*regionRouter)(nil)

// GetRegionFromCtx implements tikv.RegionManager.
func (r *regionRouter) GetRegionFromCtx(ctx *kvrpcpb.Context) (tikv.RegionCtx, *errorpb.Error) {
	reg, err := r.find(ctx)
	if err != nil {
		return nil, err // not a nil *region in the interface
	}
	return reg, nil
}

func (r *regionRouter) find(ctx *kvrpcpb.Context) (*region, *errorpb.Error) {
	if _, _, err := r.GetStoreInfoFromCtx(ctx); err != nil {
		return nil, err
	}
	id := ctx.GetRegionId()
	reg := r.table.get(id)
	if reg == nil {
		return nil, &errorpb.Error{
			Message:        "region not found",
			RegionNotFound: &errorpb.RegionNotFound{RegionId: id},
		}
	}
	has, want := reg.meta.RegionEpoch, ctx.GetRegionEpoch()
	if has.Version != want.GetVersion() || has.ConfVer != want.GetConfVer() {
		r.table.mu.RLock()
		defer r.table.mu.RUnlock()
		return nil, &errorpb.Error{
			Message:       "epoch not match",
			EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: r.table.around(reg)},
		}
	}
	if peer := ctx.GetPeer(); peer.GetId() != 0 && peer.Id != reg.meta.Peers[0].Id {
		return nil, &errorpb.Error{
			Message:   "the peer is not the leader",
			NotLeader: &errorpb.NotLeader{RegionId: id, Leader: reg.meta.Peers[0]},
		}
	}
	return reg, nil
}

// GetStoreInfoFromCtx implements tikv.RegionManager.
func (r *regionRouter) GetStoreInfoFromCtx(ctx *kvrpcpb.Context) (string, uint64, *errorpb.Error) {
	if id := ctx.GetPeer().GetStoreId(); ctx.GetPeer() != nil && id != r.store.Id {
		return "", 0, &errorpb.Error{
			Message:       "store not match",
			StoreNotMatch: &errorpb.StoreNotMatch{RequestStoreId: id, ActualStoreId: r.store.Id},
		}
	}
	return r.store.Address, r.store.Id, nil
}

// checkKeys returns an error when the request is not for its region, or a key is not in that.
func (r *regionRouter) checkKeys(ctx *kvrpcpb.Context, keys ...[]byte) *errorpb.Error {
	reg, err := r.find(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if !reg.contains(key) {
			return &errorpb.Error{
				Message: "key is not in region",
				KeyNotInRegion: &errorpb.KeyNotInRegion{
					Key: key, RegionId: reg.meta.Id, StartKey: reg.meta.StartKey, EndKey: reg.meta.EndKey,
				},
			}
		}
	}
	return nil
}

func (r *regionRouter) checkMutations(ctx *kvrpcpb.Context, mutations []*kvrpcpb.Mutation) *errorpb.Error {
	keys := make([][]byte, len(mutations))
	for i, m := range mutations {
		keys[i] = m.Key
	}
	return r.checkKeys(ctx, keys...)
}

// SplitRegion implements tikv.RegionManager.
func (r *regionRouter) SplitRegion(req *kvrpcpb.SplitRegionRequest) *kvrpcpb.SplitRegionResponse {
	return r.split(context.Background(), req)
}

// split splits at raw keys.
func (r *regionRouter) split(ctx context.Context, req *kvrpcpb.SplitRegionRequest) *kvrpcpb.SplitRegionResponse {
	keys := req.SplitKeys
	if len(keys) == 0 && len(req.SplitKey) > 0 { //nolint:staticcheck // old clients send one key
		keys = [][]byte{req.SplitKey} //nolint:staticcheck // as above
	}
	if err := r.checkKeys(req.Context, keys...); err != nil {
		return &kvrpcpb.SplitRegionResponse{RegionError: err}
	}
	parts, err := r.regions.split(ctx, keys)
	if err != nil {
		return &kvrpcpb.SplitRegionResponse{RegionError: &errorpb.Error{Message: err.Error()}}
	}
	resp := &kvrpcpb.SplitRegionResponse{Regions: metas(parts)}
	if len(parts) == 2 {
		resp.Left, resp.Right = parts[0].meta, parts[1].meta //nolint:staticcheck // read by old clients
	}
	return resp
}

// GetStoreIDByAddr implements tikv.RegionManager.
func (r *regionRouter) GetStoreIDByAddr(addr string) (uint64, error) {
	if addr != r.store.Address {
		return 0, errors.New("there is one store, and it has another address")
	}
	return r.store.Id, nil
}

// GetStoreAddrByStoreID implements tikv.RegionManager.
func (r *regionRouter) GetStoreAddrByStoreID(id uint64) (string, error) {
	if id != r.store.Id {
		return "", errors.New("there is one store, and it has another ID")
	}
	return r.store.Address, nil
}

// Close implements tikv.RegionManager.
func (r *regionRouter) Close() error { return nil }
