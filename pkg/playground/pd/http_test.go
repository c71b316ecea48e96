package pd

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pdhttp "github.com/tikv/pd/client/http"
)

// call sends a request and decodes the answer, if out is set and the status is 200.
func call(t *testing.T, s *Server, method, path, body string, out any) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	if out != nil && resp.StatusCode == http.StatusOK {
		require.NoError(t, json.Unmarshal(answer, out), "%s", answer)
	}
	return resp.StatusCode
}

func httpClient(t *testing.T, s *Server) pdhttp.Client {
	t.Helper()
	c := pdhttp.NewClient("test", []string{s.URL()})
	t.Cleanup(c.Close)
	return c
}

func TestHTTPOfTheServer(t *testing.T) {
	s := open(t, func(o *Options) {
		o.Handlers = map[string]http.Handler{"/extra/": http.NotFoundHandler()}
	})
	var version struct{ Version string }
	require.Equal(t, 200, call(t, s, "GET", "/pd/api/v1/version", "", &version))
	require.Equal(t, "v8.5.3", version.Version)
	for _, path := range []string{"/pd/api/v1/health", "/pd/api/v1/health/"} {
		var health []struct{ Health bool }
		require.Equal(t, 200, call(t, s, "GET", path, "", &health))
		require.True(t, health[0].Health)
	}
	require.Equal(t, 404, call(t, s, "GET", "/pd/api/v1/nonsense", "", nil))
	require.Equal(t, 404, call(t, s, "GET", "/extra/x", "", nil))
	require.Equal(t, 500, call(t, s, "GET", "/pd/api/v1/stores", "", nil), "no store yet")

	c := httpClient(t, s)
	status, err := c.GetStatus(t.Context())
	require.NoError(t, err)
	require.Equal(t, "Classic", status.KernelType)
	members, err := c.GetMembers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{s.URL()}, members.Leader.ClientUrls)
	leader, err := c.GetLeader(t.Context())
	require.NoError(t, err)
	require.Equal(t, memberName, leader.Name)
	cluster, err := c.GetCluster(t.Context())
	require.NoError(t, err)
	require.Equal(t, s.ClusterID(), cluster.Id)
	_, _, err = c.GetMinResolvedTSByStoresIDs(t.Context(), nil)
	require.ErrorContains(t, err, "not enabled")
}

func TestHTTPRegions(t *testing.T) {
	s, store := openAttached(t)
	c := httpClient(t, s)
	stores, err := c.GetStores(t.Context())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:20160", stores.Stores[0].Store.Address)
	require.Equal(t, int64(3), stores.Stores[0].Status.RegionCount)
	one, err := c.GetStore(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, "Up", one.Store.StateName)
	_, err = c.GetStore(t.Context(), 2)
	require.Error(t, err)

	all, err := c.GetRegions(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(3), all.Count)
	byID, err := c.GetRegionByID(t.Context(), store.regions[1].Id)
	require.NoError(t, err)
	require.Equal(t, "68", byID.StartKey)
	require.Equal(t, "70", byID.EndKey)
	require.Equal(t, int64(3), byID.ApproximateSize)
	byKey, err := c.GetRegionByKey(t.Context(), []byte("i"))
	require.NoError(t, err)
	require.Equal(t, byID, byKey)
	state, err := c.GetRegionsReplicatedStateByKeyRange(t.Context(), pdhttp.NewKeyRange(nil, nil))
	require.NoError(t, err)
	require.Equal(t, "REPLICATED", state)
	stats, err := c.GetRegionStatusByKeyRange(t.Context(), pdhttp.NewKeyRange([]byte("i"), []byte("z")), false)
	require.NoError(t, err)
	require.Equal(t, 2, stats.Count)
	require.Equal(t, int64(14), stats.StorageKeys)

	raw := url.Values{"key": {string([]byte{0xff, 0x00})}, "end_key": {""}, "limit": {"1"}}
	var regions struct{ Regions []regionInfo }
	require.Equal(t, 200, call(t, s, "GET", "/pd/api/v1/regions/key?"+raw.Encode(), "", &regions))
	require.Len(t, regions.Regions, 1)
	require.Equal(t, "70", regions.Regions[0].StartKey)
	require.Equal(t, uint64(7), regions.Regions[0].WrittenKeys)
	require.Equal(t, 400, call(t, s, "GET", "/pd/api/v1/region/id/x", "", nil))
}

func TestHTTPOperators(t *testing.T) {
	s, store := openAttached(t)
	c := httpClient(t, s)
	require.NoError(t, c.CreateOperators(t.Context(), map[string]any{
		"name": "split-region", "region_id": 0, "policy": "usekey", "keys": []string{hex.EncodeToString([]byte("k"))},
	}))
	require.Len(t, store.regions, 4)
	require.NoError(t, c.CreateOperators(t.Context(), map[string]any{
		"name": "merge-region", "source_region_id": store.regions[2].Id, "target_region_id": store.regions[1].Id,
	}))
	require.Len(t, store.regions, 3)
	for name, body := range map[string]string{
		"unknown":        `{"name": "dance"}`,
		"bad key":        `{"name": "split-region", "keys": ["zz"]}`,
		"no JSON":        `{`,
		"not neighbours": `{"name": "merge-region", "source_region_id": 1, "target_region_id": 2}`,
	} {
		require.GreaterOrEqual(t, call(t, s, "POST", "/pd/api/v1/operators", body, nil), 400, name)
	}
}

func TestHTTPSafePoints(t *testing.T) {
	s := open(t, nil)
	_, err := s.inst.gc.updateService(t.Context(), "ticdc", 3600, 7)
	require.NoError(t, err)
	c := httpClient(t, s)
	points, err := c.GetGCSafePoint(t.Context())
	require.NoError(t, err)
	require.Len(t, points.ServiceGCSafepoints, 2)
	require.Equal(t, "ticdc", points.ServiceGCSafepoints[0].ServiceID)
	require.Equal(t, uint64(7), points.ServiceGCSafepoints[0].SafePoint)
	_, err = c.DeleteGCSafePoint(t.Context(), "ticdc")
	require.NoError(t, err)
	points, err = c.GetGCSafePoint(t.Context())
	require.NoError(t, err)
	require.Len(t, points.ServiceGCSafepoints, 1)
}

func TestHTTPRules(t *testing.T) {
	s := open(t, nil)
	c := httpClient(t, s)
	ctx := t.Context()
	rule := func(id string) *pdhttp.LabelRule {
		return &pdhttp.LabelRule{
			ID: id, Labels: []pdhttp.RegionLabel{{Key: "a", Value: "b"}}, RuleType: "key-range", Data: []any{},
		}
	}
	require.NoError(t, c.SetRegionLabelRule(ctx, rule("one/x")))
	require.NoError(t, c.PatchRegionLabelRules(ctx, &pdhttp.LabelRulePatch{SetRules: []*pdhttp.LabelRule{rule("two")}, DeleteRules: []string{"one/x"}}))
	rules, err := c.GetAllRegionLabelRules(ctx)
	require.NoError(t, err)
	require.Len(t, rules, 1)
	rules, err = c.GetRegionLabelRulesByIDs(ctx, []string{"two", "three"})
	require.NoError(t, err)
	require.Equal(t, "two", rules[0].ID)

	_, err = c.GetPlacementRuleGroupByID(ctx, "tiflash")
	require.Error(t, err)
	require.NoError(t, c.SetPlacementRuleGroup(ctx, &pdhttp.RuleGroup{ID: "tiflash", Index: 3}))
	group, err := c.GetPlacementRuleGroupByID(ctx, "tiflash")
	require.NoError(t, err)
	require.Equal(t, 3, group.Index)
	require.NoError(t, c.DeletePlacementRuleGroupByID(ctx, "tiflash"))

	placement := &pdhttp.Rule{GroupID: "g", ID: "r", Role: pdhttp.Voter, Count: 1}
	require.NoError(t, c.SetPlacementRule(ctx, placement))
	got, err := c.GetPlacementRulesByGroup(ctx, "g")
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.NoError(t, c.SetPlacementRuleInBatch(ctx, []*pdhttp.RuleOp{{Rule: placement, Action: pdhttp.RuleOpDel}}))
	got, err = c.GetPlacementRulesByGroup(ctx, "g")
	require.NoError(t, err)
	require.Empty(t, got)

	bundle := &pdhttp.GroupBundle{ID: "b", Rules: []*pdhttp.Rule{placement}}
	require.NoError(t, c.SetPlacementRuleBundles(ctx, []*pdhttp.GroupBundle{bundle}, true))
	back, err := c.GetPlacementRuleBundleByGroup(ctx, "b")
	require.NoError(t, err)
	require.Len(t, back.Rules, 1)
	require.NoError(t, c.SetPlacementRuleBundles(ctx, []*pdhttp.GroupBundle{{ID: "b"}}, true))
	back, err = c.GetPlacementRuleBundleByGroup(ctx, "b")
	require.NoError(t, err, "every group exists, as an empty one")
	require.Empty(t, back.Rules)
}

func TestHTTPConfig(t *testing.T) {
	s := open(t, nil)
	c := httpClient(t, s)
	require.NoError(t, c.SetConfig(t.Context(), map[string]any{"schedule.merge-schedule-limit": 8, "unknown.x": 1}))
	require.NoError(t, c.SetScheduleConfig(t.Context(), map[string]any{"leader-schedule-limit": 4}))
	cfg, err := c.GetScheduleConfig(t.Context())
	require.NoError(t, err)
	require.InDelta(t, 8, cfg["merge-schedule-limit"], 0)
	require.InDelta(t, 4, cfg["leader-schedule-limit"], 0)
	replicate, err := c.GetReplicateConfig(t.Context())
	require.NoError(t, err)
	require.InDelta(t, 1, replicate["max-replicas"], 0)
	version, err := c.GetClusterVersion(t.Context())
	require.NoError(t, err)
	require.Equal(t, DefaultVersion, version)

	require.NoError(t, c.CreateScheduler(t.Context(), "evict-leader-scheduler", 1))
	require.NoError(t, c.SetSchedulerDelay(t.Context(), "evict-leader-scheduler", 10))
	names, err := c.GetSchedulers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"evict-leader-scheduler"}, names)
	require.NoError(t, c.DeleteScheduler(t.Context(), "evict-leader-scheduler"))
	require.Equal(t, 400, call(t, s, "POST", "/pd/api/v1/config", "no JSON", nil))
}
