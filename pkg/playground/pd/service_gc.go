package pd

import (
	"context"
	"errors"
	"math"

	"github.com/pingcap/kvproto/pkg/pdpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// nullKeyspace stands for "no keyspace", whose GC state all keyspaces share.
const nullKeyspace = math.MaxUint32

// gcFailure puts errors of GC's rules into the answer and others into the status.
func (s *pdService) gcFailure(err error) (*pdpb.ResponseHeader, error) {
	for _, rule := range []error{errSafePointBack, errBehindTxnPoint, errAheadOfTxn, errBarrierTTL} {
		if errors.Is(err, rule) {
			return s.failed(pdpb.ErrorType_INVALID_VALUE, err.Error()), nil
		}
	}
	return nil, status.Error(codes.Unknown, err.Error())
}

func (s *pdService) GetGCSafePoint(ctx context.Context, req *pdpb.GetGCSafePointRequest) (*pdpb.GetGCSafePointResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.GetGCSafePointResponse{Header: s.header(), SafePoint: s.gc.state().gcSafePoint}, nil
}

func (s *pdService) UpdateGCSafePoint(ctx context.Context, req *pdpb.UpdateGCSafePointRequest) (*pdpb.UpdateGCSafePointResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	ts, err := s.gc.updateGC(ctx, req.GetSafePoint())
	if err != nil {
		h, err := s.gcFailure(err)
		return &pdpb.UpdateGCSafePointResponse{Header: h}, err
	}
	return &pdpb.UpdateGCSafePointResponse{Header: s.header(), NewSafePoint: ts}, nil
}

func (s *pdService) UpdateServiceGCSafePoint(ctx context.Context, req *pdpb.UpdateServiceGCSafePointRequest) (*pdpb.UpdateServiceGCSafePointResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	least, err := s.gc.updateService(ctx, string(req.GetServiceId()), req.GetTTL(), req.GetSafePoint())
	if err != nil {
		h, err := s.gcFailure(err)
		return &pdpb.UpdateServiceGCSafePointResponse{Header: h}, err
	}
	return &pdpb.UpdateServiceGCSafePointResponse{
		Header:       s.header(),
		ServiceId:    []byte(least.ID),
		TTL:          least.ttl(s.opts.Now()),
		MinSafePoint: least.SafePoint,
	}, nil
}

func (s *pdService) AdvanceTxnSafePoint(ctx context.Context, req *pdpb.AdvanceTxnSafePointRequest) (*pdpb.AdvanceTxnSafePointResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	from, to, blocker, err := s.gc.advanceTxn(ctx, req.GetTarget())
	if err != nil {
		h, err := s.gcFailure(err)
		return &pdpb.AdvanceTxnSafePointResponse{Header: h}, err
	}
	return &pdpb.AdvanceTxnSafePointResponse{
		Header: s.header(), OldTxnSafePoint: from, NewTxnSafePoint: to, BlockerDescription: blocker,
	}, nil
}

func (s *pdService) AdvanceGCSafePoint(ctx context.Context, req *pdpb.AdvanceGCSafePointRequest) (*pdpb.AdvanceGCSafePointResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	from, to, err := s.gc.advanceGC(ctx, req.GetTarget())
	if err != nil {
		h, err := s.gcFailure(err)
		return &pdpb.AdvanceGCSafePointResponse{Header: h}, err
	}
	return &pdpb.AdvanceGCSafePointResponse{Header: s.header(), OldGcSafePoint: from, NewGcSafePoint: to}, nil
}

func (s *pdService) SetGCBarrier(ctx context.Context, req *pdpb.SetGCBarrierRequest) (*pdpb.SetGCBarrierResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	b, err := s.gc.setBarrier(ctx, req.GetBarrierId(), req.GetTtlSeconds(), req.GetBarrierTs())
	if err != nil {
		h, err := s.gcFailure(err)
		return &pdpb.SetGCBarrierResponse{Header: h}, err
	}
	return &pdpb.SetGCBarrierResponse{Header: s.header(), NewBarrierInfo: s.barrierInfo(b)}, nil
}

func (s *pdService) DeleteGCBarrier(ctx context.Context, req *pdpb.DeleteGCBarrierRequest) (*pdpb.DeleteGCBarrierResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	b, ok, err := s.gc.deleteBarrier(ctx, req.GetBarrierId())
	if err != nil {
		return nil, status.Error(codes.Unknown, err.Error())
	}
	resp := &pdpb.DeleteGCBarrierResponse{Header: s.header()}
	if ok {
		resp.DeletedBarrierInfo = s.barrierInfo(b)
	}
	return resp, nil
}

func (s *pdService) GetGCState(ctx context.Context, req *pdpb.GetGCStateRequest) (*pdpb.GetGCStateResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.GetGCStateResponse{Header: s.header(), GcState: s.gcState()}, nil
}

func (s *pdService) GetAllKeyspacesGCStates(ctx context.Context, req *pdpb.GetAllKeyspacesGCStatesRequest) (*pdpb.GetAllKeyspacesGCStatesResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.GetAllKeyspacesGCStatesResponse{Header: s.header(), GcStates: []*pdpb.GCState{s.gcState()}}, nil
}

func (s *pdService) gcState() *pdpb.GCState {
	st := s.gc.state()
	out := &pdpb.GCState{
		KeyspaceScope: &pdpb.KeyspaceScope{KeyspaceId: nullKeyspace},
		TxnSafePoint:  st.txnSafePoint,
		GcSafePoint:   st.gcSafePoint,
	}
	for _, b := range st.barriers {
		out.GcBarriers = append(out.GcBarriers, s.barrierInfo(b))
	}
	return out
}

func (s *pdService) barrierInfo(b barrier) *pdpb.GCBarrierInfo {
	return &pdpb.GCBarrierInfo{BarrierId: b.ID, BarrierTs: b.SafePoint, TtlSeconds: b.ttl(s.opts.Now())}
}
