package main

import (
	"context"
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
	apiFeeds    = 500
	apiCreators = 16
	apiClients  = 200
	apiWarmUp   = 2 * time.Second
	apiTime     = 15 * time.Second
)

// apiCall is one kind of read and how long each took.
type apiCall struct {
	name, path string
	times      []time.Duration
}

// apiReads measures reads by 200 clients at once while 500 changefeeds run,
// each on the same table.
func apiReads(ctx context.Context, b *bench) error {
	if _, err := b.stack.upDB.ExecContext(ctx, "CREATE DATABASE one; CREATE TABLE one.t (id BIGINT PRIMARY KEY, v INT)"); err != nil {
		return err
	}
	begin := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(apiCreators)
	for i := range apiFeeds {
		group.Go(func() error { return createFeed(groupCtx, b.stack, apiFeed(i), "one.t") })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.add(fmt.Sprintf("%d creates by %d clients", apiFeeds, apiCreators), "%.1f s", time.Since(begin).Seconds())
	if err := b.idle(ctx, fmt.Sprintf("idle CPU, %d changefeeds × 1 table", apiFeeds)); err != nil {
		return err
	}
	if _, err := readAll(ctx, b.stack.server.Addr, apiWarmUp); err != nil {
		return err
	}
	before, err := b.stack.server.Usage()
	if err != nil {
		return err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- b.takeProfile(ctx, "api") }()
	calls, err := readAll(ctx, b.stack.server.Addr, apiTime)
	if err := errors.Join(err, <-profiled); err != nil {
		return err
	}
	after, err := b.stack.server.Usage()
	if err != nil {
		return err
	}
	var all []time.Duration
	for _, c := range calls {
		all = append(all, c.times...)
		b.add(fmt.Sprintf("GET %s, p50 / p99, %d changefeeds, %d clients", c.name, apiFeeds, apiClients),
			"%s / %s", ms(quantile(c.times, 0.5)), ms(quantile(c.times, 0.99)))
	}
	b.add("all of them, calls/s; p50 / p99; server CPU per call", "%.0f; %s / %s; %.0f µs",
		float64(len(all))/apiTime.Seconds(), ms(quantile(all, 0.5)), ms(quantile(all, 0.99)),
		float64((after.CPU-before.CPU).Microseconds())/float64(len(all)))
	return nil
}

func apiFeed(i int) string { return fmt.Sprintf("feed-%03d", i) }

// readAll has all clients read for the duration, each one call after the
// other and all kinds in turn.
func readAll(ctx context.Context, addr string, d time.Duration) ([]*apiCall, error) {
	var self struct {
		ID string `json:"id"`
	}
	if err := cluster.NewAPI(addr).Do(ctx, http.MethodGet, "/api/v2/status", nil, &self); err != nil {
		return nil, err
	}
	one := "/api/v2/changefeeds/" + apiFeed(apiFeeds/2)
	calls := []*apiCall{
		{name: "list", path: "/api/v2/changefeeds"},
		{name: "one", path: one},
		{name: "status", path: one + "/status"},
		{name: "health", path: "/api/v2/health"},
		{name: "captures", path: "/api/v2/captures"},
		{name: "processors", path: "/api/v2/processors"},
		{name: "processor", path: "/api/v2/processors/" + apiFeed(0) + "/" + self.ID},
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: apiClients, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	end := time.Now().Add(d)
	for n := range apiClients {
		wg.Go(func() {
			times, err := readInTurn(ctx, client, addr, calls, n, end)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			for i, c := range calls {
				c.times = append(c.times, times[i]...)
			}
		})
	}
	wg.Wait()
	return calls, failed
}

// readInTurn is one client; it begins with call number first.
func readInTurn(ctx context.Context, client *http.Client, addr string, calls []*apiCall, first int, end time.Time) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(calls))
	for n := first; time.Now().Before(end); n++ {
		i := n % len(calls)
		begin := time.Now()
		if err := readOnce(ctx, client, "http://"+addr+calls[i].path); err != nil {
			return times, err
		}
		times[i] = append(times[i], time.Since(begin))
	}
	return times, nil
}

func readOnce(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
