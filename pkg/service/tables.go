package service

import (
	"context"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
)

// Rebalance asks the owner to spread a changefeed's tables evenly over the
// captures. It does not wait for that. Errors as Changefeed.
func (s *Service) Rebalance(ctx context.Context, id model.ChangefeedID) error {
	return s.arrange(ctx, owner.Arrangement{Kind: owner.ArrangeRebalance, ID: id})
}

// MoveTable asks the owner to move a table of a changefeed to a capture. It
// does not wait for that; an unknown table or capture is no error. Errors as
// Changefeed.
func (s *Service) MoveTable(ctx context.Context, id model.ChangefeedID, table int64, target model.CaptureID) error {
	return s.arrange(ctx, owner.Arrangement{Kind: owner.ArrangeMove, ID: id, Table: table, Capture: target})
}

func (s *Service) arrange(ctx context.Context, wish owner.Arrangement) error {
	if _, err := s.Changefeed(ctx, wish.ID); err != nil {
		return err
	}
	own, _, err := s.owner(ctx)
	if err != nil {
		return err
	}
	return own.Arrange(wish)
}

// Drain asks the owner to take every table off a capture and returns how many
// tables of normal changefeeds are still there; a changefeed that is not
// placed yet counts as one. Errors: ErrSchedulerRequestFailed when there is
// nowhere to go or the capture is the owner, ErrCaptureNotExist, and those of
// Options.CheckStores.
func (s *Service) Drain(ctx context.Context, capture model.CaptureID) (int, error) {
	own, v, err := s.owner(ctx)
	if err != nil {
		return 0, err
	}
	if len(v.Captures) <= 1 {
		return 0, errors.ErrSchedulerRequestFailed.New("only one capture alive")
	}
	target, ok := findCapture(v, capture)
	if !ok {
		return 0, errors.ErrCaptureNotExist.New(capture)
	}
	if target.IsOwner {
		return 0, errors.ErrSchedulerRequestFailed.New("cannot drain the owner")
	}
	if s.o.CheckStores != nil {
		if err := s.o.CheckStores(ctx); err != nil {
			return 0, err
		}
	}
	if err := own.Arrange(owner.Arrangement{Kind: owner.ArrangeDrain, Capture: capture}); err != nil {
		return 0, err
	}
	return tablesOn(v, capture), nil
}

func findCapture(v *owner.View, id model.CaptureID) (owner.CaptureView, bool) {
	for _, c := range v.Captures {
		if c.Info.ID == id {
			return c, true
		}
	}
	return owner.CaptureView{}, false
}

func tablesOn(v *owner.View, capture model.CaptureID) int {
	n := 0
	for _, f := range v.Feeds {
		if f.Info.State != model.StateNormal {
			continue
		}
		if !f.Scheduled {
			n++
		}
		for _, t := range f.Tasks {
			if t.CaptureID == capture {
				n += len(t.TableIDs)
			}
		}
	}
	return n
}
