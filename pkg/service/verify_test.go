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
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

// TestDispatchRulesHaveToFitTheTables: verify_table says so, and create and
// update refuse what would fail as soon as it runs.
func TestDispatchRulesHaveToFitTheTables(t *testing.T) {
	const kafka = config.SinkURI("kafka://h/t?protocol=canal-json")
	rule := func(r config.DispatchRule) func(*config.ReplicaConfig) {
		r.Matcher = []string{"*.*"}
		return func(c *config.ReplicaConfig) { c.Sink.DispatchRules = []*config.DispatchRule{&r} }
	}
	for _, tt := range []struct {
		name   string
		uri    config.SinkURI
		change func(*config.ReplicaConfig)
		code   *errors.Code
		text   string
	}{
		{name: "no rules", uri: kafka, change: func(*config.ReplicaConfig) {}},
		{name: "fitting", uri: kafka, change: rule(config.DispatchRule{PartitionRule: "columns", Columns: []string{"v"}})},
		{name: "unknown index", uri: kafka, change: rule(config.DispatchRule{PartitionRule: "index-value", IndexName: "x"}),
			code: errors.ErrDispatcherFailed, text: "[CDC:ErrDispatcherFailed]index not found when verify the table, table: a.b, index: x"},
		{name: "unknown column", uri: kafka, change: rule(config.DispatchRule{PartitionRule: "columns", Columns: []string{"x"}}),
			code: errors.ErrDispatcherFailed, text: "[CDC:ErrDispatcherFailed]columns not found when verify the table, table: a.b, columns: [x]"},
		{name: "topic expression", uri: kafka, change: rule(config.DispatchRule{TopicRule: "{x}"}), code: errors.ErrKafkaTopicExprInvalid},
		{name: "key not selected", uri: kafka, change: func(c *config.ReplicaConfig) {
			c.Sink.ColumnSelectors = []*config.ColumnSelector{{Matcher: []string{"a.*"}, Columns: []string{"v"}}}
		}, code: errors.ErrColumnSelectorFailed},
		{name: "other sink", uri: "blackhole://", change: rule(config.DispatchRule{PartitionRule: "columns", Columns: []string{"x"}})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := servicetest.New()
			c.Tables = []*model.Table{sinktest.NewTable(t, 7, "CREATE TABLE a.b (id INT PRIMARY KEY, v INT)").Model}
			cfg := config.DefaultReplicaConfig()
			tt.change(cfg)
			eligible, _, err := c.Service().VerifyTables(context.Background(),
				service.VerifyRequest{Config: cfg, StartTs: 1, SinkURI: tt.uri})
			_, createErr := c.Service().Create(context.Background(), request(func(r *service.CreateRequest) {
				r.SinkURI = tt.uri
				tt.change(r.Config)
			}))
			stopped := servicetest.Feed("stopped", model.StateStopped, tt.uri)
			c.Add(stopped)
			_, _, updateErr := c.Service().Update(context.Background(), service.UpdateRequest{
				ID: stopped.ID, TargetTs: servicetest.NowTSO, TargetText: "%d %d",
				Config: func(old *config.ReplicaConfig) *config.ReplicaConfig { tt.change(old); return old },
			})
			if tt.code == nil {
				require.NoError(t, err)
				require.NoError(t, createErr)
				require.NoError(t, updateErr)
				require.Len(t, eligible, 1)
				return
			}
			for _, err := range []error{err, createErr} {
				require.ErrorIs(t, err, tt.code)
				require.ErrorContains(t, err, tt.text)
			}
			require.Empty(t, c.SafePoints())
			require.ErrorIs(t, updateErr, errors.ErrChangefeedUpdateRefused)
			require.ErrorContains(t, updateErr, tt.code.Text())
		})
	}
}
