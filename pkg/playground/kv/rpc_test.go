package kv

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// dial returns a connection that the end of the test closes.
func (c *cluster) dial() *grpc.ClientConn {
	conn, err := grpc.NewClient(c.store.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, conn.Close()) })
	return conn
}

// context returns the context of a request for a key's region.
func (c *cluster) context(key string) *kvrpcpb.Context {
	r := c.store.RegionByKey(encodeKey([]byte(key)))
	return &kvrpcpb.Context{RegionId: r.Meta.Id, RegionEpoch: r.Meta.RegionEpoch, Peer: r.Leader}
}

func put(keys ...string) []*kvrpcpb.Mutation {
	var list []*kvrpcpb.Mutation
	for _, key := range keys {
		list = append(list, &kvrpcpb.Mutation{Op: kvrpcpb.Op_Put, Key: []byte(key), Value: []byte("value of " + key)})
	}
	return list
}

// prewrite sends one prewrite with the first key as the primary.
func (c *cluster) prewrite(tikv tikvpb.TikvClient, start uint64, muts []*kvrpcpb.Mutation, change ...func(*kvrpcpb.PrewriteRequest)) *kvrpcpb.PrewriteResponse {
	req := &kvrpcpb.PrewriteRequest{
		Context: c.context(string(muts[0].Key)), Mutations: muts, PrimaryLock: muts[0].Key, StartVersion: start, LockTtl: 3000,
	}
	for _, ch := range change {
		ch(req)
	}
	resp, err := tikv.KvPrewrite(context.Background(), req)
	require.NoError(c.t, err)
	require.Nil(c.t, resp.RegionError)
	return resp
}

func (c *cluster) commit(tikv tikvpb.TikvClient, start uint64, keys ...string) uint64 {
	req := &kvrpcpb.CommitRequest{Context: c.context(keys[0]), StartVersion: start, CommitVersion: c.pd.ts(c.t)}
	for _, key := range keys {
		req.Keys = append(req.Keys, []byte(key))
	}
	resp, err := tikv.KvCommit(context.Background(), req)
	require.NoError(c.t, err)
	require.Nil(c.t, resp.RegionError)
	require.Nil(c.t, resp.Error)
	return req.CommitVersion
}

func onePC(req *kvrpcpb.PrewriteRequest) { req.TryOnePc, req.UseAsyncCommit = true, true }

func TestRegionErrors(t *testing.T) {
	c := newCluster(t)
	tikv := tikvpb.NewTikvClient(c.dial())
	ctx := context.Background()
	get := func(rc *kvrpcpb.Context, key string) *kvrpcpb.GetResponse {
		resp, err := tikv.KvGet(ctx, &kvrpcpb.GetRequest{Context: rc, Key: []byte(key), Version: c.pd.ts(t)})
		require.NoError(t, err)
		return resp
	}
	before := c.context("t5")
	require.Nil(t, get(before, "t5").RegionError)

	parts, err := c.store.Split(ctx, [][]byte{encodeKey([]byte("t3")), encodeKey([]byte("t6"))})
	require.NoError(t, err)
	require.Len(t, parts, 3)
	require.Equal(t, before.RegionId, parts[2].Id, "the last part keeps the ID")
	require.Equal(t, before.RegionEpoch.Version+2, parts[0].RegionEpoch.Version)
	mismatch := get(before, "t5").RegionError.GetEpochNotMatch()
	require.NotNil(t, mismatch)
	require.Equal(t, []*metapb.Region{parts[2], parts[1]}, mismatch.CurrentRegions)

	require.NotNil(t, get(c.context("t4"), "t7").RegionError.GetKeyNotInRegion())
	missing := c.context("t5")
	missing.RegionId = 9999
	require.Equal(t, uint64(9999), get(missing, "t5").RegionError.GetRegionNotFound().GetRegionId())
	other := c.context("t5")
	other.Peer = &metapb.Peer{Id: other.Peer.Id, StoreId: 77}
	require.NotNil(t, get(other, "t5").RegionError.GetStoreNotMatch())
	follower := c.context("t5")
	follower.Peer = &metapb.Peer{Id: 78, StoreId: follower.Peer.StoreId}
	require.Equal(t, c.context("t5").Peer, get(follower, "t5").RegionError.GetNotLeader().GetLeader())

	middle := c.context("t5")
	require.NoError(t, c.store.Merge(ctx, parts[1].Id, parts[0].Id))
	require.NotNil(t, get(middle, "t5").RegionError.GetRegionNotFound())
	merged := c.store.RegionByKey(encodeKey([]byte("t5")))
	require.Equal(t, parts[0].Id, merged.Meta.Id)
	require.Nil(t, get(c.context("t5"), "t5").RegionError)
	require.Error(t, c.store.Merge(ctx, parts[0].Id, parts[0].Id))
	require.Error(t, c.store.Merge(ctx, parts[0].Id, 12345))
}

func TestRegionsAreFound(t *testing.T) {
	c := newCluster(t)
	ctx := context.Background()
	var keys [][]byte
	for _, k := range []string{"t1", "t2", "t3", "t4"} {
		keys = append(keys, encodeKey([]byte(k)))
	}
	_, err := c.store.Split(ctx, keys)
	require.NoError(t, err)
	same, err := c.store.Split(ctx, keys[:2])
	require.NoError(t, err)
	require.Len(t, same, 2, "existing boundaries change nothing")
	all := c.store.ScanRegions(nil, nil, 0)
	require.Len(t, all, 5)
	for i, r := range all[1:] {
		require.Equal(t, all[i].Meta.EndKey, r.Meta.StartKey)
	}
	require.Len(t, c.store.ScanRegions(keys[0], keys[2], 0), 2)
	require.Len(t, c.store.ScanRegions(keys[0], nil, 3), 3)
	require.Equal(t, all[1].Meta.Id, c.store.RegionByKey(keys[0]).Meta.Id)
	require.Equal(t, all[0].Meta.Id, c.store.PrevRegion(keys[0]).Meta.Id)
	require.Nil(t, c.store.PrevRegion(nil))
	require.Equal(t, all[2].Meta, c.store.RegionByID(all[2].Meta.Id).Meta)
	require.Nil(t, c.store.RegionByID(4711))
	_, err = c.store.Split(ctx, [][]byte{[]byte("not encoded")})
	require.Error(t, err)
}

func TestSplitRegionRequest(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	ids, err := client.SplitRegions(context.Background(), [][]byte{[]byte("t1"), []byte("t2"), []byte("t3")}, true, nil)
	require.NoError(t, err)
	require.Len(t, ids, 3)
	require.Len(t, c.store.ScanRegions(nil, nil, 0), 4)
}

func TestLargeRegionsSplit(t *testing.T) {
	c := newCluster(t, func(o *Options) { o.RegionMaxBytes = 64 << 10; o.SplitInterval = tick })
	client := c.client()
	for i := range 40 {
		values := map[string]string{}
		for j := range 20 {
			values[fmt.Sprintf("t%02d%02d", i, j)] = string(make([]byte, 400)) + "x"
		}
		write(t, client, txnKind{}, values)
	}
	require.Eventually(t, func() bool {
		regions := c.store.ScanRegions(nil, nil, 0)
		for _, r := range regions {
			if r.ApproximateBytes > 64<<10 {
				return false
			}
		}
		return len(regions) >= 5
	}, waitLong, tick)
}

// TestEveryBatchCommandIsAnswered calls every kind that the protocol has; a kind without an answer blocks its client.
func TestEveryBatchCommandIsAnswered(t *testing.T) {
	c := newCluster(t)
	stream, err := tikvpb.NewTikvClient(c.dial()).BatchCommands(context.Background())
	require.NoError(t, err)
	kinds := (&tikvpb.BatchCommandsRequest_Request{}).XXX_OneofWrappers()
	require.NotEmpty(t, kinds)
	batch := &tikvpb.BatchCommandsRequest{}
	for i, kind := range kinds {
		wrapper := reflect.New(reflect.TypeOf(kind).Elem())
		command := wrapper.Elem().Field(0)
		command.Set(reflect.New(command.Type().Elem()))
		req := &tikvpb.BatchCommandsRequest_Request{}
		reflect.ValueOf(req).Elem().FieldByName("Cmd").Set(wrapper)
		batch.Requests = append(batch.Requests, req)
		batch.RequestIds = append(batch.RequestIds, uint64(i))
	}
	require.NoError(t, stream.Send(batch))
	got := map[uint64]string{}
	for len(got) < len(kinds) {
		resp, err := stream.Recv()
		require.NoError(t, err)
		for i, r := range resp.Responses {
			require.NotNil(t, r.Cmd)
			got[resp.RequestIds[i]] = reflect.TypeOf(r.Cmd).Elem().Field(0).Name
		}
	}
	for i, kind := range kinds {
		require.Equal(t, reflect.TypeOf(kind).Elem().Field(0).Name, got[uint64(i)])
	}
	require.NoError(t, stream.CloseSend())
}

func TestScanLockPages(t *testing.T) {
	c := newCluster(t)
	tikv := tikvpb.NewTikvClient(c.dial())
	start := c.pd.ts(t)
	c.prewrite(tikv, start, put("t1", "t2", "t3", "t4", "t5"))
	var found []string
	for from := []byte("t2"); ; {
		resp, err := tikv.KvScanLock(context.Background(), &kvrpcpb.ScanLockRequest{
			Context: c.context("t1"), MaxVersion: c.pd.ts(t), StartKey: from, EndKey: []byte("t5"), Limit: 2,
		})
		require.NoError(t, err)
		for _, l := range resp.Locks {
			found = append(found, string(l.Key))
			require.Equal(t, start, l.LockVersion)
			from = append(l.Key, 0)
		}
		if len(resp.Locks) < 2 {
			break
		}
	}
	require.Equal(t, []string{"t2", "t3", "t4"}, found)
}

// TestPrewriteMayBeRepeated covers prewrites whose answer got lost.
func TestPrewriteMayBeRepeated(t *testing.T) {
	c := newCluster(t)
	tikv := tikvpb.NewTikvClient(c.dial())
	async := func(req *kvrpcpb.PrewriteRequest) { req.UseAsyncCommit = true }

	start := c.pd.ts(t)
	first := c.prewrite(tikv, start, put("t1", "t2"), async)
	require.NotZero(t, first.MinCommitTs)
	again := c.prewrite(tikv, start, put("t1", "t2"), async)
	require.Equal(t, first.MinCommitTs, again.MinCommitTs)

	start = c.pd.ts(t)
	first = c.prewrite(tikv, start, put("t3"), onePC)
	require.NotZero(t, first.OnePcCommitTs)
	again = c.prewrite(tikv, start, put("t3"), onePC)
	require.Empty(t, again.Errors)
	require.Equal(t, first.OnePcCommitTs, again.OnePcCommitTs)

	future := c.prewrite(tikv, c.pd.ts(t)+1<<40, put("t4"), onePC)
	require.Contains(t, future.Errors[0].GetAbort(), "future")
}

func TestHealthAndSafeTs(t *testing.T) {
	c := newCluster(t)
	conn := c.dial()
	ctx := context.Background()
	health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, health.Status)

	tikv := tikvpb.NewTikvClient(conn)
	safe := func() uint64 {
		resp, err := tikv.GetStoreSafeTS(ctx, &kvrpcpb.StoreSafeTSRequest{})
		require.NoError(t, err)
		return resp.SafeTs
	}
	before := c.pd.ts(t)
	require.Greater(t, safe(), before)
	start := c.pd.ts(t)
	c.prewrite(tikv, start, put("t1"))
	require.LessOrEqual(t, safe(), start)
	commit := c.commit(tikv, start, "t1")
	require.Greater(t, safe(), commit)
}
