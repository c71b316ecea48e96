package mysql

import (
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestWithCollations(t *testing.T) {
	info := &timodel.TableInfo{Charset: "utf8mb4", Collate: "utf8mb4_bin", Columns: []*timodel.ColumnInfo{
		{Name: ast.NewCIStr("a")}, {Name: ast.NewCIStr("B")},
	}}
	info.Columns[0].SetCollate("latin1_bin")
	info.Columns[1].SetCollate("utf8mb4_bin")
	const same = ""
	for _, tc := range []struct {
		tp          timodel.ActionType
		query, want string
	}{
		{timodel.ActionCreateSchema, "CREATE DATABASE `d`", same},
		{timodel.ActionCreateSchema, "CREATE DATABASE `d` COLLATE = utf8mb4_general_ci", same},
		{timodel.ActionCreateSchema, "CREATE DATABASE `d` CHARACTER SET = utf8mb4 COLLATE = utf8mb4_general_ci", same},
		{timodel.ActionCreateSchema, "CREATE DATABASE `d` CHARACTER SET = utf8mb4", "CREATE DATABASE `d` CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin"},
		{timodel.ActionModifySchemaCharsetAndCollate, "ALTER DATABASE `d` CHARACTER SET = utf8", "ALTER DATABASE `d` CHARACTER SET = utf8 COLLATE = utf8_bin"},
		{timodel.ActionCreateTable, "CREATE TABLE `t` (`c` INT)", "CREATE TABLE `t` (`c` INT) DEFAULT CHARACTER SET = UTF8MB4 DEFAULT COLLATE = UTF8MB4_BIN"},
		{timodel.ActionCreateTable, "CREATE TABLE `t` (`c` INT) ENGINE = InnoDB DEFAULT CHARACTER SET = UTF8MB4 COMMENT = 'a\\\\b''c'",
			"CREATE TABLE `t` (`c` INT) ENGINE = InnoDB DEFAULT CHARACTER SET = UTF8MB4 COMMENT = 'a\\\\b''c' DEFAULT COLLATE = UTF8MB4_BIN"},
		{timodel.ActionCreateTable, "CREATE TABLE `t` (`c` INT) DEFAULT COLLATE = UTF8MB4_GENERAL_CI", same},
		{timodel.ActionCreateTable, "CREATE TABLE `t` LIKE `u`", same},
		{timodel.ActionCreateTables, "CREATE TABLE `t` (`A` VARCHAR(9) CHARACTER SET LATIN1 COMMENT 'x',`b` ENUM('x','\\\\') COLLATE utf8mb4_bin,`c` VARBINARY(9)) DEFAULT COLLATE = UTF8MB4_BIN",
			"CREATE TABLE `t` (`A` VARCHAR(9) CHARACTER SET LATIN1 COLLATE latin1_bin COMMENT 'x',`b` ENUM('x','\\\\') COLLATE utf8mb4_bin,`c` VARBINARY(9)) DEFAULT COLLATE = UTF8MB4_BIN"},
		{timodel.ActionCreateTable, "CREATE TABLE `t` (`id` BIGINT PRIMARY KEY /*T![clustered_index] CLUSTERED */ /*T![auto_rand] AUTO_RANDOM(5) */)",
			"CREATE TABLE `t` (`id` BIGINT PRIMARY KEY /*T![clustered_index] CLUSTERED */ /*T![auto_rand] AUTO_RANDOM(5) */) DEFAULT CHARACTER SET = UTF8MB4 DEFAULT COLLATE = UTF8MB4_BIN"},
		{timodel.ActionAddColumn, "ALTER TABLE `t` ADD COLUMN `b` VARCHAR(9)", same},
		{timodel.ActionAddColumn, "ALTER TABLE `t` ADD COLUMN `b` VARCHAR(9) CHARACTER SET UTF8MB4 COLLATE utf8mb4_general_ci", same},
		{timodel.ActionAddColumn, "ALTER TABLE `t` ADD COLUMN `b` VARCHAR(9) CHARACTER SET UTF8MB4 DEFAULT 'x'",
			"ALTER TABLE `t` ADD COLUMN `b` VARCHAR(9) CHARACTER SET UTF8MB4 COLLATE utf8mb4_bin DEFAULT _UTF8MB4'x'"},
		{timodel.ActionMultiSchemaChange, "ALTER TABLE `t` CHANGE COLUMN `x` `a` TEXT CHARACTER SET LATIN1, ADD COLUMN `i` INT",
			"ALTER TABLE `t` CHANGE COLUMN `x` `a` TEXT CHARACTER SET LATIN1 COLLATE latin1_bin, ADD COLUMN `i` INT"},
		{timodel.ActionModifyTableCharsetAndCollate, "ALTER TABLE `t` CONVERT TO CHARACTER SET UTF8MB4",
			"ALTER TABLE `t` CONVERT TO CHARACTER SET UTF8MB4 COLLATE UTF8MB4_BIN"},
		{timodel.ActionModifyTableCharsetAndCollate, "ALTER TABLE `t` DEFAULT CHARACTER SET = UTF8MB4",
			"ALTER TABLE `t` CHARACTER SET UTF8MB4 COLLATE UTF8MB4_BIN"},
		{timodel.ActionCreateTable, "CREATE TABLE `t` what?", same},
		{timodel.ActionDropTable, "DROP TABLE `t`", same},
	} {
		ev := &model.DDLEvent{Type: tc.tp, Info: &model.Table{Info: info}}
		want := tc.want
		if want == same {
			want = tc.query
		}
		got := withCollations(ev, tc.query)
		require.Equal(t, want, got)
		require.Equal(t, got, withCollations(ev, got), "a second time adds nothing")
	}
}

// TestKeysThatDifferByCase: rows that TiDB keeps apart have room in a table
// that was made downstream without a collation, in a database with the server's own.
func TestKeysThatDifferByCase(t *testing.T) {
	addr, db := downstream(t, "casing")
	s := openSink(t, addr, "worker-count=1")
	u := newTable(t, 100, "CREATE TABLE casing.t (id VARCHAR(9) CHARACTER SET utf8mb4 PRIMARY KEY, s VARCHAR(9), UNIQUE KEY (s))")
	u.info.Columns[0].SetCollate("utf8mb4_bin")
	ev := ddlEvent("casing", "t", timodel.ActionCreateTable, u.ddl)
	ev.Info = u.table
	require.NoError(t, s.WriteDDL(t.Context(), ev))
	require.NoError(t, acked(t, u.write(s, 0, u.change(10, 0, nil, row("a", "x")), u.change(10, 0, nil, row("A", "X")))))
	require.Equal(t, []string{"A|X", "a|x"}, contents(t, db, "SELECT * FROM casing.t ORDER BY id"))
}
