package sorter

import "github.com/prometheus/client_golang/prometheus"

// register shows what the engine counts. The first two have TiCDC's names.
func (e *Engine) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "ticdc", Subsystem: "sorter", Name: name, Help: help}
	}
	gauge := func(name, help string, labels prometheus.Labels, v func() int64) prometheus.Collector {
		o := opts(name, help)
		o.ConstLabels = labels
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(o), func() float64 { return float64(v()) })
	}
	counter := func(name, help string, v func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts(opts(name, help)), func() float64 { return float64(v()) })
	}
	id := prometheus.Labels{"id": "0"}
	for _, c := range []prometheus.Collector{
		gauge("in_memory_data_size_gauge", "Bytes of rows that are kept in memory.", id, e.Held),
		gauge("on_disk_data_size_gauge", "Bytes of sorted runs on disk.", id, e.OnDisk),
		gauge("memory_limit_bytes", "What rows in memory are bounded by; 0 is no bound.", nil, e.MemoryLimit),
		gauge("memory_peak_bytes", "The most bytes of rows that were kept in memory.", nil, e.budget.peak.Load),
		counter("memory_waits_total", "Times that streams waited for rows to go to disk.", e.budget.waits.Load),
		counter("spilled_bytes_total", "Bytes that went to disk.", e.spilled.Load),
	} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
