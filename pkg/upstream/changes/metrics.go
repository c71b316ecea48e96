package changes

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/series"
)

// metrics carry the names that TiCDC's dashboards ask for.
type metrics struct {
	registerer prometheus.Registerer
	regions    prometheus.Gauge
	streams    *prometheus.GaugeVec
	failures   *prometheus.CounterVec
	events     *prometheus.CounterVec
	bytes      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "ticdc", Subsystem: "kvclient", Name: name, Help: help}
	}
	m := &metrics{
		registerer: r,
		regions:    prometheus.NewGauge(prometheus.GaugeOpts(opts("event_feed_count", "Registered regions."))),
		streams: prometheus.NewGaugeVec(
			prometheus.GaugeOpts(opts("grpc_stream_count", "Change streams by store.")), []string{"store"}),
		failures: prometheus.NewCounterVec(
			prometheus.CounterOpts(opts("event_feed_error_count", "Registrations that ended, by reason.")), []string{"type"}),
		events: prometheus.NewCounterVec(
			prometheus.CounterOpts(opts("pull_event_count", "Rows and resolved-ts received.")), []string{"type", "namespace", "changefeed"}),
		bytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ticdc", Subsystem: "kvclient", Name: "event_size_bytes", Help: "Sizes of the messages received.",
			ConstLabels: prometheus.Labels{"type": "received"}, Buckets: prometheus.ExponentialBuckets(64, 4, 10),
		}),
	}
	m.events = series.Register(r, m.events)
	if r != nil {
		for _, c := range m.all() {
			// A client that was registered before keeps its series.
			_ = r.Register(c)
		}
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.regions, m.streams, m.failures, m.events, m.bytes}
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.all() {
		m.registerer.Unregister(c)
	}
}

// counts are what a subscription adds to its changefeed's figures.
type counts struct {
	rows, resolved prometheus.Counter
	release        func()
}

func (m *metrics) counts(id model.ChangefeedID) counts {
	release := func() {}
	if id != (model.ChangefeedID{}) {
		release = series.Hold(m.registerer, id)
	}
	return counts{
		rows:     m.events.WithLabelValues("kv", id.Namespace, id.ID),
		resolved: m.events.WithLabelValues("resolved", id.Namespace, id.ID),
		release:  release,
	}
}

func (m *metrics) stream(store uint64, n float64) {
	m.streams.WithLabelValues(strconv.FormatUint(store, 10)).Add(n)
}
