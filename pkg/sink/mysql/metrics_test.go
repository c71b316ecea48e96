package mysql

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// TestFiguresEndWithTheSink: what the sinks of a removed changefeed showed does
// not stay for the life of the process.
func TestFiguresEndWithTheSink(t *testing.T) {
	o := sink.Options{
		URI: "mysql://h/", Config: config.DefaultReplicaConfig(), TimeZone: time.UTC,
		Changefeed: model.DefaultChangefeedID("gone"),
	}
	set, err := parseSettings(o)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		o.Registerer = registry
		shown := func() int {
			families, err := registry.Gather()
			require.NoError(t, err)
			return len(families)
		}
		f, sv := &fakeServer{}, &server{maxPacket: 64 << 20, maxPrepared: -1, hasGBK: true}
		rows := newSink(t.Context(), set, sv, f, f, o)
		ddl := newSink(t.Context(), set, sv, f, f, o) // the owner's
		rows.metrics.RowErrors.Inc()
		rows.Close()
		<-time.After(time.Hour)
		require.NotZero(t, shown())
		ddl.Close()
		require.NotZero(t, shown(), "alerts shall see the error")
		<-time.After(time.Hour)
		synctest.Wait()
		require.Zero(t, shown())
	})
}
