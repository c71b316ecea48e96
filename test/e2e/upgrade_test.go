package e2e

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/validator"
	"github.com/tidemark/tidemark/test/workload"
)

// The limits and pauses of TiUP's calls.
const (
	tiupHealthLimit = 10 * time.Second
	tiupOwnerLimit  = 10 * time.Second
	tiupOwnerPause  = 2 * time.Second
	tiupDrainLimit  = time.Minute // 10 minutes, if nothing else is said
	tiupDrainPause  = time.Second
	tiupStatusLimit = 10 * time.Second
)

// mostLag is how far behind a checkpoint may be while captures are restarted
// one by one, not counting the restart itself.
const mostLag = 5 * time.Second

// lagWatch samples how far a changefeed's checkpoint is behind, asking
// whichever server answers.
type lagWatch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	worst time.Duration
	last  uint64
}

func (c *captures) watchLag(feed string) *lagWatch {
	ctx, cancel := context.WithCancel(c.ctx)
	w := &lagWatch{cancel: cancel}
	w.done.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for _, server := range c.servers {
				if s, err := server.API.Status(ctx, feed); err == nil {
					w.see(s.CheckpointTs)
					break
				}
			}
			w.see(0)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return w
}

// see takes one answer over; without one the last checkpoint grows old.
func (w *lagWatch) see(ts uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = max(w.last, ts)
	if w.last > 0 {
		w.worst = max(w.worst, time.Since(time.UnixMilli(model.PhysicalMs(w.last))))
	}
}

// take returns the worst lag since the last call.
func (w *lagWatch) take() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	worst := w.worst
	w.worst = 0
	return worst
}

func (w *lagWatch) stop() {
	w.cancel()
	w.done.Wait()
}

// repeat makes a call every pause until it says that it is done, and fails
// the test after limit.
func (c *captures) repeat(what string, pause, limit time.Duration, call func() (done bool, err error)) {
	c.t.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		done, err := call()
		if done {
			return
		}
		require.True(c.t, time.Now().Before(end), "%s within %s: %v", what, limit, err)
	}
}

// tiupList is how TiUP reads the captures: from any node that answers.
func (c *captures) tiupList() ([]capture, error) {
	var list []capture
	var err error
	for _, server := range c.servers {
		if err = server.API.Do(c.ctx, http.MethodGet, "/api/v1/captures", nil, &list); err == nil {
			return list, nil
		}
	}
	return nil, err
}

// tiupRestart makes TiUP's calls for one node of a rolling upgrade, and
// returns how many tables were drained and how long the process itself took to
// restart.
func (c *captures) tiupRestart(server *cluster.Server) (drained int, restart time.Duration) {
	t := c.t
	c.repeat("health", time.Second, tiupHealthLimit, func() (bool, error) {
		err := server.API.Do(c.ctx, http.MethodGet, "/api/v1/health", nil, nil)
		return err == nil, err
	})
	list, err := c.tiupList()
	require.NoError(t, err)
	at := slices.IndexFunc(list, func(each capture) bool { return each.Address == server.Advertised })
	require.GreaterOrEqual(t, at, 0, "%v has no %s", list, server.Advertised)
	if list[at].IsOwner {
		c.tiupResign(server)
	}
	drained = c.tiupDrain(list[at].ID)

	begun := time.Now()
	require.NoError(t, server.Stop())
	require.NoError(t, server.Launch())
	c.repeat("status", 100*time.Millisecond, tiupStatusLimit, func() (bool, error) {
		var status struct {
			Liveness int `json:"liveness"`
		}
		err := server.API.Do(c.ctx, http.MethodGet, "/api/v1/status", nil, &status)
		return err == nil && status.Liveness == 0, err
	})
	return drained, time.Since(begun)
}

func (c *captures) tiupResign(server *cluster.Server) {
	require.NoError(c.t, server.API.Do(c.ctx, http.MethodPost, "/api/v1/owner/resign", nil, nil))
	c.repeat("another owner", tiupOwnerPause, tiupOwnerLimit, func() (bool, error) {
		list, err := c.tiupList()
		return slices.ContainsFunc(list, func(each capture) bool {
			return each.IsOwner && each.Address != server.Advertised
		}), err
	})
}

// tiupDrain returns how many tables the capture had at first.
func (c *captures) tiupDrain(id string) (first int) {
	c.repeat("drain", tiupDrainPause, tiupDrainLimit, func() (bool, error) {
		var answer struct {
			Left *int `json:"current_table_count"`
		}
		err := c.any().Do(c.ctx, http.MethodPut, "/api/v1/captures/drain", map[string]string{"capture_id": id}, &answer)
		var refused *cluster.APIError
		if errors.As(err, &refused) {
			// TiUP takes such a refusal for the end; here nothing may be refused.
			require.NotEqual(c.t, http.StatusNotFound, refused.Status, refused.Body)
			require.False(c.t, strings.Contains(refused.Body, "CDC:ErrSchedulerRequestFailed") ||
				strings.Contains(refused.Body, "CDC:ErrCaptureNotExist"), refused.Body)
		}
		if err != nil || answer.Left == nil {
			return false, err
		}
		first = max(first, *answer.Left)
		return *answer.Left == 0, nil
	})
	return first
}

// spreadLoad writes until the function that it returns is called; the
// changefeed replicates to MariaDB, another one, if wanted, to Kafka. Both have
// caught up with the tables.
func (c *captures) spreadLoad(schema string, tables int, kafka bool) (feed string, end func()) {
	t := c.t
	c.downs = c.downs[1:] // MariaDB alone
	load := workload.Spec{Schema: schema, Tables: tables, Keys: 2000, Workers: 2, Seed: uint64(time.Now().UnixNano()), Done: new(atomic.Int64)}
	t.Logf("seed %d", load.Seed)
	startTs, err := cluster.TSO(c.ctx, c.upDB)
	require.NoError(t, err)
	feeds := createFeeds(c.ctx, t, c.sharedStack, schema, startTs, schema+".*")
	var beside *stream
	if kafka {
		beside = c.startStream(load, startTs)
		feeds = append(feeds, beside.id)
	}
	require.NoError(t, load.Prepare(c.ctx, c.upDB))
	if kafka {
		beside.countUp()
	}
	c.passed(feeds...)
	var watches []*validator.Checkpoints
	for _, server := range c.servers {
		watches = append(watches, validator.WatchCheckpoints(c.ctx, server.API, feeds))
	}
	loadCtx, stop := context.WithCancel(c.ctx)
	var loading sync.WaitGroup
	var loadErr error
	loading.Go(func() { _, loadErr = load.Run(loadCtx, c.upDB) })
	return feeds[0], func() {
		stop()
		loading.Wait()
		require.NoError(t, loadErr)
		c.server, _ = c.role(true)
		if kafka {
			beside.end()
		}
		requireReplicated(c.ctx, t, c.sharedStack, feeds[:1], []string{schema})
		for _, watch := range watches {
			require.NoError(t, watch.Stop(), "a checkpoint went back")
		}
		c.requireOneOwnerPerTable()
	}
}

// TestRollingUpgrade makes TiUP's calls against three captures under load. No
// checkpoint may stand still for longer than a moment and a process's restart.
func TestRollingUpgrade(t *testing.T) {
	ctx := testContext(t, 5*time.Minute)
	c := startCaptures(ctx, t, 3)
	feed, end := c.spreadLoad("upgrade", 12, false)
	lag := c.watchLag(feed)
	defer lag.stop()
	list, err := c.tiupList()
	require.NoError(t, err)
	order := slices.Clone(c.servers)
	slices.SortStableFunc(order, func(a, b *cluster.Server) int { return ownerLast(list, a) - ownerLast(list, b) })
	for i, server := range order {
		begun := time.Now()
		drained, restart := c.tiupRestart(server)
		worst := lag.take()
		t.Logf("node %d of 3: %d tables drained, %s in all, the restart %s, worst checkpoint lag %s", i+1, drained,
			time.Since(begun).Round(time.Millisecond), restart.Round(time.Millisecond), worst.Round(time.Millisecond))
		require.Positive(t, drained)
		require.Less(t, worst, mostLag+restart)
	}
	c.await(3)
	end()
	require.Less(t, lag.take(), mostLag)
}

func ownerLast(list []capture, server *cluster.Server) int {
	if slices.ContainsFunc(list, func(each capture) bool { return each.IsOwner && each.Address == server.Advertised }) {
		return 1
	}
	return 0
}
