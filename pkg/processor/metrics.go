package processor

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
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

	forget []func()
}

func newMetrics(r prometheus.Registerer, id model.ChangefeedID) *metrics {
	m := &metrics{}
	feed := []string{"namespace", "changefeed"}
	m.pulledRows = m.counter(r, "puller", "txn_collect_event_count", "Events received from the stores.", feed, "type", id, "kv")
	m.sortedRows = m.counter(r, "sorter", "output_event_count", "Events that left the sorter.", feed, "type", id, "kv")
	m.syncedRows = m.counter(r, "sink", "table_sink_total_rows_count", "Rows that are durable downstream.", feed, "", id, "")
	m.putOff = m.counter(r, "processor", "scans_put_off_count", "Tables whose history had to wait for memory.", feed, "", id, "")
	m.exits = m.counter(r, "processor", "exit_with_error_count", "Runs that ended with an error.", feed, "", id, "")
	m.forget = m.forget[:len(m.forget)-1] // counts over all runs
	m.tables = m.gauge(r, "num_of_tables", "Tables that are replicated here.", feed, id)
	m.memory = m.gauge(r, "memory_consumption", "Bytes of rows in memory.", feed, id)
	m.quotaTotal, m.quotaUsed = m.quota(r, "total", id), m.quota(r, "used", id)
	return m
}

// quota is what sinks and what waits for them may have of the memory, or have.
func (m *metrics) quota(r prometheus.Registerer, kind string, id model.ChangefeedID) prometheus.Gauge {
	vec := register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
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
	vec := register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "ticdc", Subsystem: subsystem, Name: name, Help: help,
	}, labels))
	m.forget = append(m.forget, func() { vec.DeleteLabelValues(values...) })
	return vec.WithLabelValues(values...)
}

func (m *metrics) gauge(r prometheus.Registerer, name, help string, labels []string, id model.ChangefeedID) prometheus.Gauge {
	vec := register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "ticdc", Subsystem: "processor", Name: name, Help: help,
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

// register returns the collector, or the equal one that another changefeed has
// registered before.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	var before prometheus.AlreadyRegisteredError
	if err := r.Register(c); errors.As(err, &before) {
		if same, ok := before.ExistingCollector.(C); ok {
			return same
		}
	}
	return c
}
