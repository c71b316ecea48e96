package service

import (
	"context"
	stderrors "errors"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
)

// Pause stops a changefeed; one that does not run stays as it is. It returns
// when the owner has accepted it. Errors as Changefeed, and ErrOwnerNotFound
// when the owner's term ends meanwhile.
func (s *Service) Pause(ctx context.Context, id model.ChangefeedID) error {
	return s.submit(ctx, owner.Job{ID: id, Type: model.AdminStop})
}

// Resume lets a changefeed run again, without any check.
func (s *Service) Resume(ctx context.Context, id model.ChangefeedID) error {
	return s.submit(ctx, owner.Job{ID: id, Type: model.AdminResume})
}

// ResumeFrom is Resume with the check that the data from the checkpoint on,
// or from overwriteTs if that is not 0, is still there upstream. Errors
// besides those of Pause: ErrAPIInvalidParam, ErrStartTsBeforeGC.
func (s *Service) ResumeFrom(ctx context.Context, id model.ChangefeedID, overwriteTs uint64, pd PDAddress) error {
	feed, err := s.Changefeed(ctx, id)
	if err != nil {
		return err
	}
	if err := s.checkOwnUpstream(ctx, pd); err != nil {
		return errors.ErrAPIInvalidParam.Wrap(err)
	}
	ts := overwriteTs
	if ts == 0 {
		ts = Checkpoint(feed)
	}
	now, err := s.currentTSO(ctx)
	if err != nil {
		return err
	}
	if ts > now {
		return errors.ErrAPIInvalidParam.Msg("invalid checkpoint-ts %d, larger than current tso %d", ts, now)
	}
	withdraw, err := s.holdGC(ctx, "-resuming-", id, ts)
	if err != nil {
		return err
	}
	err = s.submit(ctx, owner.Job{ID: id, Type: model.AdminResume, OverwriteCheckpointTs: overwriteTs})
	if err != nil {
		withdraw()
	}
	return err
}

// Checkpoint is the checkpoint of a changefeed: its start-ts as long as none
// is stored.
func Checkpoint(f *owner.FeedView) uint64 {
	if f.Status != nil {
		return f.Status.CheckpointTs
	}
	return f.Info.StartTs
}

// Remove deletes a changefeed and returns when nothing of it is left. Errors
// besides those of Pause: ErrReachMaxTry when that takes too long.
func (s *Service) Remove(ctx context.Context, id model.ChangefeedID) error {
	limited, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	err := s.submit(limited, owner.Job{ID: id, Type: model.AdminRemove})
	if err != nil && ctx.Err() == nil && stderrors.Is(limited.Err(), context.DeadlineExceeded) {
		return errors.ErrReachMaxTry.New("100", errors.ErrChangeFeedDeletionUnfinished.New(id))
	}
	if err == nil {
		s.awaitVisible(limited, id, false)
	}
	return err
}

func (s *Service) submit(ctx context.Context, job owner.Job) error {
	if _, err := s.Changefeed(ctx, job.ID); err != nil {
		return err
	}
	own, _, err := s.owner(ctx)
	if err != nil {
		return err
	}
	return own.Submit(ctx, job)
}
