package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/workload"
)

// catchUp pauses one changefeed per sink, writes the load, and measures what
// each changefeed needs to catch up, one after the other, each in a server
// process that was just started.
func catchUp(ctx context.Context, b *bench) error {
	s := b.stack
	load := workload.Bulk{Schema: "catchup", Tables: 10, Changes: b.rows}
	startTs, err := cluster.TSO(ctx, s.upDB)
	if err != nil {
		return err
	}
	if err := load.Prepare(ctx, s.upDB); err != nil {
		return err
	}
	prepared, err := cluster.TSO(ctx, s.upDB)
	if err != nil {
		return err
	}
	sinks := strings.Split(b.sinks, ",")
	for _, sink := range sinks {
		if err := pausedFeed(ctx, s, sink, startTs, prepared); err != nil {
			return fmt.Errorf("%s: %w", sink, err)
		}
	}
	begin := time.Now()
	if err := load.Run(ctx, s.upDB); err != nil {
		return err
	}
	b.add("load, rows/s into the upstream", "%.0f", float64(load.Total())/time.Since(begin).Seconds())
	endTs, err := cluster.TSO(ctx, s.upDB)
	if err != nil {
		return err
	}
	for _, sink := range sinks {
		if err := b.catchUpOne(ctx, sink, load, endTs); err != nil {
			return fmt.Errorf("%s: %w", sink, err)
		}
	}
	return nil
}

// pausedFeed makes a changefeed, lets it create the empty tables and pauses it.
func pausedFeed(ctx context.Context, s *stack, sink string, startTs, prepared uint64) error {
	uri, _ := s.uri(sink)
	err := s.server.API.Create(ctx, cluster.Feed{
		ID: sink, SinkURI: uri, StartTs: startTs,
		ReplicaConfig: map[string]any{"filter": map[string]any{"rules": []string{"catchup.*"}}},
	})
	if err != nil {
		return err
	}
	if err := waitCheckpoint(ctx, s.server.API, sink, prepared); err != nil {
		return err
	}
	return s.server.API.Pause(ctx, sink)
}

func (b *bench) catchUpOne(ctx context.Context, sink string, load workload.Bulk, endTs uint64) error {
	api := b.stack.server.API
	c, err := b.measure(ctx, sink, endTs, func() error { return api.Resume(ctx, sink) })
	if err != nil {
		return err
	}
	rows := float64(load.Total())
	b.add(fmt.Sprintf("catch-up of %d changes, %s", load.Total(), sink), "%s", c.over(rows))
	if _, db := b.stack.uri(sink); db != nil {
		if err := checkRows(ctx, db, load); err != nil {
			return err
		}
	}
	// A changefeed that has caught up must not cost the next one.
	return api.Delete(ctx, sink)
}

// cost is what a changefeed took to catch up.
type cost struct {
	took, cpu time.Duration
	peak      int64 // bytes
}

// over is the cost of so many rows.
func (c cost) over(rows float64) string {
	return fmt.Sprintf("%.2f CPU-µs per row; %.0f rows/s; peak memory %s", float64(c.cpu.Microseconds())/rows, rows/c.took.Seconds(), mib(c.peak))
}

// measure starts the server anew and the changefeed with it, and waits until
// its checkpoint is at endTs.
func (b *bench) measure(ctx context.Context, feed string, endTs uint64, start func() error) (cost, error) {
	server := b.stack.server
	if err := server.Stop(); err != nil {
		return cost{}, err
	}
	if err := server.Start(ctx); err != nil {
		return cost{}, err
	}
	if err := server.ResetPeak(); err != nil {
		return cost{}, err
	}
	before, err := server.Usage()
	if err != nil {
		return cost{}, err
	}
	begin := time.Now()
	if err := start(); err != nil {
		return cost{}, err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- b.takeProfile(ctx, feed) }()
	err = waitCheckpoint(ctx, server.API, feed, endTs)
	took := time.Since(begin)
	if err != nil {
		return cost{}, errors.Join(err, <-profiled)
	}
	after, err := server.Usage()
	return cost{took: took, cpu: after.CPU - before.CPU, peak: after.PeakRSS}, errors.Join(err, <-profiled)
}

// checkRows holds the number of rows downstream against what the load leaves.
func checkRows(ctx context.Context, db *sql.DB, load workload.Bulk) error {
	for i := range load.Tables {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+load.Schema+"."+workload.TableName(i)).Scan(&n); err != nil {
			return err
		}
		if n != load.RowsLeft() {
			return fmt.Errorf("table %d has %d rows, not %d", i, n, load.RowsLeft())
		}
	}
	return nil
}

// takeProfile writes a CPU profile of some seconds, if one is wanted.
func (b *bench) takeProfile(ctx context.Context, sink string) error {
	if b.profile == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.stack.server.Addr+"/debug/pprof/profile?seconds=5", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	f, err := os.Create(filepath.Join(b.profile, sink+".prof"))
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
