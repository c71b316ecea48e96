package series

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// figures makes the metrics of a changefeed as its parts do.
func figures(r prometheus.Registerer, id model.ChangefeedID) (prometheus.Counter, func()) {
	release := Hold(r, id)
	errors := Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "errors"}, []string{"namespace", "changefeed"}))
	took := Register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "took"}, []string{"namespace", "changefeed", "type"}))
	took.MustCurryWith(prometheus.Labels{"namespace": id.Namespace, "changefeed": id.ID}).WithLabelValues("x").Observe(1)
	return errors.WithLabelValues(id.Namespace, id.ID), release
}

// shown lists the changefeeds that a scrape finds, by metric.
func shown(t *testing.T, r *prometheus.Registry) map[string][]string {
	families, err := r.Gather()
	require.NoError(t, err)
	found := map[string][]string{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "changefeed" {
					found[f.GetName()] = append(found[f.GetName()], l.GetValue())
				}
			}
		}
	}
	return found
}

func both(ids ...string) map[string][]string {
	if len(ids) == 0 {
		return map[string][]string{}
	}
	return map[string][]string{"errors": ids, "took": ids}
}

// TestSeriesEndWithTheirChangefeed runs on the clock of its bubble.
func TestSeriesEndWithTheirChangefeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		a, b := model.DefaultChangefeedID("a"), model.DefaultChangefeedID("b")
		sink, closeSink := figures(r, a)
		processor, closeProcessor := figures(r, a)
		_, closeB := figures(r, b)
		sink.Inc()
		processor.Inc()
		require.Equal(t, both("a", "b"), shown(t, r))

		closeSink()
		closeSink() // counts once
		<-time.After(2 * linger)
		require.Equal(t, both("a", "b"), shown(t, r), "the processor has it still")

		closeProcessor()
		<-time.After(linger - 1)
		require.Equal(t, both("a", "b"), shown(t, r), "alerts shall see why it ended")
		<-time.After(1)
		synctest.Wait()
		require.Equal(t, both("b"), shown(t, r))

		closeB()
		_, closeA := figures(r, a)
		<-time.After(linger / 2)
		_, closeB = figures(r, b) // the next run
		<-time.After(linger)
		require.Equal(t, both("a", "b"), shown(t, r))
		closeA()
		closeB()
		<-time.After(linger)
		synctest.Wait()
		require.Equal(t, both(), shown(t, r))
	})
}

func TestNoRegistry(t *testing.T) {
	counter, release := figures(nil, model.DefaultChangefeedID("a"))
	counter.Inc()
	release()
}

// TestRegistriesAreApart: several captures may live in one process.
func TestRegistriesAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := model.DefaultChangefeedID("a")
		here, there := prometheus.NewRegistry(), prometheus.NewRegistry()
		_, closeHere := figures(here, id)
		_, closeThere := figures(there, id)
		closeHere()
		<-time.After(linger)
		synctest.Wait()
		require.Equal(t, both(), shown(t, here))
		require.Equal(t, both("a"), shown(t, there))
		closeThere()
		<-time.After(linger)
	})
}
