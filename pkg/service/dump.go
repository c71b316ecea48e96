package service

import (
	"context"
	stderrors "errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

// KeyValue is one key of the metadata. It may hold credentials.
type KeyValue struct {
	Key   string
	Value string
}

// etcdTimeout bounds reads that go to etcd directly. Their callers want to be
// told when it does not answer.
const etcdTimeout = 5 * time.Second

// DumpMetadata makes the function for Options.Dump: it reads all that starts
// like the keys of the cluster, sorted by key.
func DumpMetadata(etcd *clientv3.Client, clusterID string) func(context.Context) ([]KeyValue, error) {
	prefix := "/tidb/cdc/" + clusterID
	return func(ctx context.Context) ([]KeyValue, error) {
		ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
		defer cancel()
		resp, err := etcd.Get(ctx, prefix, clientv3.WithPrefix())
		if err != nil {
			return nil, errors.ErrPDEtcdAPIError.Wrap(err)
		}
		list := make([]KeyValue, 0, len(resp.Kvs))
		for _, kv := range resp.Kvs {
			list = append(list, KeyValue{Key: string(kv.Key), Value: string(kv.Value)})
		}
		return list, nil
	}
}

var errNoDump = stderrors.New("this server cannot show its metadata")

// Dump returns the cluster's whole metadata, credentials included.
func (s *Service) Dump(ctx context.Context) ([]KeyValue, error) {
	if s.o.Dump == nil {
		return nil, errNoDump
	}
	return s.o.Dump(ctx)
}

// Stored reads a changefeed from the metadata, on any capture. The error has
// the code ErrChangeFeedNotExists when it is not there.
func (s *Service) Stored(ctx context.Context, id model.ChangefeedID) (*etcdmeta.Feed, error) {
	return s.o.Meta.GetFeed(ctx, id)
}
