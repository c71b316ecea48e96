package service_test

import (
	"context"
	stderrors "errors"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

func request(change func(*service.CreateRequest)) service.CreateRequest {
	r := service.CreateRequest{
		ID:      model.DefaultChangefeedID("test"),
		SinkURI: "blackhole://",
		StartTs: servicetest.NowTSO - 1000,
		Config:  config.DefaultReplicaConfig(),
	}
	if change != nil {
		change(&r)
	}
	return r
}

func eventFilter(e config.EventFilterConfig) func(*service.CreateRequest) {
	return func(r *service.CreateRequest) {
		if e.Matcher == nil {
			e.Matcher = []string{"*.*"}
		}
		r.Config.Filter.EventFilters = []*config.EventFilterConfig{&e}
	}
}

func table(schema, name string, keyed bool) *model.Table {
	t := &model.Table{Schema: schema, Name: name, Info: &timodel.TableInfo{}}
	if keyed {
		t.HandleKey = []int{0}
	}
	return t
}

func TestCreateStoresWhatWasAsked(t *testing.T) {
	c := servicetest.New()
	req := request(func(r *service.CreateRequest) { r.TargetTs = servicetest.NowTSO + 1 })
	info, err := c.Service().Create(context.Background(), req)
	require.NoError(t, err)

	require.Same(t, info, c.Stored(req.ID))
	require.Equal(t, model.StateNormal, info.State)
	require.Equal(t, req.StartTs, info.StartTs)
	require.Equal(t, req.TargetTs, info.TargetTs)
	require.Equal(t, servicetest.UpstreamID, info.UpstreamID)
	require.Equal(t, "v8.5.3", info.CreatorVersion)
	require.Equal(t, servicetest.NowTSO, info.Epoch)
	require.Equal(t, "http://127.0.0.1:2379", c.StoredUpstream().PDEndpoints, "real endpoints, not empty ones")
	require.Equal(t, map[string]uint64{servicetest.GCServiceID + "-creating-default_test": req.StartTs - 1}, c.SafePoints())
	require.Len(t, c.Probes(), 1)
}

func TestCreateStartsNowByDefault(t *testing.T) {
	c := servicetest.New()
	info, err := c.Service().Create(context.Background(), request(func(r *service.CreateRequest) { r.StartTs = 0 }))
	require.NoError(t, err)
	require.Equal(t, servicetest.NowTSO, info.StartTs)
}

// TestCreateRefusals: every refusal has its code and leaves nothing behind.
func TestCreateRefusals(t *testing.T) {
	type setup func(*servicetest.Cluster)
	tests := []struct {
		name    string
		cluster setup
		change  func(*service.CreateRequest)
		code    *errors.Code
		text    string
	}{
		{name: "not the owner", cluster: func(c *servicetest.Cluster) { c.IsOwner = false }, code: errors.ErrNotOwner},
		{name: "no sink uri", change: func(r *service.CreateRequest) { r.SinkURI, r.EmptyURI = "", "empty" },
			code: errors.ErrSinkURIInvalid, text: "[CDC:ErrSinkURIInvalid]sink uri invalid 'empty'"},
		{name: "bad id", change: func(r *service.CreateRequest) { r.ID.ID = "a_b" },
			code: errors.ErrAPIInvalidParam, text: "[CDC:ErrAPIInvalidParam]invalid changefeed_id: a_b"},
		{name: "bad namespace", change: func(r *service.CreateRequest) { r.ID.Namespace = "-" },
			code: errors.ErrAPIInvalidParam, text: "[CDC:ErrAPIInvalidParam]invalid namespace: -"},
		{name: "duplicate", cluster: func(c *servicetest.Cluster) {
			c.Add(servicetest.Feed("test", model.StateStopped, "blackhole://"))
		}, code: errors.ErrChangeFeedAlreadyExists, text: "[CDC:ErrChangeFeedAlreadyExists]changefeed already exists, test"},
		{name: "PD gives no time", cluster: func(c *servicetest.Cluster) { c.TSOErr = stderrors.New("down") },
			code: errors.ErrPDEtcdAPIError, text: "[CDC:ErrPDEtcdAPIError]etcd api call error%!(EXTRA string=fail to get ts from pd client)"},
		{name: "start in the future", change: func(r *service.CreateRequest) { r.StartTs = servicetest.NowTSO + 1 },
			code: errors.ErrAPIInvalidParam,
			text: "[CDC:ErrAPIInvalidParam]invalid start-ts 439749918821711875, larger than current tso 439749918821711874"},
		{name: "start at the end of time", change: func(r *service.CreateRequest) { r.StartTs = 1<<64 - 1 },
			code: errors.ErrAPIInvalidParam},
		{name: "start before GC", cluster: func(c *servicetest.Cluster) { c.MinSafe = servicetest.NowTSO - 1000 },
			code: errors.ErrStartTsBeforeGC,
			text: "[CDC:ErrStartTsBeforeGC]fail to create or maintain changefeed because start-ts 439749918821710874 is earlier than or equal to GC safepoint at 439749918821710874"},
		{name: "start at one", cluster: func(c *servicetest.Cluster) { c.MinSafe = 5 },
			change: func(r *service.CreateRequest) { r.StartTs = 1 }, code: errors.ErrStartTsBeforeGC},
		{name: "PD takes no safe point", cluster: func(c *servicetest.Cluster) { c.SafePointErr = stderrors.New("down") },
			code: errors.ErrPDEtcdAPIError},
		{name: "target before start", change: func(r *service.CreateRequest) { r.TargetTs = r.StartTs },
			code: errors.ErrTargetTsBeforeStartTs},
		{name: "uri does not parse", change: func(r *service.CreateRequest) { r.SinkURI = "mysql://root:pw%zz@h/" },
			code: errors.ErrSinkURIInvalid},
		{name: "protocol with mysql", change: func(r *service.CreateRequest) { r.SinkURI = "mysql://h/?protocol=canal" },
			code: errors.ErrSinkURIInvalid, text: "[CDC:ErrSinkURIInvalid]protocol canal is incompatible with mysql scheme"},
		{name: "filter rule", change: func(r *service.CreateRequest) { r.Config.Filter.Rules = []string{"rule"} },
			code: errors.ErrFilterRuleInvalid},
		{name: "event filter: matcher", change: eventFilter(config.EventFilterConfig{Matcher: []string{"a"}}),
			code: errors.ErrFilterRuleInvalid, text: "[CDC:ErrFilterRuleInvalid]filter rule is invalid [a]: at <cmdline>:1: wrong table pattern"},
		{name: "event filter: event", change: eventFilter(config.EventFilterConfig{IgnoreEvent: []string{"Insert"}}),
			code: errors.ErrInvalidIgnoreEventType, text: "[CDC:ErrInvalidIgnoreEventType]invalid ignore event type: 'Insert'"},
		{name: "event filter: statement", change: eventFilter(config.EventFilterConfig{IgnoreSQL: []string{"("}}),
			code: errors.ErrFilterRuleInvalid},
		{name: "event filter: expression", change: eventFilter(config.EventFilterConfig{IgnoreInsertValueExpr: "x"}),
			cluster: func(c *servicetest.Cluster) {
				c.ExpressionErr = errors.ErrExpressionColumnNotFound.New("x", "a.b", "x")
			},
			code: errors.ErrExpressionColumnNotFound},
		{name: "ineligible tables", cluster: func(c *servicetest.Cluster) {
			c.Tables = []*model.Table{table("db", "b", false), table("db", "a", false), table("db", "k", true), table("mysql", "x", false)}
		}, code: errors.ErrTableIneligible,
			text: "[CDC:ErrTableIneligible]some tables are not eligible to replicate([db.a db.b]), if you want to ignore these tables, please set ignore_ineligible_table to true"},
		{name: "time zone", change: func(r *service.CreateRequest) { r.TimeZone = "Moon/Base" }, code: errors.ErrAPIInvalidParam},
		{name: "downstream down", cluster: func(c *servicetest.Cluster) {
			c.ProbeErr = errors.ErrMySQLConnectionError.Wrap(stderrors.New("refused"))
		}, code: errors.ErrMySQLConnectionError},
		{name: "import runs", cluster: func(c *servicetest.Cluster) { c.Importing = true }, code: errors.ErrUpstreamHasRunningImport},
		{name: "lost race", cluster: func(c *servicetest.Cluster) {
			c.CreateErr = errors.ErrMetaOpFailed.New("Create changefeed default/test")
		}, code: errors.ErrMetaOpFailed},
		{name: "other PD", change: func(r *service.CreateRequest) { r.PD.Endpoints = []string{"http://other:2379"} },
			code: errors.ErrAPIGetPDClientFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := servicetest.New()
			if tt.cluster != nil {
				tt.cluster(c)
			}
			req := request(tt.change)
			_, err := c.Service().Create(context.Background(), req)
			require.ErrorIs(t, err, tt.code)
			if tt.text != "" {
				require.EqualError(t, err, tt.text)
			}
			require.NotContains(t, err.Error(), "pw%zz", "no password in errors")
			require.Nil(t, c.Stored(req.ID))
			require.Empty(t, c.SafePoints())
		})
	}
}

func TestIneligibleTablesMayBeWanted(t *testing.T) {
	for _, change := range []func(*config.ReplicaConfig){
		func(c *config.ReplicaConfig) { c.ForceReplicate = true },
		func(c *config.ReplicaConfig) { c.IgnoreIneligibleTable = true },
		func(c *config.ReplicaConfig) { c.Filter.Rules = []string{"other.*"} },
	} {
		c := servicetest.New()
		c.Tables = []*model.Table{table("db", "a", false)}
		_, err := c.Service().Create(context.Background(), request(func(r *service.CreateRequest) { change(r.Config) }))
		require.NoError(t, err)
	}
}

func TestCreateEndsWithItsClient(t *testing.T) {
	c := servicetest.New()
	c.Hidden = true // the owner never shows it
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Service().Create(ctx, request(nil))
	require.NoError(t, err, "stored is stored")
}

func TestOwnerIsAwaited(t *testing.T) {
	c := servicetest.New()
	c.SetView(func(v *owner.View) { v.Ready = false })
	result := make(chan error, 1)
	go func() {
		_, err := c.Service().Changefeeds(context.Background(), "", "")
		result <- err
	}()
	c.SetView(func(v *owner.View) { v.Ready = true })
	require.NoError(t, <-result)
}
