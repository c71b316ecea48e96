package pd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	rmpb "github.com/pingcap/kvproto/pkg/resource_manager"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	defaultGroup = "default"
	// groupPrefix and controllerKey are where clients look for the groups and their own settings, and for changes.
	groupPrefix   = "resource_group/settings/"
	controllerKey = "resource_group/controller"
)

// resourceService is resource_manager.ResourceManager: it keeps the groups and grants every token that is asked for.
type resourceService struct {
	rmpb.UnimplementedResourceManagerServer
	*instance
}

// defaultResourceGroup is unlimited.
func defaultResourceGroup() *rmpb.ResourceGroup {
	return &rmpb.ResourceGroup{
		Name:     defaultGroup,
		Mode:     rmpb.GroupMode_RUMode,
		Priority: 8,
		RUSettings: &rmpb.GroupRequestUnitSettings{RU: &rmpb.TokenBucket{
			Settings: &rmpb.TokenLimitSettings{FillRate: math.MaxInt32, BurstLimit: -1},
		}},
	}
}

// initResourceGroups stores what clients expect to find in every cluster.
func initResourceGroups(ctx context.Context, kv *clientv3.Client) error {
	group, err := defaultResourceGroup().Marshal()
	if err != nil {
		return fmt.Errorf("pd: encode the default resource group: %w", err)
	}
	for key, value := range map[string]string{
		groupPrefix + defaultGroup: string(group),
		controllerKey:              "{}", // the clients' own defaults
	} {
		missing := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		if _, err := kv.Txn(ctx).If(missing).Then(clientv3.OpPut(key, value)).Commit(); err != nil {
			return fmt.Errorf("pd: init resource groups: %w", err)
		}
	}
	return nil
}

// group returns nil when there is none of that name.
func (s *resourceService) group(ctx context.Context, name string) (*rmpb.ResourceGroup, error) {
	got, err := s.kv.Get(ctx, groupPrefix+name)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if len(got.Kvs) == 0 {
		return nil, nil
	}
	g := &rmpb.ResourceGroup{}
	if err := g.Unmarshal(got.Kvs[0].Value); err != nil {
		return nil, status.Error(codes.DataLoss, err.Error())
	}
	return g, nil
}

func (s *resourceService) GetResourceGroup(ctx context.Context, req *rmpb.GetResourceGroupRequest) (*rmpb.GetResourceGroupResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	g, err := s.group(ctx, req.GetResourceGroupName())
	if err != nil {
		return nil, err
	}
	if g == nil {
		return &rmpb.GetResourceGroupResponse{Error: &rmpb.Error{Message: "the group does not exist"}}, nil
	}
	return &rmpb.GetResourceGroupResponse{Group: g}, nil
}

func (s *resourceService) ListResourceGroups(ctx context.Context, _ *rmpb.ListResourceGroupsRequest) (*rmpb.ListResourceGroupsResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	got, err := s.kv.Get(ctx, groupPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	resp := &rmpb.ListResourceGroupsResponse{}
	for _, item := range got.Kvs {
		g := &rmpb.ResourceGroup{}
		if err := g.Unmarshal(item.Value); err != nil {
			return nil, status.Error(codes.DataLoss, err.Error())
		}
		resp.Groups = append(resp.Groups, g)
	}
	return resp, nil
}

func (s *resourceService) AddResourceGroup(ctx context.Context, req *rmpb.PutResourceGroupRequest) (*rmpb.PutResourceGroupResponse, error) {
	return s.put(ctx, req.GetGroup(), false)
}

func (s *resourceService) ModifyResourceGroup(ctx context.Context, req *rmpb.PutResourceGroupRequest) (*rmpb.PutResourceGroupResponse, error) {
	return s.put(ctx, req.GetGroup(), true)
}

func (s *resourceService) put(ctx context.Context, g *rmpb.ResourceGroup, exists bool) (*rmpb.PutResourceGroupResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	old, err := s.group(ctx, g.GetName())
	if err != nil {
		return nil, err
	}
	if found := old != nil; found != exists {
		return &rmpb.PutResourceGroupResponse{
			Error: &rmpb.Error{Message: fmt.Sprintf("resource group %q: found is %t", g.GetName(), found)},
		}, nil
	}
	value, err := g.Marshal()
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if _, err := s.kv.Put(ctx, groupPrefix+g.GetName(), string(value)); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &rmpb.PutResourceGroupResponse{Body: "Success!"}, nil
}

func (s *resourceService) DeleteResourceGroup(ctx context.Context, req *rmpb.DeleteResourceGroupRequest) (*rmpb.DeleteResourceGroupResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	if req.GetResourceGroupName() == defaultGroup {
		return &rmpb.DeleteResourceGroupResponse{Error: &rmpb.Error{Message: "the default group stays"}}, nil
	}
	if _, err := s.kv.Delete(ctx, groupPrefix+req.GetResourceGroupName()); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &rmpb.DeleteResourceGroupResponse{Body: "Success!"}, nil
}

func (s *resourceService) AcquireTokenBuckets(stream rmpb.ResourceManager_AcquireTokenBucketsServer) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp := &rmpb.TokenBucketsResponse{}
		for _, r := range req.GetRequests() {
			resp.Responses = append(resp.Responses, grant(r))
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

func grant(r *rmpb.TokenBucketRequest) *rmpb.TokenBucketResponse {
	out := &rmpb.TokenBucketResponse{ResourceGroupName: r.GetResourceGroupName(), KeyspaceId: r.GetKeyspaceId()}
	for _, item := range r.GetRuItems().GetRequestRU() {
		out.GrantedRUTokens = append(out.GrantedRUTokens, &rmpb.GrantedRUTokenBucket{
			Type: item.GetType(),
			GrantedTokens: &rmpb.TokenBucket{
				Settings: &rmpb.TokenLimitSettings{FillRate: math.MaxInt32, BurstLimit: -1},
				Tokens:   item.GetValue(),
			},
		})
	}
	return out
}
