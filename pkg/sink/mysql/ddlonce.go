package mysql

import (
	"context"
	"errors"
	"strconv"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
)

// Most DDL that is executed a second time, after a crash that lost its
// checkpoint, changes nothing or is refused. Two kinds undo themselves: an
// exchanged partition is exchanged back, and tables that took each other's
// names take them back. Of these the downstream keeps the last one.
const (
	ownSchema = "CREATE DATABASE IF NOT EXISTS tidb_cdc"
	// seq counts the statements of one job. state is empty once the statement
	// has been executed; before, it is what the statement is going to change.
	lastDDLTable = "CREATE TABLE IF NOT EXISTS tidb_cdc.tidemark_last_ddl (" +
		"changefeed VARCHAR(255) NOT NULL PRIMARY KEY, ddl_ts BIGINT UNSIGNED NOT NULL, seq INT NOT NULL, state VARCHAR(64) NOT NULL)"
	lastDDLRead  = "SELECT ddl_ts, seq, state FROM tidb_cdc.tidemark_last_ddl WHERE changefeed = ?"
	lastDDLWrite = "REPLACE INTO tidb_cdc.tidemark_last_ddl VALUES (?, ?, ?, ?)"

	statementsUnderWay = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO = ?"

	stateUnknown = "unknown"
)

// runOnce executes a statement unless the downstream knows that it has been
// executed. Where the downstream cannot keep this, it does as run does.
func (e *ddlExecutor) runOnce(ctx context.Context, ev *model.DDLEvent, query string) error {
	exchange := ev.Type == timodel.ActionExchangeTablePartition
	if !exchange && ev.Type != timodel.ActionRenameTable {
		return e.run(ctx, ev, query, nil, false)
	}
	seq, state, known := e.recall(ctx, ev)
	if known && (seq > ev.Seq || seq == ev.Seq && state == "") {
		e.logger.Info("DDL had been executed before", zap.Uint64("commitTs", ev.CommitTs), zap.String("query", query))
		return nil
	}
	var executed outcome
	begun := known && seq == ev.Seq
	if exchange {
		if !begun {
			state = e.identity(ctx, ev)
			e.remember(ctx, ev, state)
		}
		executed = func(ctx context.Context) (bool, error) { return e.exchanged(ctx, ev, query, state) }
	}
	if err := e.run(ctx, ev, query, executed, exchange && begun); err != nil {
		return err
	}
	// A single rename, or the first of several, finds no table the second time.
	if exchange || ev.Seq > 0 {
		e.remember(ctx, ev, "")
	}
	return nil
}

// recall reads what the downstream remembers of the job of an event: its last
// statement and, if that was only begun, what it was going to change. known is
// false when it remembers another job.
func (e *ddlExecutor) recall(ctx context.Context, ev *model.DDLEvent) (seq int, state string, known bool) {
	var ts uint64
	row := e.db.QueryRowContext(ctx, lastDDLRead, e.settings.changefeed)
	err := row.Scan(&ts, &seq, &state)
	return seq, state, err == nil && ts == ev.CommitTs
}

// remember stores the event as the last one. The statement goes on when that
// fails: it is more important, and mostly executed once only.
func (e *ddlExecutor) remember(ctx context.Context, ev *model.DDLEvent, state string) {
	write := func() error {
		_, err := e.db.ExecContext(ctx, lastDDLWrite, e.settings.changefeed, ev.CommitTs, ev.Seq, state)
		return err
	}
	err := write()
	if n := numberOf(err); n == errNoSuchTable || n == errBadDB {
		for _, create := range []string{ownSchema, lastDDLTable} {
			if _, err := e.db.ExecContext(ctx, create); err != nil {
				e.logger.Warn("the downstream cannot keep which DDL was the last", zap.Error(err))
				return
			}
		}
		err = write()
	}
	if err != nil {
		e.logger.Warn("the downstream cannot keep which DDL was the last", zap.Error(err))
	}
}

// exchanged tells whether an exchange that was begun has been executed:
// the table is another one than before. It waits until the server has come to
// an end with the statement, which it may go on with after the connection was
// cut. An error means that it cannot be told now.
func (e *ddlExecutor) exchanged(ctx context.Context, ev *model.DDLEvent, query, before string) (bool, error) {
	for {
		busy, err := e.underWay(ctx, ev, query)
		if err != nil {
			return false, err
		}
		if !busy {
			break
		}
		if err := sleep(ctx, minBackoff); err != nil {
			return false, err
		}
	}
	if before == stateUnknown {
		return false, nil
	}
	now := e.identity(ctx, ev)
	if now == stateUnknown {
		return false, errors.New("the downstream does not say whether the partition has been exchanged")
	}
	return now != before, nil
}

// underWay tells whether the server is executing a statement for another
// connection. One that does not let us look counts as not.
func (e *ddlExecutor) underWay(ctx context.Context, ev *model.DDLEvent, query string) (bool, error) {
	var n int
	err := e.db.QueryRowContext(ctx, statementsUnderWay, query).Scan(&n)
	if isConnectionError(err) {
		return false, err
	}
	busy := err == nil && n > 0
	if e.server.isTiDB {
		for _, name := range tablesOf(ev) {
			busy = busy || e.jobUnderWay(ctx, name, ev.Type.String())
		}
	}
	return busy, nil
}

// identity is the id of the table that the event exchanges with a partition,
// which is another table after it; stateUnknown where the server does not say.
func (e *ddlExecutor) identity(ctx context.Context, ev *model.DDLEvent) string {
	if len(ev.Parts) != 1 {
		return stateUnknown
	}
	schema, table := ev.Parts[0].Schema, ev.Parts[0].Table
	queries := []string{
		"SELECT TABLE_ID FROM information_schema.INNODB_TABLES WHERE NAME = CONCAT(?, '/', ?)",
		"SELECT TABLE_ID FROM information_schema.INNODB_SYS_TABLES WHERE NAME = CONCAT(?, '/', ?)",
	}
	if e.server.isTiDB {
		queries = []string{"SELECT TIDB_TABLE_ID FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"}
	}
	for _, query := range queries {
		var id int64
		if e.db.QueryRowContext(ctx, query, schema, table).Scan(&id) == nil {
			return strconv.FormatInt(id, 10)
		}
	}
	return stateUnknown
}

// partitioned tells whether the partitions of a table are as the event leaves
// them although the server refused the statement: it complains about the
// bounds of partitions that are there before it looks at their names.
func (e *ddlExecutor) partitioned(ctx context.Context, ev *model.DDLEvent, err error) bool {
	switch n := numberOf(err); ev.Type {
	case timodel.ActionRemovePartitioning:
		return n == errPartitionMgmt
	case timodel.ActionAddTablePartition:
		if n != errPartitionMaxvalue && n != errRangeNotIncreasing || ev.Info == nil || ev.Info.Info.Partition == nil {
			return false
		}
		for _, part := range ev.Info.Info.Partition.Definitions {
			var name string
			row := e.db.QueryRowContext(ctx, "SELECT PARTITION_NAME FROM information_schema.PARTITIONS "+
				"WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND PARTITION_NAME = ?", ev.Schema, ev.Table, part.Name.O)
			if row.Scan(&name) != nil {
				return false
			}
		}
		return true
	}
	return false
}
