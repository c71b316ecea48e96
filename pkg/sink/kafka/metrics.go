package kafka

import (
	"context"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	gometrics "github.com/rcrowley/go-metrics"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// followEvery is how often the client's own figures are read.
const followEvery = 5 * time.Second

// metrics are the figures of one sink.
type metrics struct {
	*sink.Metrics
	id model.ChangefeedID

	send       prometheus.Observer // seconds from hand-over to acknowledgement
	roundRows  prometheus.Observer
	roundTime  prometheus.Observer
	encoderIn  prometheus.Gauge // tasks that wait for encoders
	encoderOut prometheus.Gauge // runs of messages that wait for the producer
	retries    prometheus.Gauge
	errors     prometheus.Gauge

	outgoing, requests, responses, inFlight *prometheus.GaugeVec // by broker
	latency                                 *prometheus.GaugeVec // by broker and type, seconds
	compression, records                    *prometheus.GaugeVec // by type
}

func newMetrics(r prometheus.Registerer, id model.ChangefeedID) *metrics {
	feed, typed := sink.FeedLabels(), sink.TypedLabels()
	broker := append(sink.FeedLabels(), "broker")
	histogram := func(name, help string, buckets []float64) prometheus.Observer {
		return sink.HistogramVec(r, name, help, feed, buckets).WithLabelValues(id.Namespace, id.ID)
	}
	gauge := func(name, help string, labels []string) *prometheus.GaugeVec {
		return sink.GaugeVec(r, name, help, labels)
	}
	return &metrics{
		Metrics:   sink.NewMetrics(r, id, "mq", "RowSink"),
		id:        id,
		send:      histogram("mq_worker_send_message_duration", "Seconds until messages are acknowledged.", prometheus.ExponentialBuckets(0.001, 2, 20)),
		roundRows: histogram("mq_worker_batch_size", "Rows that a worker encodes at a time.", prometheus.ExponentialBuckets(4, 2, 10)),
		roundTime: histogram("mq_worker_batch_duration", "Seconds that a worker takes to encode them.", prometheus.ExponentialBuckets(0.004, 2, 10)),
		encoderIn: gauge("encoder_group_input_chan_size", "Pieces of batches that wait for an encoder.", feed).
			WithLabelValues(id.Namespace, id.ID),
		encoderOut: gauge("encoder_group_output_chan_size", "Encoded pieces that wait for the producer.", feed).
			WithLabelValues(id.Namespace, id.ID),
		retries: gauge("kafka_producer_retry_count", "Batches that were sent again.", feed).
			WithLabelValues(id.Namespace, id.ID),
		errors: gauge("kafka_producer_err_count", "Producers that failed for good.", feed).
			WithLabelValues(id.Namespace, id.ID),
		outgoing:    gauge("kafka_producer_outgoing_byte_rate", "Bytes per second.", broker),
		requests:    gauge("kafka_producer_request_rate", "Requests per second.", broker),
		responses:   gauge("kafka_producer_response_rate", "Responses per second.", broker),
		inFlight:    gauge("kafka_producer_in_flight_requests", "Requests without a response.", broker),
		latency:     gauge("kafka_producer_request_latency", "Seconds per request.", append(broker, "type")),
		compression: gauge("kafka_producer_compression_ratio", "Size before by size after compression, times 100.", typed),
		records:     gauge("kafka_producer_records_per_request", "Messages per request.", typed),
	}
}

// encoded counts a worker's round.
func (m *metrics) encoded(rows int, took time.Duration) {
	m.roundRows.Observe(float64(rows))
	m.roundTime.Observe(took.Seconds())
}

// delivered counts rows whose messages are durable.
func (m *metrics) delivered(rows, bytes int, lastCommit uint64, took time.Duration) {
	m.BatchRows.Observe(float64(rows))
	m.WriteBytes.Add(float64(bytes))
	m.send.Observe(took.Seconds())
	m.FlushLag.Observe(time.Since(model.TimeOf(lastCommit)).Seconds())
}

// follow reads figures that change by themselves until ctx ends: the client's
// own, and what waits in the sink.
func (m *metrics) follow(ctx context.Context, client sarama.Client, waiting func() (tasks, sends int)) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tasks, sends := waiting()
			m.encoderIn.Set(float64(tasks))
			m.encoderOut.Set(float64(sends))
			m.read(client)
		}
	}
}

func (m *metrics) read(client sarama.Client) {
	r := client.Config().MetricRegistry
	for _, b := range client.Brokers() {
		broker := strconv.Itoa(int(b.ID()))
		suffix := "-for-broker-" + broker
		rate(r, "outgoing-byte-rate"+suffix, m.outgoing.WithLabelValues(m.id.Namespace, m.id.ID, broker))
		rate(r, "request-rate"+suffix, m.requests.WithLabelValues(m.id.Namespace, m.id.ID, broker))
		rate(r, "response-rate"+suffix, m.responses.WithLabelValues(m.id.Namespace, m.id.ID, broker))
		if c, ok := r.Get("requests-in-flight" + suffix).(gometrics.Counter); ok {
			m.inFlight.WithLabelValues(m.id.Namespace, m.id.ID, broker).Set(float64(c.Snapshot().Count()))
		}
		const milliseconds = 1000
		spread(r, "request-latency-in-ms"+suffix, milliseconds, func(kind string) prometheus.Gauge {
			return m.latency.WithLabelValues(m.id.Namespace, m.id.ID, broker, kind)
		})
	}
	spread(r, "compression-ratio", 1, func(kind string) prometheus.Gauge {
		return m.compression.WithLabelValues(m.id.Namespace, m.id.ID, kind)
	})
	spread(r, "records-per-request", 1, func(kind string) prometheus.Gauge {
		return m.records.WithLabelValues(m.id.Namespace, m.id.ID, kind)
	})
}

func rate(r gometrics.Registry, name string, g prometheus.Gauge) {
	if meter, ok := r.Get(name).(gometrics.Meter); ok {
		g.Set(meter.Snapshot().Rate1())
	}
}

// spread shows a distribution by its mean and its 99th percentile.
func spread(r gometrics.Registry, name string, unit float64, g func(kind string) prometheus.Gauge) {
	if h, ok := r.Get(name).(gometrics.Histogram); ok {
		s := h.Snapshot()
		g("avg").Set(s.Mean() / unit)
		g("p99").Set(s.Percentile(0.99) / unit)
	}
}
