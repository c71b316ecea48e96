package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/test/cluster"
)

const (
	tableGroups    = 100
	tablesPerGroup = 10
	tableCreators  = 8
	createRuns     = 5
	idleFeeds      = 50
	readFeeds      = 20
	readClients    = 16
	readsByClient  = 200
	idleTime       = 20 * time.Second
	settleTime     = 3 * time.Second
)

// manyTables measures how soon a changefeed of 1,000 tables has its first
// checkpoint, what idle changefeeds cost, and how fast the API answers.
func manyTables(ctx context.Context, b *bench) error {
	s := b.stack
	if err := createTables(ctx, s.upDB, "many", tableGroups, tablesPerGroup); err != nil {
		return err
	}
	if err := b.firstCheckpoints(ctx); err != nil {
		return err
	}
	if err := b.idle(ctx, "idle CPU, 1 changefeed × 1,000 tables"); err != nil {
		return err
	}
	if err := s.server.API.Delete(ctx, "all"); err != nil {
		return err
	}
	for i := range idleFeeds {
		if err := createFeed(ctx, s, groupFeed(i), fmt.Sprintf("many.g%03d_*", i)); err != nil {
			return err
		}
	}
	if err := b.idle(ctx, "idle CPU, 50 changefeeds × 10 tables"); err != nil {
		return err
	}
	for i := readFeeds; i < idleFeeds; i++ {
		if err := s.server.API.Delete(ctx, groupFeed(i)); err != nil {
			return err
		}
	}
	return b.reads(ctx)
}

func groupFeed(i int) string { return fmt.Sprintf("group-%02d", i) }

// createTables makes tables g000_00 and so on in a new database.
func createTables(ctx context.Context, db *sql.DB, schema string, groups, perGroup int) error {
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+schema); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(tableCreators)
	for i := range groups * perGroup {
		group.Go(func() error {
			_, err := db.ExecContext(groupCtx, fmt.Sprintf("CREATE TABLE %s.g%03d_%02d (id BIGINT PRIMARY KEY, v INT)", schema, i/perGroup, i%perGroup))
			return err
		})
	}
	return group.Wait()
}

func createFeed(ctx context.Context, s *stack, id, rule string) error {
	ts, err := cluster.TSO(ctx, s.upDB)
	if err != nil {
		return err
	}
	return s.server.API.Create(ctx, cluster.Feed{
		ID: id, SinkURI: "blackhole://", StartTs: ts,
		ReplicaConfig: map[string]any{"filter": map[string]any{"rules": []string{rule}}},
	})
}

// firstCheckpoints measures how long a changefeed of all tables takes to its
// first checkpoint, a few times, and leaves the last one running.
func (b *bench) firstCheckpoints(ctx context.Context) error {
	var all, calls []time.Duration
	for i := range createRuns {
		if i > 0 {
			if err := b.stack.server.API.Delete(ctx, "all"); err != nil {
				return err
			}
		}
		took, call, err := b.firstCheckpoint(ctx, "many.*")
		if err != nil {
			return err
		}
		all, calls = append(all, took), append(calls, call)
	}
	b.add("1,000 tables: create to first checkpoint, median of 5; slowest", "%s (the call itself %s); %s",
		ms(quantile(all, 0.5)), ms(quantile(calls, 0.5)), ms(quantile(all, 1)))
	return nil
}

// firstCheckpoint measures from the call that creates the changefeed "all" until its
// checkpoint passes the TSO of the end of that call, and the call alone.
func (b *bench) firstCheckpoint(ctx context.Context, rule string) (took, call time.Duration, err error) {
	begin := time.Now()
	if err := createFeed(ctx, b.stack, "all", rule); err != nil {
		return 0, 0, err
	}
	call = time.Since(begin)
	ts, err := cluster.TSO(ctx, b.stack.upDB)
	if err != nil {
		return 0, 0, err
	}
	err = b.stack.server.API.WaitCheckpoint(ctx, "all", ts)
	return time.Since(begin), call, err
}

// idle measures the server while nothing is written.
func (b *bench) idle(ctx context.Context, what string) error {
	if _, err := cpuShare(ctx, b.stack.server, settleTime); err != nil {
		return err
	}
	share, err := cpuShare(ctx, b.stack.server, idleTime)
	if err != nil {
		return err
	}
	b.add(what, "%.1f %% of a core", share)
	return nil
}

// reads measures how long GET calls take when many clients make them.
func (b *bench) reads(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: readClients}}
	defer client.CloseIdleConnections()
	for _, call := range []struct{ name, path string }{
		{"list", "/api/v2/changefeeds"},
		{"one", "/api/v2/changefeeds/" + groupFeed(0)},
		{"health", "/api/v2/health"},
	} {
		times := make([][]time.Duration, readClients)
		errs := make([]error, readClients)
		var wg sync.WaitGroup
		for c := range readClients {
			wg.Go(func() {
				times[c], errs[c] = readMany(ctx, client, "http://"+b.stack.server.Addr+call.path)
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		var all []time.Duration
		for _, t := range times {
			all = append(all, t...)
		}
		b.add(fmt.Sprintf("GET %s, p50 / p99, %d changefeeds, %d clients", call.name, readFeeds, readClients),
			"%s / %s", ms(quantile(all, 0.5)), ms(quantile(all, 0.99)))
	}
	return nil
}

// readMany makes one client's calls, one after the other.
func readMany(ctx context.Context, client *http.Client, url string) ([]time.Duration, error) {
	var out []time.Duration
	for range readsByClient {
		begin := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s", url, resp.Status)
		}
		out = append(out, time.Since(begin))
	}
	return out, nil
}
