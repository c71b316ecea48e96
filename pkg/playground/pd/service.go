package pd

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pdService is pdpb.PD. What TiDB and TiCDC do not need answers Unimplemented.
type pdService struct {
	pdpb.UnimplementedPDServer
	*instance

	externalTS atomic.Uint64
}

// wait holds a call that came while the state was still being loaded.
func (in *instance) wait(ctx context.Context) error {
	select {
	case <-in.ready:
		return nil
	case <-in.stopped:
		return status.Error(codes.Unavailable, "server is stopping")
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// begin opens every call but the few by which clients learn the cluster's ID.
func (in *instance) begin(ctx context.Context, h *pdpb.RequestHeader) error {
	if err := in.wait(ctx); err != nil {
		return err
	}
	if h.GetClusterId() != in.clusterID {
		return status.Errorf(codes.FailedPrecondition,
			"mismatch cluster id, need %d but got %d", in.clusterID, h.GetClusterId())
	}
	return nil
}

func (in *instance) header() *pdpb.ResponseHeader {
	return &pdpb.ResponseHeader{ClusterId: in.clusterID}
}

// failed is how PD reports errors of its own: inside the answer.
func (in *instance) failed(kind pdpb.ErrorType, message string) *pdpb.ResponseHeader {
	return &pdpb.ResponseHeader{ClusterId: in.clusterID, Error: &pdpb.Error{Type: kind, Message: message}}
}

func (in *instance) notBootstrapped() *pdpb.ResponseHeader {
	return in.failed(pdpb.ErrorType_NOT_BOOTSTRAPPED, "cluster is not bootstrapped")
}

// attached returns false until the store has come.
func (in *instance) attached() (cluster, bool) {
	c := in.cluster.Load()
	if c == nil || c.store == nil {
		return cluster{}, false
	}
	return *c, true
}

func (in *instance) member() *pdpb.Member {
	return &pdpb.Member{
		Name:          memberName,
		MemberId:      in.memberID,
		PeerUrls:      []string{in.clientURL()},
		ClientUrls:    []string{in.clientURL()},
		BinaryVersion: "v" + in.opts.Version,
	}
}

func (s *pdService) GetMembers(ctx context.Context, _ *pdpb.GetMembersRequest) (*pdpb.GetMembersResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	m := s.member()
	return &pdpb.GetMembersResponse{
		Header:              s.header(),
		Members:             []*pdpb.Member{m},
		Leader:              m,
		EtcdLeader:          m,
		TsoAllocatorLeaders: map[string]*pdpb.Member{"global": m},
	}, nil
}

func (s *pdService) GetClusterInfo(ctx context.Context, _ *pdpb.GetClusterInfoRequest) (*pdpb.GetClusterInfoResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return &pdpb.GetClusterInfoResponse{
		Header:       s.header(),
		ServiceModes: []pdpb.ServiceMode{pdpb.ServiceMode_PD_SVC_MODE},
	}, nil
}

func (s *pdService) Tso(stream pdpb.PD_TsoServer) error {
	ctx := stream.Context()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.begin(ctx, req.GetHeader()); err != nil {
			return err
		}
		ts, err := s.tso.next(ctx, req.GetCount())
		if err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
		if err := stream.Send(&pdpb.TsoResponse{Header: s.header(), Count: req.GetCount(), Timestamp: &ts}); err != nil {
			return err
		}
	}
}

func (s *pdService) GetMinTS(ctx context.Context, req *pdpb.GetMinTSRequest) (*pdpb.GetMinTSResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	ts, err := s.tso.next(ctx, 1)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &pdpb.GetMinTSResponse{Header: s.header(), Timestamp: &ts}, nil
}

func (s *pdService) AllocID(ctx context.Context, req *pdpb.AllocIDRequest) (*pdpb.AllocIDResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	count := max(req.GetCount(), 1)
	id, err := s.ids.next(ctx, count)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &pdpb.AllocIDResponse{Header: s.header(), Id: id, Count: count}, nil
}

func (s *pdService) IsBootstrapped(ctx context.Context, req *pdpb.IsBootstrappedRequest) (*pdpb.IsBootstrappedResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	_, ok := s.attached()
	return &pdpb.IsBootstrappedResponse{Header: s.header(), Bootstrapped: ok}, nil
}

// Bootstrap always comes too late: the only store that may join is attached in-process.
func (s *pdService) Bootstrap(ctx context.Context, req *pdpb.BootstrapRequest) (*pdpb.BootstrapResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.BootstrapResponse{
		Header: s.failed(pdpb.ErrorType_ALREADY_BOOTSTRAPPED, "cluster is already bootstrapped"),
	}, nil
}

func (s *pdService) IsSnapshotRecovering(ctx context.Context, req *pdpb.IsSnapshotRecoveringRequest) (*pdpb.IsSnapshotRecoveringResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.IsSnapshotRecoveringResponse{Header: s.header()}, nil
}

func (s *pdService) GetStore(ctx context.Context, req *pdpb.GetStoreRequest) (*pdpb.GetStoreResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	c, ok := s.attached()
	if !ok {
		return &pdpb.GetStoreResponse{Header: s.notBootstrapped()}, nil
	}
	store := s.storeMeta(c)
	if store.GetId() != req.GetStoreId() {
		return &pdpb.GetStoreResponse{Header: s.failed(pdpb.ErrorType_UNKNOWN, "invalid store ID, not found")}, nil
	}
	return &pdpb.GetStoreResponse{Header: s.header(), Store: store, Stats: &pdpb.StoreStats{StoreId: store.Id}}, nil
}

func (s *pdService) GetAllStores(ctx context.Context, req *pdpb.GetAllStoresRequest) (*pdpb.GetAllStoresResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	c, ok := s.attached()
	if !ok {
		return &pdpb.GetAllStoresResponse{Header: s.notBootstrapped()}, nil
	}
	return &pdpb.GetAllStoresResponse{Header: s.header(), Stores: []*metapb.Store{s.storeMeta(c)}}, nil
}

// storeMeta adds to the store's own view what PD knows of a store that is alive.
func (in *instance) storeMeta(c cluster) *metapb.Store {
	m := *c.store.Meta()
	m.State = metapb.StoreState_Up
	m.NodeState = metapb.NodeState_Serving
	m.LastHeartbeat = in.opts.Now().UnixNano()
	if m.StartTimestamp == 0 {
		m.StartTimestamp = in.started.Unix()
	}
	return &m
}

func (s *pdService) GetClusterConfig(ctx context.Context, req *pdpb.GetClusterConfigRequest) (*pdpb.GetClusterConfigResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.GetClusterConfigResponse{
		Header:  s.header(),
		Cluster: &metapb.Cluster{Id: s.clusterID, MaxPeerCount: 1},
	}, nil
}

func (s *pdService) SetExternalTimestamp(ctx context.Context, req *pdpb.SetExternalTimestampRequest) (*pdpb.SetExternalTimestampResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	now, err := s.tso.next(ctx, 1)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if req.GetTimestamp() > compose(now) {
		return &pdpb.SetExternalTimestampResponse{
			Header: s.failed(pdpb.ErrorType_UNKNOWN, "the external timestamp must not be larger than global TSO"),
		}, nil
	}
	for {
		old := s.externalTS.Load()
		if req.GetTimestamp() < old {
			return &pdpb.SetExternalTimestampResponse{
				Header: s.failed(pdpb.ErrorType_UNKNOWN, "the external timestamp must not go back"),
			}, nil
		}
		if s.externalTS.CompareAndSwap(old, req.GetTimestamp()) {
			return &pdpb.SetExternalTimestampResponse{Header: s.header()}, nil
		}
	}
}

func (s *pdService) GetExternalTimestamp(ctx context.Context, req *pdpb.GetExternalTimestampRequest) (*pdpb.GetExternalTimestampResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	return &pdpb.GetExternalTimestampResponse{Header: s.header(), Timestamp: s.externalTS.Load()}, nil
}
