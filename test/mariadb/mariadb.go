// Package mariadb runs MariaDB servers for tests: each in a directory of its
// own, on a port of its own.
package mariadb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"

	"github.com/tidemark/tidemark/pkg/freeport"
	"github.com/tidemark/tidemark/test/child"
)

// stopWait is how long a server may take to stop before it is killed.
const stopWait = 20 * time.Second

// Server is one MariaDB server. User root has no password.
type Server struct {
	dir    string
	port   int
	cmd    *exec.Cmd
	exited <-chan struct{} // closed when the process is gone
}

// Installed tells whether the programs are there.
func Installed() bool {
	for _, name := range []string{"mariadbd", "mariadb-install-db"} {
		if _, err := exec.LookPath(name); err != nil {
			return false
		}
	}
	return true
}

// Start makes a database in dir, which is created, and serves it on a free
// port of 127.0.0.1. It returns when the server answers.
func Start(ctx context.Context, dir string) (*Server, error) {
	if !Installed() {
		return nil, errors.New("MariaDB is not installed: `make need` installs it (Debian package mariadb-server)")
	}
	s := &Server{dir: dir}
	if err := os.MkdirAll(s.scratch(), 0o755); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	install := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+s.data(),
		"--auth-root-authentication-method=normal", "--skip-test-db", "--user="+userName())
	install.Stdout, install.Stderr, install.Env = &out, &out, s.env()
	if err := install.Run(); err != nil {
		return nil, fmt.Errorf("mariadb-install-db: %w\n%s", err, out.Bytes())
	}
	var err error
	if s.port, err = freeport.Find("127.0.0.1"); err != nil {
		return nil, err
	}
	if err := s.Run(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Run serves the database again after Stop or Kill, on the same port.
func (s *Server) Run(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "mariadb.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("mariadbd", "--no-defaults", "--datadir="+s.data(), "--user="+userName(),
		"--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port),
		"--socket="+filepath.Join(s.dir, "s"), "--pid-file="+filepath.Join(s.dir, "pid"),
		"--skip-name-resolve", "--skip-log-bin", "--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin",
		"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=128M", "--max-allowed-packet=64M")
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, s.env()
	process, err := child.Start(cmd)
	if err != nil {
		return err
	}
	s.cmd, s.exited = cmd, process.Done()
	if err := s.await(ctx); err != nil {
		s.Kill()
		return err
	}
	return nil
}

// scratch is where the server keeps temporary tables. A server that starts
// deletes those that it finds, which in a folder of all would be others'.
func (s *Server) scratch() string { return filepath.Join(s.dir, "tmp") }

func (s *Server) env() []string { return append(os.Environ(), "TMPDIR="+s.scratch()) }

// await waits until the server answers.
func (s *Server) await(ctx context.Context) error {
	db, err := s.Open()
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for {
		if db.PingContext(ctx) == nil {
			return nil
		}
		select {
		case <-s.exited:
			text, _ := os.ReadFile(filepath.Join(s.dir, "mariadb.log"))
			return fmt.Errorf("mariadbd stopped:\n%s", text)
		case <-ctx.Done():
			return fmt.Errorf("mariadbd does not answer: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Open returns a handle for user root.
func (s *Server) Open() (*sql.DB, error) { return sql.Open("mysql", "root@tcp("+s.Addr()+")/") }

// Stop ends the server in order.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopWait):
		s.Kill()
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// Close ends the server. Its directory stays.
func (s *Server) Close() { s.Stop() }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// userName is who the server runs as: it refuses to run as root unless told so.
func userName() string {
	if os.Geteuid() == 0 {
		return "root"
	}
	if name := os.Getenv("USER"); name != "" {
		return name
	}
	return "mysql"
}
