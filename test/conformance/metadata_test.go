package conformance

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// storedInfo reads what etcd holds of changefeeds but for their progress.
func storedInfo(ctx context.Context, t require.TestingT) map[string]string {
	got, err := shared.etcd.Get(ctx, "/tidb/cdc/default/", clientv3.WithPrefix())
	require.NoError(t, err)
	out := make(map[string]string)
	for _, kv := range got.Kvs {
		key := string(kv.Key)
		if strings.Contains(key, "/changefeed/info/") || strings.Contains(key, "/upstream/") {
			out[key] = string(kv.Value)
		}
	}
	return out
}

// storedIDs are the ids of the default namespace in etcd.
func storedIDs(ctx context.Context, t *testing.T) []string {
	ids := []string{}
	for key := range storedInfo(ctx, t) {
		if id, ok := strings.CutPrefix(key, "/tidb/cdc/default/default/changefeed/info/"); ok {
			ids = append(ids, id)
		}
	}
	return ids
}
