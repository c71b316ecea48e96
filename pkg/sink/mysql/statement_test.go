package mysql

import (
	"strings"
	"testing"

	"github.com/pingcap/tidb/pkg/types"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	simple    = "CREATE TABLE d.t (id INT PRIMARY KEY, s VARCHAR(2000))"
	secondKey = "CREATE TABLE d.t (id INT PRIMARY KEY NONCLUSTERED, s VARCHAR(20), UNIQUE KEY (s))"
	composite = "CREATE TABLE d.t (a INT, b VARBINARY(5), s INT, PRIMARY KEY (a, b))"
	generated = "CREATE TABLE d.t (id INT PRIMARY KEY, g INT AS (id) STORED, v INT AS (id) VIRTUAL, s INT)"
	keyless   = "CREATE TABLE d.t (id INT, f FLOAT)"
	withEnum  = "CREATE TABLE d.t (id INT PRIMARY KEY, e ENUM('a'))"
)

// step is one row change: values before and after.
type step struct{ old, new []any }

func row(v ...any) []any { return v }

func TestStatements(t *testing.T) {
	tidbUpdates := []step{{row(1, "a"), row(1, "b")}, {row(2, "a"), row(2, nil)}}
	for _, tc := range []struct {
		name, table, parameters string
		tidb, replay            bool
		rows                    []step
		want                    []string
	}{
		{name: "inserts", table: simple, rows: []step{{nil, row(1, "a")}, {nil, row(2, "it's")}, {nil, row(3, nil)}},
			want: []string{`INSERT INTO $ ($id$,$s$) VALUES (1,'a'),(2,'it\'s'),(3,NULL)`}},
		{name: "kinds are gathered", table: simple,
			rows: []step{{nil, row(1, "a")}, {row(2, "b"), row(2, "c")}, {row(3, "d"), nil}, {nil, row(4, "e")}, {row(5, ""), nil}},
			want: []string{"BEGIN;DELETE FROM $ WHERE $id$ IN (3,5);UPDATE $ SET $id$=2,$s$='c' WHERE $id$=2 LIMIT 1;" +
				"INSERT INTO $ ($id$,$s$) VALUES (1,'a'),(4,'e');COMMIT"}},
		{name: "unless one row comes twice", table: simple,
			rows: []step{{nil, row(1, "a")}, {nil, row(2, "b")}, {row(1, "a"), nil}, {nil, row(3, "c")}},
			want: []string{"BEGIN;INSERT INTO $ ($id$,$s$) VALUES (1,'a'),(2,'b');DELETE FROM $ WHERE $id$=1 LIMIT 1;" +
				"INSERT INTO $ ($id$,$s$) VALUES (3,'c');COMMIT"}},
		{name: "or a unique value moves", table: secondKey,
			rows: []step{{nil, row(1, "a")}, {row(1, "a"), row(1, "b")}, {nil, row(2, "a")}},
			want: []string{"BEGIN;INSERT INTO $ ($id$,$s$) VALUES (1,'a');UPDATE $ SET $id$=1,$s$='b' WHERE $id$=1 LIMIT 1;" +
				"INSERT INTO $ ($id$,$s$) VALUES (2,'a');COMMIT"}},
		{name: "one row updated twice", table: simple, tidb: true, rows: []step{{row(1, "a"), row(1, "b")}, {row(1, "b"), row(1, "c")}},
			want: []string{"BEGIN;UPDATE $ SET $id$=1,$s$='b' WHERE $id$=1 LIMIT 1;UPDATE $ SET $id$=1,$s$='c' WHERE $id$=1 LIMIT 1;COMMIT"}},
		{name: "an update of the key", table: secondKey, rows: []step{{row(1, "a"), row(7, "a")}},
			want: []string{"UPDATE $ SET $id$=7,$s$='a' WHERE $id$=1 LIMIT 1"}},
		{name: "deletes by several columns", table: composite,
			rows: []step{{row(1, []byte("x'"), 1), nil}, {row(2, []byte("y"), 1), nil}, {row(3, []byte("z"), 1), nil}},
			want: []string{`DELETE FROM $ WHERE ($a$=1 AND $b$=_binary'x\'') OR ($a$=2 AND $b$=_binary'y') OR ($a$=3 AND $b$=_binary'z')`}},
		{name: "generated columns", table: generated, rows: []step{{nil, row(1, 1, nil, 5)}},
			want: []string{"INSERT INTO $ ($id$,$s$) VALUES (1,5)"}},
		{name: "updates together on TiDB", table: simple, tidb: true, rows: tidbUpdates,
			want: []string{"UPDATE $ SET $id$=CASE WHEN $id$=1 THEN 1 WHEN $id$=2 THEN 2 END," +
				"$s$=CASE WHEN $id$=1 THEN 'b' WHEN $id$=2 THEN NULL END WHERE ($id$=1) OR ($id$=2)"}},
		{name: "not with large rows", table: simple, tidb: true, parameters: "max-multi-update-row-size=4", rows: tidbUpdates,
			want: []string{"BEGIN;UPDATE $ SET $id$=1,$s$='b' WHERE $id$=1 LIMIT 1;UPDATE $ SET $id$=2,$s$=NULL WHERE $id$=2 LIMIT 1;COMMIT"}},
		{name: "not more than allowed", table: simple, tidb: true, parameters: "max-multi-update-row=1", rows: tidbUpdates,
			want: []string{"BEGIN;UPDATE $ SET $id$=1,$s$='b' WHERE $id$=1 LIMIT 1;UPDATE $ SET $id$=2,$s$=NULL WHERE $id$=2 LIMIT 1;COMMIT"}},
		{name: "replays keep the last", table: simple, replay: true,
			rows: []step{{nil, row(1, "a")}, {nil, row(2, "b")}, {row(1, "a"), row(1, "c")}, {row(2, "b"), nil}, {row(3, "x"), nil}, {nil, row(3, "y")}},
			want: []string{"BEGIN;DELETE FROM $ WHERE $id$=2 LIMIT 1;REPLACE INTO $ ($id$,$s$) VALUES (1,'c'),(3,'y');COMMIT"}},
		{name: "and leave no old key", table: secondKey, replay: true,
			rows: []step{{row(1, "a"), row(2, "a")}, {row(2, "a"), row(3, "a")}, {nil, row(1, "b")}},
			want: []string{"BEGIN;DELETE FROM $ WHERE $id$=2 LIMIT 1;REPLACE INTO $ ($id$,$s$) VALUES (3,'a'),(1,'b');COMMIT"}},
		{name: "safe mode", table: simple, parameters: "safe-mode=true", rows: []step{{row(1, "a"), row(1, "b")}},
			want: []string{"REPLACE INTO $ ($id$,$s$) VALUES (1,'b')"}},
		{name: "no key", table: keyless, rows: []step{{nil, row(1, 1.5)}}},
		{name: "no key by force", table: keyless, parameters: "force", rows: []step{{nil, row(1, 1.5)}, {row(2, nil), row(3, 2.0)}, {row(4, nil), nil}},
			want: []string{"BEGIN;INSERT INTO $ ($id$,$f$) VALUES (1,1.5e+00);UPDATE $ SET $id$=3,$f$=2e+00 WHERE $id$=2 AND $f$ IS NULL LIMIT 1;" +
				"DELETE FROM $ WHERE $id$=4 AND $f$ IS NULL LIMIT 1;COMMIT"}},
		{name: "one by one", table: simple, parameters: "multi-stmt-enable=false", rows: []step{{nil, row(1, "a")}, {nil, row(2, "b")}, {row(3, ""), nil}},
			want: []string{"BEGIN", "DELETE FROM $ WHERE $id$=3 LIMIT 1", "INSERT INTO $ ($id$,$s$) VALUES (1,'a'),(2,'b')", "COMMIT"}},
		{name: "single rows", table: simple, parameters: "batch-dml-enable=false", rows: []step{{nil, row(1, "a")}, {nil, row(2, "b")}},
			want: []string{"BEGIN;INSERT INTO $ ($id$,$s$) VALUES (1,'a');INSERT INTO $ ($id$,$s$) VALUES (2,'b');COMMIT"}},
		{name: "prepared", table: simple, parameters: "batch-dml-enable=false&multi-stmt-enable=false",
			rows: []step{{nil, row(1, "a")}, {row(2, "b"), row(2, nil)}, {row(3, ""), nil}},
			want: []string{"BEGIN", "DELETE FROM $ WHERE $id$=? LIMIT 1 [3]", "UPDATE $ SET $id$=?,$s$=? WHERE $id$=? LIMIT 1 [2 <nil> 2]",
				"INSERT INTO $ ($id$,$s$) VALUES (?,?) [1 a]", "COMMIT"}},
		{name: "statements of bounded size", table: simple, parameters: "max-txn-row=2",
			rows: []step{{nil, row(1, "a")}, {nil, row(2, "b")}},
			want: []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'a'),(2,'b')"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, f := fakeSink(t, tc.parameters, tc.tidb)
			u := newTable(t, 100, tc.table)
			var rows []model.RawChange
			for i, c := range tc.rows {
				rows = append(rows, u.change(uint64(10+i), 1, c.old, c.new))
			}
			replicateTs := uint64(0)
			if tc.replay {
				replicateTs = 100
			}
			require.NoError(t, acked(t, u.write(s, replicateTs, rows...)))
			for i, w := range tc.want {
				tc.want[i] = strings.ReplaceAll(strings.ReplaceAll(w, " $ ", " `d`.`t` "), "$", "`")
			}
			require.Equal(t, tc.want, f.sent())
		})
	}
}

func TestEmptyEnum(t *testing.T) {
	s, f := fakeSink(t, "", false)
	u := newTable(t, 100, withEnum)
	c := u.change(10, 1, nil, row(1, types.Enum{}))
	require.NoError(t, acked(t, u.write(s, 0, c)))
	require.Equal(t, []string{"BEGIN;SET SESSION sql_mode=" + sqlModeLax + ";INSERT INTO `d`.`t` (`id`,`e`) VALUES (1,0);" +
		"SET SESSION sql_mode=" + sqlModeStrict + ";COMMIT"}, f.sent())
}

func TestEmptyEnumDownstream(t *testing.T) {
	addr, db := downstream(t, "d")
	u := newTable(t, 100, withEnum)
	execAll(t, db, u.ddl)
	s := openSink(t, addr, "")
	require.NoError(t, acked(t, u.write(s, 0, u.change(10, 1, nil, row(1, types.Enum{})), u.change(10, 1, nil, row(2, "a")))))
	require.NoError(t, acked(t, u.write(s, 0, u.change(11, 1, row(2, "a"), row(2, types.Enum{})))))
	require.Equal(t, []string{"1|", "2|"}, contents(t, db, "SELECT * FROM d.t ORDER BY id"))
}

func TestLongTransaction(t *testing.T) {
	s, f := fakeSink(t, "transaction-atomicity=table", false)
	u := newTable(t, 100, simple)
	var rows []model.RawChange
	for i := range 1000 {
		rows = append(rows, u.change(10, 0, nil, row(i, strings.Repeat("x", 1000))))
	}
	require.NoError(t, acked(t, u.write(s, 0, rows...)))
	sent := f.sent()
	require.Greater(t, len(sent), 5)
	require.Equal(t, "BEGIN;", sent[0][:6])
	for i, text := range sent {
		require.Less(t, len(text), 2*packetLimit)
		require.Equal(t, i == len(sent)-1, strings.HasSuffix(text, "COMMIT"))
	}
}
