package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/validator"
	"github.com/tidemark/tidemark/test/workload"
)

// frozenFor is longer than the session TTL and the grace after it: everything
// that a frozen capture had is elsewhere when it wakes.
const frozenFor = 17 * time.Second

// captures are several servers of one cluster.
type captures struct {
	*sharedStack
	t       *testing.T
	ctx     context.Context
	servers []*cluster.Server
	freezes []freeze
}

// startCaptures starts a stack with n servers; shape may change the options of
// each.
func startCaptures(ctx context.Context, t *testing.T, n int, shape ...func(*cluster.ServerOptions)) *captures {
	s := startOwn(ctx, t, shape...)
	c := &captures{sharedStack: s, t: t, ctx: ctx, servers: []*cluster.Server{s.server}}
	dir := t.TempDir()
	for i := 1; i < n; i++ {
		o := cluster.ServerOptions{PD: s.up.PD, Dir: dir, Name: fmt.Sprintf("cdc%d", i)}
		server, err := cluster.StartServer(ctx, shaped(o, shape))
		require.NoError(t, err)
		c.servers = append(c.servers, server)
		t.Cleanup(func() {
			server.Kill()
			if t.Failed() {
				keepLogAs(t, server.LogPath(), fmt.Sprintf("%s-%d", t.Name(), i))
			}
		})
	}
	c.await(n)
	return c
}

// capture is what GET /captures says of one.
type capture struct {
	ID      string `json:"id"`
	IsOwner bool   `json:"is_owner"`
	Address string `json:"address"`
}

// list reads the captures through any server that answers.
func (c *captures) list() (list []capture, err error) {
	var answer struct{ Items []capture }
	for _, server := range c.servers {
		if err = server.API.Do(c.ctx, http.MethodGet, "/api/v2/captures", nil, &answer); err == nil {
			return answer.Items, nil
		}
	}
	return nil, err
}

// await waits until so many captures are there, one of them the owner.
func (c *captures) await(n int) {
	c.t.Helper()
	require.NoError(c.t, cluster.Until(c.ctx, fmt.Sprintf("%d captures", n), func() (bool, error) {
		list, err := c.list()
		owners := 0
		for _, each := range list {
			if each.IsOwner {
				owners++
			}
		}
		return err == nil && len(list) == n && owners == 1, fmt.Errorf("%v, %w", list, err)
	}))
}

// role returns the owner's server, or one that is not the owner's, and its id.
func (c *captures) role(owner bool) (*cluster.Server, string) {
	c.t.Helper()
	var found *cluster.Server
	var id string
	require.NoError(c.t, cluster.Until(c.ctx, "a capture of that role", func() (bool, error) {
		list, err := c.list()
		for _, each := range list {
			if each.IsOwner == owner {
				for _, server := range c.servers {
					if server.Advertised == each.Address {
						found, id = server, each.ID
						return true, nil
					}
				}
			}
		}
		return false, fmt.Errorf("%v, %w", list, err)
	}))
	return found, id
}

// freeze stops a process for a while without ending it.
func (c *captures) freeze(server *cluster.Server) {
	require.NoError(c.t, server.Signal(syscall.SIGSTOP))
	c.freezes = append(c.freezes, freeze{server.Addr, time.Now().UTC()})
	thaw := time.NewTimer(frozenFor)
	<-thaw.C
	require.NoError(c.t, server.Signal(syscall.SIGCONT))
	require.NoError(c.t, server.WaitHealthy(c.ctx))
}

// drain repeats the call until the capture has no table any more.
func (c *captures) drain(id string) {
	c.t.Helper()
	require.NoError(c.t, cluster.Until(c.ctx, "an empty capture", func() (bool, error) {
		var answer struct {
			Left int `json:"current_table_count"`
		}
		err := c.any().Do(c.ctx, http.MethodPut, "/api/v1/captures/drain", map[string]string{"capture_id": id}, &answer)
		return err == nil && answer.Left == 0, fmt.Errorf("%d tables left, %w", answer.Left, err)
	}))
}

// any is a healthy server. Right after the end of an owner there is none.
func (c *captures) any() (found *cluster.API) {
	c.t.Helper()
	require.NoError(c.t, cluster.Until(c.ctx, "a healthy server", func() (bool, error) {
		var err error
		for _, server := range c.servers {
			if err = server.API.Health(c.ctx); err == nil {
				found = server.API
				return true, nil
			}
		}
		return false, err
	}))
	return found
}

// restart does what TiUP does with each server of a cluster on an upgrade.
func (c *captures) restart(server *cluster.Server) {
	require.NoError(c.t, server.WaitHealthy(c.ctx))
	owner, id := c.role(true)
	if owner == server {
		require.NoError(c.t, server.API.Do(c.ctx, http.MethodPost, "/api/v1/owner/resign", nil, nil))
		require.NoError(c.t, cluster.Until(c.ctx, "another owner", func() (bool, error) {
			list, err := c.list()
			for _, each := range list {
				if each.IsOwner && each.ID != id {
					return true, nil
				}
			}
			return false, err
		}))
	}
	list, err := c.list()
	require.NoError(c.t, err)
	for _, each := range list {
		if each.Address == server.Advertised {
			c.drain(each.ID)
		}
	}
	require.NoError(c.t, server.Stop())
	require.NoError(c.t, server.Start(c.ctx))
	c.await(len(c.servers))
}

// placement reads which capture has which tables.
func (c *captures) placement(feed string) map[int64]string {
	placed, err := c.any().Placement(c.ctx, feed)
	require.NoError(c.t, err)
	return placed
}

// shake moves random tables of each changefeed to random captures.
func (c *captures) shake(perSecond int, d time.Duration, feeds ...string) {
	list, err := c.list()
	require.NoError(c.t, err)
	r := rand.New(rand.NewPCG(1, 2))
	before, tables := map[string]map[int64]string{}, map[string][]int64{}
	for _, feed := range feeds {
		before[feed] = c.placement(feed)
		tables[feed] = slices.Collect(maps.Keys(before[feed]))
		require.NotEmpty(c.t, tables[feed])
	}
	defer func() {
		for _, feed := range feeds {
			moved := 0
			for table, capture := range c.placement(feed) {
				if was, ok := before[feed][table]; ok && was != capture {
					moved++
				}
			}
			c.t.Logf("%d of %d tables of %s are elsewhere", moved, len(tables[feed]), feed)
			require.Greater(c.t, moved, len(tables[feed])/5)
		}
	}()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	api := c.any()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		for _, feed := range feeds {
			body := map[string]any{"capture_id": list[r.IntN(len(list))].ID, "table_id": tables[feed][r.IntN(len(tables[feed]))]}
			require.NoError(c.t, api.Do(c.ctx, http.MethodPost, "/api/v1/changefeeds/"+feed+"/tables/move_table", body, nil))
		}
	}
}

// TestCaptures lets three captures replicate into MariaDB and into Kafka while
// each kind of trouble befalls them: nothing may be missing at the end, no
// checkpoint may go back, and the messages keep what the protocol promises.
func TestCaptures(t *testing.T) {
	ctx := testContext(t, 12*time.Minute)
	c := startCaptures(ctx, t, 3)
	c.downs = c.downs[1:] // MariaDB alone
	load := workload.Spec{Schema: "spread", Tables: 30, Keys: 2000, Workers: 3, Seed: uint64(time.Now().UnixNano()), Done: new(atomic.Int64)}
	t.Logf("seed %d", load.Seed)
	startTs, err := cluster.TSO(ctx, c.upDB)
	require.NoError(t, err)
	feeds := createFeeds(ctx, t, c.sharedStack, "spread", startTs, "spread.*")
	beside := c.startStream(load, startTs)
	feeds = append(feeds, beside.id)
	require.NoError(t, load.Prepare(ctx, c.upDB))
	var watches []*validator.Checkpoints
	for _, server := range c.servers {
		watches = append(watches, validator.WatchCheckpoints(ctx, server.API, feeds))
	}
	beside.countUp()
	c.passed(feeds...)
	loadCtx, stop := context.WithCancel(ctx)
	var loading sync.WaitGroup
	var loadErr error
	loading.Go(func() { _, loadErr = load.Run(loadCtx, c.upDB) })

	shaking := 5 * time.Second
	if os.Getenv("CAPTURE_SOAK") != "" {
		shaking = time.Minute
	}
	faults := []struct {
		name string
		do   func()
	}{
		{"moves", func() { c.shake(20, shaking, feeds...) }},
		{"a worker is drained while tables are made", func() {
			worker, id := c.role(false)
			var making sync.WaitGroup
			making.Go(func() {
				for i := range 10 {
					_, err := c.upDB.ExecContext(ctx, fmt.Sprintf("CREATE TABLE spread.extra%d (id INT PRIMARY KEY, v INT)", i))
					_, err2 := c.upDB.ExecContext(ctx, fmt.Sprintf("INSERT INTO spread.extra%d VALUES (1, %d)", i, i))
					if err != nil || err2 != nil {
						t.Error(err, err2)
					}
				}
			})
			c.drain(id)
			making.Wait()
			require.NoError(t, worker.Stop())
			require.NoError(t, worker.Start(ctx))
		}},
		{"a worker is killed", func() { w, _ := c.role(false); w.Kill(); require.NoError(t, w.Start(ctx)) }},
		{"the owner is killed", func() { o, _ := c.role(true); o.Kill(); require.NoError(t, o.Start(ctx)) }},
		{"a worker freezes", func() { w, _ := c.role(false); c.freeze(w) }},
		{"the owner freezes", func() { o, _ := c.role(true); c.freeze(o) }},
		{"PD restarts", func() { require.NoError(t, c.up.RestartPD(ctx)) }},
		{"all are restarted one by one", func() {
			for _, server := range c.servers {
				c.restart(server)
			}
		}},
	}
	for _, fault := range faults {
		begun := time.Now()
		fault.do()
		c.await(len(c.servers))
		c.passed(feeds...)
		t.Logf("%s: caught up after %s", fault.name, time.Since(begun).Round(time.Millisecond))
	}
	stop()
	loading.Wait()
	require.NoError(t, loadErr)
	c.server, _ = c.role(true)
	beside.end()
	requireReplicated(ctx, t, c.sharedStack, feeds[:1], []string{"spread"})
	for _, watch := range watches {
		require.NoError(t, watch.Stop(), "a checkpoint went back")
	}
	c.requireOneOwnerPerTable()
}
