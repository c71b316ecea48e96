package owner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

// TestSafePointsExpire: PD keeps the safe point of the cluster for the gc-ttl of
// the server, and that of a changefeed which begins for ten minutes.
func TestSafePointsExpire(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.startOwner(c.addCapture("c-a"))
	c.create()
	c.waitCheckpoint(200)
	eventually(t, "both", func() bool { return len(c.upstream.services()) == 2 })
	c.upstream.set(func() {
		require.Equal(t, map[string]int64{"ticdc-default-1": 3600, "ticdc-default-1-initializing-default_f": 600}, c.upstream.ttls)
	})
}

func TestStaleFeedFails(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	a := c.addCapture("c-a")
	a.limit = 150
	c.startOwner(a)
	c.create()
	c.waitCheckpoint(150)
	c.submit(model.AdminStop, 0)
	// Another service's safe point passes the checkpoint.
	c.upstream.set(func() { c.upstream.least = 180; c.upstream.safe = map[string]uint64{} })
	c.owner.keeper.least.Store(180)
	c.waitState(model.StateFailed)
	require.Equal(t, errors.ErrSnapshotLostByGC.Text(), c.stored().Info.Error.Code)
}

func TestStartBeforeGCFails(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.upstream.least = 100
	c.startOwner(c.addCapture("c-a"))
	c.create(func(i *etcdmeta.ChangefeedInfo) { i.StartTs = 100 })
	c.waitState(model.StateFailed)
	// Whichever check comes first.
	require.True(t, errors.IsGCFastFailCode(c.stored().Info.Error.Code))
}

// TestCheckGCSafePoint: a changefeed holds its data with a safe point of its own
// when it begins, instead of the one of whoever created it, unless it is told
// not to.
func TestCheckGCSafePoint(t *testing.T) {
	const creating, own = "ticdc-default-1-creating-default_f", "ticdc-default-1-initializing-default_f"
	for check, service := range map[bool]string{true: own, false: creating} {
		c := newCluster(t, newFakeSchema(200, table(1, "a")))
		c.upstream.safe[creating] = 99
		c.startOwner(c.addCapture("c-a"))
		c.create(func(i *etcdmeta.ChangefeedInfo) { i.Config.CheckGCSafePoint = check })
		c.waitCheckpoint(200)
		eventually(t, "safe points", func() bool {
			services := c.upstream.services()
			return len(services) == 2 && services[0] == "ticdc-default-1" && services[1] == service
		})
		c.stopOwner()
	}
}

func TestStale(t *testing.T) {
	hour := uint64(3600*1000) << 18
	tests := []struct {
		name                        string
		checkpoint, least, own, now uint64
		want                        *errors.Code
	}{
		{"fresh", 10 * hour, 10*hour - 1, 10*hour - 1, 10*hour + hour/2, nil},
		{"we hold GC back for too long", 10 * hour, 10*hour - 1, 10*hour - 1, 12 * hour, errors.ErrGCTTLExceeded},
		{"another one holds GC back", 10 * hour, 5 * hour, 10*hour - 1, 12 * hour, nil},
		{"passed", 10 * hour, 11 * hour, 11*hour + 1, 12 * hour, errors.ErrSnapshotLostByGC},
		{"just in time", 10*hour + 1, 10 * hour, 11 * hour, 10 * hour, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := stale(feedID, tt.checkpoint, tt.least, tt.own, tt.now, time.Hour)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.want)
		})
	}
}
