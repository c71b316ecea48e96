package processor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/series"
)

// metrics are the figures of one changefeed. The collectors are shared by all
// changefeeds of a registry.
type metrics struct {
	pulledRows prometheus.Counter
	sortedRows prometheus.Counter
	syncedRows prometheus.Counter
	exits      prometheus.Counter
	putOff     prometheus.Counter
	tables     prometheus.Gauge
	memory     prometheus.Gauge
	quotaTotal prometheus.Gauge
	quotaUsed  prometheus.Gauge
	// rounds is also where dashboards find the names of the changefeeds.
	rounds prometheus.Observer

	forget []func()
}

func newMetrics(r prometheus.Registerer, id model.ChangefeedID) *metrics {
	m := &metrics{forget: []func(){series.Hold(r, id)}}
	feed := []string{"namespace", "changefeed"}
	m.pulledRows = m.counter(r, "puller", "txn_collect_event_count", "Events received from the stores.", feed, "type", id, "kv")
	m.sortedRows = m.counter(r, "sorter", "output_event_count", "Events that left the sorter.", feed, "type", id, "kv")
	m.syncedRows = m.counter(r, "sink", "table_sink_total_rows_count", "Rows that are durable downstream.", feed, "", id, "")
	m.putOff = m.counter(r, "processor", "scans_put_off_count", "Tables whose history had to wait for memory.", feed, "", id, "")
	m.exits = m.counter(r, "processor", "exit_with_error_count", "Runs that ended with an error.", feed, "", id, "")
	m.forget = m.forget[:len(m.forget)-1] // counts over runs, and is seen for a while after one
	m.tables = m.gauge(r, "num_of_tables", "Tables that are replicated here.", feed, id)
	m.memory = m.gauge(r, "memory_consumption", "Bytes of rows in memory.", feed, id)
	m.rounds = m.histogram(r, "processor_tick_duration", "Seconds per round of the processor's loop.", feed, id)
	m.quotaTotal, m.quotaUsed = m.quota(r, "total", id), m.quota(r, "used", id)
	return m
}

// quota is what sinks and what waits for them may have of the memory, or have.
func (m *metrics) quota(r prometheus.Registerer, kind string, id model.ChangefeedID) prometheus.Gauge {
	vec := series.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "ticdc", Subsystem: "sinkmanager", Name: "memory_quota", Help: "Bytes of the memory quota.",
	}, []string{"namespace", "changefeed", "type", "component"}))
	values := []string{id.Namespace, id.ID, kind, "sink"}
	m.forget = append(m.forget, func() { vec.DeleteLabelValues(values...) })
	return vec.WithLabelValues(values...)
}

// holds takes note of the bytes of rows in memory.
func (m *metrics) holds(bytes int64) {
	m.memory.Set(float64(bytes))
	m.quotaUsed.Set(float64(bytes))
}

func (m *metrics) counter(r prometheus.Registerer, subsystem, name, help string, labels []string, extra string, id model.ChangefeedID, value string) prometheus.Counter {
	values := []string{id.Namespace, id.ID}
	if extra != "" {
		labels, values = append(labels[:2:2], extra), append(values, value)
	}
	vec := series.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "ticdc", Subsystem: subsystem, Name: name, Help: help,
	}, labels))
	m.forget = append(m.forget, func() { vec.DeleteLabelValues(values...) })
	return vec.WithLabelValues(values...)
}

func (m *metrics) gauge(r prometheus.Registerer, name, help string, labels []string, id model.ChangefeedID) prometheus.Gauge {
	vec := series.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "ticdc", Subsystem: "processor", Name: name, Help: help,
	}, labels))
	m.forget = append(m.forget, func() { vec.DeleteLabelValues(id.Namespace, id.ID) })
	return vec.WithLabelValues(id.Namespace, id.ID)
}

func (m *metrics) histogram(r prometheus.Registerer, name, help string, labels []string, id model.ChangefeedID) prometheus.Observer {
	vec := series.Register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "ticdc", Subsystem: "processor", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.01, 2, 18),
	}, labels))
	m.forget = append(m.forget, func() { vec.DeleteLabelValues(id.Namespace, id.ID) })
	return vec.WithLabelValues(id.Namespace, id.ID)
}

// close takes the changefeed out of the collectors.
func (m *metrics) close() {
	for _, f := range m.forget {
		f()
	}
}
