package kafka

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/dispatch"
)

// TestFiguresEndWithTheSink: also those of a sink that was only to find out
// whether it can be made.
func TestFiguresEndWithTheSink(t *testing.T) {
	so := sink.Options{
		URI: "kafka://h/topic?protocol=open-protocol", Config: config.DefaultReplicaConfig(), TimeZone: time.UTC,
		Changefeed: model.DefaultChangefeedID("gone"),
	}
	o, err := parseOptions(so)
	require.NoError(t, err)
	rules, err := dispatch.NewRules(so.Config, o.topic, o.codec.Protocol)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		so.Registerer = registry
		shown := func() int {
			families, err := registry.Gather()
			require.NoError(t, err)
			return len(families)
		}
		s := newSink(t.Context(), o, rules, so)
		require.NotZero(t, shown())
		s.abandon()
		<-time.After(time.Hour)
		synctest.Wait()
		require.Zero(t, shown())
	})
}
