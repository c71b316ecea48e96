package mysql

import (
	"context"
	"strings"
	"sync"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// indexPatience is how long the changefeed waits for an index on TiDB
	// before it goes on without it.
	indexPatience = 10 * time.Second
	// indexPoll is how often TiDB is asked whether an index is done.
	indexPoll = 5 * time.Second
)

// indexJobs are the ADD INDEX statements that run in the background. Rows do
// not need the index, only later DDL of the same table does.
type indexJobs struct {
	wg      sync.WaitGroup
	running map[tableName]chan struct{} // closed when the statement has returned
}

type tableName struct{ schema, table string }

// tablesOf are the downstream tables that a DDL is about.
func tablesOf(ev *model.DDLEvent) []tableName {
	names := []tableName{{ev.Schema, ev.Table}}
	if ev.OldTable != "" {
		names = append(names, tableName{ev.OldSchema, ev.OldTable})
	}
	for _, part := range ev.Parts {
		names = append(names, tablesOf(part)...)
	}
	return names
}

// addIndex starts the statement and waits for a moment. The caller holds mu.
func (e *ddlExecutor) addIndex(ctx context.Context, ev *model.DDLEvent, query string) error {
	result, returned := make(chan error, 1), make(chan struct{})
	e.indexes.wg.Add(1)
	go func() {
		defer e.indexes.wg.Done()
		defer close(returned)
		// It outlives the call: it ends with the sink.
		err := e.run(e.ctx, ev, query, nil, false)
		if err != nil && e.ctx.Err() == nil {
			e.logger.Error("an index could not be added downstream", zap.String("query", query), zap.Error(err))
		}
		result <- err
	}()
	patience := time.NewTimer(e.patience)
	defer patience.Stop()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
	}
	e.logger.Info("an index is being added downstream, go on without it", zap.String("query", query))
	if e.indexes.running == nil {
		e.indexes.running = make(map[tableName]chan struct{})
	}
	e.indexes.running[tableName{ev.Schema, ev.Table}] = returned
	return nil
}

// awaitIndexes waits until no index is being added to the tables of a DDL,
// neither by this sink nor by one before it. The caller holds mu.
func (e *ddlExecutor) awaitIndexes(ctx context.Context, ev *model.DDLEvent) error {
	switch ev.Type {
	case timodel.ActionCreateSchema, timodel.ActionCreateTable, timodel.ActionCreateTables, timodel.ActionCreateView:
		return nil
	}
	for _, name := range tablesOf(ev) {
		if name.table == "" {
			continue
		}
		if returned := e.indexes.running[name]; returned != nil {
			select {
			case <-returned:
				delete(e.indexes.running, name)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for e.jobUnderWay(ctx, name, "add index") {
			if err := sleep(ctx, indexPoll); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// jobUnderWay asks TiDB whether a job of a kind is running or waits for a
// table. Without the privilege to ask, a DDL is left to wait in TiDB's own queue.
func (e *ddlExecutor) jobUnderWay(ctx context.Context, name tableName, kind string) bool {
	rows, err := e.db.QueryContext(ctx, "ADMIN SHOW DDL JOBS 100 WHERE DB_NAME = "+quoted(name.schema)+
		" AND TABLE_NAME = "+quoted(name.table)+" AND STATE IN ('running', 'queueing', 'queuing')")
	if err != nil {
		e.logger.Debug("the DDL jobs of the downstream cannot be read", zap.Error(err))
		return false
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil || len(columns) < 4 {
		return false
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(any)
	}
	var jobType string // the fourth column
	values[3] = &jobType
	for rows.Next() {
		if rows.Scan(values...) == nil && strings.HasPrefix(jobType, kind) {
			return true
		}
	}
	return false
}

func quoted(s string) string { return "'" + string(appendEscaped(nil, []byte(s))) + "'" }
