package consumer

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/tidemark/tidemark/pkg/codec"
)

// TiDB reads rows of the past from the upstream.
type TiDB struct {
	db *sql.DB
}

var _ Snapshots = (*TiDB)(nil)

// NewTiDB takes a handle of the upstream, whose sessions have the time zone of
// the messages' timestamps.
func NewTiDB(db *sql.DB) *TiDB { return &TiDB{db: db} }

// Row implements Snapshots.
func (t *TiDB) Row(ctx context.Context, schema, table string, key []codec.Cell, ts uint64) ([]codec.Cell, error) {
	conn, err := t.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		// The session keeps its snapshot: nobody else may get it.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
	}()
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("SET tidb_snapshot='%d'", ts)); err != nil {
		return nil, err
	}
	var where []string
	var args []any
	for _, c := range key {
		where = append(where, quote(c.Name)+" <=> ?")
		args = append(args, c.Value)
	}
	rows, err := conn.QueryContext(ctx, "SELECT * FROM "+tableName{schema, table}.String()+" WHERE "+strings.Join(where, " AND "), args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return nil, sql.ErrNoRows
	}
	return scanCells(rows)
}

// scanCells reads the current row. Text becomes a string, what is binary stays bytes.
func scanCells(rows *sql.Rows) ([]codec.Cell, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	values := make([]sql.RawBytes, len(types))
	dest := make([]any, len(types))
	for i := range values {
		dest[i] = &values[i]
	}
	if err := rows.Scan(dest...); err != nil {
		return nil, err
	}
	cells := make([]codec.Cell, len(types))
	for i, ct := range types {
		cells[i] = codec.Cell{Name: ct.Name(), Type: strings.ToLower(ct.DatabaseTypeName())}
		switch {
		case values[i] == nil:
		case column{kind: cells[i].Type}.binary() || cells[i].Type == "bit":
			cells[i].Value = append([]byte{}, values[i]...)
		default:
			cells[i].Value = string(values[i])
		}
	}
	return cells, nil
}
