package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// ddlExecutor brings DDL downstream, one after the other. It connects with
// the first one.
type ddlExecutor struct {
	ctx      context.Context // ends with the sink
	db       *sql.DB
	settings *settings
	server   *server
	logger   *zap.Logger
	metrics  *metrics

	mu      sync.Mutex // held by execute
	indexes indexJobs
	// patience is how long an index on TiDB is waited for.
	patience time.Duration
	trouble  atomic.Pointer[sink.Status]
}

func newDDLExecutor(ctx context.Context, c driver.Connector, set *settings, sv *server, logger *zap.Logger, m *metrics) *ddlExecutor {
	db := sql.OpenDB(c)
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(time.Minute)
	return &ddlExecutor{ctx: ctx, db: db, settings: set, server: sv, logger: logger, metrics: m, patience: indexPatience}
}

// execute runs one DDL and returns when it is durable. A statement that was
// executed before counts as done. An error is final.
func (e *ddlExecutor) execute(ctx context.Context, ev *model.DDLEvent) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()

	query := ev.Query
	if e.settings.hasVectorType && !e.server.supportsVector() {
		query = withoutVectors(query)
	}
	if !e.server.isTiDB {
		return e.runOnce(ctx, ev, withCollations(ev, query))
	}
	if err := e.awaitIndexes(ctx, ev); err != nil {
		return err
	}
	if ev.Type == timodel.ActionAddIndex {
		return e.addIndex(ctx, ev, query)
	}
	return e.runOnce(ctx, ev, query)
}

// outcome tells whether a statement has been executed that must not be executed
// twice. An error means that it cannot be told now.
type outcome func(context.Context) (bool, error)

// run executes a statement and retries it. With unsure, or after a try whose
// outcome is not known, executed, where it is given, is asked before the next
// one; an error of it counts as a failed try.
func (e *ddlExecutor) run(ctx context.Context, ev *model.DDLEvent, query string, executed outcome, unsure bool) error {
	defer e.trouble.Store(nil)
	start := time.Now()
	log := e.logger.With(zap.Uint64("commitTs", ev.CommitTs), zap.Int64("jobID", ev.JobID), zap.String("query", query))
	for try := 1; ; try++ {
		done, err := false, error(nil)
		if unsure {
			done, err = executed(ctx)
		}
		if !done && err == nil {
			err = e.once(ctx, ev, query)
			unsure = unsure || executed != nil && outcomeUnknown(err)
		}
		switch {
		case done:
			log.Info("DDL had been executed before")
			return nil
		case err == nil:
			e.metrics.executed(ev.Type.String(), time.Since(start))
			log.Info("DDL executed", zap.Duration("took", time.Since(start)))
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.CodeOf(err) == errors.ErrCaptureSuicide.Text():
			return err
		case ddlDone(err), e.renamed(ctx, ev, err), e.partitioned(ctx, ev, err):
			log.Info("DDL had been executed before", zap.Error(err))
			return nil
		}
		e.metrics.DDLErrors.Inc()
		if ddlFinal(err) || try == ddlMaxTries {
			return ddlError(ev, err)
		}
		wait := backoff(try, err)
		e.trouble.Store(&sink.Status{Reason: model.StallSink, Detail: err.Error(), Since: start, RetryAt: time.Now().Add(wait)})
		log.Warn("DDL failed, retry", zap.Int("try", try), zap.Duration("wait", wait), zap.Error(err))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func ddlError(ev *model.DDLEvent, err error) error {
	return errors.ErrMySQLTxnError.Wrap(fmt.Errorf("%w; query: %s", err, ev.Query))
}

// once is one try, in the database of the event.
func (e *ddlExecutor) once(ctx context.Context, ev *model.DDLEvent, query string) error {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	limited, cancel := context.WithTimeout(ctx, e.settings.statementTimeout())
	defer cancel()
	if ev.Schema != "" && ev.Type != timodel.ActionCreateSchema && ev.Type != timodel.ActionDropSchema {
		if _, err := conn.ExecContext(limited, "USE "+string(appendIdent(nil, ev.Schema))); err != nil {
			return err
		}
	}
	if at := statementTime(ev); at != "" {
		if _, err := conn.ExecContext(limited, "SET TIMESTAMP="+at); err != nil {
			return err
		}
		// A session that keeps the time must not go back to the pool.
		defer func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }()
	}
	if !mayTakeLong(ev.Type) {
		ctx = limited
	}
	if err := e.settings.mayWrite(); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, query)
	return err
}

// mayTakeLong tells DDL that reads or writes whole tables.
func mayTakeLong(t timodel.ActionType) bool {
	switch t {
	case timodel.ActionAddTablePartition, timodel.ActionExchangeTablePartition, timodel.ActionReorganizePartition,
		timodel.ActionAlterTablePartitioning, timodel.ActionRemovePartitioning,
		timodel.ActionAddPrimaryKey, timodel.ActionAddIndex, timodel.ActionModifyColumn,
		timodel.ActionAddColumn, timodel.ActionDropColumn, timodel.ActionMultiSchemaChange:
		return true
	}
	return false
}

// renamed tells whether a rename that found no table has been executed before.
func (e *ddlExecutor) renamed(ctx context.Context, ev *model.DDLEvent, err error) bool {
	if numberOf(err) != errNoSuchTable || ev.OldTable == "" {
		return false
	}
	var schema string
	found := e.db.QueryRowContext(ctx,
		"SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
		ev.Schema, ev.Table).Scan(&schema)
	return found == nil
}

func (e *ddlExecutor) status() sink.Status {
	if s := e.trouble.Load(); s != nil {
		return *s
	}
	return sink.Status{}
}

// close waits for what runs in the background. The context has ended before.
func (e *ddlExecutor) close() {
	e.indexes.wg.Wait()
	_ = e.db.Close()
}
