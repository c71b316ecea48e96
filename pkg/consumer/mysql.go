package consumer

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// rowsPerTxn is after how many rows a transaction ends, at the next change
	// of the commit-ts.
	rowsPerTxn = 1000
	// rowsPerStatement and bytesPerStatement bound a REPLACE.
	rowsPerStatement  = 128
	bytesPerStatement = 1 << 20
)

// DDLExecutor executes schema changes downstream and retries them.
type DDLExecutor interface {
	// WriteDDL returns when the change is durable or had been made before. An
	// error is final.
	WriteDDL(ctx context.Context, ev *model.DDLEvent) error
}

// MySQL applies events to a MySQL-compatible database. Every change is written
// so that it can be repeated: REPLACE for what is there, DELETE for what is not.
type MySQL struct {
	db       *sql.DB
	ddl      DDLExecutor
	protocol string
	tables   map[tableName]*table
	progress func(ts uint64)
}

var _ Target = (*MySQL)(nil)

// NewMySQL makes a target. The sessions of db must have the time zone of the
// messages' timestamps and a sql_mode that takes every value of the upstream.
// progress, if not nil, gets what is resolved.
func NewMySQL(db *sql.DB, ddl DDLExecutor, protocol string, progress func(ts uint64)) *MySQL {
	return &MySQL{db: db, ddl: ddl, protocol: protocol, tables: make(map[tableName]*table), progress: progress}
}

type tableName struct{ schema, table string }

func (n tableName) String() string { return quote(n.schema) + "." + quote(n.table) }

// Rows implements Target.
func (m *MySQL) Rows(ctx context.Context, rows []codec.Event) error {
	for len(rows) > 0 {
		n := min(rowsPerTxn, len(rows))
		for n < len(rows) && rows[n].CommitTs == rows[n-1].CommitTs {
			n++
		}
		if err := m.transaction(ctx, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// transaction applies rows in one transaction.
func (m *MySQL) transaction(ctx context.Context, rows []codec.Event) error {
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var batch replaceBatch
	for i := range rows {
		if err := m.row(ctx, tx, &batch, &rows[i]); err != nil {
			return fmt.Errorf("row of %s.%s at %d: %w", rows[i].Schema, rows[i].Table, rows[i].CommitTs, err)
		}
	}
	if err := batch.flush(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// row adds one change to the batch of REPLACEs, or deletes a row.
func (m *MySQL) row(ctx context.Context, tx *sql.Tx, batch *replaceBatch, ev *codec.Event) error {
	t, err := m.table(ctx, tableName{ev.Schema, ev.Table})
	if err != nil {
		return err
	}
	row := ev.Row
	if row.Kind == model.RowDelete || (row.Kind == model.RowUpdate && t.moves(row)) {
		if err := batch.flush(ctx, tx); err != nil {
			return err
		}
		if err := m.delete(ctx, tx, t, row.Old); err != nil {
			return err
		}
	}
	if row.Kind == model.RowDelete {
		return nil
	}
	return batch.add(ctx, tx, t, row.New, m.value)
}

// delete removes the row with the key of these cells. Where the table has no
// key, it is the row with all of the values.
func (m *MySQL) delete(ctx context.Context, tx *sql.Tx, t *table, cells []codec.Cell) error {
	var text strings.Builder
	var args []any
	for _, c := range cells {
		col, ok := t.columns[strings.ToLower(c.Name)]
		if !ok || (len(t.key) > 0 && !col.key) {
			continue
		}
		v, err := m.value(col, c.Value)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			text.WriteString(" AND ")
		}
		text.WriteString(quote(c.Name) + " <=> ?")
		args = append(args, v)
	}
	if len(args) < max(1, len(t.key)) {
		return errors.New("the message lacks columns of the key")
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM "+t.name.String()+" WHERE "+text.String()+" LIMIT 1", args...)
	return err
}

// value is what the driver gets for a column. Maxwell and Debezium do not tell
// binary columns from text: they bring base64 for what the table knows to be binary.
func (m *MySQL) value(c column, v any) (any, error) {
	text, ok := v.(string)
	if !ok {
		return v, nil
	}
	switch {
	case c.binary() && (m.protocol == config.ProtocolMaxwell || m.protocol == config.ProtocolDebezium):
		return base64.StdEncoding.DecodeString(text)
	case c.kind == "bit":
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return n, nil
		}
	}
	return v, nil
}

// DDL implements Target.
func (m *MySQL) DDL(ctx context.Context, ev codec.Event) error {
	clear(m.tables)
	ddl := &model.DDLEvent{CommitTs: ev.CommitTs, StartTs: ev.CommitTs, Schema: ev.Schema, Table: ev.Table, Query: ev.Query}
	ddl.Type = actionOf(ev.Query)
	if err := m.ddl.WriteDDL(ctx, ddl); err != nil {
		return fmt.Errorf("schema change at %d: %w", ev.CommitTs, err)
	}
	return nil
}

// actionOf tells the statements that need special care downstream: they cannot
// be run inside the database that they create or drop, or may take long.
func actionOf(query string) timodel.ActionType {
	words := strings.Fields(strings.ToUpper(query))
	if len(words) < 2 {
		return timodel.ActionNone
	}
	switch words[0] + " " + words[1] {
	case "CREATE DATABASE", "CREATE SCHEMA":
		return timodel.ActionCreateSchema
	case "DROP DATABASE", "DROP SCHEMA":
		return timodel.ActionDropSchema
	case "ALTER TABLE":
		return timodel.ActionMultiSchemaChange
	}
	return timodel.ActionNone
}

// Resolved implements Target.
func (m *MySQL) Resolved(_ context.Context, ts uint64) error {
	if m.progress != nil {
		m.progress(ts)
	}
	return nil
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// replaceBatch gathers rows of one table for one statement.
type replaceBatch struct {
	head  string // the statement up to VALUES
	text  strings.Builder
	args  []any
	rows  int
	bytes int
}

// add puts a row into the batch and executes it when it is full.
func (b *replaceBatch) add(ctx context.Context, tx *sql.Tx, t *table, cells []codec.Cell, value func(column, any) (any, error)) error {
	var head, marks strings.Builder
	head.WriteString("REPLACE INTO " + t.name.String() + " (")
	first := len(b.args)
	args := make([]any, 0, len(cells))
	for _, c := range cells {
		col, ok := t.columns[strings.ToLower(c.Name)]
		if !ok {
			return fmt.Errorf("column %s is not there downstream", c.Name)
		}
		if col.generated {
			continue
		}
		v, err := value(col, c.Value)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			head.WriteByte(',')
			marks.WriteByte(',')
		}
		head.WriteString(quote(c.Name))
		marks.WriteByte('?')
		args = append(args, v)
		b.bytes += sizeOf(v)
	}
	head.WriteString(") VALUES ")
	if head.String() != b.head || b.rows >= rowsPerStatement || b.bytes > bytesPerStatement {
		size := 0
		for _, v := range args {
			size += sizeOf(v)
		}
		if err := b.flush(ctx, tx); err != nil {
			return err
		}
		b.head, b.bytes, first = head.String(), size, 0
	}
	if first > 0 {
		b.text.WriteByte(',')
	}
	b.text.WriteString("(" + marks.String() + ")")
	b.args = append(b.args, args...)
	b.rows++
	return nil
}

func sizeOf(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 8
}

// flush executes what has been gathered.
func (b *replaceBatch) flush(ctx context.Context, tx *sql.Tx) error {
	if b.rows == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, b.head+b.text.String(), b.args...)
	*b = replaceBatch{}
	return err
}
