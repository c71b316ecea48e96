package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// A sync point is a row that names two TSOs: what the downstream shows as of
// secondary_ts is the upstream as of primary_ts.
const (
	syncPointTable = "CREATE TABLE IF NOT EXISTS tidb_cdc.syncpoint_v1 (" +
		"ticdc_cluster_id VARCHAR(255), changefeed VARCHAR(255), primary_ts VARCHAR(18), secondary_ts VARCHAR(18), " +
		"created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, INDEX (created_at), PRIMARY KEY (changefeed, primary_ts))"
	syncPointStart = "SELECT @@tidb_current_ts"
	syncPointWrite = "INSERT IGNORE INTO tidb_cdc.syncpoint_v1 (ticdc_cluster_id, changefeed, primary_ts, secondary_ts) VALUES (?, ?, ?, ?)"
	syncPointClean = "DELETE IGNORE FROM tidb_cdc.syncpoint_v1 WHERE ticdc_cluster_id = ? AND changefeed = ? AND created_at < NOW() - INTERVAL ? SECOND"
	// Sessions with tidb_enable_external_ts_read read as of this.
	syncPointShow = "SET GLOBAL tidb_external_ts = "

	syncPointMaxTries = 8
)

// syncPointSettings are what a changefeed with sync points is known by.
type syncPointSettings struct {
	on         bool
	retention  time.Duration
	cluster    string // of the captures
	changefeed string // the id without its namespace
}

// syncPoints records sync points, over the connections for DDL. Calls come one
// after the other.
type syncPoints struct {
	ctx      context.Context // ends with the sink
	db       *sql.DB
	settings *settings
	logger   *zap.Logger
	now      func() time.Time

	created bool      // the table is there
	cleaned time.Time // when old rows were deleted the last time
	trouble atomic.Pointer[sink.Status]
}

// RecordSyncPoint records a sync point in one transaction. See
// sink.SyncPointRecorder.
func (s *Sink) RecordSyncPoint(ctx context.Context, ts uint64) error {
	if err := s.broken(); err != nil {
		return err
	}
	return s.syncPoints.record(ctx, ts)
}

// record retries until the point is there: as long as nothing else is written
// downstream, every later TSO is as good.
func (p *syncPoints) record(ctx context.Context, primary uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	defer p.trouble.Store(nil)
	start := time.Now()
	for try := 1; ; try++ {
		err := p.once(ctx, primary)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.CodeOf(err) == errors.ErrCaptureSuicide.Text():
			return err
		case try == syncPointMaxTries:
			return errors.ErrMySQLTxnError.Wrap(fmt.Errorf("sync point %d: %w", primary, err))
		}
		wait := backoff(try, err)
		p.trouble.Store(&sink.Status{Reason: model.StallSink, Detail: err.Error(), Since: start, RetryAt: time.Now().Add(wait)})
		p.logger.Warn("sync point was not recorded, retry", zap.Uint64("primaryTs", primary),
			zap.Int("try", try), zap.Duration("wait", wait), zap.Error(err))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// once is one try.
func (p *syncPoints) once(ctx context.Context, primary uint64) error {
	ctx, cancel := context.WithTimeout(ctx, p.settings.statementTimeout())
	defer cancel()
	if err := p.createTable(ctx); err != nil {
		return err
	}
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	var secondary uint64
	if err := tx.QueryRowContext(ctx, syncPointStart).Scan(&secondary); err != nil {
		return err
	}
	// Asked after the TSO was taken: no other capture had begun to write then.
	if err := p.settings.mayWrite(); err != nil {
		return err
	}
	s := &p.settings.syncPoints
	result, err := tx.ExecContext(ctx, syncPointWrite, s.cluster, s.changefeed,
		strconv.FormatUint(primary, 10), strconv.FormatUint(secondary, 10))
	if err != nil {
		return err
	}
	log := p.logger.With(zap.Uint64("primaryTs", primary), zap.Uint64("secondaryTs", secondary))
	if rows, err := result.RowsAffected(); err == nil && rows == 0 {
		// An earlier run did it and went on from there: only what it recorded
		// is surely the upstream at that moment.
		log.Info("sync point had been recorded before")
		return nil
	}
	if err := p.show(ctx, tx, secondary); err != nil {
		return err
	}
	due := s.retention > 0 && p.now().Sub(p.cleaned) >= s.retention
	if due {
		p.clean(ctx, tx)
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if due {
		p.cleaned = p.now()
	}
	log.Info("sync point recorded")
	return nil
}

// createTable makes sure that there is a table.
func (p *syncPoints) createTable(ctx context.Context) error {
	if p.created {
		return nil
	}
	for _, statement := range []string{ownSchema, syncPointTable} {
		if err := p.settings.mayWrite(); err != nil {
			return err
		}
		if _, err := p.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	p.created = true
	return nil
}

// show makes the point the one that readers of the whole cluster see who ask
// for a consistent state. TiDB before 6.4 has no such readers.
func (p *syncPoints) show(ctx context.Context, tx *sql.Tx, secondary uint64) error {
	_, err := tx.ExecContext(ctx, syncPointShow+strconv.FormatUint(secondary, 10))
	if numberOf(err) == errUnknownVariable {
		return nil
	}
	return err
}

// clean deletes rows that are older than the retention. They may stay longer:
// the next time will come.
func (p *syncPoints) clean(ctx context.Context, tx *sql.Tx) {
	s := &p.settings.syncPoints
	_, err := tx.ExecContext(ctx, syncPointClean, s.cluster, s.changefeed, int64(s.retention/time.Second))
	if err != nil {
		p.logger.Warn("old sync points were not deleted", zap.Error(err))
	}
}

func (p *syncPoints) status() sink.Status {
	if s := p.trouble.Load(); s != nil {
		return *s
	}
	return sink.Status{}
}
