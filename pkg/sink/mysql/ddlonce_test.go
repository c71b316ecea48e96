package mysql

import (
	"slices"
	"strings"
	"testing"

	gomysql "github.com/go-sql-driver/mysql"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// TestDDLThatUndoesItself executes jobs again, as after a crash that lost
// their checkpoint.
func TestDDLThatUndoesItself(t *testing.T) {
	addr, db := downstream(t, "once")
	execAll(t, db, "DROP DATABASE IF EXISTS tidb_cdc")
	s := openSink(t, addr, "")
	again := func(events ...*model.DDLEvent) {
		t.Helper()
		for range 2 {
			for _, ev := range events {
				require.NoError(t, s.WriteDDL(t.Context(), ev), ev.Query)
			}
		}
	}
	rename := func(ts uint64, seq int, from, to string) *model.DDLEvent {
		return &model.DDLEvent{
			Type: timodel.ActionRenameTable, CommitTs: ts, Seq: seq, Schema: "once", Table: to, OldSchema: "once", OldTable: from,
			Query: "RENAME TABLE `once`.`" + from + "` TO `once`.`" + to + "`",
		}
	}
	execAll(t, db, "CREATE TABLE once.a (id INT PRIMARY KEY)", "CREATE TABLE once.b (id INT PRIMARY KEY)",
		"INSERT INTO once.a VALUES (1)", "INSERT INTO once.b VALUES (2)")
	again(rename(10, 0, "a", "c"))
	again(rename(12, 0, "c", "a"))
	require.Empty(t, contents(t, db, "SHOW DATABASES LIKE 'tidb_cdc'"), "nothing is kept of DDL that can be repeated")
	again(rename(20, 0, "a", "tmp"), rename(20, 1, "b", "a"), rename(20, 2, "tmp", "b"))
	require.Equal(t, []string{"2"}, contents(t, db, "SELECT id FROM once.a"))
	require.Equal(t, []string{"1"}, contents(t, db, "SELECT id FROM once.b"))

	execAll(t, db, "CREATE TABLE once.p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100))",
		"CREATE TABLE once.n (id INT PRIMARY KEY)", "INSERT INTO once.p VALUES (1)", "INSERT INTO once.n VALUES (2)")
	exchange := func(ts uint64) *model.DDLEvent {
		return &model.DDLEvent{
			Type: timodel.ActionExchangeTablePartition, CommitTs: ts, Schema: "once", Table: "p",
			Query: "ALTER TABLE `once`.`p` EXCHANGE PARTITION `p0` WITH TABLE `once`.`n`",
			Parts: []*model.DDLEvent{{Schema: "once", Table: "n"}},
		}
	}
	again(exchange(30))
	require.Equal(t, []string{"2"}, contents(t, db, "SELECT id FROM once.p"))
	again(exchange(32))
	require.Equal(t, []string{"1"}, contents(t, db, "SELECT id FROM once.p"))

	// It ended after what was about to be done was noted.
	ev := exchange(34)
	s.ddl.remember(t.Context(), ev, s.ddl.identity(t.Context(), ev))
	again(ev)
	require.Equal(t, []string{"2"}, contents(t, db, "SELECT id FROM once.p"))
	// It ended after it was done.
	ev = exchange(36)
	s.ddl.remember(t.Context(), ev, s.ddl.identity(t.Context(), ev))
	execAll(t, db, ev.Query)
	again(ev)
	require.Equal(t, []string{"1"}, contents(t, db, "SELECT id FROM once.p"))
}

// TestPartitionsAgain repeats statements about partitions that servers refuse
// the second time with errors that may mean something else.
func TestPartitionsAgain(t *testing.T) {
	addr, db := downstream(t, "parts")
	execAll(t, db, "CREATE TABLE parts.p (id INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))")
	s := openSink(t, addr, "")
	info := &timodel.TableInfo{Partition: &timodel.PartitionInfo{Definitions: []timodel.PartitionDefinition{
		{Name: ast.NewCIStr("p0")}, {Name: ast.NewCIStr("P1")},
	}}}
	for _, ev := range []*model.DDLEvent{
		{Type: timodel.ActionAddTablePartition, Query: "ALTER TABLE `p` ADD PARTITION (PARTITION `P1` VALUES LESS THAN (MAXVALUE))"},
		{Type: timodel.ActionRemovePartitioning, Query: "ALTER TABLE `p` REMOVE PARTITIONING"},
	} {
		ev.Schema, ev.Table, ev.Info = "parts", "p", &model.Table{Info: info}
		require.NoError(t, s.WriteDDL(t.Context(), ev))
		require.NoError(t, s.WriteDDL(t.Context(), ev), ev.Query)
	}
}

// TestExchangeAnswerLost: the connection breaks while a partition is exchanged,
// and the server ends the statement or does not. It must not be exchanged back.
func TestExchangeAnswerLost(t *testing.T) {
	const query = "ALTER TABLE `d`.`p` EXCHANGE PARTITION `p0` WITH TABLE `d`.`n`"
	ev := &model.DDLEvent{
		Type: timodel.ActionExchangeTablePartition, CommitTs: 30, Schema: "d", Table: "p", Query: query,
		Parts: []*model.DDLEvent{{Schema: "d", Table: "n"}},
	}
	for name, tc := range map[string]struct {
		looks int // as often as the server is seen with the statement
		ends  bool
		want  int // how often it is executed
	}{
		"executed":                {0, true, 1},
		"executed a moment later": {1, true, 1},
		"not executed":            {0, false, 2},
		"given up a moment later": {1, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := fakeSink(t, "", false)
			tries, looks, id := 0, tc.looks, uint64(7)
			f.answer = func(text string) error {
				if text != query {
					return nil
				}
				if tries++; tries > 1 {
					return nil
				}
				if tc.ends && looks == 0 {
					id++
				}
				return gomysql.ErrInvalidConn
			}
			f.number = func(text string) uint64 {
				if !strings.Contains(text, "PROCESSLIST") {
					return id
				}
				if looks == 0 {
					return 0
				}
				if looks--; looks == 0 && tc.ends {
					id++
				}
				return 1
			}
			require.NoError(t, s.WriteDDL(t.Context(), ev))
			require.Equal(t, tc.want, tries)
			f.mu.Lock()
			defer f.mu.Unlock()
			require.True(t, slices.Contains(f.texts, statementsUnderWay))
		})
	}
}

// TestExchangeUnderWay: the sink before was lost while the server exchanged a
// partition for it, and the server has not come to the end of that.
func TestExchangeUnderWay(t *testing.T) {
	addr, db := downstream(t, "underway")
	execAll(t, db, "CREATE TABLE underway.p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100))",
		"CREATE TABLE underway.n (id INT PRIMARY KEY)", "INSERT INTO underway.p VALUES (1)", "INSERT INTO underway.n VALUES (2)")
	s := openSink(t, addr, "")
	ev := &model.DDLEvent{
		Type: timodel.ActionExchangeTablePartition, CommitTs: 30, Schema: "underway", Table: "p",
		Query: "ALTER TABLE `underway`.`p` EXCHANGE PARTITION `p0` WITH TABLE `underway`.`n`",
		Parts: []*model.DDLEvent{{Schema: "underway", Table: "n"}},
	}
	s.ddl.remember(t.Context(), ev, s.ddl.identity(t.Context(), ev))

	holder, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Close() }()
	_, err = holder.ExecContext(t.Context(), "LOCK TABLES underway.n READ")
	require.NoError(t, err)
	before, after := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := db.Exec(ev.Query)
		before <- err
	}()
	require.Eventually(t, func() bool {
		return contents(t, db, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'ALTER TABLE `underway`%'")[0] == "1"
	}, eventually, tick)
	go func() { after <- s.WriteDDL(t.Context(), ev) }()
	_, err = holder.ExecContext(t.Context(), "UNLOCK TABLES")
	require.NoError(t, err)
	require.NoError(t, acked(t, before))
	require.NoError(t, acked(t, after))
	require.Equal(t, []string{"2"}, contents(t, db, "SELECT id FROM underway.p"), "exchanged once")
}
