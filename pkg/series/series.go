// Package series lets the changefeeds of a process share metrics, and takes the
// series of one out a while after it has ended here.
package series

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/model"
)

// linger is how long the series of a changefeed stay after the last part of it
// has ended. The usual alerts look for changes within a minute: an error that
// ends a run has to be seen by then.
const linger = time.Minute

// Register returns the collector, or the equal one that the registry has
// already. Series of a vector that have the labels namespace and changefeed
// stay as long as somebody holds the changefeed. A nil registry registers
// nothing.
func Register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	c = register(r, c)
	if v, ok := any(c).(vector); ok {
		register(r, newKeeper()).add(v)
	}
	return c
}

// Hold keeps the series of a changefeed in a registry until release is called,
// by everybody who holds it, and for a while after that. Series must be made
// after Hold. Further calls of release do nothing.
func Hold(r prometheus.Registerer, id model.ChangefeedID) (release func()) {
	if r == nil {
		return func() {}
	}
	return register(r, newKeeper()).hold(id)
}

func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	var known prometheus.AlreadyRegisteredError
	if errors.As(r.Register(c), &known) {
		if existing, ok := known.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

// vector is a metric with labels.
type vector interface {
	// DeletePartialMatch removes the series with these labels and returns how
	// many there were.
	DeletePartialMatch(labels prometheus.Labels) int
}

// keeper knows who holds the changefeeds of a registry. It is a collector
// without metrics, so that it is found there.
type keeper struct {
	mu      sync.Mutex
	vectors map[vector]struct{}
	holds   map[model.ChangefeedID]*hold
}

// hold counts the holders of one changefeed.
type hold struct {
	holders int
	end     *time.Timer // runs while there are none
}

func newKeeper() *keeper {
	return &keeper{vectors: map[vector]struct{}{}, holds: map[model.ChangefeedID]*hold{}}
}

// Describe implements prometheus.Collector.
func (k *keeper) Describe(ch chan<- *prometheus.Desc) {
	ch <- prometheus.NewDesc("ticdc_series_keeper", "Shows nothing.", nil, nil)
}

// Collect implements prometheus.Collector.
func (k *keeper) Collect(chan<- prometheus.Metric) {}

func (k *keeper) add(v vector) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.vectors[v] = struct{}{}
}

func (k *keeper) hold(id model.ChangefeedID) (release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.holds[id]
	if h == nil {
		h = &hold{}
		k.holds[id] = h
	}
	if h.end != nil {
		h.end.Stop()
		h.end = nil
	}
	h.holders++
	return sync.OnceFunc(func() { k.release(id, h) })
}

func (k *keeper) release(id model.ChangefeedID, h *hold) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.holders--; h.holders > 0 {
		return
	}
	var end *time.Timer
	end = time.AfterFunc(linger, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.end == end { // nobody has come meanwhile
			k.drop(id)
		}
	})
	h.end = end
}

func (k *keeper) drop(id model.ChangefeedID) {
	delete(k.holds, id)
	for v := range k.vectors {
		v.DeletePartialMatch(prometheus.Labels{"namespace": id.Namespace, "changefeed": id.ID})
	}
}
