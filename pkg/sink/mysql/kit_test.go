package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
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
	*sinktest.Table
	t     testing.TB
	info  *timodel.TableInfo
	table *model.Table
	ddl   string // for a downstream that is not TiDB
}

// newTable reads a CREATE TABLE statement with a qualified name.
func newTable(t testing.TB, id int64, create string) *upstreamTable {
	t.Helper()
	u := sinktest.NewTable(t, id, create)
	return &upstreamTable{Table: u, t: t, info: u.Model.Info, table: u.Model, ddl: u.DDL}
}

func (u *upstreamTable) change(commitTs uint64, rowID int64, old, new []any) model.RawChange {
	u.t.Helper()
	return u.Change(commitTs, rowID, old, new)
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
