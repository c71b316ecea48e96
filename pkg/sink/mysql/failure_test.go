package mysql

import (
	"context"
	"database/sql/driver"
	stderrors "errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/test/mariadb"
)

// failFirst answers the first statement that contains piece with err.
func failFirst(piece string, err error) func(string) error {
	var done atomic.Bool
	return func(text string) error {
		if strings.Contains(text, piece) && !done.Swap(true) {
			return err
		}
		return nil
	}
}

func TestTransactionErrors(t *testing.T) {
	const insert = "INSERT INTO `d`.`t` (`id`,`s`) VALUES (1,'a')"
	const replace = "REPLACE INTO `d`.`t` (`id`,`s`) VALUES (1,'a')"
	for name, tc := range map[string]struct {
		err  error
		want []string
		code *errors.Code
	}{
		"deadlock":         {err: &gomysql.MySQLError{Number: 1213}, want: []string{insert, "ROLLBACK", insert}},
		"taken unique key": {err: &gomysql.MySQLError{Number: 1062}, want: []string{insert, "ROLLBACK", replace}},
		"dead connection":  {err: driver.ErrBadConn, want: []string{insert, insert}},
		"lost connection":  {err: gomysql.ErrInvalidConn, want: []string{insert, replace}},
		"unknown outcome":  {err: &gomysql.MySQLError{Number: 8501}, want: []string{insert, "ROLLBACK", replace}},
		"no such table":    {err: &gomysql.MySQLError{Number: 1146}, want: []string{insert, "ROLLBACK"}, code: errors.ErrMySQLTxnError},
		"no such database": {err: &gomysql.MySQLError{Number: 1049}, want: []string{insert, "ROLLBACK"}, code: errors.ErrMySQLTxnError},
		"several are not understood": {err: &gomysql.MySQLError{Number: 1064},
			want: []string{insert, "ROLLBACK", "BEGIN", insert, "COMMIT"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := fakeSink(t, "", false)
			f.answer = failFirst("INSERT", tc.err)
			u := newTable(t, 100, simple)
			err := acked(t, u.write(s, 0, u.change(10, 0, nil, row(1, "a"))))
			require.Equal(t, tc.want, f.sent())
			if tc.code == nil {
				require.NoError(t, err)
				require.Zero(t, s.Status())
				return
			}
			require.Equal(t, tc.code.Text(), errors.CodeOf(err))
			// The sink is broken now.
			require.Equal(t, err, s.Write(t.Context(), &model.RowBatch{Table: u.table}))
			require.Equal(t, err, s.WriteDDL(t.Context(), &model.DDLEvent{}))
		})
	}
}

// TestPartOfTransaction has rows whose transaction is not complete: where they
// may take unique values from rows of the rest, all of them are written like
// replays from the first on.
func TestPartOfTransaction(t *testing.T) {
	const unique = "CREATE TABLE db.t (id INT PRIMARY KEY CLUSTERED, s VARCHAR(10), UNIQUE KEY (s))"
	for name, tc := range map[string]struct {
		ddl, query string
		last       bool
		want       string
	}{
		"whole":           {unique, "", true, "INSERT"},
		"cut":             {unique, "", false, "REPLACE"},
		"split":           {unique, "max-txn-row=1", true, "REPLACE"},
		"only one key":    {simple, "", false, "INSERT"},
		"another row key": {"CREATE TABLE db.t (id INT PRIMARY KEY NONCLUSTERED, s VARCHAR(10))", "", false, "REPLACE"},
		"no key":          {"CREATE TABLE db.t (id INT, s VARCHAR(10))", "force=1", false, "INSERT"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := fakeSink(t, tc.query, false)
			u := newTable(t, 100, tc.ddl)
			done := make(chan error, 1)
			require.NoError(t, s.Write(t.Context(), &model.RowBatch{
				TableID: 100, Table: u.table, LastOfTxn: tc.last, Done: func(err error) { done <- err },
				Rows: []model.RawChange{u.change(10, 1, nil, row(1, "a")), u.change(10, 2, nil, row(2, "b"))},
			}))
			require.NoError(t, acked(t, done))
			require.Contains(t, strings.Join(f.sent(), "\n"), tc.want+" INTO")
			require.NotContains(t, strings.Join(f.sent(), "\n"), map[string]string{"INSERT": "REPLACE", "REPLACE": "INSERT"}[tc.want])
		})
	}
}

// TestStatusInTrouble looks at the status while rows are retried, and closes.
func TestStatusInTrouble(t *testing.T) {
	s, f := fakeSink(t, "", false)
	f.answer = func(string) error { return &gomysql.MySQLError{Number: 1290, Message: "read-only"} }
	u := newTable(t, 100, simple)
	done := u.write(s, 0, u.change(10, 0, nil, row(1, "a")))
	waiting := u.write(s, 0, u.change(11, 0, nil, row(2, "a")))
	require.Eventually(t, func() bool { return s.Status().Reason == model.StallSink }, eventually, tick)
	st := s.Status()
	require.Contains(t, st.Detail, "read-only")
	require.False(t, st.RetryAt.Before(st.Since.Add(minBackoff)))
	s.Close()
	require.ErrorIs(t, acked(t, done), context.Canceled)
	require.ErrorIs(t, acked(t, waiting), context.Canceled)
}

// TestBusyStatus has a statement that takes long.
func TestBusyStatus(t *testing.T) {
	s, f := fakeSink(t, "", false)
	release := make(chan struct{})
	f.answer = func(string) error { <-release; return nil }
	u := newTable(t, 100, simple)
	done := u.write(s, 0, u.change(10, 0, nil, row(1, "a")))
	require.Eventually(t, func() bool { return s.Status().Reason == model.StallSinkBusy }, eventually, tick)
	close(release)
	require.NoError(t, acked(t, done))
	require.Zero(t, s.Status())
}

// TestBackPressure fills a sink whose downstream hangs.
func TestBackPressure(t *testing.T) {
	s, f := fakeSink(t, "max-txn-row=4", false)
	release := make(chan struct{})
	f.answer = func(string) error { <-release; return nil }
	u := newTable(t, 100, simple)
	var acks sync.WaitGroup
	write := func(ctx context.Context, id int) error {
		acks.Add(1)
		err := s.Write(ctx, &model.RowBatch{
			TableID: 100, Table: u.table, Rows: []model.RawChange{u.change(uint64(10+id), 0, nil, row(id, "a"))}, LastOfTxn: true,
			Done: func(error) { acks.Done() },
		})
		if err != nil {
			acks.Done()
		}
		return err
	}
	for i := range queueFactor * 4 {
		require.NoError(t, write(t.Context(), i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, write(ctx, 100), context.DeadlineExceeded)
	blocked := make(chan error, 1)
	go func() { blocked <- write(t.Context(), 101) }()
	close(release)
	require.NoError(t, acked(t, blocked))
	acks.Wait()
}

// TestCloseLetsTransactionsEnd closes while a statement is under way.
func TestCloseLetsTransactionsEnd(t *testing.T) {
	s, f := fakeSink(t, "", false)
	started, release := make(chan struct{}), make(chan struct{})
	f.answer = func(string) error { close(started); <-release; return nil }
	u := newTable(t, 100, simple)
	done := u.write(s, 0, u.change(10, 0, nil, row(1, "a")))
	<-started
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	require.Eventually(t, func() bool { return s.broken() != nil }, eventually, tick)
	require.ErrorIs(t, s.Write(t.Context(), &model.RowBatch{}), context.Canceled)
	close(release)
	require.NoError(t, acked(t, done))
	<-closed
}

// TestServerRestarts kills the database in the middle of a load, lets it be
// away for a moment and starts it again: one sink gets over it.
func TestServerRestarts(t *testing.T) {
	srv, err := mariadb.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer srv.Close()
	db, err := srv.Open()
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	execAll(t, db, "CREATE DATABASE sim")
	r := rand.New(rand.NewPCG(3, 4))
	tables := simTables(t)
	for _, s := range tables {
		execAll(t, db, s.ddl)
		for ts := uint64(10); ts < 3000; ts += 1 + r.Uint64N(4) {
			s.txn(r, ts)
		}
	}
	// Whole transactions, so that nothing but the restarts is to be mended.
	k := openSink(t, srv.Addr(), "worker-count=4&max-txn-row=20&transaction-atomicity=table")
	var wg sync.WaitGroup
	for i, s := range tables {
		rnd := rand.New(rand.NewPCG(5, uint64(i)))
		wg.Go(func() { s.run(context.Background(), k, 0, len(s.history), 0, true, rnd) })
	}
	for range 2 {
		before := k.workers0Done()
		require.Eventually(t, func() bool { return k.workers0Done() > before+10 }, eventually, tick)
		srv.Kill()
		require.Eventually(t, func() bool { return k.Status().Reason == model.StallSink }, eventually, tick)
		require.NoError(t, srv.Run(t.Context()))
	}
	wg.Wait()
	require.NoError(t, k.broken())
	for i, s := range tables {
		require.Equal(t, s.contents(), sorted(contents(t, db, "SELECT * FROM sim.t"+string(rune('0'+i)))), s.ddl)
	}
}

// workers0Done is how far the first worker is.
func (s *Sink) workers0Done() uint64 {
	if !s.running.Load() {
		return 0
	}
	return s.workers[0].done.Load()
}

func TestConnecting(t *testing.T) {
	addr, db := downstream(t, "d")
	open := func(uri string) error {
		return Probe(t.Context(), sink.Options{URI: config.SinkURI(uri), TimeZone: time.UTC})
	}
	require.NoError(t, open("mysql://root@"+addr+"/"))
	err := open("mysql://root:s3cret@" + addr + "/?ssl-ca=/nowhere")
	require.Equal(t, errors.ErrMySQLInvalidConfig.Text(), errors.CodeOf(err))
	require.NotContains(t, err.Error(), "s3cret")
	for _, uri := range []string{"mysql://root:s3cret@" + addr + "/", "mysql://nobody:s3cret@" + addr + "/", "mysql://root:s3cret@127.0.0.1:1/"} {
		err := open(uri)
		require.Equal(t, errors.ErrMySQLConnectionError.Text(), errors.CodeOf(err), uri)
		require.NotContains(t, err.Error(), "s3cret")
	}
	// A password may be given as base64.
	execAll(t, db, "DROP USER IF EXISTS 'b64'@'%'", "CREATE USER 'b64'@'%' IDENTIFIED BY 'p@ss'", "GRANT ALL ON *.* TO 'b64'@'%'")
	require.NoError(t, open("mysql://b64:cEBzcw%3D%3D@"+addr+"/"))
	require.NoError(t, open("mysql://b64:p%40ss@"+addr+"/"))
}

// TestSharedRegistry has two sinks of one changefeed on one registry.
func TestSharedRegistry(t *testing.T) {
	addr, db := downstream(t, "d")
	u := newTable(t, 100, simple)
	execAll(t, db, u.ddl)
	reg := prometheus.NewPedanticRegistry()
	for i := range 2 {
		s := openSink(t, addr, "", func(o *sink.Options) { o.Registerer = reg })
		require.NoError(t, acked(t, u.write(s, 0, u.change(10, 0, nil, row(i, "a")))))
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	found := false
	for _, f := range families {
		if f.GetName() == "ticdc_sink_batch_row_count" {
			found = true
			require.Equal(t, 2.0, f.GetMetric()[0].GetHistogram().GetSampleSum())
		}
	}
	require.True(t, found)
}

func TestBackoff(t *testing.T) {
	other, conflict := stderrors.New("x"), &gomysql.MySQLError{Number: 9007}
	var got []time.Duration
	for try := range 9 {
		got = append(got, backoff(try+1, other))
	}
	require.Equal(t, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
		16 * time.Second, 32 * time.Second, time.Minute, time.Minute}, got)
	require.Less(t, backoff(1, conflict), 100*time.Millisecond)
	require.Equal(t, minBackoff, backoff(conflictTries+1, conflict))
	require.Zero(t, backoff(1, driver.ErrBadConn))
}

// A capture whose lease may be over writes nothing any more, rows as little as
// DDL, and does not try again.
func TestFence(t *testing.T) {
	s, f := fakeSink(t, "", false)
	u := newTable(t, 100, simple)
	require.NoError(t, acked(t, u.write(s, 0, u.change(10, 0, nil, row(1, "a")))))
	sent := len(f.sent())
	s.settings.fence = func() error { return errors.ErrCaptureSuicide.New() }
	require.ErrorIs(t, s.WriteDDL(t.Context(), &model.DDLEvent{Schema: "d", Query: "DROP TABLE t"}), errors.ErrCaptureSuicide)
	require.ErrorIs(t, acked(t, u.write(s, 0, u.change(11, 0, nil, row(2, "b")))), errors.ErrCaptureSuicide)
	for _, text := range f.sent()[sent:] {
		require.NotContains(t, text, "INSERT")
		require.NotContains(t, text, "DROP")
	}
}
