package sorter

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// maxRunFile bounds how much is written, and its spans locked, at a time.
	maxRunFile = 32 << 20
	// smallSpan is what is not worth a run of its own while there is more elsewhere.
	smallSpan = 64 << 10
)

func (e *Engine) spillLoop() {
	defer close(e.done)
	for {
		select {
		case <-e.stop:
			return
		case <-e.wakeup:
		}
		for e.spillOnce() {
			select {
			case <-e.stop:
				return
			default:
			}
		}
	}
}

// spillOnce writes one file for whoever is over the quota, and returns false
// when nobody is or nothing can be written.
func (e *Engine) spillOnce() bool {
	e.mu.Lock()
	feeds := make([]*Feed, 0, len(e.feeds))
	for f := range e.feeds {
		feeds = append(feeds, f)
	}
	e.mu.Unlock()

	var buffered int64
	for _, f := range feeds {
		n := f.buffered.Load()
		buffered += n
		if held := f.Held(); held > f.quota && n > worthIt(f.quota) && e.spillFrom([]*Feed{f}, held-f.quota/4*3) {
			return true
		}
	}
	b := e.budget
	return b.short() && buffered > worthIt(b.limit) && e.spillFrom(feeds, b.excess())
}

// worthIt is what must be buffered for spilling to make a difference; the rest
// of a quota is then held by the sink.
func worthIt(quota int64) int64 { return min(quota/8, 1<<20) }

// spillFrom writes at least want bytes, if there are as many, from the spans
// of the feeds and up to maxRunFile.
func (e *Engine) spillFrom(feeds []*Feed, want int64) bool {
	victims := chooseVictims(feeds, min(want, maxRunFile))
	if len(victims) == 0 {
		return false
	}
	start := time.Now()
	size, err := e.spillSpans(victims)
	if err != nil {
		e.cfg.Logger.Error("cannot spill rows to disk", zap.Error(err))
		return false
	}
	e.cfg.Logger.Debug("rows went to disk", zap.Int("spans", len(victims)), zap.Int64("bytes", size),
		zap.Duration("took", time.Since(start)), zap.Int64("held", e.Held()), zap.Int64("onDisk", e.disk.Load()))
	return true
}

// chooseVictims returns the spans that hold the most, those that are being
// emptied anyway last, until they hold want bytes.
func chooseVictims(feeds []*Feed, want int64) []*Span {
	type candidate struct {
		span     *Span
		bytes    int64
		draining bool
	}
	var all []candidate
	for _, f := range feeds {
		f.mu.Lock()
		for s := range f.spans {
			if n := s.bytes.Load(); n > 0 {
				all = append(all, candidate{s, n, s.draining.Load()})
			}
		}
		f.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.draining != b.draining {
			if a.draining {
				return 1
			}
			return -1
		}
		return cmp.Compare(b.bytes, a.bytes)
	})
	var victims []*Span
	var sum int64
	for pass := range 2 { // small spans only when the others do not suffice
		for _, c := range all {
			if sum >= want {
				break
			}
			if (c.bytes < smallSpan) == (pass == 1) {
				victims = append(victims, c.span)
				sum += c.bytes
			}
		}
	}
	slices.SortFunc(victims, func(a, b *Span) int { return cmp.Compare(a.id, b.id) })
	return victims
}

// spillSpans writes one file and returns its size. The spans are locked until
// the file can be read, because their rows are nowhere else. After an error
// rows are gone: before anybody can look for them, their feeds have failed.
func (e *Engine) spillSpans(spans []*Span) (size int64, err error) {
	for _, s := range spans {
		s.out.Lock()
		defer s.out.Unlock()
	}
	defer func() {
		if err != nil {
			for _, s := range spans {
				s.feed.fail(fmt.Errorf("sorter: write rows to disk: %w", err))
			}
		}
	}()
	w, err := e.createRun()
	if err != nil {
		return 0, err
	}
	firsts := make([][]byte, len(spans))
	found := false
	for i, s := range spans {
		if firsts[i], err = s.spill(w); err != nil {
			w.abort()
			return 0, err
		}
		found = found || firsts[i] != nil
	}
	if !found {
		w.abort()
		return 0, nil
	}
	file, err := w.finish()
	if err != nil {
		return 0, err
	}
	file.runs.Add(1) // ours, so that it is not removed before all runs are made
	defer file.release()
	for i, s := range spans {
		if firsts[i] != nil {
			s.runs = append(s.runs, newDiskRun(file, s.id, firsts[i]))
		}
	}
	return file.size, nil
}

func (e *Engine) onDisk(n int64) {
	e.disk.Add(n)
	e.spilled.Add(max(n, 0))
}
