package pd

import (
	"context"

	"github.com/pingcap/kvproto/pkg/keyspacepb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const defaultKeyspace = "DEFAULT"

// keyspaceService is keyspacepb.Keyspace of a cluster that has the default keyspace only.
type keyspaceService struct {
	keyspacepb.UnimplementedKeyspaceServer
	*instance
}

func (in *instance) defaultKeyspaceMeta() *keyspacepb.KeyspaceMeta {
	return &keyspacepb.KeyspaceMeta{
		Id: 0, Name: defaultKeyspace, State: keyspacepb.KeyspaceState_ENABLED,
		CreatedAt: in.started.Unix(), StateChangedAt: in.started.Unix(),
	}
}

func (s *keyspaceService) LoadKeyspace(ctx context.Context, req *keyspacepb.LoadKeyspaceRequest) (*keyspacepb.LoadKeyspaceResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	if req.GetName() != defaultKeyspace {
		return &keyspacepb.LoadKeyspaceResponse{
			Header: s.failed(pdpb.ErrorType_ENTRY_NOT_FOUND, "keyspace does not exist"),
		}, nil
	}
	return &keyspacepb.LoadKeyspaceResponse{Header: s.header(), Keyspace: s.defaultKeyspaceMeta()}, nil
}

func (s *keyspaceService) GetAllKeyspaces(ctx context.Context, req *keyspacepb.GetAllKeyspacesRequest) (*keyspacepb.GetAllKeyspacesResponse, error) {
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return nil, err
	}
	resp := &keyspacepb.GetAllKeyspacesResponse{Header: s.header()}
	if req.GetStartId() == 0 {
		resp.Keyspaces = []*keyspacepb.KeyspaceMeta{s.defaultKeyspaceMeta()}
	}
	return resp, nil
}

// WatchKeyspaces sends what there is and then waits, as nothing ever changes.
func (s *keyspaceService) WatchKeyspaces(req *keyspacepb.WatchKeyspacesRequest, stream keyspacepb.Keyspace_WatchKeyspacesServer) error {
	ctx := stream.Context()
	if err := s.begin(ctx, req.GetHeader()); err != nil {
		return err
	}
	all := []*keyspacepb.KeyspaceMeta{s.defaultKeyspaceMeta()}
	if err := stream.Send(&keyspacepb.WatchKeyspacesResponse{Header: s.header(), Keyspaces: all}); err != nil {
		return err
	}
	select {
	case <-s.stopped:
		return status.Error(codes.Unavailable, "server is stopping")
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
