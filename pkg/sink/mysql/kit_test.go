package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/kv"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	timysql "github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/codec"
	"github.com/pingcap/tidb/pkg/util/rowcodec"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/schema"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/test/mariadb"
)

// maria is the server that tests share. It is made by the first that needs it.
var maria lazyServer

type lazyServer struct {
	server *mariadb.Server
	dir    string
}

// otherDownstream names an environment variable with the host:port of a
// server, such as a TiDB, that tests use in place of a MariaDB of their own.
const otherDownstream = "TIDEMARK_TEST_DOWNSTREAM"

func TestMain(m *testing.M) {
	code := m.Run()
	if maria.server != nil {
		maria.server.Close()
		_ = os.RemoveAll(maria.dir)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// downstream returns the address of the shared server, with a database of the
// test's own.
func downstream(t testing.TB, database string) (addr string, db *sql.DB) {
	t.Helper()
	addr = os.Getenv(otherDownstream)
	if addr == "" {
		startMaria(t)
		addr = maria.server.Addr()
	}
	db, err := sql.Open("mysql", "root@tcp("+addr+")/")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	execAll(t, db, "DROP DATABASE IF EXISTS "+database, "CREATE DATABASE "+database)
	return addr, db
}

func startMaria(t testing.TB) {
	t.Helper()
	if maria.server != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "tidemark-mysql-sink-")
	require.NoError(t, err)
	maria.dir = dir
	maria.server, err = mariadb.Start(ctx, dir)
	require.NoError(t, err)
}

func execAll(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(t, err, s)
	}
}

// openSink connects a sink; parameters is the query of its URI.
func openSink(t testing.TB, addr, parameters string, adjust ...func(*sink.Options)) *Sink {
	t.Helper()
	o := sink.Options{
		Changefeed: model.DefaultChangefeedID("test"), TimeZone: time.UTC, Config: config.DefaultReplicaConfig(),
		URI: config.SinkURI("mysql://root@" + addr + "/?" + parameters),
	}
	core, logs := observer.New(zap.WarnLevel)
	o.Logger = zap.New(core)
	for _, f := range adjust {
		f(&o)
	}
	s, err := New(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Close()
		for _, line := range logs.All() {
			// Retries must not hide statements that no server understands.
			require.NotContains(t, fmt.Sprint(line.ContextMap()), "syntax")
		}
	})
	return s.(*Sink)
}

// upstreamTable makes rows of one table as the store would.
type upstreamTable struct {
	t     testing.TB
	info  *timodel.TableInfo
	table *model.Table
	ddl   string // for a downstream that is not TiDB
}

// newTable reads a CREATE TABLE statement with a qualified name.
func newTable(t testing.TB, id int64, create string) *upstreamTable {
	t.Helper()
	stmt, err := parser.New().ParseOneStmt(create, "", "")
	require.NoError(t, err)
	c := stmt.(*ast.CreateTableStmt)
	info := &timodel.TableInfo{ID: id, Name: c.Table.Name, State: timodel.StatePublic, Charset: "utf8mb4", Collate: "utf8mb4_bin"}
	for i, def := range c.Cols {
		info.Columns = append(info.Columns, columnInfo(i, def))
	}
	for i, def := range c.Cols {
		for _, o := range def.Options {
			keys := []*ast.IndexPartSpecification{{Column: def.Name, Length: types.UnspecifiedLength}}
			switch o.Tp {
			case ast.ColumnOptionPrimaryKey:
				addKey(info, true, keys, o.PrimaryKeyTp != ast.PrimaryKeyTypeNonClustered)
			case ast.ColumnOptionUniqKey:
				addKey(info, false, keys, false)
			case ast.ColumnOptionNotNull:
				info.Columns[i].AddFlag(timysql.NotNullFlag)
			}
		}
	}
	for _, con := range c.Constraints {
		switch con.Tp {
		case ast.ConstraintPrimaryKey:
			addKey(info, true, con.Keys, con.Option == nil || con.Option.PrimaryKeyTp != ast.PrimaryKeyTypeNonClustered)
		case ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
			addKey(info, false, con.Keys, false)
		}
	}
	ddl := strings.NewReplacer(" NONCLUSTERED", "", " CLUSTERED", "").Replace(create)
	return &upstreamTable{t: t, info: info, table: schema.NewTable(1, c.Table.Schema.O, info, 1), ddl: ddl}
}

func columnInfo(i int, def *ast.ColumnDef) *timodel.ColumnInfo {
	ft := def.Tp.Clone()
	switch {
	case types.IsString(ft.GetType()) && ft.GetCharset() == "" || ft.GetType() == timysql.TypeEnum || ft.GetType() == timysql.TypeSet:
		ft.SetCharset(charset.CharsetUTF8MB4)
		if ft.GetCollate() == "" {
			ft.SetCollate(charset.CollationUTF8MB4)
		}
	case ft.GetCharset() == "":
		ft.SetCharset(charset.CharsetBin)
		ft.SetCollate(charset.CollationBin)
	}
	for _, o := range def.Options {
		if o.Tp == ast.ColumnOptionCollate {
			ft.SetCollate(o.StrValue)
		}
	}
	if ft.GetFlen() == types.UnspecifiedLength {
		flen, decimal := timysql.GetDefaultFieldLengthAndDecimal(ft.GetType())
		ft.SetFlen(flen)
		if ft.GetDecimal() == types.UnspecifiedLength {
			ft.SetDecimal(decimal)
		}
	}
	c := &timodel.ColumnInfo{ID: int64(i + 1), Name: def.Name.Name, Offset: i, FieldType: *ft, State: timodel.StatePublic}
	for _, o := range def.Options {
		if o.Tp == ast.ColumnOptionGenerated {
			c.GeneratedExprString, c.GeneratedStored = "x", o.Stored
		}
	}
	return c
}

func addKey(info *timodel.TableInfo, primary bool, keys []*ast.IndexPartSpecification, clustered bool) {
	ix := &timodel.IndexInfo{
		ID: int64(len(info.Indices) + 1), Name: ast.NewCIStr(fmt.Sprintf("k%d", len(info.Indices))),
		Unique: true, Primary: primary, State: timodel.StatePublic,
	}
	for _, k := range keys {
		for i, c := range info.Columns {
			if c.Name.L != k.Column.Name.L {
				continue
			}
			length := k.Length
			if length == 0 {
				length = types.UnspecifiedLength
			}
			ix.Columns = append(ix.Columns, &timodel.IndexColumn{Name: c.Name, Offset: i, Length: length})
			if primary {
				c.AddFlag(timysql.PriKeyFlag | timysql.NotNullFlag)
			}
		}
	}
	if primary && clustered {
		if len(ix.Columns) == 1 && timysql.IsIntegerType(info.Columns[ix.Columns[0].Offset].GetType()) {
			info.PKIsHandle = true
			return
		}
		info.IsCommonHandle, info.CommonHandleVersion = true, 1
	}
	info.Indices = append(info.Indices, ix)
}

// datums converts one value per column; nil is NULL.
func (u *upstreamTable) datums(values []any) []types.Datum {
	u.t.Helper()
	require.Len(u.t, values, len(u.info.Columns))
	out := make([]types.Datum, len(values))
	ctx := types.DefaultStmtNoWarningContext.WithFlags(types.DefaultStmtFlags.
		WithIgnoreZeroInDate(true).WithIgnoreInvalidDateErr(true).WithIgnoreZeroDateErr(true))
	for i, v := range values {
		d := types.NewDatum(v)
		if _, exact := v.(types.Enum); v != nil && !exact {
			var err error
			d, err = d.ConvertTo(ctx, &u.info.Columns[i].FieldType)
			require.NoError(u.t, err, "%s: %v", u.info.Columns[i].Name.O, v)
		}
		out[i] = d
	}
	return out
}

// handle is the row's own part of its key: the primary key if it is clustered, else rowID.
func (u *upstreamTable) handle(d []types.Datum, rowID int64) kv.Handle {
	switch {
	case u.info.PKIsHandle:
		return kv.IntHandle(d[u.table.HandleKey[0]].GetInt64())
	case !u.info.IsCommonHandle:
		return kv.IntHandle(rowID)
	}
	var keys []types.Datum
	for _, ix := range u.info.Indices {
		if !ix.Primary {
			continue
		}
		for _, c := range ix.Columns {
			key := d[c.Offset].Clone()
			tablecodec.TruncateIndexValue(key, c, u.info.Columns[c.Offset])
			keys = append(keys, *key)
		}
	}
	encoded, err := codec.EncodeKey(time.UTC, nil, keys...)
	require.NoError(u.t, err)
	h, err := kv.NewCommonHandle(encoded)
	require.NoError(u.t, err)
	return h
}

func (u *upstreamTable) encode(d []types.Datum) []byte {
	var ids []int64
	var values []types.Datum
	for i, c := range u.info.Columns {
		if c.IsGenerated() && !c.GeneratedStored || u.info.PKIsHandle && i == u.table.Columns[u.table.HandleKey[0]].Offset {
			continue
		}
		ids, values = append(ids, c.ID), append(values, d[i])
	}
	b, err := tablecodec.EncodeRow(time.UTC, values, ids, nil, nil, nil, &rowcodec.Encoder{Enable: true})
	require.NoError(u.t, err)
	return b
}

// change makes the change of a row from old to new, each nil or one value per
// column. The clustered key must not change.
func (u *upstreamTable) change(commitTs uint64, rowID int64, old, new []any) model.RawChange {
	u.t.Helper()
	var value, oldValue []byte
	var h kv.Handle
	if old != nil {
		d := u.datums(old)
		oldValue, h = u.encode(d), u.handle(d, rowID)
	}
	if new != nil {
		d := u.datums(new)
		value, h = u.encode(d), u.handle(d, rowID)
	}
	return model.NewRawChange(commitTs-1, commitTs, tablecodec.EncodeRowKeyWithHandle(u.info.ID, h), value, oldValue)
}

// write gives rows to the sink as one batch and returns the channel of its acknowledgement.
func (u *upstreamTable) write(s sink.Sink, replicateTs uint64, rows ...model.RawChange) <-chan error {
	u.t.Helper()
	done := make(chan error, 2)
	require.NoError(u.t, s.Write(u.t.Context(), &model.RowBatch{
		TableID: u.info.ID, Table: u.table, Rows: rows, ReplicateTs: replicateTs, LastOfTxn: true,
		Done: func(err error) { done <- err },
	}))
	return done
}

// acked waits for an acknowledgement.
func acked(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		require.Fail(t, "no acknowledgement")
		return nil
	}
}

// contents reads all rows of a query, as text.
func contents(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var out []string
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		require.NoError(t, rows.Scan(values...))
		parts := make([]string, len(values))
		for i, v := range values {
			if s := v.(*sql.NullString); s.Valid {
				parts[i] = s.String
			} else {
				parts[i] = "NULL"
			}
		}
		out = append(out, strings.Join(parts, "|"))
	}
	require.NoError(t, rows.Err())
	return out
}

// How long conditions may take to come true, and how often they are looked at.
const (
	eventually = 30 * time.Second
	tick       = 2 * time.Millisecond
)
