package pd

import (
	"context"
	"fmt"
	"strings"

	"github.com/pingcap/kvproto/pkg/pdpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// globalConfigPath is where items lie for which the client names no path.
const globalConfigPath = "/global/config/"

// configPath ends in exactly one slash.
func configPath(path string) string {
	if path == "" {
		path = globalConfigPath
	}
	return strings.TrimSuffix(path, "/") + "/"
}

func (s *pdService) StoreGlobalConfig(ctx context.Context, req *pdpb.StoreGlobalConfigRequest) (*pdpb.StoreGlobalConfigResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	path := configPath(req.GetConfigPath())
	var ops []clientv3.Op
	for _, item := range req.GetChanges() {
		key := path + item.GetName()
		switch item.GetKind() {
		case pdpb.EventType_PUT:
			// Older clients put the value into another field.
			value := item.GetValue()
			if value == "" {
				value = string(item.GetPayload())
			}
			ops = append(ops, clientv3.OpPut(key, value))
		case pdpb.EventType_DELETE:
			ops = append(ops, clientv3.OpDelete(key))
		}
	}
	if _, err := s.kv.Txn(ctx).Then(ops...).Commit(); err != nil {
		return nil, status.Error(codes.Unavailable, fmt.Sprintf("store global config: %v", err))
	}
	return &pdpb.StoreGlobalConfigResponse{}, nil
}

// LoadGlobalConfig returns the named items, or all below the path when none is named.
func (s *pdService) LoadGlobalConfig(ctx context.Context, req *pdpb.LoadGlobalConfigRequest) (*pdpb.LoadGlobalConfigResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	path := configPath(req.GetConfigPath())
	if len(req.GetNames()) == 0 {
		got, err := s.kv.Get(ctx, path, clientv3.WithPrefix())
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		resp := &pdpb.LoadGlobalConfigResponse{Revision: got.Header.GetRevision()}
		for _, item := range got.Kvs {
			resp.Items = append(resp.Items, configItem(string(item.Key), item.Value))
		}
		return resp, nil
	}
	resp := &pdpb.LoadGlobalConfigResponse{}
	for _, name := range req.GetNames() {
		got, err := s.kv.Get(ctx, path+name)
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		resp.Revision = got.Header.GetRevision()
		if len(got.Kvs) > 0 {
			resp.Items = append(resp.Items, configItem(name, got.Kvs[0].Value))
			continue
		}
		resp.Items = append(resp.Items, &pdpb.GlobalConfigItem{Name: name, Error: &pdpb.Error{
			Type:    pdpb.ErrorType_GLOBAL_CONFIG_NOT_FOUND,
			Message: "key " + path + name + " not found",
		}})
	}
	return resp, nil
}

func configItem(name string, value []byte) *pdpb.GlobalConfigItem {
	return &pdpb.GlobalConfigItem{Name: name, Payload: value, Kind: pdpb.EventType_PUT}
}

// WatchGlobalConfig sends changes from the revision on until the client leaves.
func (s *pdService) WatchGlobalConfig(req *pdpb.WatchGlobalConfigRequest, stream pdpb.PD_WatchGlobalConfigServer) error {
	ctx := stream.Context()
	if err := s.wait(ctx); err != nil {
		return err
	}
	events := s.kv.Watch(ctx, configPath(req.GetConfigPath()), clientv3.WithPrefix(), clientv3.WithRev(req.GetRevision()))
	for {
		select {
		case <-s.stopped:
			return status.Error(codes.Unavailable, "server is stopping")
		case batch, ok := <-events:
			if !ok {
				return status.FromContextError(ctx.Err()).Err()
			}
			if err := batch.Err(); err != nil {
				return watchFailure(err)
			}
			resp := &pdpb.WatchGlobalConfigResponse{Header: s.header(), Revision: batch.Header.GetRevision()}
			for _, e := range batch.Events {
				item := configItem(string(e.Kv.Key), e.Kv.Value)
				item.Kind = pdpb.EventType(e.Type)
				resp.Changes = append(resp.Changes, item)
			}
			if err := stream.Send(resp); err != nil {
				return err
			}
		}
	}
}
