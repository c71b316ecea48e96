// Package mysql is the sink for MySQL-compatible databases: MySQL, MariaDB and
// TiDB.
//
// A dispatcher spreads rows over workers by the unique keys that they touch.
// Each worker has a connection, decodes its rows straight into SQL text and
// commits what has queued up as one transaction.
package mysql

import (
	"context"
	"database/sql/driver"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/sink"
)

// closeGrace is how long Close lets transactions under way come to their end.
// A server may go on with what it has received when the connection is cut,
// and then commit old rows after newer ones of the next sink.
const closeGrace = 5 * time.Second

// queueFactor is how many transactions per worker may be in flight or queued.
const queueFactor = 4

// Sink writes rows and DDL to one downstream. Workers start with the first
// row, so that a sink for DDL only stays small.
type Sink struct {
	settings *settings
	server   *server
	logger   *zap.Logger
	metrics  *metrics
	rows     driver.Connector
	ddl      *ddlExecutor

	syncPoints *syncPoints

	ctx     context.Context // of what runs downstream
	cancel  context.CancelFunc
	working context.Context // ends before ctx: no new transaction is begun
	quit    context.CancelFunc
	wg      sync.WaitGroup

	start      sync.Once
	workers    []*worker
	dispatcher *dispatcher
	hashers    sync.Pool // *keyHasher
	progress   *progress
	inFlight   atomic.Int64 // rows
	maxFlight  int64
	failure    atomic.Pointer[error]
	writers    sync.RWMutex // held for reading by Write
	closed     bool         // guarded by writers
	running    atomic.Bool
}

var (
	_ sink.Sink              = (*Sink)(nil)
	_ sink.SyncPointRecorder = (*Sink)(nil)
)

// New checks the settings, logs in and learns what the downstream is. Errors
// are ErrSinkURIInvalid, also for a downstream that cannot do what the settings
// ask for, ErrMySQLInvalidConfig or ErrMySQLConnectionError. The
// context bounds New only: the sink lives until Close.
func New(ctx context.Context, o sink.Options) (sink.Sink, error) {
	set, err := parseSettings(o)
	if err != nil {
		return nil, err
	}
	sv, err := connect(ctx, set)
	if err != nil {
		return nil, err
	}
	rows, err := set.rowConnector(sv)
	if err != nil {
		return nil, connectionError(err)
	}
	ddl, err := set.ddlConnector(sv)
	if err != nil {
		return nil, connectionError(err)
	}
	return newSink(context.WithoutCancel(ctx), set, sv, rows, ddl, o), nil
}

// newSink makes a sink for a known downstream; it lives until ctx ends or Close.
func newSink(ctx context.Context, set *settings, sv *server, rows, ddl driver.Connector, o sink.Options) *Sink {
	s := &Sink{settings: set, server: sv, logger: o.Logger, rows: rows, progress: newProgress()}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	s.logger = s.logger.With(zap.Stringer("changefeed", o.Changefeed))
	for _, w := range set.warnings {
		s.logger.Warn(w)
	}
	if !sv.hasGBK {
		s.logger.Warn("the downstream has no GBK charset: tables that use it cannot be replicated")
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.working, s.quit = context.WithCancel(s.ctx)
	s.metrics = newMetrics(o.Registerer, o.Changefeed)
	s.ddl = newDDLExecutor(s.ctx, ddl, set, sv, s.logger, s.metrics)
	s.syncPoints = &syncPoints{ctx: s.ctx, db: s.ddl.db, settings: set, logger: s.logger, now: time.Now}
	s.maxFlight = int64(queueFactor * set.workerCount * set.maxTxnRow)
	seed := maphash.MakeSeed()
	s.hashers.New = func() any { return &keyHasher{seed: seed, decoder: mounter.NewDecoder(time.UTC)} }
	return s
}

// Probe tells whether New would succeed, and leaves nothing open.
func Probe(ctx context.Context, o sink.Options) error {
	set, err := parseSettings(o)
	if err != nil {
		return err
	}
	_, err = connect(ctx, set)
	return err
}

// startWorkers starts the workers.
func (s *Sink) startWorkers() {
	for id := range s.settings.workerCount {
		s.workers = append(s.workers, newWorker(id, s))
	}
	s.dispatcher = newDispatcher(s.workers, s.settings.maxTxnRow,
		func(t *model.Table) *tablePlan { return newTablePlan(t, s.server.jsonType) })
	for _, w := range s.workers {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			w.run(s.working, s.ctx)
		}()
	}
	s.running.Store(true)
}

// Write takes over a batch. It blocks while too many rows are on their way.
func (s *Sink) Write(ctx context.Context, b *model.RowBatch) error {
	s.writers.RLock()
	defer s.writers.RUnlock()
	if err := s.broken(); err != nil {
		return err
	}
	if !b.Table.Eligible(s.settings.forceReplicate) {
		b.Done(nil)
		return nil
	}
	s.start.Do(s.startWorkers)
	if err := s.room(ctx); err != nil {
		return err
	}
	p := s.dispatcher.plan(b.Table)
	h := s.hashers.Get().(*keyHasher)
	keys, ends, err := h.hash(p, b.Rows)
	var moved []move
	if err == nil {
		moved, err = h.moves(p, b.Rows)
	}
	var taken takenKeys
	if err == nil {
		taken, err = h.taken(p, b.Rows)
	}
	s.hashers.Put(h)
	if err != nil {
		return s.fail(err)
	}
	all := &job{
		batch: &pendingBatch{done: b.Done}, plan: p, rows: b.Rows,
		keys: keys, ends: ends, replicateTs: b.ReplicateTs,
	}
	all.batch.left.Store(1) // the whole, so that it is not done before it is dispatched
	s.dispatcher.dispatch(all, b, moved, taken, s.settings.splitTxn)
	all.batch.finish(nil)
	return nil
}

// room waits until the sink holds fewer rows than it may.
func (s *Sink) room(ctx context.Context) error {
	free := func() bool { return s.inFlight.Load() < s.maxFlight || s.working.Err() != nil }
	if !free() {
		if err := s.progress.wait(ctx, free); err != nil {
			return err
		}
	}
	return s.broken()
}

// broken returns the error that ended the sink, nil while it works and
// context.Canceled after Close.
func (s *Sink) broken() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return s.working.Err()
}

// fail ends the sink and returns the error that did it first.
func (s *Sink) fail(err error) error {
	s.failure.CompareAndSwap(nil, &err)
	s.quit()
	s.progress.announce()
	return *s.failure.Load()
}

// ready tells whether everything that a job has to wait for is done.
func (s *Sink) ready(j *job) bool {
	for _, p := range j.after {
		if s.workers[p.worker].done.Load() < p.ticket {
			return false
		}
	}
	return true
}

// WriteDDL executes one DDL. See ddlExecutor.
func (s *Sink) WriteDDL(ctx context.Context, ev *model.DDLEvent) error {
	if err := s.broken(); err != nil {
		return err
	}
	return s.ddl.execute(ctx, ev)
}

// WriteWatermark does nothing: rows in the downstream say it all.
func (s *Sink) WriteWatermark(ctx context.Context, _ uint64) error { return ctx.Err() }

// Status tells of the oldest trouble.
func (s *Sink) Status() sink.Status {
	worst := s.ddl.status()
	if worst.Reason == "" {
		worst = s.syncPoints.status()
	}
	if !s.running.Load() {
		return worst
	}
	now := time.Now()
	for _, w := range s.workers {
		st := w.status(now)
		switch {
		case st.Reason == "":
		case worst.Reason == "", st.Reason == worst.Reason && st.Since.Before(worst.Since),
			st.Reason == model.StallSink && worst.Reason == model.StallSinkBusy:
			worst = st
		}
	}
	return worst
}

// Close stops the workers and waits for them. Rows that are not durable get
// Done with an error.
func (s *Sink) Close() {
	s.quit()
	s.progress.announce()
	s.writers.Lock()
	first := !s.closed // and no Write that could start workers comes after this
	s.closed = true
	s.writers.Unlock()
	if !first {
		return
	}
	defer time.AfterFunc(closeGrace, s.cancel).Stop()
	s.wg.Wait()
	s.cancel()
	s.ddl.close()
	s.metrics.Close()
}
