package mysql

import (
	stderrors "errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
)

// metrics are the figures of one sink. The collectors are shared by all sinks
// of a registry and outlive them: a changefeed has several sinks, one after
// the other and side by side.
type metrics struct {
	batchRows   prometheus.Observer
	writeBytes  prometheus.Counter
	flush       prometheus.Observer
	flushLag    prometheus.Observer
	dmlErrors   prometheus.Counter
	ddlErrors   prometheus.Counter
	ddlDuration prometheus.ObserverVec
	ddlCount    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, id model.ChangefeedID) *metrics {
	feed, typed := []string{"namespace", "changefeed"}, []string{"namespace", "changefeed", "type"}
	errs := counterVec(r, "execution_error", "Failed transactions and DDL.", typed)
	ddl := prometheus.Labels{"namespace": id.Namespace, "changefeed": id.ID}
	return &metrics{
		batchRows: histogramVec(r, "batch_row_count", "Rows per transaction.", typed,
			prometheus.ExponentialBuckets(1, 2, 18)).WithLabelValues(id.Namespace, id.ID, "txn"),
		writeBytes: counterVec(r, "write_bytes_total", "Bytes of SQL text of committed transactions.", typed).
			WithLabelValues(id.Namespace, id.ID, "txn"),
		flush: histogramVec(r, "txn_sink_dml_batch_commit", "Seconds per transaction.", feed,
			prometheus.ExponentialBuckets(0.01, 2, 18)).WithLabelValues(id.Namespace, id.ID),
		flushLag: histogramVec(r, "flush_lag_histogram", "Seconds from commit upstream to commit downstream.", feed,
			lagBuckets()).WithLabelValues(id.Namespace, id.ID),
		dmlErrors: errs.WithLabelValues(id.Namespace, id.ID, "TxnSink"),
		ddlErrors: errs.WithLabelValues(id.Namespace, id.ID, "DDL"),
		ddlDuration: histogramVec(r, "ddl_exec_duration", "Seconds per DDL.", typed,
			prometheus.ExponentialBuckets(0.01, 2, 18)).MustCurryWith(ddl),
		ddlCount: counterVec(r, "ddl_exec_count", "Executed DDL.", typed).MustCurryWith(ddl),
	}
}

// lagBuckets are fine where lags should be, and reach to hours.
func lagBuckets() []float64 {
	buckets := prometheus.LinearBuckets(0.5, 0.5, 20)
	buckets = append(buckets, prometheus.LinearBuckets(11, 1, 10)...)
	buckets = append(buckets, prometheus.LinearBuckets(21, 30, 20)...)
	buckets = append(buckets, prometheus.LinearBuckets(900, 300, 10)...)
	return append(buckets, 4000, 8000, 16000, 32000)
}

func counterVec(r prometheus.Registerer, name, help string, labels []string) *prometheus.CounterVec {
	return register(r, prometheus.NewCounterVec(
		prometheus.CounterOpts{Namespace: "ticdc", Subsystem: "sink", Name: name, Help: help}, labels))
}

func histogramVec(r prometheus.Registerer, name, help string, labels []string, buckets []float64) *prometheus.HistogramVec {
	return register(r, prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Namespace: "ticdc", Subsystem: "sink", Name: name, Help: help, Buckets: buckets}, labels))
}

// register returns the collector that r has already, if it has one.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	var known prometheus.AlreadyRegisteredError
	if stderrors.As(r.Register(c), &known) {
		if existing, ok := known.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

// committed counts a transaction.
func (m *metrics) committed(jobs []*job, bytes int64, took time.Duration) {
	rows := 0
	for _, j := range jobs {
		rows += len(j.rows)
	}
	m.batchRows.Observe(float64(rows))
	m.writeBytes.Add(float64(bytes))
	m.flush.Observe(took.Seconds())
	last := jobs[len(jobs)-1]
	m.flushLag.Observe(time.Since(model.TimeOf(last.rows[len(last.rows)-1].CommitTs)).Seconds())
}

func (m *metrics) executed(kind string, took time.Duration) {
	m.ddlDuration.WithLabelValues(kind).Observe(took.Seconds())
	m.ddlCount.WithLabelValues(kind).Inc()
}
