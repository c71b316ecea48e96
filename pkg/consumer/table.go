package consumer

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/tidemark/tidemark/pkg/codec"
)

// table is what the target knows of a downstream table.
type table struct {
	name    tableName
	columns map[string]column // by lower-case name
	key     []string          // lower-case names; empty without a key
}

// column is one downstream column.
type column struct {
	kind      string // MySQL's data type, lower case
	generated bool
	key       bool
}

func (c column) binary() bool {
	return strings.HasSuffix(c.kind, "blob") || strings.HasSuffix(c.kind, "binary")
}

// table looks a table up, once until the next schema change.
func (m *MySQL) table(ctx context.Context, name tableName) (*table, error) {
	if t := m.tables[name]; t != nil {
		return t, nil
	}
	t := &table{name: name, columns: make(map[string]column)}
	if err := m.readColumns(ctx, t); err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		return nil, fmt.Errorf("table %s is not there downstream", name)
	}
	if err := m.readKey(ctx, t); err != nil {
		return nil, err
	}
	for _, k := range t.key {
		c := t.columns[k]
		c.key = true
		t.columns[k] = c
	}
	m.tables[name] = t
	return t, nil
}

func (m *MySQL) readColumns(ctx context.Context, t *table) error {
	rows, err := m.db.QueryContext(ctx, `SELECT LOWER(COLUMN_NAME), LOWER(DATA_TYPE), COALESCE(GENERATION_EXPRESSION, '')
		FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?`, t.name.schema, t.name.table)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, kind, expression string
		if err := rows.Scan(&name, &kind, &expression); err != nil {
			return err
		}
		t.columns[name] = column{kind: kind, generated: expression != ""}
	}
	return rows.Err()
}

// readKey finds the columns that tell one row from another: the primary key,
// else the NOT NULL unique index with the fewest columns.
func (m *MySQL) readKey(ctx context.Context, t *table) error {
	rows, err := m.db.QueryContext(ctx, `SELECT INDEX_NAME, LOWER(COLUMN_NAME), NULLABLE FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX`, t.name.schema, t.name.table)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	indexes, nullable := make(map[string][]string), make(map[string]bool)
	for rows.Next() {
		var index, name, null string
		if err := rows.Scan(&index, &name, &null); err != nil {
			return err
		}
		indexes[index] = append(indexes[index], name)
		nullable[index] = nullable[index] || strings.EqualFold(null, "YES")
	}
	if t.key = indexes["PRIMARY"]; t.key != nil {
		return rows.Err()
	}
	chosen := ""
	for name, columns := range indexes {
		better := len(columns) < len(t.key) || (len(columns) == len(t.key) && name < chosen)
		if !nullable[name] && (t.key == nil || better) {
			chosen, t.key = name, columns
		}
	}
	return rows.Err()
}

// moves tells whether an update is more than new values for the row with the
// same key: where the key changed, or where there is none, the old row must go.
func (t *table) moves(row *codec.DecodedRow) bool {
	was := make(map[string]any, len(row.Old))
	for _, c := range row.Old {
		was[strings.ToLower(c.Name)] = c.Value
	}
	moved := len(t.key) == 0
	for _, c := range row.New {
		name := strings.ToLower(c.Name)
		old, shown := was[name]
		moved = moved || shown && t.columns[name].key && !reflect.DeepEqual(old, c.Value)
	}
	if !moved {
		return false
	}
	// Some protocols show only what changed: then the rest is as it is now.
	for _, c := range row.New {
		if _, shown := was[strings.ToLower(c.Name)]; !shown {
			row.Old = append(row.Old, c)
		}
	}
	return true
}
