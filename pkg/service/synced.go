package service

import (
	"context"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Synced tells whether everything that was written upstream is downstream.
type Synced struct {
	Synced           bool
	CheckpointTs     uint64
	PullerResolvedTs uint64
	LastSyncedTs     uint64
	Now              time.Time // of PD; the epoch when PD does not answer
	Info             string    // for people
}

// What Synced.Info says.
const (
	syncedDone  = "Data syncing is finished"
	syncedWait  = "The data syncing is not finished, please wait"
	syncedCheck = "Please check whether PD is online and TiKV Regions are all available. " +
		"If one of them is not, everything that could be read has been synced. " +
		"If they are, for instance when the resolved-ts of all regions is recent, the data syncing is not finished, please wait"
	syncedNoPD = ". When PD cannot be reached, nothing more can be read: " +
		"what was read before has been synced, unless told otherwise here"
	syncedNoPDBehind = ". Besides the data is not finish syncing"
)

// Synced compares a changefeed's progress with the clock of its upstream, or
// of the PD that the request names. The thresholds are the changefeed's unless
// given.
func (s *Service) Synced(
	ctx context.Context, id model.ChangefeedID, thresholds *config.SyncedStatusConfig, pd PDAddress,
) (Synced, error) {
	f, err := s.Changefeed(ctx, id)
	if err != nil {
		return Synced{}, err
	}
	if thresholds == nil && f.Info.Config != nil {
		thresholds = f.Info.Config.SyncedStatus
	}
	if thresholds == nil {
		thresholds = config.DefaultSyncedStatusConfig()
	}
	out := Synced{
		CheckpointTs: Checkpoint(f), PullerResolvedTs: f.PullerResolvedTs, LastSyncedTs: f.LastSyncedTs, Now: time.UnixMilli(0),
	}
	now, err := s.clockOf(ctx, pd)
	lag := time.Duration(model.PhysicalMs(out.PullerResolvedTs)-model.PhysicalMs(out.CheckpointTs)) * time.Millisecond
	limit := time.Duration(thresholds.CheckpointInterval) * time.Second
	if err != nil {
		out.Info = err.Error() + syncedNoPD
		if lag > limit {
			out.Info = err.Error() + syncedNoPDBehind
		}
		return out, nil
	}
	out.Now = model.TimeOf(now).Truncate(time.Second)
	since := func(ts uint64) time.Duration { return model.TimeOf(now).Sub(model.TimeOf(ts)) }
	switch {
	case since(out.LastSyncedTs) <= time.Duration(thresholds.SyncedCheckInterval)*time.Second:
		out.Info = syncedWait
	case since(out.CheckpointTs) < limit:
		out.Synced, out.Info = true, syncedDone
	case lag < limit:
		out.Info = syncedCheck
	default:
		out.Info = syncedWait
	}
	return out, nil
}

// clockOf asks the PD that a request names, or the default one.
func (s *Service) clockOf(ctx context.Context, pd PDAddress) (now uint64, err error) {
	err = s.withUpstream(ctx, 0, pd, func(up Upstream) error {
		if now, err = up.CurrentTSO(ctx); err != nil {
			return errors.ErrPDEtcdAPIError.Wrap(err)
		}
		return nil
	})
	return now, err
}
