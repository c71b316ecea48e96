package pd

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// openGC returns the keeper of a server whose clock the test drives.
func openGC(t *testing.T) (*gcKeeper, *clock) {
	t.Helper()
	c := &clock{ms: time.Now().UnixMilli()}
	s := open(t, func(o *Options) { o.Now = c.now })
	return s.inst.gc, c
}

func TestServiceSafePoints(t *testing.T) {
	type step struct {
		service string
		ttl     int64
		ts      uint64
		pass    time.Duration // before the call
		least   uint64
		owner   string
	}
	for name, steps := range map[string][]step{
		"nothing collected yet": {
			{service: "cdc", ttl: 100, ts: 50, least: 0, owner: gcWorkerID},
		},
		"the least wins": {
			{service: gcWorkerID, ttl: math.MaxInt64, ts: 10, least: 10, owner: gcWorkerID},
			{service: "cdc", ttl: 100, ts: 50, least: 10, owner: gcWorkerID},
			{service: gcWorkerID, ttl: math.MaxInt64, ts: 90, least: 50, owner: "cdc"},
			{service: "cdc", ttl: 100, ts: 60, least: 60, owner: "cdc"},
		},
		"too late is not set": {
			{service: gcWorkerID, ttl: math.MaxInt64, ts: 100, least: 100, owner: gcWorkerID},
			{service: "cdc", ttl: 100, ts: 50, least: 100, owner: gcWorkerID},
		},
		"removal": {
			{service: "cdc", ttl: 100, ts: 50, least: 0, owner: gcWorkerID},
			{service: gcWorkerID, ttl: math.MaxInt64, ts: 100, least: 50, owner: "cdc"},
			{service: "cdc", ttl: 0, ts: math.MaxUint64, least: 100, owner: gcWorkerID},
		},
		"expiry": {
			{service: "cdc", ttl: 100, ts: 50, least: 0, owner: gcWorkerID},
			{service: gcWorkerID, ttl: math.MaxInt64, ts: 100, pass: 99 * time.Second, least: 50, owner: "cdc"},
			{service: gcWorkerID, ttl: math.MaxInt64, ts: 100, pass: time.Second, least: 100, owner: gcWorkerID},
		},
		"an infinite TTL never ends": {
			{service: "cdc", ttl: math.MaxInt64, ts: 50, least: 0, owner: gcWorkerID},
			{service: gcWorkerID, ttl: math.MaxInt64, ts: 100, pass: 1e6 * time.Hour, least: 50, owner: "cdc"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, c := openGC(t)
			for i, s := range steps {
				c.ms += s.pass.Milliseconds()
				least, err := g.updateService(t.Context(), s.service, s.ttl, s.ts)
				require.NoError(t, err)
				require.Equal(t, s.least, least.SafePoint, "step %d", i)
				require.Equal(t, s.owner, least.ID, "step %d", i)
			}
		})
	}
}

func TestWorkerNeedsInfiniteTTL(t *testing.T) {
	g, _ := openGC(t)
	_, err := g.updateService(t.Context(), gcWorkerID, 100, 1)
	require.Error(t, err)
}

func TestBarriers(t *testing.T) {
	g, _ := openGC(t)
	_, err := g.setBarrier(t.Context(), "b", 0, 10)
	require.ErrorIs(t, err, errBarrierTTL)
	_, _, _, err = g.advanceTxn(t.Context(), 20)
	require.NoError(t, err)
	_, err = g.setBarrier(t.Context(), "b", 100, 10)
	require.ErrorIs(t, err, errBehindTxnPoint)
	_, err = g.setBarrier(t.Context(), "b", 100, 20)
	require.NoError(t, err)

	_, _, _, err = g.advanceTxn(t.Context(), 19)
	require.ErrorIs(t, err, errSafePointBack)
	from, to, blocker, err := g.advanceTxn(t.Context(), 30)
	require.NoError(t, err)
	require.Equal(t, []uint64{20, 20}, []uint64{from, to})
	require.Contains(t, blocker, `"b"`)

	_, found, err := g.deleteBarrier(t.Context(), "b")
	require.NoError(t, err)
	require.True(t, found)
	_, found, err = g.deleteBarrier(t.Context(), "b")
	require.NoError(t, err)
	require.False(t, found)
	_, to, blocker, err = g.advanceTxn(t.Context(), 30)
	require.NoError(t, err)
	require.Equal(t, uint64(30), to)
	require.Empty(t, blocker)
}

func TestOldTiDBMovesBothSafePoints(t *testing.T) {
	g, _ := openGC(t)
	ts, err := g.updateGC(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, uint64(10), ts)
	ts, err = g.updateGC(t.Context(), 5)
	require.NoError(t, err)
	require.Equal(t, uint64(10), ts, "it never goes back")
	require.Equal(t, uint64(10), g.state().txnSafePoint)

	got, err := g.kv.Get(t.Context(), txnSafePointKey)
	require.NoError(t, err)
	require.Equal(t, "10", string(got.Kvs[0].Value))
}
