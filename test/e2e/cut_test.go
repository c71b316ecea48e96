package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/test/cluster"
)

// cutTTL is the session TTL of the test of cuts, the least that is allowed.
const cutTTL = 5 * time.Second

// goOn is how long the owner may need for the tables that it takes over.
const goOn = 8 * time.Second

// readsFail is how long a capture may try to get an answer from the owner.
const readsFail = 13 * time.Second

// TestNetworkCut separates a worker from the owner while etcd answers both:
// the worker's tables go to the owner in bounded time, the API names the
// worker until then, and the worker takes tables again after the cut.
func TestNetworkCut(t *testing.T) {
	ctx := testContext(t, 5*time.Minute)
	conf := filepath.Join(t.TempDir(), "cdc.toml")
	require.NoError(t, os.WriteFile(conf, []byte("capture-session-ttl = 5\n"), 0o600))
	var proxies []*cluster.Proxy
	c := startCaptures(ctx, t, 2, func(o *cluster.ServerOptions) {
		proxy, err := cluster.NewProxy()
		require.NoError(t, err)
		t.Cleanup(proxy.Close)
		proxies = append(proxies, proxy)
		o.Via, o.Args = proxy, append(o.Args, "--config", conf)
	})
	feed, end := c.spreadLoad("cut", 10, true)
	owner, ownerID := c.role(true)
	worker, workerID := c.role(false)
	toOwner := proxies[0]
	if toOwner.Addr() != owner.Advertised {
		toOwner = proxies[1]
	}
	c.awaitTables(feed, workerID)

	for _, cut := range []struct {
		name  string
		kind  cluster.Cut
		limit time.Duration
	}{
		// A silent cut is noticed when heartbeats are missing.
		{"bytes are lost", cluster.CutSilent, goOn + peer.GiveUpAfter(cutTTL) + peer.SilenceLimit},
		{"connections are refused", cluster.CutRefuse, goOn + peer.GiveUpAfter(cutTTL)},
	} {
		begun := time.Now()
		toOwner.Set(cut.kind)
		ts, err := cluster.TSO(ctx, c.upDB)
		require.NoError(t, err)
		var asking sync.WaitGroup
		asking.Go(func() { // a read through the worker needs the owner
			_, err := worker.API.Status(ctx, feed)
			assert.Error(t, err)
			assert.Less(t, time.Since(begun), readsFail, cut.name)
		})
		named := ""
		require.NoError(t, cluster.Until(ctx, "the worker's tables to go on", func() (bool, error) {
			s, err := owner.API.Status(ctx, feed)
			if err != nil {
				return false, err
			}
			if s.Stalled != nil && strings.Contains(s.Stalled.Detail, worker.Advertised) {
				named = s.Stalled.Detail
			}
			return s.CheckpointTs >= ts, fmt.Errorf("stalled %+v, error %+v, warning %+v", s.Stalled, s.LastError, s.LastWarning)
		}))
		asking.Wait()
		t.Logf("%s: %q; the checkpoint has passed the cut after %s", cut.name, named, time.Since(begun).Round(time.Millisecond))
		require.Less(t, time.Since(begun), cut.limit, cut.name)
		require.NotEmpty(t, named, "%s: the API did not name the capture that is cut off", cut.name)
		require.Zero(t, c.tablesOf(owner.API, feed, workerID))
		var seen struct{ Items []capture }
		require.NoError(t, owner.API.Do(ctx, http.MethodGet, "/api/v2/captures", nil, &seen))
		require.Len(t, seen.Items, 2, "etcd still sees both")
		for _, each := range seen.Items {
			require.Equal(t, each.ID == ownerID, each.IsOwner, "the owner stays")
		}

		toOwner.Set(cluster.CutNone)
		c.awaitTables(feed, workerID)
	}
	end()
}

// awaitTables asks for an even spread until the capture has tables and the
// checkpoint has passed that moment.
func (c *captures) awaitTables(feed, id string) {
	c.t.Helper()
	owner, _ := c.role(true)
	c.repeat("tables on "+id, 200*time.Millisecond, time.Minute, func() (bool, error) {
		if c.tablesOf(owner.API, feed, id) > 0 {
			return true, nil
		}
		return false, owner.API.Do(c.ctx, http.MethodPost, "/api/v1/changefeeds/"+feed+"/tables/rebalance_table", nil, nil)
	})
	ts, err := cluster.TSO(c.ctx, c.upDB)
	require.NoError(c.t, err)
	require.NoError(c.t, owner.API.WaitCheckpoint(c.ctx, feed, ts))
}

// tablesOf is how many tables a server says that a capture has.
func (c *captures) tablesOf(api *cluster.API, feed, id string) int {
	placed, err := api.Placement(c.ctx, feed)
	require.NoError(c.t, err)
	n := 0
	for _, capture := range placed {
		if capture == id {
			n++
		}
	}
	return n
}
