package schema

import (
	"bytes"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/schema/statement"
)

func newFilter(t *testing.T, rules ...string) *filter.Filter {
	f, err := filter.New(&config.FilterConfig{Rules: rules}, true)
	require.NoError(t, err)
	return f
}

// TestFinalQuery is about the text of statements.
func TestFinalQuery(t *testing.T) {
	tests := []struct {
		name, query, want string
		mode              mysql.SQLMode
	}{
		{"literals", "create table t (a int primary key, b varchar(10) default 'x', c enum('a','b''c') default 'a', d bit(3) default b'101', e binary(2) default x'0102')",
			"CREATE TABLE `t` (`a` INT PRIMARY KEY,`b` VARCHAR(10) DEFAULT _UTF8MB4'x',`c` ENUM('a','b''c') DEFAULT _UTF8MB4'a',`d` BIT(3) DEFAULT b'101',`e` BINARY(2) DEFAULT x'0102')", 0},
		{"time", "create table t (a timestamp(3) default current_timestamp(3) on update now(3))",
			"CREATE TABLE `t` (`a` TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3))", 0},
		{"special comments", "create table if not exists t (a bigint primary key clustered auto_random(5)) shard_row_id_bits=4 auto_id_cache 1",
			"CREATE TABLE IF NOT EXISTS `t` (`a` BIGINT PRIMARY KEY /*T![clustered_index] CLUSTERED */ /*T![auto_rand] AUTO_RANDOM(5) */) /*T! SHARD_ROW_ID_BITS = 4 */ /*T![auto_id_cache] AUTO_ID_CACHE = 1 */", 0},
		{"special comments are read", "create table t (a bigint, unique key u(a) /*T![global_index] GLOBAL */) partition by hash(a) partitions 2",
			"CREATE TABLE `t` (`a` BIGINT,UNIQUE `u`(`a`) /*T![global_index] GLOBAL */) PARTITION BY HASH (`a`) PARTITIONS 2", 0},
		{"other comments go", "/* x */ create table t (a int /* y */) -- z", "CREATE TABLE `t` (`a` INT)", 0},
		{"placement", "alter table t placement policy p, add column c int", "ALTER TABLE `t` ADD COLUMN `c` INT", 0},
		{"partition placement", "create table t (a int) partition by range (a) (partition p0 values less than (10) placement policy x)",
			"CREATE TABLE `t` (`a` INT) PARTITION BY RANGE (`a`) (PARTITION `p0` VALUES LESS THAN (10) )", 0},
		{"ttl is off", "alter table t ttl = b + interval 1 day ttl_enable='ON'",
			"ALTER TABLE `t` /*T![ttl] TTL = `b` + INTERVAL 1 DAY */ /*T![ttl] TTL_ENABLE = 'OFF' */", 0},
		{"ttl alone", "alter table d.t ttl_enable='ON'", "ALTER TABLE `d`.`t`", 0},
		{"backslashes", `create table t (a enum('x\\y') comment 'a\\b' default 'x\\y', b varchar(3) default '\\', key i(b) comment '\\i') comment 't\\u' partition by hash(a) (partition p comment 'q\\r')`,
			"CREATE TABLE `t` (`a` ENUM('x\\\\y') COMMENT 'a\\\\b' DEFAULT _UTF8MB4'x\\\\y',`b` VARCHAR(3) DEFAULT _UTF8MB4'\\\\',INDEX `i`(`b`) COMMENT '\\\\i') COMMENT = 't\\\\u' PARTITION BY HASH (`a`) (PARTITION `p` COMMENT = 'q\\\\r')", 0},
		{"names", "alter table `a``b` rename column c to `d e`", "ALTER TABLE `a``b` RENAME COLUMN `c` TO `d e`", 0},
		{"ansi quotes", `create table "t" ("a" int)`, "CREATE TABLE `t` (`a` INT)", mysql.ModeANSIQuotes},
		{"no backslash escapes", `create table t (a varchar(5) default '\')`, "CREATE TABLE `t` (`a` VARCHAR(5) DEFAULT _UTF8MB4'\\\\')", mysql.ModeNoBackslashEscapes},
		{"view", "create or replace view v as select 'x' as y from t where a like 'b%'",
			"CREATE OR REPLACE ALGORITHM = UNDEFINED DEFINER = CURRENT_USER SQL SECURITY DEFINER VIEW `v` AS SELECT _UTF8MB4'x' AS `y` FROM `t` WHERE `a` LIKE _UTF8MB4'b%'", 0},
		{"database", "create database if not exists d placement policy p charset utf8mb4", "CREATE DATABASE IF NOT EXISTS `d`  CHARACTER SET = utf8mb4", 0},
		{"semicolon", "truncate table t;", "TRUNCATE TABLE `t`", 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := finalQuery(&model.DDLEvent{Type: timodel.ActionMultiSchemaChange, Query: tc.query, SQLMode: tc.mode})
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
			_, err = statement.Parse(got, 0)
			require.NoError(t, err)
		})
	}
	for _, bad := range []string{"", "create tabel t", "truncate table a; truncate table b"} {
		_, err := finalQuery(&model.DDLEvent{Type: timodel.ActionTruncateTable, Query: bad})
		require.Error(t, err)
	}
}

func TestFilterDDL(t *testing.T) {
	pk := NewTable(2, "test", pkTable(100, "t"), 1)
	noKey := NewTable(2, "test", tinfo(100, "t", col(1, "a", mysql.TypeLong, 0)), 1)
	temporary := pkTable(100, "t")
	temporary.TempTableType = timodel.TempTableGlobal
	view := tinfo(100, "t")
	view.View = &timodel.ViewInfo{}
	ev := func(kind timodel.ActionType, query string, pre, post *model.Table) *model.DDLEvent {
		return &model.DDLEvent{Type: kind, Query: query, Schema: "test", Table: "t", PreInfo: pre, Info: post}
	}
	renamed := func(query, oldSchema, oldTable, schema, table string) *model.DDLEvent {
		return &model.DDLEvent{Type: timodel.ActionRenameTable, Query: query, Schema: schema, Table: table,
			OldSchema: oldSchema, OldTable: oldTable, PreInfo: pk, Info: pk}
	}
	database := func(kind timodel.ActionType, name, query string) *model.DDLEvent {
		return &model.DDLEvent{Type: kind, Query: query, Schema: name}
	}
	batch := ev(timodel.ActionCreateTables, "create table y (id int primary key); create table X (a varchar(1) primary key);", nil, nil)
	exchange := ev(timodel.ActionExchangeTablePartition, "alter table t exchange partition p0 with table n without validation", pk, pk)
	exchange.Parts = []*model.DDLEvent{{Schema: "other", Table: "n", PreInfo: pk, Info: pk}}
	for _, name := range []string{"X", "y"} {
		part := *batch
		part.Table, part.Info = name, pk
		batch.Parts = append(batch.Parts, &part)
	}
	renames := ev(timodel.ActionRenameTables, "rename table t to u, other.x to test.y", nil, nil)
	renames.Parts = []*model.DDLEvent{renamed(renames.Query, "test", "t", "test", "u"), renamed(renames.Query, "other", "x", "test", "y")}

	tests := []struct {
		name  string
		ev    *model.DDLEvent
		rules []string
		force bool
		want  []string
		err   error // any, when it has no code
	}{
		{"create", ev(timodel.ActionCreateTable, "create table t (a int primary key)", nil, pk), nil, false, []string{"CREATE TABLE `t` (`a` INT PRIMARY KEY)"}, nil},
		{"not in the rules", ev(timodel.ActionCreateTable, "create table t (a int primary key)", nil, pk), []string{"test.u"}, false, nil, nil},
		{"system", &model.DDLEvent{Type: timodel.ActionCreateTable, Query: "create table t (a int)", Schema: "mysql", Table: "t", Info: pk}, nil, false, nil, nil},
		{"kind", ev(timodel.ActionSetTiFlashReplica, "alter table t set tiflash replica 1", pk, pk), nil, false, nil, nil},
		{"sequence", ev(timodel.ActionCreateSequence, "create sequence t", nil, nil), nil, false, nil, nil},
		{"drop", ev(timodel.ActionDropTable, "drop table if exists t, u", pk, nil), nil, false, []string{"DROP TABLE `test`.`t`"}, nil},
		{"drop view", ev(timodel.ActionDropView, "drop view t", NewTable(2, "test", view, 1), nil), nil, false, []string{"DROP VIEW `test`.`t`"}, nil},
		{"view", ev(timodel.ActionCreateView, "create view t as select 1", nil, NewTable(2, "test", view, 1)), nil, false,
			[]string{"CREATE ALGORITHM = UNDEFINED DEFINER = CURRENT_USER SQL SECURITY DEFINER VIEW `t` AS SELECT 1"}, nil},

		{"create without key", ev(timodel.ActionCreateTable, "create table t (a int)", nil, noKey), nil, false, nil, nil},
		{"create without key, forced", ev(timodel.ActionCreateTable, "create table t (a int)", nil, noKey), nil, true, []string{"CREATE TABLE `t` (`a` INT)"}, nil},
		{"drop without key", ev(timodel.ActionDropTable, "drop table t", noKey, nil), nil, false, nil, nil},
		{"alter without key", ev(timodel.ActionAddColumn, "alter table t add b int", noKey, noKey), nil, false, nil, nil},
		{"key lost", ev(timodel.ActionDropPrimaryKey, "alter table t drop primary key", pk, noKey), nil, false, nil, errAny},
		{"key lost, forced", ev(timodel.ActionDropPrimaryKey, "alter table t drop primary key", pk, noKey), nil, true, []string{"ALTER TABLE `t` DROP PRIMARY KEY"}, nil},
		{"key gained", ev(timodel.ActionAddPrimaryKey, "alter table t add primary key (a)", noKey, pk), nil, false, []string{"ALTER TABLE `t` ADD PRIMARY KEY(`a`)"}, nil},
		{"temporary", ev(timodel.ActionCreateTable, "create global temporary table t (a int primary key) on commit delete rows", nil, NewTable(2, "test", temporary, 1)), nil, true, nil, nil},

		{"create database", database(timodel.ActionCreateSchema, "d", "create database d"), []string{"d.*"}, false, []string{"CREATE DATABASE `d`"}, nil},
		{"drop database", database(timodel.ActionDropSchema, "d", "drop database d"), []string{"e.*"}, false, nil, nil},
		{"system database", database(timodel.ActionDropSchema, "Sys", "drop database sys"), nil, false, nil, nil},

		{"rename", renamed("rename table t to u", "test", "t", "test", "u"), []string{"test.*"}, false, []string{"RENAME TABLE `t` TO `u`"}, nil},
		{"rename by alter", renamed("alter table t rename u", "test", "t", "test", "u"), nil, false, []string{"ALTER TABLE `t` RENAME AS `u`"}, nil},
		{"rename out of the rules", renamed("rename table test.t to other.t", "test", "t", "other", "t"), []string{"test.*"}, false, []string{"RENAME TABLE `test`.`t` TO `other`.`t`"}, nil},
		{"rename, database not known", renamed("rename table t to other.u", "test", "t", "other", "u"), nil, false, []string{"RENAME TABLE `test`.`t` TO `other`.`u`"}, nil},
		{"rename into the rules", renamed("rename table other.t to test.t", "other", "t", "test", "t"), []string{"test.*"}, false, nil, errors.ErrSyncRenameTableFailed},
		{"rename outside", renamed("rename table other.t to x.t", "other", "t", "x", "t"), []string{"test.*"}, false, nil, nil},
		{"renames", renames, nil, false, []string{"RENAME TABLE `test`.`t` TO `test`.`u`", "RENAME TABLE `other`.`x` TO `test`.`y`"}, nil},
		{"renames, one into the rules", renames, []string{"test.*"}, false, nil, errors.ErrSyncRenameTableFailed},
		{"renames, some", renames, []string{"test.t"}, false, []string{"RENAME TABLE `test`.`t` TO `test`.`u`"}, nil},

		{"batch", batch, nil, false, []string{"CREATE TABLE `X` (`a` VARCHAR(1) PRIMARY KEY)", "CREATE TABLE `y` (`id` INT PRIMARY KEY)"}, nil},
		{"batch, some", batch, []string{"test.y"}, false, []string{"CREATE TABLE `y` (`id` INT PRIMARY KEY)"}, nil},
		{"batch, none", batch, []string{"test.z"}, false, nil, nil},

		{"exchange", exchange, nil, false, []string{"ALTER TABLE `test`.`t` EXCHANGE PARTITION `p0` WITH TABLE `other`.`n` WITHOUT VALIDATION"}, nil},
		{"exchange, table only", exchange, []string{"other.n"}, false, []string{"ALTER TABLE `test`.`t` EXCHANGE PARTITION `p0` WITH TABLE `other`.`n` WITHOUT VALIDATION"}, nil},
		{"exchange, none", exchange, []string{"x.y"}, false, nil, nil},
		{"nothing left", ev(timodel.ActionMultiSchemaChange, "alter table t", pk, pk), nil, false, nil, nil},
		{"unreadable", ev(timodel.ActionAddColumn, "alter table t frobnicate", pk, pk), nil, false, nil, errAny},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			before := tc.ev.Query
			out, err := FilterDDL(tc.ev, newFilter(t, tc.rules...), tc.force)
			switch {
			case tc.err == errAny:
				require.Error(t, err)
				return
			case tc.err != nil:
				require.ErrorIs(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			var got []string
			for i, ev := range out {
				got = append(got, ev.Query)
				require.Equal(t, i, ev.Seq)
			}
			require.Equal(t, tc.want, got)
			require.Equal(t, before, tc.ev.Query, "shared events stay as they are")
		})
	}
}

// TestEventFilters: statements on several tables are judged table by table.
func TestEventFilters(t *testing.T) {
	pk := NewTable(2, "test", pkTable(100, "t"), 1)
	part := func(kind timodel.ActionType, query, oldTable, table string) *model.DDLEvent {
		p := &model.DDLEvent{Type: kind, Query: query, Schema: "test", Table: table, Info: pk}
		if oldTable != "" {
			p.OldSchema, p.OldTable, p.PreInfo = "test", oldTable, pk
		}
		return p
	}
	const renameText, createText = "rename table a to a2, b to b2", "create table a (id int primary key); create table b (id int primary key);"
	renames := &model.DDLEvent{Type: timodel.ActionRenameTables, Query: renameText, Schema: "test", Parts: []*model.DDLEvent{
		part(timodel.ActionRenameTable, renameText, "a", "a2"), part(timodel.ActionRenameTable, renameText, "b", "b2")}}
	creates := &model.DDLEvent{Type: timodel.ActionCreateTables, Query: createText, Schema: "test", Parts: []*model.DDLEvent{
		part(timodel.ActionCreateTables, createText, "", "a"), part(timodel.ActionCreateTables, createText, "", "b")}}
	drop := &model.DDLEvent{Type: timodel.ActionDropTable, Query: "drop table if exists a, b", Schema: "test", Table: "a", PreInfo: pk}
	unreadable := &model.DDLEvent{Type: timodel.ActionAddColumn, Query: "alter table a frobnicate", Schema: "test", Table: "a", PreInfo: pk, Info: pk}
	tests := []struct {
		name    string
		ev      *model.DDLEvent
		matcher string
		events  []string
		sql     []string
		want    []string
	}{
		{"renames", renames, "test.a", []string{"rename table"}, nil, []string{"RENAME TABLE `test`.`b` TO `test`.`b2`"}},
		{"renames by text", renames, "*.*", nil, []string{"TO `test`.`b2`"}, []string{"RENAME TABLE `test`.`a` TO `test`.`a2`"}},
		{"renames by new name", renames, "test.a2", []string{"rename table"}, nil,
			[]string{"RENAME TABLE `test`.`a` TO `test`.`a2`", "RENAME TABLE `test`.`b` TO `test`.`b2`"}},
		{"creates", creates, "test.b", []string{"create table"}, nil, []string{"CREATE TABLE `a` (`id` INT PRIMARY KEY)"}},
		{"creates by text", creates, "*.*", nil, []string{"table a "}, []string{"CREATE TABLE `b` (`id` INT PRIMARY KEY)"}},
		{"drop by its own text", drop, "*.*", nil, []string{"if exists"}, []string{"DROP TABLE `test`.`a`"}},
		{"drop by rebuilt text", drop, "*.*", nil, []string{"^drop table `test`"}, nil},
		{"unreadable but ignored", unreadable, "*.*", nil, []string{"frobnicate"}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f, err := filter.New(&config.FilterConfig{EventFilters: []*config.EventFilterConfig{
				{Matcher: []string{tc.matcher}, IgnoreEvent: tc.events, IgnoreSQL: tc.sql},
			}}, false)
			require.NoError(t, err)
			out, err := FilterDDL(tc.ev, f, false)
			require.NoError(t, err)
			var got []string
			for i, ev := range out {
				got = append(got, ev.Query)
				require.Equal(t, i, ev.Seq)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

// errAny stands for an error without a code.
var errAny = errors.ErrOwnerUnknown

func TestNewTable(t *testing.T) {
	notNull, unsigned := uint(mysql.NotNullFlag), uint(mysql.UnsignedFlag)
	flags := func(table *model.Table) (out []model.ColumnFlag) {
		for _, c := range table.Columns {
			out = append(out, c.Flag)
		}
		return out
	}
	t.Run("integer primary key", func(t *testing.T) {
		table := NewTable(2, "test", pkTable(100, "t", col(2, "b", mysql.TypeJSON, 0)), 7)
		require.Equal(t, []model.ColumnFlag{1 + 2 + 8, 1 + 64}, flags(table))
		require.Equal(t, []int{0}, table.HandleKey)
		require.Equal(t, []model.Index{{Name: "PRIMARY", Primary: true, NotNull: true, Columns: []int{0}, PrefixLengths: []int{-1}}}, table.Indexes)
		require.Equal(t, []int64{100}, table.PhysicalIDs())
		require.True(t, table.Eligible(false))
	})
	t.Run("hidden, virtual and stored columns", func(t *testing.T) {
		virtual, stored, adding := col(2, "v", mysql.TypeLong, notNull), col(3, "s", mysql.TypeLong, unsigned), col(4, "n", mysql.TypeLong, 0)
		virtual.GeneratedExprString, stored.GeneratedExprString, stored.GeneratedStored = "a", "a", true
		adding.State = timodel.StateWriteOnly
		info := tinfo(100, "t", col(1, "a", mysql.TypeLong, notNull), virtual, stored, adding, col(5, "z", mysql.TypeLong, notNull))
		info.Indices = []*timodel.IndexInfo{index(1, "on_virtual", true, false, 1), index(2, "on_null", true, false, 2),
			index(3, "two", true, false, 0, 4), index(5, "late", true, false, 4), index(4, "plain", false, false, 0)}
		table := NewTable(2, "test", info, 7)
		require.Equal(t, []model.ColumnFlag{1 + 16 + 32, 1 + 4 + 16 + 64 + 128, 1 + 2 + 16 + 32}, flags(table))
		require.Equal(t, []string{"a", "s", "z"}, []string{table.Columns[0].Name, table.Columns[1].Name, table.Columns[2].Name})
		require.Equal(t, []int{2}, table.HandleKey)
		require.Len(t, table.Indexes, 3)
	})
	t.Run("choice of the handle key", func(t *testing.T) {
		cols := func() []*timodel.ColumnInfo {
			return []*timodel.ColumnInfo{col(1, "a", mysql.TypeLong, notNull), col(2, "b", mysql.TypeLong, notNull), col(3, "c", mysql.TypeLong, notNull)}
		}
		notPublic := index(1, "p", false, true, 0)
		notPublic.State = timodel.StateWriteOnly
		partial := index(1, "u", true, false, 0)
		partial.ConditionExprString = "`b` = 0"
		for name, tc := range map[string]struct {
			indexes []*timodel.IndexInfo
			want    []int
		}{
			"none":             {nil, nil},
			"primary":          {[]*timodel.IndexInfo{index(1, "u", true, false, 0), index(2, "PRIMARY", true, true, 1, 2)}, []int{1, 2}},
			"fewest columns":   {[]*timodel.IndexInfo{index(1, "u", true, false, 0, 1), index(2, "v", true, false, 2)}, []int{2}},
			"smallest id":      {[]*timodel.IndexInfo{index(3, "u", true, false, 0), index(2, "v", true, false, 2)}, []int{2}},
			"not public":       {[]*timodel.IndexInfo{notPublic}, nil},
			"partial":          {[]*timodel.IndexInfo{partial}, nil},
			"partial and not":  {[]*timodel.IndexInfo{partial, index(2, "v", true, false, 1, 2)}, []int{1, 2}},
			"not unique":       {[]*timodel.IndexInfo{index(1, "i", false, false, 0)}, nil},
			"common handle":    {[]*timodel.IndexInfo{index(1, "primary", true, true, 2, 0)}, []int{2, 0}},
			"unique and plain": {[]*timodel.IndexInfo{index(1, "i", false, false, 0), index(2, "u", true, false, 1)}, []int{1}},
		} {
			t.Run(name, func(t *testing.T) {
				info := tinfo(100, "t", cols()...)
				info.Indices = tc.indexes
				table := NewTable(2, "test", info, 7)
				require.Equal(t, tc.want, table.HandleKey)
				require.Equal(t, tc.want != nil, table.Eligible(false))
				require.True(t, table.Eligible(true))
			})
		}
	})
	t.Run("partitions", func(t *testing.T) {
		require.Equal(t, []int64{101, 102}, NewTable(2, "test", partitioned(pkTable(100, "t"), 101, 102), 7).PhysicalIDs())
		off := partitioned(pkTable(100, "t"), 101)
		off.Partition.Enable = false
		require.Equal(t, []int64{100}, NewTable(2, "test", off, 7).PhysicalIDs())
	})
}

// TestKeys compares with TiDB's own encoding.
func TestKeys(t *testing.T) {
	require.Equal(t, "mDBs\x00\x00\x00\x00\x00\xfa\x00\x00\x00\x00\x00\x00\x00hDB:123\x00\x00\xfd", string(hashKey("DBs", "DB:123")))
	for _, name := range []string{"", "1234567", "12345678", "123456789"} {
		require.Equal(t, []byte(tablecodec.EncodeMetaKey([]byte(databaseHash(7)), []byte(name))), hashKey(databaseHash(7), name))
	}
	start, end := fieldRange("DBs", "DB:")
	for key, inside := range map[string]bool{"DB:1": true, "DB:999999999999999999": true, "DA": false, "DC": false, "DB": false} {
		require.Equal(t, inside, bytes.Compare(start, hashKey("DBs", key)) <= 0 && bytes.Compare(hashKey("DBs", key), end) < 0, key)
	}
}
