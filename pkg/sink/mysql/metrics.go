package mysql

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// metrics are the figures of one sink.
type metrics struct {
	*sink.Metrics
	flush prometheus.Observer
}

func newMetrics(r prometheus.Registerer, id model.ChangefeedID) *metrics {
	return &metrics{
		Metrics: sink.NewMetrics(r, id, "txn", "TxnSink"),
		flush: sink.HistogramVec(r, "txn_sink_dml_batch_commit", "Seconds per transaction.", sink.FeedLabels(),
			prometheus.ExponentialBuckets(0.01, 2, 18)).WithLabelValues(id.Namespace, id.ID),
	}
}

// committed counts a transaction.
func (m *metrics) committed(jobs []*job, bytes int64, took time.Duration) {
	rows := 0
	for _, j := range jobs {
		rows += len(j.rows)
	}
	m.BatchRows.Observe(float64(rows))
	m.WriteBytes.Add(float64(bytes))
	m.flush.Observe(took.Seconds())
	last := jobs[len(jobs)-1]
	m.FlushLag.Observe(time.Since(model.TimeOf(last.rows[len(last.rows)-1].CommitTs)).Seconds())
}

func (m *metrics) executed(kind string, took time.Duration) {
	m.DDLDuration.WithLabelValues(kind).Observe(took.Seconds())
	m.DDLCount.WithLabelValues(kind).Inc()
}
