package owner

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
)

// Metrics shows the owner's figures. They are read from its snapshot when
// somebody scrapes them: changefeeds that are gone leave nothing behind, and
// a capture that is not the owner shows none. It is shared by all terms of a
// capture, because terms come and go.
type Metrics struct {
	mu       sync.Mutex
	owner    *Owner // nil outside a term
	since    time.Time
	before   time.Duration // in office in earlier terms
	tenure   *prometheus.Desc
	status   *prometheus.Desc
	byTs     []tsDesc
	gcOwn    *prometheus.Desc
	gcLeast  *prometheus.Desc
	captures *prometheus.Desc
}

// tsDesc is a TSO of a changefeed, shown in physical milliseconds, and how
// many seconds it is behind PD.
type tsDesc struct {
	ts, lag *prometheus.Desc
	of      func(*FeedView) uint64
}

// NewMetrics registers the figures; a nil registerer registers nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	feed := []string{"namespace", "changefeed"}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ticdc_"+name, help, labels, nil)
	}
	m := &Metrics{
		tenure: desc("owner_ownership_counter", "Seconds in which this capture was the owner."),
		status: desc("owner_status", "State of a changefeed.", feed...),
		byTs: []tsDesc{
			{desc("owner_checkpoint_ts", "Checkpoint of a changefeed, physical milliseconds.", feed...),
				desc("owner_checkpoint_ts_lag", "Seconds that the checkpoint is behind PD.", feed...),
				(*FeedView).checkpoint},
			{desc("owner_resolved_ts", "Resolved-ts of a changefeed, physical milliseconds.", feed...),
				desc("owner_resolved_ts_lag", "Seconds that the resolved-ts is behind PD.", feed...),
				func(v *FeedView) uint64 { return v.ResolvedTs }},
		},
		gcOwn:    desc("gc_cdc_gc_safepoint", "Safe point that the changefeeds need, physical milliseconds."),
		gcLeast:  desc("gc_min_service_gc_safepoint", "Least safe point of all services, physical milliseconds."),
		captures: desc("owner_captures", "Registered captures."),
	}
	if r != nil {
		r.MustRegister(m)
	}
	return m
}

// begin and end mark a term.
func (m *Metrics) begin(o *Owner) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owner, m.since = o, o.clock()
}

func (m *Metrics) end(o *Owner) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before += o.clock().Sub(m.since)
	m.owner = nil
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.tenure
	ch <- m.status
	for _, d := range m.byTs {
		ch <- d.ts
		ch <- d.lag
	}
	ch <- m.gcOwn
	ch <- m.gcLeast
	ch <- m.captures
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	o, tenure := m.owner, m.before
	if o != nil {
		tenure += o.clock().Sub(m.since)
	}
	m.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(m.tenure, prometheus.CounterValue, tenure.Seconds())
	if o == nil {
		return
	}
	view, now := o.View(), model.PhysicalMs(o.upstream.Now())
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(m.captures, float64(len(view.Captures)))
	gauge(m.gcOwn, float64(model.PhysicalMs(o.keeper.own.Load())))
	gauge(m.gcLeast, float64(model.PhysicalMs(o.keeper.least.Load())))
	for id, f := range view.Feeds {
		gauge(m.status, stateNumber(f.Info.State), id.Namespace, id.ID)
		for _, d := range m.byTs {
			if ts := d.of(f); ts != 0 {
				ms := model.PhysicalMs(ts)
				gauge(d.ts, float64(ms), id.Namespace, id.ID)
				gauge(d.lag, float64(now-ms)/1000, id.Namespace, id.ID)
			}
		}
	}
}

// stateNumber is the number that dashboards and alerts know a state by.
func stateNumber(s model.FeedState) float64 {
	switch s {
	case model.StateNormal:
		return 0
	case model.StatePending:
		return 1
	case model.StateFailed:
		return 2
	case model.StateStopped:
		return 3
	case model.StateFinished:
		return 4
	case model.StateRemoved:
		return 5
	case model.StateWarning:
		return 6
	}
	return -1
}
