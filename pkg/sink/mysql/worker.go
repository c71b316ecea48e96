package mysql

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/sink"
)

// packetLimit is where a transaction's text is cut, in bytes. A packet may
// become twice as long, which is what the driver's buffer can keep.
const packetLimit = 120 << 10

// worker applies jobs over one connection: everything that has queued up
// while a transaction was under way becomes the next one.
type worker struct {
	id   int
	sink *Sink

	applier *applier
	txn     txn
	sess    session

	mu     sync.Mutex
	queue  []*job
	closed error         // why no job is taken any more
	wake   chan struct{} // holds a token when the queue got its first job

	lastTicket uint64        // guarded by the dispatcher
	done       atomic.Uint64 // ticket of the last job that is durable
	queued     atomic.Int64  // rows that are not durable
	waiting    atomic.Int64  // rows that no transaction has taken
	busySince  atomic.Int64  // Unix nanoseconds; 0 when idle
	trouble    atomic.Pointer[sink.Status]
}

func newWorker(id int, s *Sink) *worker {
	set, sv := s.settings, s.server
	w := &worker{id: id, sink: s, wake: make(chan struct{}, 1)}
	w.applier = newApplier(mounter.NewDecoder(set.rowZone()), set.safeMode)
	w.applier.stmts = statements{
		maxRows: set.maxTxnRow, batch: set.batchDML,
		// MySQL plans such an UPDATE badly; TiDB reads the rows in one go.
		combine: sv.isTiDB && set.maxMultiUpdateRow > 1,
		maxComb: set.maxMultiUpdateRow, combSize: set.maxMultiUpdateRowSize,
	}
	keep := set.cachePrepStmts && (sv.maxPrepared < 0 || sv.maxPrepared > set.workerCount)
	w.sess = session{connector: s.rows, keepStmts: keep, timeout: set.statementTimeout(), fence: set.mayWrite}
	w.txn = txn{sess: &w.sess, limit: packetLimit, multi: set.multiStmt, prepare: keep}
	if sv.maxPacket > 0 {
		w.txn.limit = min(packetLimit, sv.maxPacket/4)
	}
	return w
}

// enqueue hands over a job, which is finished at once when the worker is gone.
func (w *worker) enqueue(j *job) {
	rows := int64(len(j.rows))
	w.mu.Lock()
	if w.closed != nil {
		w.mu.Unlock()
		j.batch.finish(w.closed)
		return
	}
	w.queue = append(w.queue, j)
	w.queued.Add(rows)
	w.waiting.Add(rows)
	w.sink.inFlight.Add(rows)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run applies jobs until working ends or one fails for good. What is under way
// then may take until ctx ends.
func (w *worker) run(working, ctx context.Context) {
	defer w.sess.drop()
	var jobs []*job
	for {
		var err error
		if jobs, err = w.take(working, jobs[:0]); err == nil {
			err = w.apply(working, ctx, jobs)
		}
		w.applier.release()
		if err != nil {
			w.stop(jobs, w.sink.fail(err))
			return
		}
		w.finish(jobs, nil)
		clear(jobs)
	}
}

// take waits for jobs and takes as many as make a transaction.
func (w *worker) take(ctx context.Context, jobs []*job) ([]*job, error) {
	first, err := w.head(ctx)
	if err != nil {
		return jobs, err
	}
	if !w.sink.ready(first) {
		if err := w.sink.progress.wait(ctx, func() bool { return w.sink.ready(first) }); err != nil {
			return jobs, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := 0
	for _, j := range w.queue {
		if len(jobs) > 0 && (rows+len(j.rows) > w.sink.settings.maxTxnRow || !w.sink.ready(j)) {
			break
		}
		jobs = append(jobs, j)
		rows += len(j.rows)
	}
	rest := copy(w.queue, w.queue[len(jobs):])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	w.waiting.Add(-int64(rows))
	return jobs, nil
}

// head waits for the first job of the queue and leaves it there.
func (w *worker) head(ctx context.Context) (*job, error) {
	for {
		w.mu.Lock()
		var j *job
		if len(w.queue) > 0 {
			j = w.queue[0]
		}
		w.mu.Unlock()
		if j != nil {
			return j, ctx.Err()
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// finish acknowledges jobs that are durable, or never will be.
func (w *worker) finish(jobs []*job, err error) {
	rows := 0
	for _, j := range jobs {
		rows += len(j.rows)
	}
	w.queued.Add(-int64(rows))
	w.sink.inFlight.Add(-int64(rows))
	if err == nil {
		w.done.Store(jobs[len(jobs)-1].ticket)
	}
	for _, j := range jobs {
		j.batch.finish(err)
	}
	w.sink.progress.announce()
}

// stop finishes everything that the worker holds and refuses what comes.
func (w *worker) stop(jobs []*job, err error) {
	w.mu.Lock()
	jobs = append(jobs, w.queue...)
	w.queue, w.closed = nil, err
	w.mu.Unlock()
	w.finish(jobs, err)
}

// apply executes jobs as one transaction and retries it.
//
// It may go on in the form of replays, which fits whatever is downstream: the
// rows themselves after a connection was lost in the middle, or rows that
// exchange unique values with each other in one upstream transaction. All of
// the latter take that form, here or as parts, since a REPLACE deletes the
// other row, and only its own REPLACE brings it back.
func (w *worker) apply(working, ctx context.Context, jobs []*job) error {
	w.busySince.Store(time.Now().UnixNano())
	defer w.busySince.Store(0)
	defer w.trouble.Store(nil)
	since, replay, apart := time.Time{}, false, false
	for try := 1; ; try++ {
		err := w.execute(ctx, jobs, replay, apart)
		switch {
		case err == nil:
			return nil
		case working.Err() != nil:
			return working.Err()
		case errors.CodeOf(err) != "":
			return err // the rows themselves are bad
		}
		w.sink.metrics.RowErrors.Inc()
		mend := !replay && (numberOf(err) == errDupEntry || w.txn.began && outcomeUnknown(err))
		replay = replay || mend
		shrink := tooLarge(err) && !apart
		apart = apart || shrink
		if try == dmlMaxTries || dmlFinal(err) && !mend {
			return dmlError(err)
		}
		if since.IsZero() {
			since = time.Now()
		}
		wait := backoff(try, err)
		if mend && numberOf(err) != 0 || shrink {
			wait = 0
		}
		w.trouble.Store(&sink.Status{
			Reason: model.StallSink, Code: errors.CodeOf(dmlError(err)), Detail: err.Error(),
			Since: since, RetryAt: time.Now().Add(wait),
		})
		w.sink.logger.Warn("transaction failed, retry", zap.Int("worker", w.id), zap.Int("try", try),
			zap.Duration("wait", wait), zap.Error(err))
		if err := sleep(working, wait); err != nil {
			return err
		}
	}
}

// dmlError gives an error of a transaction its code.
func dmlError(err error) error {
	if numberOf(err) == errDupEntry {
		return errors.ErrMySQLDuplicateEntry.Wrap(err)
	}
	return errors.ErrMySQLTxnError.Wrap(err)
}

// execute runs one try. With apart every row is a statement and a packet of its
// own, and its texts travel outside of the statement where the settings allow
// prepared ones: a row that the server takes at all fits then.
func (w *worker) execute(ctx context.Context, jobs []*job, replay, apart bool) error {
	if apart {
		multi, batch := w.txn.multi, w.applier.stmts.batch
		w.txn.multi, w.applier.stmts.batch = false, false
		defer func() { w.txn.multi, w.applier.stmts.batch = multi, batch }()
	}
	w.txn.began = false
	if err := w.sess.open(ctx); err != nil {
		return err
	}
	start := time.Now()
	err := w.txn.start(ctx)
	if err == nil {
		err = w.applier.write(&w.txn, jobs, replay)
	}
	if err == nil {
		err = w.txn.commit()
	}
	if err != nil {
		w.recover(ctx, err)
		return err
	}
	w.sink.metrics.committed(jobs, w.txn.sent, time.Since(start))
	return nil
}

// recover makes the session usable after a failure. Several statements at
// once are not tried again on this connection's server if it refused them.
func (w *worker) recover(ctx context.Context, cause error) {
	if w.applier.stmts.usedLax {
		w.sess.drop()
		return
	}
	if n := numberOf(cause); n == errParse || n == errSyntax {
		w.txn.multi = false
	}
	w.sess.recover(ctx, cause)
}

// sleep waits; an error means that the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// busyAfter is how long a transaction takes before the sink calls itself busy.
const busyAfter = time.Second

// status is the worker's account of itself.
func (w *worker) status(now time.Time) sink.Status {
	if s := w.trouble.Load(); s != nil {
		return *s
	}
	since := w.busySince.Load()
	if since == 0 || now.Sub(time.Unix(0, since)) < busyAfter {
		return sink.Status{}
	}
	return sink.Status{
		Reason: model.StallSinkBusy, Since: time.Unix(0, since),
		Detail: fmt.Sprintf("a transaction is under way, %d rows wait or run on its connection", w.queued.Load()),
	}
}
