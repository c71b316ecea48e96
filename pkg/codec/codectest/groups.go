package codectest

import (
	"math"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// Group is a table of related column types with rows that show them.
type Group struct {
	Name  string
	Table *model.Table
	Rows  [][]model.Value
}

// Groups are all column types: ordinary values, limits and NULLs.
func Groups(t testing.TB) []Group {
	t.Helper()
	return []Group{integers(t), floats(t), decimals(t), times(t), strings(t), binaries(t), special(t)}
}

func integers(t testing.TB) Group {
	table := Table(t, `create table integers (id int primary key,
		tiny tinyint, utiny tinyint unsigned, flag bool, small smallint, usmall smallint unsigned,
		medium mediumint, umedium mediumint unsigned, num int, unum int(8) unsigned zerofill,
		big bigint, ubig bigint unsigned)`)
	return Group{"integers", table, [][]model.Value{
		{Int(1), Int(127), Uint(127), Int(1), Int(32767), Uint(32767), Int(8388607), Uint(8388607),
			Int(math.MaxInt32), Uint(math.MaxInt32), Int(math.MaxInt64), Uint(math.MaxInt64)},
		{Int(-2), Int(-128), Uint(128), Int(0), Int(-32768), Uint(32768), Int(-8388608), Uint(16777215),
			Int(math.MinInt32), Uint(math.MaxInt32 + 1), Int(math.MinInt64), Uint(math.MaxInt64 + 1)},
		{Int(3), Int(0), Uint(255), Int(-1), Int(0), Uint(65535), Int(0), Uint(0),
			Int(0), Uint(math.MaxUint32), Int(0), Uint(math.MaxUint64)},
		nulls(table, Int(4)),
	}}
}

func floats(t testing.TB) Group {
	table := Table(t, `create table floats (id bigint unsigned primary key, f float, d double, uf float unsigned, fd float(10,2), dd double(12,3))`)
	return Group{"floats", table, [][]model.Value{
		{Uint(1), Float(3.1415927), Double(3.141592653589793), Float(0.1), Float(1.25), Double(-1.125)},
		{Uint(2), Float(-1e-7), Double(1e-7), Float(1e-6), Float(0), Double(0.000001)},
		{Uint(3), Float(1e21), Double(1e21), Float(1.5e20), Float(math.MaxFloat32), Double(math.MaxFloat64)},
		{Uint(4), Float(math.SmallestNonzeroFloat32), Double(math.SmallestNonzeroFloat64), Float(16777216), Float(-2), Double(123456789012345680)},
		nulls(table, Uint(5)),
	}}
}

func decimals(t testing.TB) Group {
	table := Table(t, `create table decimals (id decimal(10,2) primary key, a decimal, b decimal(65,30), c decimal(20,0) unsigned)`)
	return Group{"decimals", table, [][]model.Value{
		{Text("1.50"), Text("-12"), Text("12345678901234567890123456789012345.123456789012345678901234567890"), Text("18446744073709551616")},
		nulls(table, Text("2.00")),
	}}
}

func times(t testing.TB) Group {
	table := Table(t, `create table times (id datetime primary key, d date, dt datetime, dt6 datetime(6), ts timestamp null, ts3 timestamp(3) null, t time, t2 time(2), y year)`)
	return Group{"times", table, [][]model.Value{
		{Text("2024-02-29 23:59:59"), Text("2024-02-29"), Text("1000-01-01 00:00:00"), Text("9999-12-31 23:59:59.999999"),
			Text("1970-01-01 00:00:01"), Text("2038-01-19 03:14:07.999"), Text("838:59:59"), Text("-01:02:03.40"), Int(2155)},
		{Text("2024-03-01 00:00:00"), Text("0000-00-00"), Text("0000-00-00 00:00:00"), Text("0000-00-00 00:00:00.000000"),
			Text("0000-00-00 00:00:00"), Text("0000-00-00 00:00:00.000"), Text("-838:59:59"), Text("00:00:00.00"), Int(0)},
		nulls(table, Text("2024-03-02 00:00:00")),
	}}
}

func strings(t testing.TB) Group {
	table := Table(t, "create table strings (id varchar(20) primary key, c char(20), v varchar(40), tt tinytext, t text, mt mediumtext, lt longtext, gbk_ varchar(10) charset gbk, ascii_ char(4) charset ascii)")
	same := func(id, s string) []model.Value {
		v := Bytes(s)
		return []model.Value{Bytes(id), v, v, v, v, v, v, v, v}
	}
	return Group{"strings", table, [][]model.Value{
		same("ascii", `pen & <b>"ink"</b> \o/`),
		same("control", "\x00\x01\b\t\n\v\f\r\x1f\x7f"),
		same("unicode", "é中😀\u0080\u2028\u2029\ufeff"),
		same("empty", ""),
		nulls(table, Bytes("null")),
	}}
}

func binaries(t testing.TB) Group {
	table := Table(t, "create table binaries (id varbinary(20) primary key, b binary(8), v varbinary(40), tb tinyblob, bb blob, mb mediumblob, lb longblob, vb varchar(9) charset binary)")
	same := func(id, s string) []model.Value {
		v := Bytes(s)
		return []model.Value{Bytes(id), v, v, v, v, v, v, v}
	}
	return Group{"binaries", table, [][]model.Value{
		same("ascii", `pen & <b>"\`),
		same("bytes", "\x00\x01\b\n\r\t\x1f\x7f\x80\x9f\xa0\xff\xfe"),
		same("utf-8", "é中\u2028"),
		same("empty", ""),
		nulls(table, Bytes("null")),
	}}
}

func special(t testing.TB) Group {
	table := Table(t, "create table special (id bit(8) primary key, b bit(64), e enum('a','it''s','c,d'), s set('x','y','z'), j json, v vector(3), vv vector)")
	return Group{"special", table, [][]model.Value{
		{Uint(1), Uint(math.MaxUint64), Uint(2), Uint(5), Text(`{"a": [1, "<é>", null], "b": "\"q\""}`), Vector(1, 2.5, -3), Vector()},
		{Uint(2), Uint(0), Uint(0), Uint(0), Text(`null`), Vector(1e-7, 0.1, 1e21), Vector(16777216)},
		nulls(table, Uint(3)),
	}}
}

// nulls is a row with nothing but its key.
func nulls(t *model.Table, key model.Value) []model.Value {
	row := make([]model.Value, len(t.Columns))
	row[0] = key
	return row
}

// Items is a table with the key id, and a row of it.
func Items(t testing.TB) (*model.Table, []model.Value) {
	t.Helper()
	table := Table(t, "create table item (id int primary key, name varchar(20), price decimal(10,2) not null, data blob, unique key (price))")
	return table, []model.Value{Int(7), Bytes("pen"), Text("1.50"), Bytes("\x01\xff")}
}

// Changes are an insert, an update of one column and a delete of an item.
func Changes(t testing.TB) []*codec.RowEvent {
	t.Helper()
	table, row := Items(t)
	changed := append([]model.Value(nil), row...)
	changed[1] = Bytes("ink")
	return []*codec.RowEvent{Insert(table, row), Update(table, row, changed), Delete(table, changed)}
}

// LargeChanges are Changes with names of size bytes.
func LargeChanges(t testing.TB, size int) []*codec.RowEvent {
	t.Helper()
	changes := Changes(t)
	name := make([]byte, size)
	for i := range name {
		name[i] = 'a' + byte(i*i%23)
	}
	changes[0].Row.New[1].B = name
	changes[1].Row.New[1].B, changes[1].Row.Old[1].B = name, name[1:]
	changes[2].Row.Old[1].B = name
	return changes
}

// DDLs are schema changes of each kind that protocols tell apart.
func DDLs(t testing.TB) []*model.DDLEvent {
	t.Helper()
	before := Table(t, "create table item (id int primary key)")
	after := Table(t, "create table item (id int primary key, name varchar(20), data blob, ts timestamp(3) null, price decimal(10,2), js json, e enum('a'), f float)")
	ddl := func(action timodel.ActionType, query string) *model.DDLEvent {
		return &model.DDLEvent{Type: action, Query: query, StartTs: StartTs, CommitTs: CommitTs, Schema: "test", Table: "item", PreInfo: before, Info: after}
	}
	database := ddl(timodel.ActionCreateSchema, "CREATE DATABASE `test`")
	database.Table, database.PreInfo, database.Info = "", nil, nil
	create := ddl(timodel.ActionCreateTable, "CREATE TABLE `item` (`id` INT PRIMARY KEY,`note` VARCHAR(9) DEFAULT _UTF8MB4'<a>')")
	create.PreInfo = nil
	drop := ddl(timodel.ActionDropTable, "DROP TABLE `test`.`item`")
	drop.Info = nil
	rename := ddl(timodel.ActionRenameTable, "RENAME TABLE `old`.`thing` TO `test`.`item`")
	rename.OldSchema, rename.OldTable = "old", "thing"
	return []*model.DDLEvent{
		database, create, drop, rename,
		ddl(timodel.ActionTruncateTable, "TRUNCATE TABLE `item`"),
		ddl(timodel.ActionAddColumn, "ALTER TABLE `item` ADD COLUMN `name` VARCHAR(20)"),
		ddl(timodel.ActionAddIndex, "ALTER TABLE `item` ADD INDEX `i`(`name`)"),
		ddl(timodel.ActionDropIndex, "ALTER TABLE `item` DROP INDEX `i`"),
		ddl(timodel.ActionAddPrimaryKey, "ALTER TABLE `item` ADD PRIMARY KEY(`id`)"),
		ddl(timodel.ActionTruncateTablePartition, "ALTER TABLE `item` TRUNCATE PARTITION `p0`"),
		ddl(timodel.ActionExchangeTablePartition, "ALTER TABLE `test`.`item` EXCHANGE PARTITION `p0` WITH TABLE `test`.`other`"),
		ddl(timodel.ActionMultiSchemaChange, "ALTER TABLE `item` ADD COLUMN `a` INT, DROP COLUMN `b`"),
		ddl(timodel.ActionCreateView, "CREATE VIEW `v` AS SELECT 1"),
	}
}
