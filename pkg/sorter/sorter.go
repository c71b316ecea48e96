// Package sorter brings the row changes of spans into commit order. It keeps
// them in memory and writes them to disk only when a changefeed, or the whole
// process, holds more than it may.
//
// What goes to disk are sorted runs in pebble's table format, without the
// database around it: a run is written once, read once in order and then
// removed, so that a log, memtables and compactions would only cost.
package sorter

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config sets an Engine up.
type Config struct {
	// Dir is where sorted runs go to, {data-dir}/tmp/sorter/0000. It is wiped
	// when the engine is opened and created when first needed.
	Dir string
	// MemoryLimit is what all changefeeds of the process together keep in
	// memory, in bytes; 0 sets no bound beyond those of the changefeeds. Only
	// rows that cannot be held in less may exceed it.
	MemoryLimit int64
	Logger      *zap.Logger           // nil logs nothing
	Registerer  prometheus.Registerer // nil registers nothing
}

// Engine is the sorter of a process: the budget and the disk that all
// changefeeds share. Its methods are safe for concurrent use.
type Engine struct {
	cfg    Config
	pools  pools
	relief *relief

	budget   *budget
	disk     atomic.Int64 // bytes of files
	spilled  atomic.Int64 // bytes of all files that were ever written
	nextSpan atomic.Uint64
	nextFile atomic.Uint64

	mu    sync.Mutex
	feeds map[*Feed]struct{}

	wakeup chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

// Open makes an engine and wipes what an earlier process left in its directory.
func Open(cfg Config) (*Engine, error) {
	if cfg.Dir == "" {
		return nil, fmt.Errorf("sorter: no directory")
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("sorter: wipe the directory: %w", err)
	}
	e := &Engine{
		cfg: cfg, relief: newRelief(), budget: newBudget(cfg.MemoryLimit), feeds: map[*Feed]struct{}{},
		wakeup: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := e.register(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("sorter: register metrics: %w", err)
	}
	go e.spillLoop()
	return e, nil
}

// maxQuota keeps sums of quotas from overflowing.
const maxQuota = 1 << 50

// NewFeed adds a changefeed that may hold quota bytes in memory.
func (e *Engine) NewFeed(quota uint64) *Feed {
	f := &Feed{engine: e, quota: int64(min(quota, maxQuota)), spans: map[*Span]struct{}{}}
	e.mu.Lock()
	e.feeds[f] = struct{}{}
	e.mu.Unlock()
	e.budget.join(1)
	return f
}

func (e *Engine) forget(f *Feed) {
	e.mu.Lock()
	_, known := e.feeds[f]
	delete(e.feeds, f)
	e.mu.Unlock()
	if known {
		e.budget.join(-1)
	}
}

// Held is the memory, in bytes, that all changefeeds hold.
func (e *Engine) Held() int64 { return e.budget.held() }

// MemoryLimit is the bound of Held, in bytes; 0 is none.
func (e *Engine) MemoryLimit() int64 { return e.cfg.MemoryLimit }

// OnDisk is the size, in bytes, of all runs.
func (e *Engine) OnDisk() int64 { return e.disk.Load() }

// Close waits for the engine's goroutine and removes its files. All feeds must
// have been closed.
func (e *Engine) Close() error {
	close(e.stop)
	<-e.done
	return os.RemoveAll(e.cfg.Dir)
}

func (e *Engine) wake() {
	select {
	case e.wakeup <- struct{}{}:
	default:
	}
}
