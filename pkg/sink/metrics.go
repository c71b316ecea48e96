package sink

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/series"
)

// Metrics are the figures that every kind of sink has, under one kind's type
// label. The collectors are shared by all sinks of a registry and outlive
// them: a changefeed has several sinks, one after the other and side by side.
type Metrics struct {
	BatchRows   prometheus.Observer // rows per batch that became durable
	WriteBytes  prometheus.Counter  // of durable batches, as sent downstream
	FlushLag    prometheus.Observer // seconds from commit upstream to durable downstream
	RowErrors   prometheus.Counter
	DDLErrors   prometheus.Counter
	DDLDuration prometheus.ObserverVec // by type of DDL, in seconds
	DDLCount    *prometheus.CounterVec // by type of DDL

	release func()
}

// NewMetrics makes the figures of a changefeed. A nil Registerer registers
// nothing. Whatever else a sink shows of the changefeed is made after that, and
// the sink ends with Close. Kind is the type label of batches, errorKind that of row errors.
func NewMetrics(r prometheus.Registerer, id model.ChangefeedID, kind, errorKind string) *Metrics {
	release := series.Hold(r, id)
	feed, typed := FeedLabels(), TypedLabels()
	errs := CounterVec(r, "execution_error", "Failed batches and DDL.", typed)
	ddl := prometheus.Labels{"namespace": id.Namespace, "changefeed": id.ID}
	return &Metrics{
		BatchRows: HistogramVec(r, "batch_row_count", "Rows per batch.", typed,
			prometheus.ExponentialBuckets(1, 2, 18)).WithLabelValues(id.Namespace, id.ID, kind),
		WriteBytes: CounterVec(r, "write_bytes_total", "Bytes of durable batches, as sent downstream.", typed).
			WithLabelValues(id.Namespace, id.ID, kind),
		FlushLag: HistogramVec(r, "flush_lag_histogram", "Seconds from commit upstream to durable downstream.", feed,
			LagBuckets()).WithLabelValues(id.Namespace, id.ID),
		RowErrors: errs.WithLabelValues(id.Namespace, id.ID, errorKind),
		DDLErrors: errs.WithLabelValues(id.Namespace, id.ID, "DDL"),
		DDLDuration: HistogramVec(r, "ddl_exec_duration", "Seconds per DDL.", typed,
			prometheus.ExponentialBuckets(0.01, 2, 18)).MustCurryWith(ddl),
		DDLCount: CounterVec(r, "ddl_exec_count", "Executed DDL.", typed).MustCurryWith(ddl),
		release:  release,
	}
}

// Close lets the figures go: they vanish a while after the last sink of the
// changefeed has. It may be called several times.
func (m *Metrics) Close() { m.release() }

// FeedLabels are the labels of one changefeed's figures.
func FeedLabels() []string { return []string{"namespace", "changefeed"} }

// TypedLabels are FeedLabels and a type.
func TypedLabels() []string { return []string{"namespace", "changefeed", "type"} }

// LagBuckets are fine where lags should be, and reach to hours.
func LagBuckets() []float64 {
	buckets := prometheus.LinearBuckets(0.5, 0.5, 20)
	buckets = append(buckets, prometheus.LinearBuckets(11, 1, 10)...)
	buckets = append(buckets, prometheus.LinearBuckets(21, 30, 20)...)
	buckets = append(buckets, prometheus.LinearBuckets(900, 300, 10)...)
	return append(buckets, 4000, 8000, 16000, 32000)
}

// CounterVec makes a sink's counter, or returns the one that r has already.
func CounterVec(r prometheus.Registerer, name, help string, labels []string) *prometheus.CounterVec {
	return series.Register(r, prometheus.NewCounterVec(
		prometheus.CounterOpts{Namespace: "ticdc", Subsystem: "sink", Name: name, Help: help}, labels))
}

// GaugeVec makes a sink's gauge, or returns the one that r has already.
func GaugeVec(r prometheus.Registerer, name, help string, labels []string) *prometheus.GaugeVec {
	return series.Register(r, prometheus.NewGaugeVec(
		prometheus.GaugeOpts{Namespace: "ticdc", Subsystem: "sink", Name: name, Help: help}, labels))
}

// HistogramVec makes a sink's histogram, or returns the one that r has already.
func HistogramVec(r prometheus.Registerer, name, help string, labels []string, buckets []float64) *prometheus.HistogramVec {
	return series.Register(r, prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Namespace: "ticdc", Subsystem: "sink", Name: name, Help: help, Buckets: buckets}, labels))
}
