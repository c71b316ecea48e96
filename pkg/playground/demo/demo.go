// Package demo shows a changefeed at work: it creates one to the downstream TiDB by the HTTP API, writes a small
// workload upstream, and draws how the rows arrive.
package demo

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	// The demo speaks to both TiDBs as any client does.
	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	// Changefeed is the ID of the demo's changefeed.
	Changefeed = "demo"
	// Database is where the demo's tables are.
	Database = "demo"

	refresh     = time.Second
	httpTimeout = 10 * time.Second
)

// Options say where the parts are.
type Options struct {
	Upstream   string // host:port of TiDB
	Downstream string // host:port of TiDB
	CDC        string // host:port of a capture
	Out        io.Writer
	Terminal   bool // Out is one, so the table is drawn in place
	Logger     *zap.Logger
}

// demo is one that runs.
type demo struct {
	Options
	up, down *sql.DB
	http     *http.Client
	work     workload
}

// Run works until the context ends, which is no error.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o, http: &http.Client{Timeout: httpTimeout}}
	if d.up, err = open(o.Upstream); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.up.Close()) }()
	if d.down, err = open(o.Downstream); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.down.Close()) }()
	d.work = workload{db: d.up, log: o.Logger}

	if err := d.createChangefeed(ctx); err != nil {
		return ended(ctx, err)
	}
	if err := d.work.prepare(ctx); err != nil {
		return ended(ctx, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.work.run(ctx) })
	group.Go(func() error { return d.show(ctx) })
	return group.Wait()
}

// ended drops errors that only say that the demo is over.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func open(addr string) (*sql.DB, error) {
	db, err := sql.Open("mysql", "root@tcp("+addr+")/?interpolateParams=true")
	if err != nil {
		return nil, fmt.Errorf("demo: connect to %s: %w", addr, err)
	}
	return db, nil
}

// createChangefeed does what a user does with curl. One that is there from an earlier run goes on.
func (d *demo) createChangefeed(ctx context.Context) error {
	body, err := json.Marshal(map[string]string{
		"changefeed_id": Changefeed,
		"sink_uri":      "tidb://root@" + d.Downstream + "/",
	})
	if err != nil {
		return fmt.Errorf("demo: create the changefeed: %w", err)
	}
	answer, err := d.call(ctx, http.MethodPost, "/api/v2/changefeeds", body)
	if err != nil && !strings.Contains(string(answer), "ErrChangeFeedAlreadyExists") {
		return fmt.Errorf("demo: create the changefeed: %w", err)
	}
	return nil
}

// call returns the body of the answer, also together with the error that a bad status is.
func (d *demo) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+d.CDC+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return answer, err
}
