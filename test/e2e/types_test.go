package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// typeGroup is one table and the rows that go through insert, update and
// delete in it.
type typeGroup struct {
	name string
	cols string   // column definitions after the key
	rows []string // value lists, without the key
}

func typeGroups() []typeGroup {
	return []typeGroup{
		{name: "ints", cols: "a TINYINT, b SMALLINT, c MEDIUMINT, d INT, e BIGINT, f BOOL, g INT(5) ZEROFILL",
			rows: []string{
				"-128,-32768,-8388608,-2147483648,-9223372036854775808,0,0",
				"127,32767,8388607,2147483647,9223372036854775807,1,99999", "0,0,0,0,0,NULL,7",
				"NULL,NULL,NULL,NULL,NULL,NULL,NULL"}},
		{name: "uints", cols: "a TINYINT UNSIGNED, b SMALLINT UNSIGNED, c MEDIUMINT UNSIGNED, d INT UNSIGNED, e BIGINT UNSIGNED",
			rows: []string{"255,65535,16777215,4294967295,18446744073709551615", "0,0,0,0,9223372036854775808", "NULL,NULL,NULL,NULL,NULL"}},
		{name: "floats", cols: "a FLOAT, b DOUBLE, c FLOAT(10,3), d DOUBLE(20,6), e DOUBLE UNSIGNED",
			rows: []string{"3.4e38,1.7976931348623157e308,1234567.125,12345678901234.123456,0", "-1.5e-38,-2.2250738585072014e-308,-0.001,-0.000001,1e-300",
				"0,0,0,0,0", "NULL,NULL,NULL,NULL,NULL", "1.1,0.1,1.1,0.1,0.1"}},
		{name: "decimals", cols: "a DECIMAL(65,30), b DECIMAL(65,0), c DECIMAL(10,10), d DECIMAL(20,5) UNSIGNED, e NUMERIC",
			rows: []string{
				"12345678901234567890123456789012345.123456789012345678901234567890,99999999999999999999999999999999999999999999999999999999999999999,0.9999999999,999999999999999.99999,9999999999",
				"-0.000000000000000000000000000001,-1,-0.0000000001,0.00001,-1", "0,0,0,0,0", "NULL,NULL,NULL,NULL,NULL"}},
		{name: "dates", cols: "a DATE, b DATETIME, c DATETIME(3), d DATETIME(6), e TIMESTAMP NULL, f TIMESTAMP(6) NULL, g TIME, h TIME(6), i YEAR",
			rows: []string{
				"'9999-12-31','9999-12-31 23:59:59','9999-12-31 23:59:59.999','9999-12-31 23:59:59.999999','2038-01-19 03:14:07','2038-01-19 03:14:07.999999','838:59:59','838:59:59.000000',2155",
				"'1000-01-01','1000-01-01 00:00:00','1000-01-01 00:00:00.001','1000-01-01 00:00:00.000001','1970-01-01 00:00:01','1970-01-01 00:00:01.000001','-838:59:59','-00:00:00.000001',1901",
				"NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL",
				"'2024-02-29','2024-02-29 12:00:00','2024-02-29 12:00:00.5','2024-02-29 12:00:00.123456','2024-07-01 00:00:00','2024-03-31 01:30:00.5','00:00:00','12:34:56.789',0"}},
		{name: "zerodates", cols: "a DATE, b DATETIME(3), c TIMESTAMP NULL, d DATE",
			rows: []string{"'0000-00-00','0000-00-00 00:00:00','0000-00-00 00:00:00','2024-00-00'", "'2023-02-31','2023-02-30 01:02:03','2023-01-01 00:00:00','2023-04-31'"}},
		{name: "strings", cols: "a CHAR(10), b VARCHAR(255), c TINYTEXT, d TEXT, e MEDIUMTEXT, f LONGTEXT, g CHAR(3) CHARACTER SET latin1, h VARCHAR(20) CHARACTER SET ascii, i VARCHAR(50) CHARACTER SET gbk",
			rows: []string{
				`'',' ','','','','','','',''`,
				`'😀 漢','it''s \\ "q" \n\r\t%_','\\0','emoji 👩‍👩‍👧','x','y','abc','ascii','中文'`,
				"NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL",
				"'trail   ','trail   ',REPEAT('t',255),REPEAT('漢',20000),REPEAT('m',100000),REPEAT('l',200000),'a','b','多字节'"}},
		{name: "binaries", cols: "a BINARY(8), b VARBINARY(300), c TINYBLOB, d BLOB, e MEDIUMBLOB, f LONGBLOB",
			rows: []string{
				"'','','','','',''", "x'00',x'00ff00',x'27225c',x'0d0a1a',x'f0',x'c328a0'", "NULL,NULL,NULL,NULL,NULL,NULL",
				"x'ffffffffffffffff',REPEAT(x'ff',300),x'80',REPEAT(x'00',60000),REPEAT(x'5c',100000),REPEAT(x'27',200000)"}},
		{name: "bits", cols: "a BIT(1), b BIT(7), c BIT(8), d BIT(33), e BIT(64)",
			rows: []string{"b'1',b'1111111',x'ff',b'111111111111111111111111111111111',x'ffffffffffffffff'", "0,0,0,0,0", "NULL,NULL,NULL,NULL,NULL", "1,1,1,1,x'8000000000000000'"}},
		{name: "enumsets", cols: "a ENUM('a','b','漢','it''s'), b SET('x','y','z','w'), c ENUM('','none') NOT NULL, d SET('one')",
			rows: []string{"'a','x','','one'", "'漢','x,y,z,w','none',''", "NULL,NULL,'none',NULL", "'it''s','w,y','',''"}},
		{name: "jsons", cols: "a JSON, b JSON",
			rows: []string{
				`'{"a": 1, "b": [1, 2.5, null, true, "x"], "ü": "漢😀"}','[]'`, `'"text"','null'`, "NULL,NULL",
				`'{"q": "it\'s \\\\ \\"x\\""}','123456789012345678'`, `'{}','[{"deep": {"er": [[[]]]}}]'`}},
		{name: "vectors", cols: "a VECTOR(3), b VECTOR", rows: []string{"'[1,2.5,-3]','[0.1]'", "NULL,NULL", "'[0,0,0]','[1,2,3,4,5,6,7,8]'"}},
		{name: "generated", cols: "n INT, s INT GENERATED ALWAYS AS (n * 2) STORED, v INT GENERATED ALWAYS AS (n + 1) VIRTUAL, KEY (v)",
			rows: []string{"1,DEFAULT,DEFAULT", "-5,DEFAULT,DEFAULT", "NULL,DEFAULT,DEFAULT"}},
		{name: "defaults", cols: "a INT DEFAULT 7, b VARCHAR(10) NOT NULL DEFAULT 'dflt', c TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
			rows: []string{"DEFAULT,DEFAULT,'2020-01-01 00:00:00'", "NULL,'x','2021-01-01 00:00:00'"}},
	}
}

// keyKinds are the ways to identify a row; every type group goes through each.
func keyKinds() map[string]string {
	return map[string]string{
		"int":    "id BIGINT PRIMARY KEY CLUSTERED",
		"uint":   "id BIGINT UNSIGNED PRIMARY KEY CLUSTERED",
		"nonclu": "id INT, PRIMARY KEY (id) NONCLUSTERED",
		"text":   "id VARCHAR(20) COLLATE utf8mb4_general_ci, PRIMARY KEY (id) CLUSTERED",
		"uk":     "id INT NOT NULL UNIQUE",
	}
}

func TestTypes(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	const schema = "types"
	exec(ctx, t, shared.upDB, "CREATE DATABASE "+schema)
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	for _, d := range shared.downs {
		exec(ctx, t, d.db, "CREATE DATABASE IF NOT EXISTS "+schema)
	}
	feeds := createFeeds(ctx, t, shared, "types", startTs, schema+".*")
	for kind, key := range keyKinds() {
		for _, g := range typeGroups() {
			writeGroup(t, g, schema+"."+g.name+"_"+kind, key)
		}
	}
	requireReplicated(ctx, t, shared, feeds, []string{schema})
}

// writeGroup creates the table and sends every row through its life: insert,
// change into the next row's values and back, delete of every third.
func writeGroup(t *testing.T, g typeGroup, table, key string) {
	t.Helper()
	ctx := testContext(t, time.Minute)
	stmts := []string{
		"SET sql_mode='ALLOW_INVALID_DATES'", "SET time_zone='+00:00'",
		fmt.Sprintf("CREATE TABLE %s (%s, %s)", table, key, g.cols),
	}
	for round := range 3 {
		for i, row := range g.rows {
			stmts = append(stmts, fmt.Sprintf("INSERT INTO %s VALUES (%d,%s)", table, round*100+i, row))
		}
	}
	names := columnNames(g.cols)
	for i := range g.rows {
		// REPLACE changes all columns at once; the key stays.
		stmts = append(stmts, fmt.Sprintf("REPLACE INTO %s VALUES (%d,%s)", table, i, g.rows[(i+1)%len(g.rows)]))
		stmts = append(stmts, fmt.Sprintf("UPDATE %s x JOIN %s y ON y.id = '%d' SET x.%s = y.%s WHERE x.id = '%d'",
			table, table, 100+(i+1)%len(g.rows), names[0], names[0], 100+i))
		stmts = append(stmts, fmt.Sprintf("UPDATE %s SET id = '%d' WHERE id = '%d'", table, 1000+i, 100+i))
		if i%3 == 0 {
			stmts = append(stmts, fmt.Sprintf("DELETE FROM %s WHERE id = '%d'", table, 200+i))
		}
	}
	exec(ctx, t, shared.upDB, stmts...)
}

// columnNames returns the names at the head of each column definition. None
// of the groups has a comma and a blank inside a definition's brackets.
func columnNames(cols string) []string {
	var out []string
	for _, def := range strings.Split(cols, ", ") {
		out = append(out, strings.Fields(def)[0])
	}
	return out
}
