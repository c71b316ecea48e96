package pd

import (
	"context"
	"errors"

	"github.com/pingcap/kvproto/pkg/meta_storagepb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metaStorageService is meta_storagepb.MetaStorage: etcd under another name.
type metaStorageService struct {
	*instance
}

func (s *metaStorageService) answerHeader(revision int64) *meta_storagepb.ResponseHeader {
	return &meta_storagepb.ResponseHeader{ClusterId: s.clusterID, Revision: revision}
}

func rangeOption(end []byte, options []clientv3.OpOption) []clientv3.OpOption {
	if len(end) > 0 {
		options = append(options, clientv3.WithRange(string(end)))
	}
	return options
}

func (s *metaStorageService) Get(ctx context.Context, req *meta_storagepb.GetRequest) (*meta_storagepb.GetResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	options := rangeOption(req.GetRangeEnd(), []clientv3.OpOption{
		clientv3.WithLimit(req.GetLimit()), clientv3.WithRev(req.GetRevision()),
	})
	got, err := s.kv.Get(ctx, string(req.GetKey()), options...)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	resp := &meta_storagepb.GetResponse{
		Header: s.answerHeader(got.Header.GetRevision()), More: got.More, Count: got.Count,
	}
	for _, item := range got.Kvs {
		resp.Kvs = append(resp.Kvs, metaItem(item))
	}
	return resp, nil
}

func (s *metaStorageService) Put(ctx context.Context, req *meta_storagepb.PutRequest) (*meta_storagepb.PutResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	options := []clientv3.OpOption{clientv3.WithLease(clientv3.LeaseID(req.GetLease()))}
	if req.GetPrevKv() {
		options = append(options, clientv3.WithPrevKV())
	}
	put, err := s.kv.Put(ctx, string(req.GetKey()), string(req.GetValue()), options...)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &meta_storagepb.PutResponse{
		Header: s.answerHeader(put.Header.GetRevision()), PrevKv: metaItem(put.PrevKv),
	}, nil
}

func (s *metaStorageService) Delete(ctx context.Context, req *meta_storagepb.DeleteRequest) (*meta_storagepb.DeleteResponse, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	options := rangeOption(req.GetRangeEnd(), nil)
	if req.GetPrevKv() {
		options = append(options, clientv3.WithPrevKV())
	}
	deleted, err := s.kv.Delete(ctx, string(req.GetKey()), options...)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	resp := &meta_storagepb.DeleteResponse{
		Header: s.answerHeader(deleted.Header.GetRevision()), Deleted: deleted.Deleted,
	}
	for _, item := range deleted.PrevKvs {
		resp.PrevKvs = append(resp.PrevKvs, metaItem(item))
	}
	return resp, nil
}

// Watch sends changes until the client leaves.
func (s *metaStorageService) Watch(req *meta_storagepb.WatchRequest, stream meta_storagepb.MetaStorage_WatchServer) error {
	ctx := stream.Context()
	if err := s.wait(ctx); err != nil {
		return err
	}
	options := rangeOption(req.GetRangeEnd(), []clientv3.OpOption{clientv3.WithRev(req.GetStartRevision())})
	if req.GetPrevKv() {
		options = append(options, clientv3.WithPrevKV())
	}
	events := s.kv.Watch(ctx, string(req.GetKey()), options...)
	for {
		select {
		case <-s.stopped:
			return status.Error(codes.Unavailable, "server is stopping")
		case batch, ok := <-events:
			if !ok {
				return status.FromContextError(ctx.Err()).Err()
			}
			if batch.CompactRevision > 0 {
				return stream.Send(s.compacted(batch))
			}
			if err := batch.Err(); err != nil {
				return watchFailure(err)
			}
			if err := stream.Send(s.watchAnswer(batch)); err != nil {
				return err
			}
		}
	}
}

func (s *metaStorageService) watchAnswer(batch clientv3.WatchResponse) *meta_storagepb.WatchResponse {
	resp := &meta_storagepb.WatchResponse{Header: s.answerHeader(batch.Header.GetRevision())}
	for _, e := range batch.Events {
		resp.Events = append(resp.Events, &meta_storagepb.Event{
			Type: meta_storagepb.Event_EventType(e.Type), Kv: metaItem(e.Kv), PrevKv: metaItem(e.PrevKv),
		})
	}
	return resp
}

func (s *metaStorageService) compacted(batch clientv3.WatchResponse) *meta_storagepb.WatchResponse {
	h := s.answerHeader(batch.Header.GetRevision())
	h.Error = &meta_storagepb.Error{
		Type: meta_storagepb.ErrorType_DATA_COMPACTED, Message: "required watch revision has been compacted",
	}
	return &meta_storagepb.WatchResponse{Header: h, CompactRevision: batch.CompactRevision}
}

func metaItem(item *mvccpb.KeyValue) *meta_storagepb.KeyValue {
	if item == nil {
		return nil
	}
	return &meta_storagepb.KeyValue{
		Key: item.Key, Value: item.Value, Lease: item.Lease, Version: item.Version,
		CreateRevision: item.CreateRevision, ModRevision: item.ModRevision,
	}
}

func watchFailure(err error) error {
	if errors.Is(err, rpctypes.ErrCompacted) {
		return status.Error(codes.OutOfRange, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}
