package processor

import "sync"

// tracker turns acknowledgements that come in any order into the highest
// timestamp up to which everything is delivered.
type tracker struct {
	mu        sync.Mutex
	flights   []*flight // not acknowledged, or behind one that is not
	watermark uint64
}

// begin sets the timestamp up to which everything was delivered before.
func (t *tracker) begin(ts uint64) { t.watermark = ts }

// launch adds a batch. Once it and all before it are acknowledged, everything
// up to its watermark is delivered.
func (t *tracker) launch(f *flight) {
	t.mu.Lock()
	t.flights = append(t.flights, f)
	t.mu.Unlock()
}

// reach tells that no row up to ts follows the batches that were launched.
func (t *tracker) reach(ts uint64) {
	t.mu.Lock()
	if n := len(t.flights); n > 0 {
		t.flights[n-1].watermark = ts
	} else {
		t.watermark = ts
	}
	t.mu.Unlock()
}

// land acknowledges a batch and tells whether the watermark rose or nothing is
// on its way any more.
func (t *tracker) land(f *flight) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.landed = true
	n := 0
	for n < len(t.flights) && t.flights[n].landed {
		t.watermark = t.flights[n].watermark
		n++
	}
	if n == 0 {
		return false
	}
	rest := copy(t.flights, t.flights[n:])
	clear(t.flights[rest:])
	t.flights = t.flights[:rest]
	return true
}

// state returns the watermark and whether nothing is on its way.
func (t *tracker) state() (watermark uint64, idle bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watermark, len(t.flights) == 0
}

// abandon frees the memory of batches that the sink never acknowledged. The
// sink must have been closed.
func (t *tracker) abandon() {
	t.mu.Lock()
	flights := t.flights
	t.flights = nil
	t.mu.Unlock()
	for _, f := range flights {
		if f.finished.CompareAndSwap(false, true) {
			f.lot.free()
		}
	}
}
