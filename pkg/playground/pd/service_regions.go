package pd

import (
	"context"
	"errors"
	"io"

	"github.com/pingcap/kvproto/pkg/pdpb"
)

const complete = 100 // per cent

func (s *pdService) GetRegion(ctx context.Context, req *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	return s.answerRegion(ctx, req.GetHeader(), func(rs Regions) (Region, bool) {
		return rs.ByKey(req.GetRegionKey()), true
	})
}

func (s *pdService) GetPrevRegion(ctx context.Context, req *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	return s.answerRegion(ctx, req.GetHeader(), func(rs Regions) (Region, bool) {
		return rs.Prev(req.GetRegionKey())
	})
}

func (s *pdService) GetRegionByID(ctx context.Context, req *pdpb.GetRegionByIDRequest) (*pdpb.GetRegionResponse, error) {
	return s.answerRegion(ctx, req.GetHeader(), func(rs Regions) (Region, bool) {
		return rs.ByID(req.GetRegionId())
	})
}

// answerRegion leaves the region out when there is none: clients take that as "not found".
func (s *pdService) answerRegion(ctx context.Context, h *pdpb.RequestHeader, find func(Regions) (Region, bool)) (*pdpb.GetRegionResponse, error) {
	if err := s.begin(ctx, h); err != nil {
		return nil, err
	}
	c, ok := s.attached()
	if !ok {
		return &pdpb.GetRegionResponse{Header: s.notBootstrapped()}, nil
	}
	resp := &pdpb.GetRegionResponse{Header: s.header()}
	if r, ok := find(c.regions); ok {
		resp.Region, resp.Leader = r.Meta, r.Leader
	}
	return resp, nil
}

// QueryRegion answers many look-ups at once; an ID of 0 in the answer means that nothing was found.
func (s *pdService) QueryRegion(stream pdpb.PD_QueryRegionServer) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.begin(stream.Context(), req.GetHeader()); err != nil {
			return err
		}
		if err := stream.Send(s.queryRegion(req)); err != nil {
			return err
		}
	}
}

func (s *pdService) queryRegion(req *pdpb.QueryRegionRequest) *pdpb.QueryRegionResponse {
	c, ok := s.attached()
	if !ok {
		return &pdpb.QueryRegionResponse{Header: s.notBootstrapped()}
	}
	resp := &pdpb.QueryRegionResponse{
		Header:      s.header(),
		RegionsById: make(map[uint64]*pdpb.RegionResponse),
	}
	add := func(r Region, ok bool) uint64 {
		if !ok {
			return 0
		}
		resp.RegionsById[r.Meta.GetId()] = &pdpb.RegionResponse{Region: r.Meta, Leader: r.Leader}
		return r.Meta.GetId()
	}
	for _, key := range req.GetKeys() {
		resp.KeyIdMap = append(resp.KeyIdMap, add(c.regions.ByKey(key), true))
	}
	for _, key := range req.GetPrevKeys() {
		resp.PrevKeyIdMap = append(resp.PrevKeyIdMap, add(c.regions.Prev(key)))
	}
	for _, id := range req.GetIds() {
		add(c.regions.ByID(id))
	}
	return resp
}

// ScanRegions fills in both forms of the answer, as clients of different age read different ones.
func (s *pdService) ScanRegions(ctx context.Context, req *pdpb.ScanRegionsRequest) (*pdpb.ScanRegionsResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	c, ok := s.attached()
	if !ok {
		return &pdpb.ScanRegionsResponse{Header: s.notBootstrapped()}, nil
	}
	resp := &pdpb.ScanRegionsResponse{Header: s.header()}
	for _, r := range c.regions.Scan(req.GetStartKey(), req.GetEndKey(), int(req.GetLimit())) {
		resp.RegionMetas = append(resp.RegionMetas, r.Meta)
		resp.Leaders = append(resp.Leaders, r.Leader)
		resp.Regions = append(resp.Regions, &pdpb.Region{Region: r.Meta, Leader: r.Leader})
	}
	return resp, nil
}

// BatchScanRegions lists each region once, although neighbouring ranges may share one.
func (s *pdService) BatchScanRegions(ctx context.Context, req *pdpb.BatchScanRegionsRequest) (*pdpb.BatchScanRegionsResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	c, ok := s.attached()
	if !ok {
		return &pdpb.BatchScanRegionsResponse{Header: s.notBootstrapped()}, nil
	}
	resp := &pdpb.BatchScanRegionsResponse{Header: s.header()}
	limit := int(req.GetLimit())
	var last uint64
	for _, kr := range req.GetRanges() {
		for _, r := range c.regions.Scan(kr.GetStartKey(), kr.GetEndKey(), limit) {
			if limit > 0 && len(resp.Regions) == limit {
				return resp, nil
			}
			if r.Meta.GetId() != last {
				resp.Regions = append(resp.Regions, &pdpb.Region{Region: r.Meta, Leader: r.Leader})
				last = r.Meta.GetId()
			}
		}
	}
	return resp, nil
}

func (s *pdService) SplitRegions(ctx context.Context, req *pdpb.SplitRegionsRequest) (*pdpb.SplitRegionsResponse, error) {
	ids, h, err := s.split(ctx, req.GetHeader(), req.GetSplitKeys())
	if err != nil || h.GetError() != nil {
		return &pdpb.SplitRegionsResponse{Header: h}, err
	}
	return &pdpb.SplitRegionsResponse{Header: h, FinishedPercentage: complete, RegionsId: ids}, nil
}

func (s *pdService) SplitAndScatterRegions(ctx context.Context, req *pdpb.SplitAndScatterRegionsRequest) (*pdpb.SplitAndScatterRegionsResponse, error) {
	ids, h, err := s.split(ctx, req.GetHeader(), req.GetSplitKeys())
	if err != nil || h.GetError() != nil {
		return &pdpb.SplitAndScatterRegionsResponse{Header: h}, err
	}
	return &pdpb.SplitAndScatterRegionsResponse{
		Header: h, SplitFinishedPercentage: complete, ScatterFinishedPercentage: complete, RegionsId: ids,
	}, nil
}

func (s *pdService) split(ctx context.Context, h *pdpb.RequestHeader, keys [][]byte) ([]uint64, *pdpb.ResponseHeader, error) {
	if err := s.begin(ctx, h); err != nil {
		return nil, nil, err
	}
	c, ok := s.attached()
	if !ok {
		return nil, s.notBootstrapped(), nil
	}
	ids, err := c.store.Split(ctx, keys)
	if err != nil {
		return nil, s.failed(pdpb.ErrorType_UNKNOWN, err.Error()), nil
	}
	return ids, s.header(), nil
}

// ScatterRegion is done at once: there is one store.
func (s *pdService) ScatterRegion(ctx context.Context, req *pdpb.ScatterRegionRequest) (*pdpb.ScatterRegionResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.ScatterRegionResponse{Header: s.header(), FinishedPercentage: complete}, nil
}

// GetOperator tells that whatever was asked for has been done: nothing runs in the background.
func (s *pdService) GetOperator(ctx context.Context, req *pdpb.GetOperatorRequest) (*pdpb.GetOperatorResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.GetOperatorResponse{
		Header: s.header(), RegionId: req.GetRegionId(), Desc: []byte("none"), Status: pdpb.OperatorStatus_SUCCESS,
	}, nil
}
