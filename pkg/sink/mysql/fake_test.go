package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// fakeServer records statements and answers as told.
type fakeServer struct {
	mu     sync.Mutex
	texts  []string
	dials  int
	answer func(text string) error // nil accepts everything
	// affected is how many rows a statement outside of workers changes; nil: one.
	affected func(text string) int64
	// currentTs is what @@tidb_current_ts is.
	currentTs uint64
	// number answers queries in the place of currentTs.
	number func(query string) uint64
	// discard keeps no statements and asks nothing.
	discard bool
	// tellPrepares records "prepare" for each statement that is prepared.
	tellPrepares bool
}

func (f *fakeServer) Connect(context.Context) (driver.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials++
	return &fakeConn{f}, nil
}

func (f *fakeServer) Driver() driver.Driver { return nil }

func (f *fakeServer) exec(text string) error {
	if f.discard {
		return nil
	}
	f.mu.Lock()
	f.texts = append(f.texts, strings.Clone(text))
	answer := f.answer
	f.mu.Unlock()
	if answer != nil {
		return answer(text)
	}
	return nil
}

// sent returns what has come since the last call.
func (f *fakeServer) sent() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.texts
	f.texts = nil
	return out
}

type fakeConn struct{ server *fakeServer }

func (c *fakeConn) Prepare(text string) (driver.Stmt, error) { return &fakeStmt{c.server, text}, nil }
func (c *fakeConn) PrepareContext(_ context.Context, text string) (driver.Stmt, error) {
	if c.server.tellPrepares {
		if err := c.server.exec("prepare"); err != nil {
			return nil, err
		}
	}
	return c.Prepare(text)
}
func (c *fakeConn) Close() error              { return nil }
func (c *fakeConn) Begin() (driver.Tx, error) { return c, c.server.exec("BEGIN") }
func (c *fakeConn) Commit() error             { return c.server.exec("COMMIT") }
func (c *fakeConn) Rollback() error           { return c.server.exec("ROLLBACK") }
func (c *fakeConn) ExecContext(_ context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	for _, a := range args {
		text = strings.Replace(text, "?", fmt.Sprint(a.Value), 1)
	}
	rows := int64(1)
	if c.server.affected != nil {
		rows = c.server.affected(text)
	}
	return driver.RowsAffected(rows), c.server.exec(text)
}

// QueryContext answers every query with one number.
func (c *fakeConn) QueryContext(_ context.Context, text string, _ []driver.NamedValue) (driver.Rows, error) {
	value := c.server.currentTs
	if c.server.number != nil {
		value = c.server.number(text)
	}
	return &fakeRows{value, false}, c.server.exec(text)
}

// fakeRows is one row with one number.
type fakeRows struct {
	value uint64
	read  bool
}

func (r *fakeRows) Columns() []string { return []string{"value"} }
func (r *fakeRows) Close() error      { return nil }
func (r *fakeRows) Next(dest []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read, dest[0] = true, int64(r.value)
	return nil
}

type fakeStmt struct {
	server *fakeServer
	text   string
}

func (s *fakeStmt) Close() error                               { return nil }
func (s *fakeStmt) NumInput() int                              { return -1 }
func (s *fakeStmt) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }
func (s *fakeStmt) Query([]driver.Value) (driver.Rows, error)  { return nil, driver.ErrSkip }
func (s *fakeStmt) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a.Value
	}
	return driver.ResultNoRows, s.server.exec(fmt.Sprint(s.text, " ", values))
}

// fakeSink is a sink with one worker unless the parameters say more.
func fakeSink(t testing.TB, parameters string, tidb bool, adjust ...func(*config.ReplicaConfig)) (*Sink, *fakeServer) {
	t.Helper()
	c := config.DefaultReplicaConfig()
	for _, f := range adjust {
		f(c)
	}
	c.ForceReplicate = strings.Contains(parameters, "force")
	set, err := parseSettings(sink.Options{
		URI: config.SinkURI("mysql://h/?worker-count=1&" + parameters), Config: c, TimeZone: time.UTC,
		Changefeed: model.ChangefeedID{Namespace: "space", ID: "fake"}, ClusterID: "captures",
	})
	require.NoError(t, err)
	f := &fakeServer{}
	sv := &server{isTiDB: tidb, jsonType: tidb, maxPacket: 64 << 20, maxPrepared: -1, hasGBK: true}
	s := newSink(context.Background(), set, sv, f, f, sink.Options{Changefeed: model.DefaultChangefeedID("fake")})
	t.Cleanup(s.Close)
	return s, f
}
