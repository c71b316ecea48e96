package consumer

import (
	"bytes"
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/test/mariadb"
)

// direct executes schema changes without any care.
type direct struct{ db *sql.DB }

func (d direct) WriteDDL(ctx context.Context, ev *model.DDLEvent) error {
	_, err := d.db.ExecContext(ctx, ev.Query)
	return err
}

func cells(pairs ...any) []codec.Cell {
	var out []codec.Cell
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, codec.Cell{Name: pairs[i].(string), Value: pairs[i+1]})
	}
	return out
}

func change(table string, old, now []codec.Cell) codec.Event {
	row := &codec.DecodedRow{Kind: model.RowUpdate, Old: old, New: now}
	switch {
	case old == nil:
		row.Kind = model.RowInsert
	case now == nil:
		row.Kind = model.RowDelete
	}
	return codec.Event{Kind: codec.EventRow, Schema: "d", Table: table, Row: row}
}

func contents(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	var out []string
	for rows.Next() {
		var s sql.NullString
		require.NoError(t, rows.Scan(&s))
		out = append(out, s.String)
	}
	return out
}

func TestMySQL(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := mariadb.Start(ctx, t.TempDir())
	require.NoError(t, err)
	defer server.Close()
	db, err := OpenMySQL("mysql://root@"+server.Addr()+"/", time.UTC)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	m := NewMySQL(db, direct{db}, config.ProtocolOpen, nil)
	for _, q := range []string{
		"CREATE DATABASE d",
		"CREATE TABLE d.pk (id INT PRIMARY KEY, v VARCHAR(10), g INT GENERATED ALWAYS AS (id * 2) STORED, b BIT(4))",
		"CREATE TABLE d.uk (a INT NOT NULL, b INT NOT NULL, c INT, UNIQUE KEY wide (a, b), UNIQUE KEY nullable (c), UNIQUE KEY narrow (b))",
		"CREATE TABLE d.bare (a INT, b VARCHAR(10))",
	} {
		require.NoError(t, m.DDL(ctx, codec.Event{Kind: codec.EventDDL, Query: q}))
	}
	rows := []codec.Event{
		change("pk", nil, cells("id", 1, "v", "one", "g", 2, "b", "9")),
		change("pk", nil, cells("id", 2, "v", nil, "g", 4, "b", uint64(1))),
		change("pk", cells("v", "one"), cells("id", 1, "v", "uno", "g", 2, "b", "9")),
		change("pk", cells("id", 2), cells("id", 3, "v", "x", "g", 6, "b", nil)),
		change("pk", nil, cells("id", 0, "v", "zero", "g", 0, "b", nil)),
		change("pk", cells("id", 0, "v", "not looked at"), nil),
		change("uk", nil, cells("a", 1, "b", 1, "c", 1)),
		change("uk", cells("b", 1), cells("a", 1, "b", 2, "c", 1)),
		change("bare", nil, cells("a", 1, "b", "x")),
		change("bare", nil, cells("a", nil, "b", nil)),
		change("bare", cells("a", 1, "b", "x"), cells("a", 2, "b", "y")),
		change("bare", cells("a", nil, "b", nil), nil),
		change("bare", nil, cells("a", 3, "b", "y")),
		change("bare", cells("a", 3), cells("a", 4, "b", "y")),
		change("bare", []codec.Cell{}, cells("a", 4, "b", "y")),
	}
	require.NoError(t, m.Rows(ctx, rows))
	require.NoError(t, m.Rows(ctx, rows[:6]), "repeated")
	require.Equal(t, []string{"1-uno-2-9", "3-x-6-NULL"},
		contents(t, db, "SELECT CONCAT_WS('-', id, v, g, COALESCE(b+0,'NULL')) FROM d.pk ORDER BY id"))
	require.Equal(t, []string{"1-2-1"}, contents(t, db, "SELECT CONCAT_WS('-', a, b, c) FROM d.uk"))
	require.Equal(t, []string{"2-y", "4-y"}, contents(t, db, "SELECT CONCAT_WS('-', a, b) FROM d.bare ORDER BY a"), "old images of what changed")

	require.ErrorContains(t, m.Rows(ctx, []codec.Event{change("none", nil, cells("a", 1))}), "not there")
	require.ErrorContains(t, m.Rows(ctx, []codec.Event{change("pk", nil, cells("nope", 1))}), "nope")
	require.ErrorContains(t, m.Rows(ctx, []codec.Event{change("pk", cells("v", "x"), nil)}), "key")
}

func TestMySQLBase64(t *testing.T) {
	m := NewMySQL(nil, nil, config.ProtocolMaxwell, nil)
	v, err := m.value(column{kind: "varbinary"}, "AAE=")
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1}, v)
	v, err = m.value(column{kind: "varchar"}, "AAE=")
	require.NoError(t, err)
	require.Equal(t, "AAE=", v)
}

func TestOpenMySQLHidesPasswords(t *testing.T) {
	_, err := OpenMySQL("mysql://root:se cret@%%/", time.UTC)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "cret")
}

func TestPrint(t *testing.T) {
	var out bytes.Buffer
	p := NewPrint(&out)
	ev := change("t", cells("a", 1), cells("a", 2, "b", []byte{255}))
	ev.CommitTs = 7
	require.NoError(t, p.Rows(t.Context(), []codec.Event{ev}))
	require.NoError(t, p.DDL(t.Context(), codec.Event{CommitTs: 8, Query: "DROP <x>"}))
	require.NoError(t, p.Resolved(t.Context(), 9))
	require.Equal(t, `{"kind":"update","commit_ts":7,"schema":"d","table":"t","old":{"a":1},"new":{"a":2,"b":"base64:/w=="}}
{"kind":"ddl","commit_ts":8,"query":"DROP <x>"}
{"kind":"resolved","commit_ts":9}
`, out.String())
}
