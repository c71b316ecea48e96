package cluster

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	// The tests speak to TiDB and MariaDB as any client does.
	_ "github.com/go-sql-driver/mysql"
)

// Upstream is an embedded TiDB cluster in a process of its own.
type Upstream struct {
	PD         string   // http://host:port
	TiDB       string   // host:port
	Downstream string   // host:port of the second TiDB; "" if none
	CDC        []string // host:port of captures inside the process
	// DownstreamPD is the PD of the second TiDB, for captures that read from
	// there: http://host:port.
	DownstreamPD string

	proc *process
	dir  string
}

// UpstreamOptions shape an embedded cluster.
type UpstreamOptions struct {
	Dir        string // for data and logs
	Captures   int    // captures inside the process; tests normally start their own servers
	Downstream bool   // also start a second TiDB
	Args       []string
}

// StartUpstream starts a cluster and waits until all of its parts answer.
func StartUpstream(ctx context.Context, o UpstreamOptions) (*Upstream, error) {
	bin, err := Binary("cdc-playground")
	if err != nil {
		return nil, err
	}
	downstream := "0"
	if o.Downstream {
		downstream = "-1"
	}
	args := append([]string{
		"--pd-port", "0", "--kv-port", "0", "--db-port", "0", "--db-status-port", "0", "--cdc-port", "0",
		"--captures", strconv.Itoa(o.Captures), "--downstream-port", downstream,
		"--data-dir", filepath.Join(o.Dir, "upstream"), "--log-file", filepath.Join(o.Dir, "upstream.log"),
	}, o.Args...)
	ready := make(chan string, 1)
	sawReady := false
	proc, err := start("cdc-playground", filepath.Join(o.Dir, "upstream.out"), func(line string) {
		if sawReady {
			select {
			case ready <- line:
			default:
			}
		}
		sawReady = line == "playground ready"
	}, bin, args...)
	if err != nil {
		return nil, err
	}
	u := &Upstream{proc: proc, dir: o.Dir}
	select {
	case line := <-ready:
		var addrs struct {
			PD         string   `json:"pd"`
			TiDB       string   `json:"tidb"`
			Downstream string   `json:"downstream"`
			CDC        []string `json:"cdc"`

			DownstreamPD string `json:"downstream_pd"`
		}
		if err := json.Unmarshal([]byte(line), &addrs); err != nil {
			u.Close()
			return nil, fmt.Errorf("ready line %q: %w", line, err)
		}
		u.PD, u.TiDB, u.Downstream, u.CDC = addrs.PD, addrs.TiDB, addrs.Downstream, addrs.CDC
		u.DownstreamPD = addrs.DownstreamPD
		return u, nil
	case <-proc.done:
		return nil, fmt.Errorf("cdc-playground ended early: %v\n%s", proc.err, proc.tail())
	case <-ctx.Done():
		u.Close()
		return nil, fmt.Errorf("cdc-playground was not ready: %w\n%s", ctx.Err(), proc.tail())
	}
}

// Close stops the cluster.
func (u *Upstream) Close() { _ = u.proc.signal(syscall.SIGTERM, 20*time.Second) }

// RestartPD takes PD away for a second and returns when it is back.
func (u *Upstream) RestartPD(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.PD+"/playground/restart-pd?down=1s", nil)
	if err != nil {
		return err
	}
	if err := discard(http.DefaultClient.Do(req)); err != nil {
		return err
	}
	gone := false
	return until(ctx, "PD to be back", func() (bool, error) {
		get, err := http.NewRequestWithContext(ctx, http.MethodGet, u.PD+"/pd/api/v1/version", nil)
		if err != nil {
			return false, err
		}
		err = discard(http.DefaultClient.Do(get))
		gone = gone || err != nil
		return gone && err == nil, err
	})
}

// discard checks an answer that has nothing to say but its status.
func discard(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", resp.Request.URL.Path, resp.Status)
	}
	return nil
}

// Usage returns what the cluster's process has used.
func (u *Upstream) Usage() (Usage, error) { return usage(u.proc.cmd.Process.Pid) }

// OpenUp connects to the upstream TiDB.
func (u *Upstream) OpenUp() (*sql.DB, error) { return OpenMySQL(u.TiDB, "root", "") }

// OpenDown connects to the downstream TiDB.
func (u *Upstream) OpenDown() (*sql.DB, error) { return OpenMySQL(u.Downstream, "root", "") }

// OpenMySQL connects to a MySQL-protocol server. Several statements per call
// are allowed, time stays text.
func OpenMySQL(addr, user, password string) (*sql.DB, error) {
	dsn := fmt.Sprintf("%s:%s@tcp(%s)/?multiStatements=true&interpolateParams=true&charset=utf8mb4&time_zone=%%27%%2B00:00%%27", user, password, addr)
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(64)
	return db, nil
}

// TSO returns the upstream's current timestamp.
func TSO(ctx context.Context, up *sql.DB) (uint64, error) {
	c, err := up.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.ExecContext(ctx, "BEGIN"); err != nil {
		return 0, err
	}
	var ts uint64
	if err := c.QueryRowContext(ctx, "SELECT @@tidb_current_ts").Scan(&ts); err != nil {
		return 0, err
	}
	_, err = c.ExecContext(ctx, "ROLLBACK")
	return ts, err
}
