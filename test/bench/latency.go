package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/test/cluster"
)

// The steady load: 100 transactions of 10 rows each second.
const (
	steadyTxns = 100
	steadyRows = 10
	steadyTime = 30 * time.Second
)

// latency measures the time from a commit until the row can be read
// downstream, the age of the checkpoint, and the server's CPU, all at 1,000
// rows per second into MariaDB.
func latency(ctx context.Context, b *bench) error {
	s := b.stack
	for _, stmt := range []string{
		"CREATE DATABASE steady",
		"CREATE TABLE steady.rows (id BIGINT PRIMARY KEY AUTO_INCREMENT, s VARCHAR(200) NOT NULL)",
		"CREATE TABLE steady.probe (id BIGINT PRIMARY KEY)",
	} {
		if _, err := s.upDB.ExecContext(ctx, stmt); err != nil {
			return err
		}
		if _, err := s.mariaDB.ExecContext(ctx, stmt); err != nil {
			return err
		}
	}
	uri, down := s.uri("mariadb")
	startTs, err := cluster.TSO(ctx, s.upDB)
	if err != nil {
		return err
	}
	if err := s.server.API.Create(ctx, cluster.Feed{ID: "steady", SinkURI: uri, StartTs: startTs}); err != nil {
		return err
	}
	if err := waitCheckpoint(ctx, s.server.API, "steady", startTs+1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, steadyTime)
	defer cancel()
	var work sync.WaitGroup
	var written int
	var visible, lag []time.Duration
	var errs [4]error
	insert := steadyInsert("steady.rows")
	begin := time.Now()
	before, err := s.server.Usage()
	if err != nil {
		return err
	}
	work.Go(func() { written, errs[0] = steadyLoad(ctx, s.upDB, func(int) string { return insert }) })
	work.Go(func() { visible, errs[1] = probeAll(ctx, s.upDB, down) })
	work.Go(func() { lag, errs[2] = sampleLag(ctx, s.server.API, "steady") })
	work.Wait()
	after, err := s.server.Usage()
	errs[3] = err
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	took := time.Since(begin)
	at := fmt.Sprintf("at %.0f rows/s", float64(written)/took.Seconds())
	b.add("commit to visible in MariaDB p50 / p99 "+at, "%s / %s (%d samples)", ms(quantile(visible, 0.5)), ms(quantile(visible, 0.99)), len(visible))
	b.add("checkpoint lag p50 / p99 "+at, "%s / %s", ms(quantile(lag, 0.5)), ms(quantile(lag, 0.99)))
	b.add("server CPU "+at, "%.1f %% of a core", 100*float64(after.CPU-before.CPU)/float64(took))
	return nil
}

// steadyInsert writes the rows of one transaction.
func steadyInsert(table string) string {
	text := strings.Repeat("steady load ", 15)
	return "INSERT INTO " + table + " (s) VALUES ('" + text + "')" + strings.Repeat(",('"+text+"')", steadyRows-1)
}

// steadyLoad executes statements, which it counts, at the wanted rate until the
// context ends.
func steadyLoad(ctx context.Context, db *sql.DB, stmt func(n int) string) (rows int, err error) {
	tick := time.NewTicker(time.Second / steadyTxns)
	defer tick.Stop()
	limit := make(chan struct{}, 8) // connections
	var wg sync.WaitGroup
	defer wg.Wait()
	failed := make(chan error, 1)
	for n := 0; ; n += steadyRows {
		select {
		case <-ctx.Done():
			return n, nil
		case err := <-failed:
			return n, err
		case <-tick.C:
		}
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			if _, err := db.ExecContext(ctx, stmt(n/steadyRows)); err != nil && ctx.Err() == nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
}

// probePause is the longest pause between two probes. Without pauses of random
// lengths each probe would begin when the one before became visible, which is
// just after the store told its resolved-ts: all would wait for a whole
// interval of it.
const probePause = time.Second / 2

// probers is how many probe at a time.
const probers = 4

func probeAll(ctx context.Context, up, down *sql.DB) ([]time.Duration, error) {
	var out [probers][]time.Duration
	var errs [probers]error
	var wg sync.WaitGroup
	for n := range probers {
		wg.Go(func() { out[n], errs[n] = probe(ctx, up, down, n) })
	}
	wg.Wait()
	return slices.Concat(out[:]...), errors.Join(errs[:]...)
}

// probe writes a row, waits until it can be read downstream, and again. The
// ids of prober n are n, n+probers and so on.
func probe(ctx context.Context, up, down *sql.DB, n int) ([]time.Duration, error) {
	var out []time.Duration
	for id := n; ; id += probers {
		select {
		case <-ctx.Done():
			return out, nil
		case <-time.After(rand.N(probePause)):
		}
		if _, err := up.ExecContext(ctx, "INSERT INTO steady.probe VALUES (?)", id); err != nil {
			return out, unlessEnded(ctx, err)
		}
		committed := time.Now()
		err := cluster.Until(ctx, "row", func() (bool, error) {
			var n int
			err := down.QueryRowContext(ctx, "SELECT COUNT(*) FROM steady.probe WHERE id = ?", id).Scan(&n)
			return n == 1, err
		})
		if err != nil {
			return out, unlessEnded(ctx, err)
		}
		out = append(out, time.Since(committed))
	}
}

// sampleLag notes the age of the checkpoint twenty times a second.
func sampleLag(ctx context.Context, api *cluster.API, id string) ([]time.Duration, error) {
	var out []time.Duration
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return out, nil
		case <-tick.C:
		}
		s, err := api.Status(ctx, id)
		if err != nil {
			return out, unlessEnded(ctx, err)
		}
		out = append(out, time.Since(model.TimeOf(s.CheckpointTs)))
	}
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
