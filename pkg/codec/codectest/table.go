// Package codectest has what the tests of the protocols share: tables made of
// SQL, rows with a value of every kind, and golden files.
package codectest

import (
	"testing"

	"github.com/pingcap/tidb/pkg/ddl"
	"github.com/pingcap/tidb/pkg/meta/metabuild"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	_ "github.com/pingcap/tidb/pkg/planner/core"        // evaluates defaults
	_ "github.com/pingcap/tidb/pkg/types/parser_driver" // the parser's literals
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/schema"
)

// Version is the version of every table of Table, and TableID its id.
const (
	Version = 400
	TableID = 100
)

// Table describes the table of a CREATE TABLE statement, in database "test".
func Table(t testing.TB, sql string) *model.Table {
	t.Helper()
	stmt, err := parser.New().ParseOneStmt(sql, "", "")
	require.NoError(t, err)
	info, err := ddl.BuildTableInfoFromAST(metabuild.NewNonStrictContext(), stmt.(*ast.CreateTableStmt))
	require.NoError(t, err)
	info.ID, info.State = TableID, timodel.StatePublic
	for _, c := range info.Columns {
		c.State = timodel.StatePublic
	}
	for _, x := range info.Indices {
		x.State = timodel.StatePublic
	}
	return schema.NewTable(1, "test", info, Version)
}

// AllTypes is a table with a column of each type, named after it, and the
// primary key id.
func AllTypes(t testing.TB) *model.Table {
	t.Helper()
	return Table(t, allTypes)
}

const allTypes = "create table `all` (" + `
	id bigint primary key,
	tiny tinyint, utiny tinyint unsigned, bool_ bool,
	small smallint, usmall smallint unsigned,
	medium mediumint, umedium mediumint unsigned,
	int_ int, uint_ int unsigned zerofill,
	big bigint, ubig bigint unsigned,
	year_ year, bit_ bit(64),
	float_ float, double_ double, ufloat float(10,2) unsigned,
	decimal_ decimal(20,4), udecimal decimal(10,0) unsigned,
	date_ date, datetime_ datetime, datetime6 datetime(6), timestamp_ timestamp, timestamp3 timestamp(3), time_ time(2),
	json_ json, enum_ enum('a','it''s','c,d'), set_ set('x','y','z'),
	char_ char(20), varchar_ varchar(40), binary_ binary(20), varbinary_ varbinary(40),
	tinytext_ tinytext, text_ text, mediumtext_ mediumtext, longtext_ longtext,
	tinyblob_ tinyblob, blob_ blob, mediumblob_ mediumblob, longblob_ longblob,
	vector_ vector(3))`
