package owner

import (
	stderrors "errors"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

// moment is the interval of these tests, one millisecond, as a difference of TSOs.
const moment = uint64(1) << 18

// everyMoment switches sync points on, for a changefeed that starts shortly
// before the first.
func everyMoment(i *etcdmeta.ChangefeedInfo) {
	on, interval := true, time.Millisecond
	i.SinkURI, i.StartTs = "mysql://h/", moment-100
	i.Config.EnableSyncPoint, i.Config.SyncPointInterval = &on, &interval
}

func timestamps(points []mark) []uint64 {
	var out []uint64
	for _, p := range points {
		out = append(out, p.ts)
	}
	return out
}

func TestFirstSyncPoint(t *testing.T) {
	at := func(s string) uint64 {
		moment, err := time.Parse(time.RFC3339Nano, "2026-01-02T"+s+"Z")
		require.NoError(t, err)
		return model.TSOFromTime(moment)
	}
	for _, c := range []struct {
		name        string
		interval    time.Duration
		start, want uint64
	}{
		{"between two moments", 10 * time.Minute, at("03:04:05.678"), at("03:10:00")},
		{"at a moment", 10 * time.Minute, at("03:10:00"), at("03:10:00")},
		{"the logical part counts", 10 * time.Minute, at("03:10:00") + 1, at("03:20:00")},
		{"half a minute", 30 * time.Second, at("03:10:00.001"), at("03:10:30")},
		{"counted from the epoch, not from midnight", 7 * time.Hour, at("00:00:00"), at("04:00:00")},
		{"from the very beginning", time.Minute, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			on := true
			cfg := &config.ReplicaConfig{EnableSyncPoint: &on, SyncPointInterval: &c.interval}
			s := newSyncPoints(cfg, c.start)
			require.Equal(t, c.want, s.next)
			require.Equal(t, model.ComposeTSO(c.interval.Milliseconds(), 0), s.every)
			require.Equal(t, c.want, s.limit(c.want+1))
			require.Equal(t, c.start, s.limit(c.start))
			on = false
			s = newSyncPoints(cfg, c.start)
			require.Equal(t, c.want+1, s.limit(c.want+1), "switched off")
		})
	}
}

func TestSyncPointsHoldEverything(t *testing.T) {
	c := newCluster(t, newFakeSchema(moment-50, table(1, "a")))
	gate := make(chan struct{})
	c.sink.set(gate, nil)
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create(everyMoment)
	c.waitCheckpoint(moment - 50)
	c.schema.advance(3*moment + 7)
	c.waitCheckpoint(moment)
	c.shift.Store(int64(stallAfter))
	c.schema.advance(3*moment + 8)
	eventually(t, "the sync point is the reason", func() bool {
		s := c.view().Stalled
		return s != nil && s.Reason == model.StallSyncPoint && s.Detail == "sync point 262144"
	})
	a.with(func() { require.Equal(t, moment, a.runs[feedID].barrier, "no row from behind it may go") })
	close(gate)
	c.waitCheckpoint(3*moment + 8)
	require.Equal(t, []uint64{moment, 2 * moment, 3 * moment}, timestamps(c.sink.syncPoints()))
}

// Of a DDL and a sync point at the same TSO the DDL comes first: it is part of
// what the upstream is then.
func TestSyncPointsAmongDDLs(t *testing.T) {
	c := newCluster(t, newFakeSchema(moment-50, table(1, "a")))
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create(everyMoment)
	c.waitCheckpoint(moment - 50)
	c.schema.define(2*moment, table(1, "a"), table(2, "b"))
	c.schema.advance(4*moment,
		ddl(moment-1, timodel.ActionAddColumn, "right before the first"),
		ddl(moment+1, timodel.ActionAddColumn, "right behind the first"),
		ddl(2*moment, timodel.ActionCreateTable, "at the second"),
		ddl(3*moment, timodel.ActionAddColumn, ""), // not for downstream
	)
	c.waitCheckpoint(4 * moment)
	eventually(t, "the fourth point", func() bool { return len(c.sink.syncPoints()) == 4 })
	require.Equal(t, []mark{
		{ts: moment, ddls: 1}, {ts: 2 * moment, ddls: 3}, {ts: 3 * moment, ddls: 3}, {ts: 4 * moment, ddls: 3},
	}, c.sink.syncPoints())
	require.Equal(t, map[int64]uint64{1: moment - 100, 2: 2 * moment}, a.tables(feedID))
}

func TestSyncPointAtTheTarget(t *testing.T) {
	c := newCluster(t, newFakeSchema(2*moment, table(1, "a")))
	gate := make(chan struct{})
	c.sink.set(gate, nil)
	c.startOwner(c.addCapture("c-a"))
	c.create(everyMoment, func(i *etcdmeta.ChangefeedInfo) { i.TargetTs = moment })
	c.waitCheckpoint(moment)
	require.Equal(t, model.StateNormal, c.view().Info.State)
	close(gate)
	c.waitState(model.StateFinished)
	require.Equal(t, []uint64{moment}, timestamps(c.sink.syncPoints()))
}

// Whoever is the owner when a moment comes records it; a moment that was
// recorded before the checkpoint moved on is not recorded by the next owner.
func TestSyncPointsAcrossOwners(t *testing.T) {
	c := newCluster(t, newFakeSchema(moment+10, table(1, "a")))
	gate := make(chan struct{})
	c.sink.set(gate, nil)
	a := c.addCapture("c-a")
	c.startOwner(a)
	c.create(everyMoment)
	c.waitCheckpoint(moment)
	c.changeOwner(a) // before it was recorded
	c.waitCheckpoint(moment)
	require.Empty(t, c.sink.syncPoints())
	close(gate)
	c.waitCheckpoint(moment + 10)
	require.Equal(t, []uint64{moment}, timestamps(c.sink.syncPoints()))

	c.changeOwner(a)
	c.schema.advance(2*moment - 1)
	c.waitCheckpoint(2*moment - 1)
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	c.schema.advance(2*moment + 1)
	c.waitCheckpoint(2*moment + 1)
	require.Equal(t, []uint64{moment, 2 * moment}, timestamps(c.sink.syncPoints()))
}

func TestFailingSyncPoint(t *testing.T) {
	c := newCluster(t, newFakeSchema(moment+10, table(1, "a")))
	c.sink.set(nil, stderrors.New("no permission"))
	c.startOwner(c.addCapture("c-a"))
	c.create(everyMoment)
	eventually(t, "an error of the changefeed", func() bool {
		v := c.view()
		return v.Info.Error != nil && v.Info.State != model.StateNormal
	})
	require.Contains(t, c.view().Info.Error.Message, "no permission")
	require.Equal(t, moment, c.view().Status.CheckpointTs)
	c.sink.set(nil, nil)
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	c.waitCheckpoint(moment + 10)
	require.Equal(t, []uint64{moment}, timestamps(c.sink.syncPoints()))
}

// Where sync points are switched on later, rows may be downstream already from
// behind the next moments. Those moments are left out, whoever the owner is then.
func TestSyncPointsBeginWhereNothingIsAhead(t *testing.T) {
	for name, another := range map[string]bool{"the same owner": false, "another owner": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, newFakeSchema(2*moment+10, table(1, "a"), table(2, "b")))
			a := c.addCapture("c-a")
			a.limit = moment - 20 // of one table, the other may be at the barrier
			c.startOwner(a)
			c.create(everyMoment, func(i *etcdmeta.ChangefeedInfo) { i.Config.EnableSyncPoint = new(bool) })
			c.waitCheckpoint(moment - 20)
			c.submit(model.AdminStop, 0)
			feed := c.stored()
			info := feed.Info.Clone()
			everyMoment(info)
			require.NoError(t, c.meta.UpdateFeed(t.Context(), feed, info, nil))
			if another {
				c.changeOwner(a)
			}
			a.with(func() { a.limit = 0 })
			eventually(t, "the owner knows", func() bool {
				v := c.view()
				return v != nil && *v.Info.Config.EnableSyncPoint
			})
			c.submit(model.AdminResume, 0)
			c.schema.advance(3*moment + 1)
			c.waitCheckpoint(3*moment + 1)
			require.Equal(t, []uint64{3 * moment}, timestamps(c.sink.syncPoints()))
		})
	}
}

// A moment that was waited for is recorded, whoever the owner is behind a pause.
func TestSyncPointWaitsForTheNextOwner(t *testing.T) {
	c := newCluster(t, newFakeSchema(moment+10, table(1, "a"), table(2, "b")))
	a := c.addCapture("c-a")
	a.limit = moment - 20
	c.startOwner(a)
	c.create(everyMoment)
	c.waitCheckpoint(moment - 20)
	c.submit(model.AdminStop, 0)
	c.changeOwner(a)
	a.with(func() { a.limit = 0 })
	eventually(t, "the owner knows", func() bool { return c.view() != nil })
	c.submit(model.AdminResume, 0)
	c.waitCheckpoint(moment + 10)
	require.Equal(t, []uint64{moment}, timestamps(c.sink.syncPoints()))
}
