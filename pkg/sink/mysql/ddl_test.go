package mysql

import (
	"context"
	"fmt"
	"testing"

	gomysql "github.com/go-sql-driver/mysql"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func ddlEvent(schema, table string, tp timodel.ActionType, query string) *model.DDLEvent {
	return &model.DDLEvent{Schema: schema, Table: table, Type: tp, Query: query, CommitTs: 5}
}

func TestDDLStatements(t *testing.T) {
	s, f := fakeSink(t, "", false)
	for _, tc := range []struct {
		ev   *model.DDLEvent
		want []string
	}{
		{ddlEvent("d", "", timodel.ActionCreateSchema, "CREATE DATABASE `d`"), []string{"CREATE DATABASE `d`"}},
		{ddlEvent("d", "", timodel.ActionDropSchema, "DROP DATABASE `d`"), []string{"DROP DATABASE `d`"}},
		{ddlEvent("d`", "t", timodel.ActionCreateTable, "CREATE TABLE `t` (`a` INT)"), []string{"USE `d```", "CREATE TABLE `t` (`a` INT)"}},
		{ddlEvent("d", "t", timodel.ActionAddIndex, "ALTER TABLE `t` ADD INDEX(`a`)"), []string{"USE `d`", "ALTER TABLE `t` ADD INDEX(`a`)"}},
	} {
		require.NoError(t, s.WriteDDL(t.Context(), tc.ev))
		require.Equal(t, tc.want, f.sent())
	}
}

// TestDDLErrors goes through the error numbers of the servers.
func TestDDLErrors(t *testing.T) {
	numbers := func(class string, list ...uint16) map[uint16]string {
		m := map[uint16]string{}
		for _, n := range list {
			m[n] = class
		}
		return m
	}
	all := numbers("done", 1007, 1008, 1050, 1051, 1054, 1060, 1061, 1068, 1091, 1176, 1507, 1517)
	for n, class := range numbers("final", 1044, 1045, 1046, 1049, 1064, 1066, 1072, 1082, 1146, 1149, 1166, 1505, 3750) {
		all[n] = class
	}
	for n, class := range numbers("retried", 1205, 1213, 2013, 8028, 9001) {
		all[n] = class
	}
	for n, class := range all {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s, f := fakeSink(t, "", false)
			ctx, cancel := context.WithCancel(t.Context())
			tries := 0
			f.answer = func(text string) error {
				if text == "X" {
					tries++
					if class == "retried" && tries == 1 {
						return &gomysql.MySQLError{Number: n}
					} else if class != "retried" {
						return &gomysql.MySQLError{Number: n}
					}
				}
				return nil
			}
			err := s.WriteDDL(ctx, ddlEvent("d", "t", timodel.ActionAddColumn, "X"))
			cancel()
			switch class {
			case "done":
				require.NoError(t, err)
				require.Equal(t, 1, tries)
			case "final":
				require.Equal(t, errors.ErrMySQLTxnError.Text(), errors.CodeOf(err))
				require.Equal(t, 1, tries)
			case "retried":
				require.NoError(t, err)
				require.Equal(t, 2, tries)
			}
		})
	}
}

// TestDDLInTrouble looks at the status while a DDL is retried, and ends it.
func TestDDLInTrouble(t *testing.T) {
	s, f := fakeSink(t, "", false)
	f.answer = func(text string) error { return &gomysql.MySQLError{Number: 1205, Message: "Lock wait timeout"} }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.WriteDDL(ctx, ddlEvent("d", "t", timodel.ActionAddColumn, "X")) }()
	require.Eventually(t, func() bool { return s.Status().Reason == model.StallSink }, eventually, tick)
	st := s.Status()
	require.Contains(t, st.Detail, "Lock wait timeout")
	require.True(t, st.RetryAt.After(st.Since))
	cancel()
	require.ErrorIs(t, acked(t, done), context.Canceled)
	require.Zero(t, s.Status())
}

// TestIndexInBackground adds an index that takes long to a TiDB.
func TestIndexInBackground(t *testing.T) {
	s, f := fakeSink(t, "", true)
	s.ddl.patience = tick
	release := make(chan struct{})
	f.answer = func(text string) error {
		if text == "INDEX" {
			<-release
		}
		return nil
	}
	require.NoError(t, s.WriteDDL(t.Context(), ddlEvent("d", "t", timodel.ActionAddIndex, "INDEX")))
	require.NoError(t, s.WriteDDL(t.Context(), ddlEvent("d", "other", timodel.ActionDropTable, "OTHER")))
	require.NoError(t, s.WriteDDL(t.Context(), ddlEvent("d", "t", timodel.ActionCreateTable, "CREATE")))
	ctx, cancel := context.WithTimeout(t.Context(), 10*tick)
	defer cancel()
	require.ErrorIs(t, s.WriteDDL(ctx, ddlEvent("d", "t", timodel.ActionDropIndex, "DROP")), context.DeadlineExceeded)
	close(release)
	require.NoError(t, s.WriteDDL(t.Context(), ddlEvent("d", "t", timodel.ActionDropIndex, "DROP")))
	texts := f.sent()
	require.Equal(t, "DROP", texts[len(texts)-1])
}

// TestIndexRefused has one that fails at once.
func TestIndexRefused(t *testing.T) {
	s, f := fakeSink(t, "", true)
	f.answer = failFirst("INDEX", &gomysql.MySQLError{Number: 1072})
	err := s.WriteDDL(t.Context(), ddlEvent("d", "t", timodel.ActionAddIndex, "INDEX"))
	require.Equal(t, errors.ErrMySQLTxnError.Text(), errors.CodeOf(err))
}

func TestDDLDownstream(t *testing.T) {
	addr, db := downstream(t, "ddl")
	s := openSink(t, addr, "has-vector-type=true")
	ev := func(tp timodel.ActionType, query string) *model.DDLEvent { return ddlEvent("ddl", "t", tp, query) }
	renamed := ev(timodel.ActionRenameTable, "RENAME TABLE `ddl`.`t` TO `ddl`.`u`")
	renamed.Table, renamed.OldSchema, renamed.OldTable = "u", "ddl", "t"
	for _, ev := range []*model.DDLEvent{
		ddlEvent("ddl2", "", timodel.ActionCreateSchema, "CREATE DATABASE `ddl2`"),
		ddlEvent("ddl2", "", timodel.ActionDropSchema, "DROP DATABASE `ddl2`"),
		ev(timodel.ActionCreateTable, "CREATE TABLE `t` (`a` INT PRIMARY KEY, `e` VECTOR(3), `s` VARCHAR(10) DEFAULT 'x')"),
		ev(timodel.ActionAddColumn, "ALTER TABLE `t` ADD COLUMN `b` INT NOT NULL DEFAULT 5"),
		ev(timodel.ActionAddIndex, "ALTER TABLE `t` ADD INDEX `ib`(`b`)"),
		ev(timodel.ActionModifyColumn, "ALTER TABLE `t` MODIFY COLUMN `b` BIGINT"),
		ev(timodel.ActionDropIndex, "ALTER TABLE `t` DROP INDEX `ib`"),
		ev(timodel.ActionDropColumn, "ALTER TABLE `t` DROP COLUMN `b`"),
		renamed,
	} {
		// Everything comes twice, as after a restart.
		require.NoError(t, s.WriteDDL(t.Context(), ev), ev.Query)
		if ev.Type != timodel.ActionModifyColumn {
			require.NoError(t, s.WriteDDL(t.Context(), ev), ev.Query)
		}
	}
	require.Equal(t, []string{"u"}, contents(t, db, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='ddl'"))
	require.Equal(t, []string{"utf8mb4_bin"}, contents(t, db, "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='ddl'"))
	err := s.WriteDDL(t.Context(), ev(timodel.ActionAddColumn, "ALTER TABLE `missing` ADD COLUMN `b` INT"))
	require.Equal(t, errors.ErrMySQLTxnError.Text(), errors.CodeOf(err))
	require.ErrorContains(t, err, "1146")
}

func TestWithoutVectors(t *testing.T) {
	for query, want := range map[string]string{
		"CREATE TABLE `t` (`a` INT)": "CREATE TABLE `t` (`a` INT)",
		"CREATE TABLE `vector` (`vector` VECTOR(3) COMMENT '`v` VECTOR',`s` VARCHAR(9) DEFAULT 'a\\\\b''`x` VECTOR',`w` vector NOT NULL)": "CREATE TABLE `vector` " +
			"(`vector` LONGTEXT COMMENT '`v` VECTOR',`s` VARCHAR(9) DEFAULT 'a\\\\b''`x` VECTOR',`w` LONGTEXT NOT NULL)",
		"ALTER TABLE `t` CHANGE COLUMN `a` `v` VECTOR(16383)":      "ALTER TABLE `t` CHANGE COLUMN `a` `v` LONGTEXT",
		"ALTER TABLE `t` ADD COLUMN `v` VECTOR":                    "ALTER TABLE `t` ADD COLUMN `v` LONGTEXT",
		"ALTER TABLE `t` ADD VECTOR INDEX `v`(`a`), `b` VECTORS()": "ALTER TABLE `t` ADD VECTOR INDEX `v`(`a`), `b` VECTORS()",
	} {
		require.Equal(t, want, withoutVectors(query))
	}
}

// TestHasVectorType: the parameter, and not the statement alone, decides.
func TestHasVectorType(t *testing.T) {
	ev := ddlEvent("d", "t", timodel.ActionCreateTable, "CREATE TABLE `t` (`v` VECTOR(3))")
	for parameters, want := range map[string]string{
		"": ev.Query, "has-vector-type=false": ev.Query, "has-vector-type=true": "CREATE TABLE `t` (`v` LONGTEXT)",
	} {
		s, f := fakeSink(t, parameters, false)
		require.NoError(t, s.WriteDDL(t.Context(), ev))
		require.Equal(t, []string{"USE `d`", want}, f.sent())
	}
}

func FuzzWithoutVectors(f *testing.F) {
	f.Add("CREATE TABLE `t` (`v` VECTOR(3) DEFAULT 'a\\'' )")
	f.Fuzz(func(t *testing.T, query string) {
		got := withoutVectors(query)
		require.LessOrEqual(t, len(got), 2*len(query))
	})
}
