package pd

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/keyspacepb"
	"github.com/pingcap/kvproto/pkg/meta_storagepb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	rmpb "github.com/pingcap/kvproto/pkg/resource_manager"
	"github.com/stretchr/testify/require"
	pdclient "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/clients/router"
	"github.com/tikv/pd/client/constants"
	"github.com/tikv/pd/client/opt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// connect opens a bare connection.
func connect(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.URL()[len("http://"):], grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func TestMembers(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	require.Equal(t, s.ClusterID(), c.GetClusterID(t.Context()))
	m, err := c.GetAllMembers(t.Context())
	require.NoError(t, err)
	require.Len(t, m.GetMembers(), 1)
	for name, member := range map[string]*pdpb.Member{
		"member": m.Members[0], "leader": m.Leader, "etcd": m.EtcdLeader, "tso": m.TsoAllocatorLeaders["global"],
	} {
		require.Equal(t, []string{s.URL()}, member.GetClientUrls(), name)
		require.Equal(t, "v"+DefaultVersion, member.GetBinaryVersion(), name)
	}
}

func TestAdvertisedHost(t *testing.T) {
	s := open(t, func(o *Options) { o.Addr, o.AdvertiseHost = "0.0.0.0:0", "127.0.0.1" })
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, s.URL())
	m, err := dial(t, s).GetAllMembers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{s.URL()}, m.GetLeader().GetClientUrls())
}

func TestOtherClustersAreRefused(t *testing.T) {
	s, _ := openAttached(t)
	c := pdpb.NewPDClient(connect(t, s))
	_, err := c.GetAllStores(t.Context(), &pdpb.GetAllStoresRequest{Header: &pdpb.RequestHeader{ClusterId: 1}})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
}

func TestUnknownMethodsAreUnimplemented(t *testing.T) {
	s := open(t, nil)
	c := pdpb.NewPDClient(connect(t, s))
	_, err := c.SyncMaxTS(t.Context(), &pdpb.SyncMaxTSRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
}

func TestNotBootstrappedBeforeTheStoreComes(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	_, err := c.GetAllStores(t.Context())
	require.ErrorContains(t, err, "NOT_BOOTSTRAPPED")
	_, err = c.GetRegion(t.Context(), []byte("a"))
	require.ErrorContains(t, err, "NOT_BOOTSTRAPPED")

	store := newFakeStore()
	s.Attach(store, store)
	_, err = c.GetRegion(t.Context(), []byte("a"))
	require.NoError(t, err)
}

func TestStores(t *testing.T) {
	s, _ := openAttached(t)
	c := dial(t, s)
	stores, err := c.GetAllStores(t.Context())
	require.NoError(t, err)
	one, err := c.GetStore(t.Context(), 1)
	require.NoError(t, err)
	for _, st := range append(stores, one) {
		require.Equal(t, "127.0.0.1:20160", st.Address)
		require.Equal(t, metapb.StoreState_Up, st.State)
		require.Equal(t, metapb.NodeState_Serving, st.NodeState)
		require.Equal(t, DefaultVersion, st.Version)
		require.Empty(t, st.Labels)
	}
	_, err = c.GetStore(t.Context(), 99)
	require.Error(t, err)
}

// bounds returns the start keys of regions, and checks what every answer must hold.
func bounds(t *testing.T, regions []*router.Region) []string {
	t.Helper()
	var keys []string
	for _, r := range regions {
		require.NotNil(t, r.Leader)
		require.Equal(t, r.Meta.Peers[0].Id, r.Leader.Id)
		keys = append(keys, string(r.Meta.StartKey))
	}
	return keys
}

func TestRegionLookups(t *testing.T) {
	s, store := openAttached(t)
	c := dial(t, s)
	for name, follower := range map[string][]opt.GetRegionOption{"plain": nil, "any server": {opt.WithAllowFollowerHandle()}} {
		t.Run(name, func(t *testing.T) {
			r, err := c.GetRegion(t.Context(), []byte("k"), follower...)
			require.NoError(t, err)
			require.Equal(t, []string{"h"}, bounds(t, []*router.Region{r}))

			prev, err := c.GetPrevRegion(t.Context(), []byte("k"), follower...)
			require.NoError(t, err)
			require.Equal(t, []string{""}, bounds(t, []*router.Region{prev}))

			byID, err := c.GetRegionByID(t.Context(), r.Meta.Id, follower...)
			require.NoError(t, err)
			require.Equal(t, r.Meta, byID.Meta)

			none, err := c.GetRegionByID(t.Context(), 12345, follower...)
			require.NoError(t, err)
			require.Nil(t, none)
		})
	}
	first, err := c.GetPrevRegion(t.Context(), []byte("a"))
	require.NoError(t, err)
	require.Nil(t, first)
	require.Len(t, store.regions, 3)
}

func TestQueryRegionStream(t *testing.T) {
	s, store := openAttached(t)
	c := dial(t, s)
	require.NoError(t, c.UpdateOption(opt.EnableRouterClient, true))
	for key, start := range map[string]string{"a": "", "h": "h", "z": "p"} {
		r, err := c.GetRegion(t.Context(), []byte(key))
		require.NoError(t, err)
		require.Equal(t, start, string(r.Meta.StartKey))
	}

	stream, err := pdpb.NewPDClient(connect(t, s)).QueryRegion(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pdpb.QueryRegionRequest{
		Header:   &pdpb.RequestHeader{ClusterId: s.ClusterID()},
		Keys:     [][]byte{[]byte("z"), []byte("a"), []byte("b")},
		PrevKeys: [][]byte{[]byte("z"), []byte("a")},
		Ids:      []uint64{store.regions[0].Id, 999},
	}))
	resp, err := stream.Recv()
	require.NoError(t, err)
	a, h, p := store.regions[0].Id, store.regions[1].Id, store.regions[2].Id
	require.Equal(t, []uint64{p, a, a}, resp.KeyIdMap)
	require.Equal(t, []uint64{h, 0}, resp.PrevKeyIdMap)
	require.Len(t, resp.RegionsById, 3)
	for id, r := range resp.RegionsById {
		require.Equal(t, id, r.Region.Id)
		require.NotNil(t, r.Leader)
	}
	require.NoError(t, stream.CloseSend())
}

func TestScanRegions(t *testing.T) {
	s, _ := openAttached(t)
	c := dial(t, s)
	for name, tc := range map[string]struct {
		start, end string
		limit      int
		want       []string
	}{
		"all":             {want: []string{"", "h", "p"}},
		"limit":           {limit: 2, want: []string{"", "h"}},
		"inside a region": {start: "i", end: "j", want: []string{"h"}},
		"end is open":     {start: "a", end: "h", want: []string{""}},
		"over a border":   {start: "i", end: "q", want: []string{"h", "p"}},
	} {
		t.Run(name, func(t *testing.T) {
			//lint:ignore SA1019 older clients use it
			regions, err := c.ScanRegions(t.Context(), []byte(tc.start), []byte(tc.end), tc.limit)
			require.NoError(t, err)
			require.Equal(t, tc.want, bounds(t, regions))
			batch, err := c.BatchScanRegions(t.Context(),
				[]router.KeyRange{{StartKey: []byte(tc.start), EndKey: []byte(tc.end)}}, tc.limit)
			require.NoError(t, err)
			require.Equal(t, tc.want, bounds(t, batch))
		})
	}
	//lint:ignore SA1019 older clients use it
	resp, err := pdpb.NewPDClient(connect(t, s)).ScanRegions(t.Context(), &pdpb.ScanRegionsRequest{
		Header: &pdpb.RequestHeader{ClusterId: s.ClusterID()},
	})
	require.NoError(t, err)
	require.Len(t, resp.RegionMetas, 3, "what old clients read")
	require.Len(t, resp.Leaders, 3)
	require.Len(t, resp.Regions, 3, "what new clients read")
}

func TestBatchScanListsARegionOnce(t *testing.T) {
	s, _ := openAttached(t)
	c := dial(t, s)
	ranges := []router.KeyRange{
		{StartKey: []byte("a"), EndKey: []byte("b")},
		{StartKey: []byte("c"), EndKey: []byte("i")},
		{StartKey: []byte("j"), EndKey: []byte("z")},
	}
	regions, err := c.BatchScanRegions(t.Context(), ranges, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"", "h", "p"}, bounds(t, regions))
	regions, err = c.BatchScanRegions(t.Context(), ranges, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"", "h"}, bounds(t, regions))
}

func TestSplitAndScatter(t *testing.T) {
	s, store := openAttached(t)
	c := dial(t, s)
	resp, err := c.SplitRegions(t.Context(), [][]byte{[]byte("b"), []byte("h")})
	require.NoError(t, err)
	require.Len(t, resp.RegionsId, 1, "one key was a boundary before")
	require.Equal(t, uint64(100), resp.FinishedPercentage)

	both, err := c.SplitAndScatterRegions(t.Context(), [][]byte{[]byte("c")})
	require.NoError(t, err)
	require.Len(t, both.RegionsId, 1)
	require.Len(t, store.regions, 5)

	_, err = c.ScatterRegions(t.Context(), resp.RegionsId)
	require.NoError(t, err)
	op, err := c.GetOperator(t.Context(), resp.RegionsId[0])
	require.NoError(t, err)
	require.NotEqual(t, pdpb.OperatorStatus_RUNNING, op.Status)
}

func TestGlobalConfig(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	items, _, err := c.LoadGlobalConfig(t.Context(), []string{"source_id"}, "")
	require.NoError(t, err)
	require.Empty(t, items[0].Value, "not set is no error")

	// Not by the client's own call: its watch ends with its time-out.
	stream, err := pdpb.NewPDClient(connect(t, s)).WatchGlobalConfig(t.Context(), &pdpb.WatchGlobalConfigRequest{Revision: 1})
	require.NoError(t, err)
	require.NoError(t, c.StoreGlobalConfig(t.Context(), "", []pdclient.GlobalConfigItem{{Name: "source_id", Value: "2"}}))
	items, revision, err := c.LoadGlobalConfig(t.Context(), []string{"source_id"}, "")
	require.NoError(t, err)
	require.Equal(t, "2", items[0].Value)
	require.NotZero(t, revision)
	event, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "2", string(event.Changes[0].Payload))

	all, _, err := c.LoadGlobalConfig(t.Context(), nil, "/global/config/")
	require.NoError(t, err)
	require.Len(t, all, 1)

	deletion := []pdclient.GlobalConfigItem{{Name: "source_id", EventType: pdpb.EventType_DELETE}}
	require.NoError(t, c.StoreGlobalConfig(t.Context(), "", deletion))
	all, _, err = c.LoadGlobalConfig(t.Context(), nil, "")
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestExternalTimestamp(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	ts, err := s.TSO(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.SetExternalTimestamp(t.Context(), ts))
	require.Error(t, c.SetExternalTimestamp(t.Context(), ts-1), "back")
	require.Error(t, c.SetExternalTimestamp(t.Context(), math.MaxUint64), "into the future")
	got, err := c.GetExternalTimestamp(t.Context())
	require.NoError(t, err)
	require.Equal(t, ts, got)
}

func TestKeyspaces(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	k, err := c.LoadKeyspace(t.Context(), "DEFAULT")
	require.NoError(t, err)
	require.Equal(t, keyspacepb.KeyspaceState_ENABLED, k.State)
	_, err = c.LoadKeyspace(t.Context(), "other")
	require.ErrorContains(t, err, "ENTRY_NOT_FOUND")
	all, err := c.GetAllKeyspaces(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestMetaStorage(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := c.Watch(ctx, []byte("k/"), opt.WithPrefix(), opt.WithRev(1))
	require.NoError(t, err)
	_, err = c.Put(t.Context(), []byte("k/1"), []byte("v"))
	require.NoError(t, err)
	got, err := c.Get(t.Context(), []byte("k/"), opt.WithPrefix())
	require.NoError(t, err)
	require.Equal(t, int64(1), got.Count)
	require.Equal(t, "v", string(got.Kvs[0].Value))
	require.NotZero(t, got.Header.Revision)
	require.Equal(t, "v", string((<-events)[0].Kv.Value))

	raw := meta_storagepb.NewMetaStorageClient(connect(t, s))
	deleted, err := raw.Delete(t.Context(), &meta_storagepb.DeleteRequest{Key: []byte("k/1"), PrevKv: true})
	require.NoError(t, err)
	require.Equal(t, int64(1), deleted.Deleted)
	require.Equal(t, meta_storagepb.Event_DELETE, (<-events)[0].Type)
}

func TestResourceGroups(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	g, err := c.GetResourceGroup(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, rmpb.GroupMode_RUMode, g.Mode)
	require.NotNil(t, g.RUSettings.RU.Settings)

	_, err = c.GetResourceGroup(t.Context(), "mine")
	require.Error(t, err)
	mine := &rmpb.ResourceGroup{Name: "mine", Mode: rmpb.GroupMode_RUMode, Priority: 1}
	_, err = c.ModifyResourceGroup(t.Context(), mine)
	require.Error(t, err, "not there yet")
	_, err = c.AddResourceGroup(t.Context(), mine)
	require.NoError(t, err)
	all, err := c.ListResourceGroups(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
	watched, _, err := c.LoadResourceGroups(t.Context())
	require.NoError(t, err)
	require.Len(t, watched, 2, "clients look for them in the meta storage, too")
	_, err = c.DeleteResourceGroup(t.Context(), "mine")
	require.NoError(t, err)
	_, err = c.DeleteResourceGroup(t.Context(), "default")
	require.Error(t, err)

	tokens, err := c.AcquireTokenBuckets(t.Context(), &rmpb.TokenBucketsRequest{Requests: []*rmpb.TokenBucketRequest{{
		ResourceGroupName: "default",
		Request: &rmpb.TokenBucketRequest_RuItems{RuItems: &rmpb.TokenBucketRequest_RequestRU{
			RequestRU: []*rmpb.RequestUnitItem{{Type: rmpb.RequestUnitType_RU, Value: 100}},
		}},
	}}})
	require.NoError(t, err)
	require.InDelta(t, 100, tokens[0].GrantedRUTokens[0].GrantedTokens.Tokens, 0)
}

func TestGCOverTheWire(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	//lint:ignore SA1019 TiCDC uses it
	least, err := c.UpdateServiceGCSafePoint(t.Context(), "ticdc-default-1", 3600, 50)
	require.NoError(t, err)
	require.Zero(t, least, "TiDB has not collected anything yet")

	control := c.GetGCInternalController(constants.NullKeyspaceID)
	moved, err := control.AdvanceTxnSafePoint(t.Context(), 100)
	require.NoError(t, err)
	require.Equal(t, uint64(50), moved.NewTxnSafePoint)
	require.Contains(t, moved.BlockerDescription, "ticdc-default-1")
	done, err := control.AdvanceGCSafePoint(t.Context(), 40)
	require.NoError(t, err)
	require.Equal(t, uint64(40), done.NewGCSafePoint)
	_, err = control.AdvanceGCSafePoint(t.Context(), 60)
	require.Error(t, err)

	states := c.GetGCStatesClient(constants.NullKeyspaceID)
	barrier, err := states.SetGCBarrier(t.Context(), "backup", 70, time.Hour)
	require.NoError(t, err)
	require.Equal(t, uint64(70), barrier.BarrierTS)
	_, err = states.SetGCBarrier(t.Context(), "late", 10, time.Hour)
	require.Error(t, err)

	s.Kill()
	require.NoError(t, s.Start(t.Context()))
	require.Eventually(t, func() bool {
		state, err := states.GetGCState(t.Context())
		return err == nil && state.TxnSafePoint == 50 && state.GCSafePoint == 40 && len(state.GCBarriers) == 2
	}, 10*time.Second, 10*time.Millisecond)
}
