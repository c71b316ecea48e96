package service_test

import (
	"context"
	stderrors "errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

func clusterWith(states map[string]model.FeedState) *servicetest.Cluster {
	c := servicetest.New()
	for id, s := range states {
		c.Add(servicetest.Feed(id, s, "blackhole://"))
	}
	return c
}

func TestJobsReachTheOwner(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{"a": model.StateNormal})
	s, ctx, id := c.Service(), context.Background(), model.DefaultChangefeedID("a")
	require.NoError(t, s.Pause(ctx, id))
	require.NoError(t, s.Resume(ctx, id))
	require.NoError(t, s.ResumeFrom(ctx, id, 426921294362574000, service.PDAddress{}))
	require.NoError(t, s.Remove(ctx, id))
	require.Equal(t, []owner.Job{
		{ID: id, Type: model.AdminStop},
		{ID: id, Type: model.AdminResume},
		{ID: id, Type: model.AdminResume, OverwriteCheckpointTs: 426921294362574000},
		{ID: id, Type: model.AdminRemove},
	}, c.Jobs())
	require.ErrorIs(t, s.Remove(ctx, id), errors.ErrChangeFeedNotExists)
	require.EqualError(t, s.Pause(ctx, id), "[CDC:ErrChangeFeedNotExists]changefeed not exists, default/a")
	require.EqualError(t, s.Pause(ctx, model.DefaultChangefeedID("a b")), "[CDC:ErrAPIInvalidParam]invalid changefeed_id: a b")
}

func TestResumeChecksTheData(t *testing.T) {
	const checkpoint = uint64(426921294362574849)
	tests := []struct {
		name      string
		overwrite uint64
		minSafe   uint64
		code      *errors.Code
		safePoint uint64
	}{
		{name: "at the checkpoint", safePoint: checkpoint - 1},
		{name: "overwritten", overwrite: checkpoint + 7, safePoint: checkpoint + 6},
		{name: "in the future", overwrite: servicetest.NowTSO + 1, code: errors.ErrAPIInvalidParam},
		{name: "data gone", minSafe: checkpoint, code: errors.ErrStartTsBeforeGC},
		{name: "just there", minSafe: checkpoint - 1, safePoint: checkpoint - 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := clusterWith(map[string]model.FeedState{"a": model.StateStopped})
			c.MinSafe = tt.minSafe
			err := c.Service().ResumeFrom(context.Background(), model.DefaultChangefeedID("a"), tt.overwrite, service.PDAddress{})
			if tt.code != nil {
				require.ErrorIs(t, err, tt.code)
				require.Empty(t, c.SafePoints())
				require.Empty(t, c.Jobs())
				return
			}
			require.NoError(t, err)
			require.Equal(t, map[string]uint64{servicetest.GCServiceID + "-resuming-default_a": tt.safePoint}, c.SafePoints())
		})
	}
}

func TestResumeWithdrawsItsSafePoint(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{"a": model.StateStopped})
	c.SubmitErr = errors.ErrOwnerNotFound.New()
	err := c.Service().ResumeFrom(context.Background(), model.DefaultChangefeedID("a"), 0, service.PDAddress{})
	require.ErrorIs(t, err, errors.ErrOwnerNotFound)
	require.Empty(t, c.SafePoints())
}

func TestListSelects(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{
		"n": model.StateNormal, "p": model.StatePending, "w": model.StateWarning, "s": model.StateStopped,
		"f": model.StateFailed, "z": model.StateFinished, "r": model.StateRemoved, "e": "",
	})
	other := servicetest.Feed("o", model.StateNormal, "blackhole://")
	other.ID.Namespace = "ns"
	c.Add(other)
	tests := []struct{ namespace, state, want string }{
		{"", "", "efnpswo"},
		{"default", "", "efnpsw"},
		{"ns", "", "o"},
		{"", "all", "efnprswzo"},
		{"", "normal", "eno"},
		{"", "error", "pw"},
		{"", "warning", "pw"},
		{"", "pending", "p"},
		{"", "finished", "z"},
		{"", "Normal", ""},
		{"nowhere", "all", ""},
	}
	for _, tt := range tests {
		feeds, err := c.Service().Changefeeds(context.Background(), tt.namespace, tt.state)
		require.NoError(t, err)
		got := ""
		for _, f := range feeds {
			got += f.ID.ID
		}
		require.Equal(t, tt.want, got, "namespace %q state %q", tt.namespace, tt.state)
	}
}

func TestHealth(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{"a": model.StateNormal, "b": model.StateFailed})
	s := c.Service()
	require.NoError(t, s.Health())

	unscheduled := func(state model.FeedState) {
		f := servicetest.Feed("a", state, "blackhole://")
		f.Scheduled = false
		c.Add(f)
	}
	unscheduled(model.StateFailed)
	require.NoError(t, s.Health())
	unscheduled(model.StateNormal)
	require.ErrorIs(t, s.Health(), errors.ErrClusterIsUnhealthy)
	c.Add(servicetest.Feed("a", model.StateNormal, "blackhole://"))
	require.NoError(t, s.Health())

	c.SetView(func(v *owner.View) { v.Incompatible = stderrors.New("three versions") })
	require.ErrorIs(t, s.Health(), errors.ErrClusterIsUnhealthy)
	c.SetView(func(v *owner.View) { v.Incompatible, v.Ready = nil, false })
	require.ErrorIs(t, s.Health(), errors.ErrClusterIsUnhealthy)
}

func TestOwnerAddress(t *testing.T) {
	c := servicetest.New()
	addr, err := c.Service().OwnerAddress(context.Background())
	require.NoError(t, err)
	require.Equal(t, servicetest.Address, addr)

	c.OwnerCapture = "gone"
	_, err = c.Service().OwnerAddress(context.Background())
	require.ErrorIs(t, err, errors.ErrOwnerNotFound)

	c.OwnerCapture = ""
	_, err = c.Service().OwnerAddress(context.Background())
	require.EqualError(t, err, "election: no leader")
}

func TestTSO(t *testing.T) {
	c := servicetest.New()
	s := c.Service()
	ts, err := s.TSO(context.Background(), 0, service.PDAddress{})
	require.NoError(t, err)
	require.Equal(t, servicetest.NowTSO, ts)
	_, err = s.TSO(context.Background(), servicetest.UpstreamID, service.PDAddress{})
	require.NoError(t, err)
	_, err = s.TSO(context.Background(), 7, service.PDAddress{})
	require.EqualError(t, err, "[CDC:ErrUpstreamNotFound]upstream not found, cluster-id: 7")
	c.TSOErr = stderrors.New("down")
	_, err = s.TSO(context.Background(), 0, service.PDAddress{})
	require.ErrorIs(t, err, errors.ErrInternalServerError)
}

func TestProcessors(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{"a": model.StateNormal, "b": model.StateStopped, "w": model.StateWarning})
	list, err := c.Service().Processors(context.Background())
	require.NoError(t, err)
	require.Equal(t, []service.Processor{
		{ID: model.DefaultChangefeedID("a"), Capture: servicetest.CaptureID},
		{ID: model.DefaultChangefeedID("w"), Capture: servicetest.CaptureID},
	}, list)
}
