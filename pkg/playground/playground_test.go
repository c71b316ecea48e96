package playground

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/pingcap/log"
	"github.com/stretchr/testify/require"
	"github.com/tikv/client-go/v2/txnkv"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/logger"
)

// dirVariable makes the test binary a playground in that folder instead of running tests: TiDB can only be started
// once per process, and only a process can be killed.
const dirVariable = "PLAYGROUND_TEST_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		log.ReplaceGlobals(zap.NewNop(), &log.ZapProperties{}) // client libraries log to it
		os.Exit(m.Run())
	}
	if err := runChild(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runChild is what cmd/cdc-playground does.
func runChild(dir string) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	lg, err := logger.New(logger.Options{File: filepath.Join(dir, "playground.log"), Level: "info"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lg.Close()) }()
	lg.TakeOverGlobal()
	p, err := Start(ctx, Options{Host: "127.0.0.1", DataDir: dir, Logger: lg.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := Announce(os.Stdout, p.Addrs()); err != nil {
		return err
	}
	return p.Wait(ctx)
}

// start runs a playground in a process of its own.
func start(t *testing.T, dir string) *Child {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir)
	cmd.Stderr = os.Stderr
	c, err := StartChild(ctx, cmd)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// connect opens the child's TiDB.
func connect(t *testing.T, c *Child) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", "root@tcp("+c.Addrs().TiDB+")/test")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec1(t *testing.T, db *sql.DB, stmt string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), stmt)
	require.NoError(t, err, stmt)
}

// rows returns the number of rows of a query.
func rows(t *testing.T, db *sql.DB, query string) int {
	t.Helper()
	r, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err, query)
	n := 0
	for r.Next() {
		n++
	}
	require.NoError(t, r.Err())
	require.NoError(t, r.Close())
	return n
}

// timestamp returns TiDB's current TSO.
func timestamp(t *testing.T, db *sql.DB) uint64 {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var ts uint64
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT @@tidb_current_ts").Scan(&ts))
	require.NoError(t, tx.Rollback())
	return ts
}

func TestCluster(outer *testing.T) {
	dir := outer.TempDir()
	c := start(outer, dir)
	db := connect(outer, c)
	var last uint64
	rises := func(t *testing.T) {
		t.Helper()
		ts := timestamp(t, db)
		require.Greater(t, ts, last, "the clock went back")
		last = ts
	}

	outer.Run("tables are regions", func(t *testing.T) {
		exec1(t, db, "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(100))")
		exec1(t, db, "INSERT INTO a VALUES (1, 'one'), (2, 'two')")
		require.Equal(t, 1, rows(t, db, "SHOW TABLE a REGIONS"))
		exec1(t, db, "SPLIT TABLE a BETWEEN (0) AND (100000) REGIONS 4")
		require.Equal(t, 4, rows(t, db, "SHOW TABLE a REGIONS"))
		exec1(t, db, "CREATE TABLE b (id INT PRIMARY KEY)")
		require.Equal(t, 4, rows(t, db, "SHOW TABLE a REGIONS"))
		rises(t)
	})

	outer.Run("other clients", func(t *testing.T) {
		client, err := txnkv.NewClient([]string{c.Addrs().PD})
		require.NoError(t, err)
		txn, err := client.Begin()
		require.NoError(t, err)
		require.NoError(t, txn.Set([]byte("zz-key"), []byte("value")))
		require.NoError(t, txn.Commit(t.Context()))
		txn, err = client.Begin()
		require.NoError(t, err)
		value, err := txn.Get(t.Context(), []byte("zz-key"))
		require.NoError(t, err)
		require.Equal(t, "value", string(value.Value))
		require.NoError(t, txn.Rollback())
		require.NoError(t, client.Close())
	})

	outer.Run("PD restarts", func(t *testing.T) {
		resp, err := http.Post(c.Addrs().PD+"/playground/restart-pd?down=200ms", "", nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusAccepted, resp.StatusCode)
		require.Eventually(t, func() bool {
			_, err := db.ExecContext(t.Context(), "REPLACE INTO b VALUES (1)")
			return err == nil
		}, 30*time.Second, 20*time.Millisecond)
		rises(t)
		exec1(t, db, "CREATE TABLE c (id INT PRIMARY KEY)")

		resp, err = http.Post(c.Addrs().PD+"/playground/restart-pd?down=long", "", nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	})

	outer.Run("one at a time", func(t *testing.T) {
		_, err := Start(t.Context(), Options{Host: "127.0.0.1", DataDir: dir})
		require.ErrorContains(t, err, "in use")
	})

	outer.Run("stop and start", func(t *testing.T) {
		require.NoError(t, c.Close())
		c = start(outer, dir)
		db = connect(outer, c)
		require.Equal(t, 2, rows(t, db, "SELECT * FROM a"))
		require.Equal(t, 4, rows(t, db, "SHOW TABLE a REGIONS"))
		rises(t)
	})

	outer.Run("kill and start", func(t *testing.T) {
		exec1(t, db, "INSERT INTO a VALUES (3, 'three')")
		require.NoError(t, c.cmd.Process.Kill())
		<-c.Done()
		require.Error(t, c.Err())
		c = start(outer, dir)
		db = connect(outer, c)
		require.Equal(t, 3, rows(t, db, "SELECT * FROM a"))
		rises(t)
		begin := time.Now()
		exec1(t, db, "CREATE TABLE d (id INT PRIMARY KEY)")
		require.Less(t, time.Since(begin), 30*time.Second, "the killed TiDB still owns DDL")
		require.NoError(t, c.Close())
	})
}

func TestChildThatFails(t *testing.T) {
	_, err := StartChild(t.Context(), exec.Command("false"))
	require.ErrorContains(t, err, "ended early")
	_, err = StartChild(t.Context(), exec.Command("/no/such/program"))
	require.Error(t, err)
}

func TestChildThatNeverComesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := StartChild(ctx, exec.Command("cat")) // ends with its input, as it must
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAnnounce(t *testing.T) {
	want := Addrs{PD: "http://127.0.0.1:1", TiDB: "127.0.0.1:2", CDC: []string{"127.0.0.1:3"}}
	var out bytes.Buffer
	out.WriteString("some noise\n")
	require.NoError(t, Announce(&out, want))
	require.Contains(t, out.String(), "playground ready\n{\"pd\":\"http://127.0.0.1:1\",")
	out.WriteString("more noise\n")
	got := make(chan Addrs, 1)
	listen(&out, got)
	require.Equal(t, want, <-got)
	require.Zero(t, out.Len(), "a child must never block on its output")
}

func TestAdvertisedHost(t *testing.T) {
	for host, want := range map[string]string{"127.0.0.1": "127.0.0.1", "localhost": "localhost", "::1": "::1"} {
		require.Equal(t, want, advertisedHost(host))
	}
	for _, host := range []string{"0.0.0.0", "::", ""} {
		ip := net.ParseIP(advertisedHost(host))
		require.NotNil(t, ip)
		require.False(t, ip.IsUnspecified())
	}
}

// newPlayground is one without PD, store and TiDB.
func newPlayground(t *testing.T, run CaptureFunc, captures int) *Playground {
	t.Helper()
	p := &Playground{
		opts:     Options{Host: "127.0.0.1", DataDir: t.TempDir(), Captures: captures, RunCapture: run},
		host:     "127.0.0.1",
		failures: make(chan error, 1),
	}
	p.life, p.stop = context.WithCancel(t.Context())
	return p
}

// serveHealth is a capture that does nothing but answer.
func serveHealth(ctx context.Context, c CaptureConfig) error {
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return err
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"pid": %d}`, os.Getpid())
	}))
	s.Listener = l
	s.Start()
	<-ctx.Done()
	s.Close()
	return nil
}

func TestCaptures(t *testing.T) {
	t.Run("several", func(t *testing.T) {
		p := newPlayground(t, serveHealth, 3)
		require.NoError(t, p.startCaptures(t.Context()))
		require.Len(t, p.Addrs().CDC, 3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, p.Wait(ctx))
		require.NoError(t, p.Close())
	})
	broken := errors.New("broken")
	t.Run("one that does not start", func(t *testing.T) {
		p := newPlayground(t, func(context.Context, CaptureConfig) error { return broken }, 1)
		require.ErrorIs(t, p.startCaptures(t.Context()), broken)
		require.NoError(t, p.Close())
	})
	t.Run("another one answers", func(t *testing.T) {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, `{"pid": 1}`)
		}))
		defer other.Close()
		p := newPlayground(t, serveHealth, 1)
		p.opts.CDCPort = other.Listener.Addr().(*net.TCPAddr).Port
		require.ErrorIs(t, p.startCaptures(t.Context()), syscall.EADDRINUSE)
		require.NoError(t, p.Close())
	})
	t.Run("one that ends", func(t *testing.T) {
		end := make(chan struct{})
		p := newPlayground(t, func(ctx context.Context, c CaptureConfig) error {
			ctx, cancel := context.WithCancel(ctx)
			go func() { <-end; cancel() }()
			return errors.Join(serveHealth(ctx, c), broken)
		}, 1)
		require.NoError(t, p.startCaptures(t.Context()))
		close(end)
		require.ErrorIs(t, p.Wait(t.Context()), broken)
		require.NoError(t, p.Close())
	})
	t.Run("nothing to run them", func(t *testing.T) {
		p := newPlayground(t, nil, 1)
		require.Error(t, p.startCaptures(t.Context()))
		require.NoError(t, p.Close())
	})
}
