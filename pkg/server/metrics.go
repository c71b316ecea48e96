package server

import (
	"runtime"
	"runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
)

// gcPercent is the runtime's name for how much garbage may come on what is in
// use.
const gcPercent = "/gc/gogc:percent"

// registerRuntime shows what dashboards compare the figures of the process with.
func registerRuntime(r prometheus.Registerer) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "ticdc", Subsystem: "server", Name: name, Help: help,
		}, value))
	}
	gauge("go_gc", "Garbage, in percent of what is in use, at which the collector runs.", func() float64 {
		sample := []metrics.Sample{{Name: gcPercent}}
		metrics.Read(sample)
		return float64(sample[0].Value.Uint64())
	})
	gauge("go_max_procs", "Threads that run Go code at a time, at most.", func() float64 {
		return float64(runtime.GOMAXPROCS(0))
	})
}
