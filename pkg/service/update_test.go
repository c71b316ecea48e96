package service_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

func TestUpdate(t *testing.T) {
	id := model.DefaultChangefeedID("a")
	rules := func(c *config.ReplicaConfig) *config.ReplicaConfig {
		c.Filter.Rules = []string{"a.*"}
		return c
	}
	protocol := func(p string) func(*config.ReplicaConfig) *config.ReplicaConfig {
		return func(c *config.ReplicaConfig) *config.ReplicaConfig {
			c.Sink.Protocol = &p
			return c
		}
	}
	tests := []struct {
		name string
		uri  config.SinkURI
		req  service.UpdateRequest
		err  string // empty: stored
	}{
		{name: "config", uri: "mysql://h/", req: service.UpdateRequest{Config: rules}},
		{name: "target", uri: "mysql://h/", req: service.UpdateRequest{TargetTs: servicetest.NowTSO}},
		{name: "uri", uri: "mysql://h/", req: service.UpdateRequest{SinkURI: "mysql://h2/"}},
		{name: "nothing", uri: "mysql://h/", err: "changefeed config is the same with the old one, do nothing"},
		{name: "what the sink does not read", uri: "mysql://h/", req: service.UpdateRequest{
			Config: func(c *config.ReplicaConfig) *config.ReplicaConfig {
				c.Sink.CSVConfig = &config.CSVConfig{}
				return c
			},
		}, err: "the same with the old one"},
		{name: "protocol against the uri", uri: "kafka://h/t?protocol=canal-json", req: service.UpdateRequest{Config: protocol("csv")},
			err: "[CDC:ErrIncompatibleSinkConfig]incompatible configuration in sink uri(protocol=canal-json, ) and config file(protocol=csv, ), please try"},
		{name: "bad event", uri: "mysql://h/", req: service.UpdateRequest{Config: func(c *config.ReplicaConfig) *config.ReplicaConfig {
			c.Filter.EventFilters = []*config.EventFilterConfig{{Matcher: []string{"a.*"}, IgnoreEvent: []string{"x"}}}
			return c
		}}, err: "changefeed update error: [CDC:ErrInvalidIgnoreEventType]invalid ignore event type: 'x'"},
		{name: "bad expression", uri: "mysql://h/", req: service.UpdateRequest{Config: func(c *config.ReplicaConfig) *config.ReplicaConfig {
			c.Filter.EventFilters = []*config.EventFilterConfig{{Matcher: []string{"a.*"}, IgnoreDeleteValueExpr: servicetest.BadExpression}}
			return c
		}}, err: "[CDC:ErrInvalidFilterExpression]invalid filter expressions. There is a syntax error in: 'bad'"},
		{name: "protocol by the uri", uri: "kafka://h/t?protocol=canal-json",
			req: service.UpdateRequest{SinkURI: "kafka://h/t?protocol=simple"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := servicetest.New()
			f := servicetest.Feed("a", model.StateStopped, tt.uri)
			if tt.uri[0] == 'k' {
				stored := "canal-json"
				f.Info.Config.Sink.Protocol = &stored
			}
			c.Add(f)
			before := f.Info.Config.Clone()
			tt.req.ID, tt.req.TargetText = id, "%d %d"
			info, _, err := c.Service().Update(context.Background(), tt.req)
			require.Equal(t, before, f.Info.Config, "the snapshot is never modified")
			if tt.err != "" {
				require.ErrorIs(t, err, errors.ErrChangefeedUpdateRefused)
				require.ErrorContains(t, err, tt.err)
				require.Nil(t, c.Stored(id))
				return
			}
			require.NoError(t, err)
			require.Same(t, info, c.Stored(id))
			require.Equal(t, model.StateStopped, info.State)
		})
	}
}

func TestUpdateNeedsAStoppedChangefeed(t *testing.T) {
	for state, allowed := range map[model.FeedState]bool{
		model.StateNormal: false, model.StateWarning: false, model.StatePending: false, model.StateFinished: false,
		model.StateStopped: true, model.StateFailed: true,
	} {
		c := clusterWith(map[string]model.FeedState{"a": state})
		_, err := c.Service().Updatable(context.Background(), model.DefaultChangefeedID("a"))
		require.Equal(t, allowed, err == nil, state)
	}
}
