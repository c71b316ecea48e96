package service_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

func TestWishesReachTheOwner(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{"a": model.StateNormal})
	s, ctx, id := c.Service(), context.Background(), model.DefaultChangefeedID("a")
	require.NoError(t, s.Rebalance(ctx, id))
	require.NoError(t, s.MoveTable(ctx, id, 7, "nobody knows"))
	require.Equal(t, []owner.Arrangement{
		{Kind: owner.ArrangeRebalance, ID: id},
		{Kind: owner.ArrangeMove, ID: id, Table: 7, Capture: "nobody knows"},
	}, c.Wishes())
	require.ErrorIs(t, s.Rebalance(ctx, model.DefaultChangefeedID("b")), errors.ErrChangeFeedNotExists)
	require.ErrorIs(t, s.MoveTable(ctx, model.DefaultChangefeedID("b b"), 7, "x"), errors.ErrAPIInvalidParam)
	c.IsOwner = false
	require.ErrorIs(t, s.Rebalance(ctx, id), errors.ErrNotOwner)
}

func TestDrainCountsWhatIsLeft(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{
		"here": model.StateNormal, "there": model.StateNormal, "stopped": model.StateStopped, "warned": model.StateWarning,
	})
	s, ctx := c.Service(), context.Background()
	_, err := s.Drain(ctx, "other")
	require.EqualError(t, err, "[CDC:ErrSchedulerRequestFailed]scheduler request failed, only one capture alive")

	c.SetView(func(v *owner.View) {
		v.Captures = append(v.Captures, owner.CaptureView{Info: &model.CaptureInfo{ID: "other"}})
		for id, f := range v.Feeds {
			moved := *f
			if id.ID != "here" {
				moved.Tasks = []owner.Task{{CaptureID: "other", TableIDs: []int64{1, 2, 3}}}
			}
			v.Feeds[id] = &moved
		}
	})
	_, err = s.Drain(ctx, "nobody")
	require.EqualError(t, err, "[CDC:ErrCaptureNotExist]capture not exists, nobody")
	_, err = s.Drain(ctx, servicetest.CaptureID)
	require.EqualError(t, err, "[CDC:ErrSchedulerRequestFailed]scheduler request failed, cannot drain the owner")
	require.Empty(t, c.Wishes())

	c.StoresErr = errors.ErrVersionIncompatible.New("old store")
	_, err = s.Drain(ctx, "other")
	require.ErrorIs(t, err, errors.ErrVersionIncompatible)
	require.Empty(t, c.Wishes())
	c.StoresErr = nil

	left, err := s.Drain(ctx, "other")
	require.NoError(t, err)
	require.Equal(t, 3, left, "only normal changefeeds count")
	require.Equal(t, []owner.Arrangement{{Kind: owner.ArrangeDrain, Capture: "other"}}, c.Wishes())

	unplaced := servicetest.Feed("new", model.StateNormal, "blackhole://")
	unplaced.Scheduled, unplaced.Tasks = false, nil
	c.Add(unplaced)
	left, err = s.Drain(ctx, "other")
	require.NoError(t, err)
	require.Equal(t, 4, left, "who knows where its tables will be")
}

func TestProcessorTask(t *testing.T) {
	c := clusterWith(map[string]model.FeedState{"a": model.StateNormal, "new": model.StateNormal})
	c.SetView(func(v *owner.View) {
		v.Captures = append(v.Captures, owner.CaptureView{Info: &model.CaptureInfo{ID: "idle"}})
		unplaced := *v.Feeds[model.DefaultChangefeedID("new")]
		unplaced.Scheduled, unplaced.Tasks = false, nil
		v.Feeds[unplaced.ID] = &unplaced
	})
	any := func(model.FeedState) error { return nil }
	for _, tt := range []struct {
		feed, capture string
		tables        []int64
		code          *errors.Code
	}{
		{feed: "a", capture: servicetest.CaptureID, tables: []int64{63, 65}},
		{feed: "a", capture: "idle", tables: []int64{}},
		{feed: "new", capture: "idle"},
		{feed: "a", capture: "nobody", code: errors.ErrCaptureNotExist},
		{feed: "b", capture: "idle", code: errors.ErrChangeFeedNotExists},
	} {
		task, err := c.Service().ProcessorTask(context.Background(), model.DefaultChangefeedID(tt.feed), tt.capture, any)
		if tt.code != nil {
			require.ErrorIs(t, err, tt.code)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tt.tables, task.TableIDs, "%s on %s", tt.feed, tt.capture)
	}
}
