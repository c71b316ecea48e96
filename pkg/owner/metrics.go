package owner

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the owner's own figures. They are shared by all terms of a
// capture, because a term comes and goes.
type Metrics struct{}

// NewMetrics registers the figures; a nil registerer registers nothing.
func NewMetrics(prometheus.Registerer) *Metrics { return &Metrics{} }
