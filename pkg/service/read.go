package service

import (
	"cmp"
	"context"
	stderrors "errors"
	"slices"
	"strings"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
)

// NodeStatus describes the capture that was asked.
type NodeStatus struct {
	Capture   model.CaptureInfo
	ClusterID string
	PID       int
	IsOwner   bool
	Liveness  model.Liveness
}

// Status describes this capture. The error has the code
// ErrCaptureNotInitialized as long as it is not registered.
func (s *Service) Status() (NodeStatus, error) {
	info, ok := s.o.Node.Capture()
	if !ok {
		return NodeStatus{}, errors.ErrCaptureNotInitialized.New()
	}
	return NodeStatus{
		Capture: info, ClusterID: s.o.ClusterID, PID: s.pid,
		IsOwner: s.IsOwner(), Liveness: s.o.Node.Liveness(),
	}, nil
}

// Health returns nil when the owner drives all changefeeds: it has loaded the
// metadata, the captures' versions fit together, and every normal changefeed
// is placed on captures. Changefeeds in other states are not counted.
func (s *Service) Health() error {
	own, ok := s.o.Node.Owner()
	if !ok {
		return errors.ErrNotOwner.New()
	}
	v := own.View()
	if !v.Ready || v.Incompatible != nil {
		return errors.ErrClusterIsUnhealthy.New()
	}
	for _, f := range v.Feeds {
		if f.Info.State == model.StateNormal && !f.Scheduled {
			return errors.ErrClusterIsUnhealthy.New()
		}
	}
	return nil
}

// Changefeeds lists changefeeds, sorted by namespace and id. An empty
// namespace means all. The state selects as ?state= does: "" leaves out
// finished and removed ones, "all" nothing, anything else matches the state.
func (s *Service) Changefeeds(ctx context.Context, namespace, state string) ([]*owner.FeedView, error) {
	_, v, err := s.owner(ctx)
	if err != nil {
		return nil, err
	}
	feeds := make([]*owner.FeedView, 0, len(v.Feeds))
	for id, f := range v.Feeds {
		if (namespace == "" || id.Namespace == namespace) && selectsState(state, f.Info.State) {
			feeds = append(feeds, f)
		}
	}
	slices.SortFunc(feeds, func(a, b *owner.FeedView) int { return compareIDs(a.ID, b.ID) })
	return feeds, nil
}

// selectsState matches what clients of any age ask for: "error" is the name
// that versions before 7.3 had for pending and warning, and a changefeed that
// is shown as warning may be stored as pending.
func selectsState(wanted string, stored model.FeedState) bool {
	if stored == "" {
		stored = model.StateNormal
	}
	switch wanted {
	case "all":
		return true
	case "":
		return stored != model.StateFinished && stored != model.StateRemoved
	case "error", string(model.StateWarning):
		return stored == model.StatePending || stored == model.StateWarning
	default:
		return string(stored) == wanted
	}
}

func compareIDs(a, b model.ChangefeedID) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.ID, b.ID))
}

// Changefeed returns one changefeed. Errors: ErrAPIInvalidParam for an id
// that none can have, ErrChangeFeedNotExists.
func (s *Service) Changefeed(ctx context.Context, id model.ChangefeedID) (*owner.FeedView, error) {
	if !model.ValidID(id.ID) {
		return nil, errors.ErrAPIInvalidParam.Msg("invalid changefeed_id: %s", id.ID)
	}
	_, v, err := s.owner(ctx)
	if err != nil {
		return nil, err
	}
	f, ok := v.Feeds[id]
	if !ok {
		return nil, errors.ErrChangeFeedNotExists.New(id)
	}
	return f, nil
}

// Captures lists the registered captures, sorted by id.
func (s *Service) Captures(ctx context.Context) ([]owner.CaptureView, error) {
	_, v, err := s.owner(ctx)
	if err != nil {
		return nil, err
	}
	return v.Captures, nil
}

// Processor is one running changefeed on one capture.
type Processor struct {
	ID      model.ChangefeedID
	Capture model.CaptureID
}

// Processors lists every running changefeed with every capture, sorted; also
// captures that have no table of it.
func (s *Service) Processors(ctx context.Context) ([]Processor, error) {
	_, v, err := s.owner(ctx)
	if err != nil {
		return nil, err
	}
	running := make([]model.ChangefeedID, 0, len(v.Feeds))
	for id, f := range v.Feeds {
		if f.Info.State.Running() {
			running = append(running, id)
		}
	}
	slices.SortFunc(running, compareIDs)
	list := make([]Processor, 0, len(running)*len(v.Captures))
	for _, id := range running {
		for _, c := range v.Captures { // sorted
			list = append(list, Processor{ID: id, Capture: c.Info.ID})
		}
	}
	return list, nil
}

// ProcessorTask returns what a capture does for a changefeed; its list of
// tables is nil when the capture has no entry for it. abnormal makes the error
// for a changefeed that does not run; the API versions word it differently.
func (s *Service) ProcessorTask(
	ctx context.Context, id model.ChangefeedID, capture model.CaptureID, abnormal func(model.FeedState) error,
) (owner.Task, error) {
	f, err := s.Changefeed(ctx, id)
	if err != nil {
		return owner.Task{}, err
	}
	if err := abnormal(f.Info.State); err != nil {
		return owner.Task{}, err
	}
	for _, t := range f.Tasks {
		if t.CaptureID == capture {
			return t, nil
		}
	}
	_, v, err := s.owner(ctx)
	if err != nil {
		return owner.Task{}, err
	}
	if _, ok := findCapture(v, capture); !ok {
		return owner.Task{}, errors.ErrCaptureNotExist.New(capture)
	}
	task := owner.Task{CaptureID: capture}
	if f.Scheduled {
		task.TableIDs = []int64{}
	}
	return task, nil
}

// OwnerAddress is where requests for the owner are sent to, read from etcd.
// Errors: "election: no leader" when nobody is, ErrOwnerNotFound when the
// owner's registration is gone.
func (s *Service) OwnerAddress(ctx context.Context) (string, error) {
	captures, err := s.o.Meta.ListCaptures(ctx)
	if err != nil {
		return "", err
	}
	who, err := s.o.Meta.GetOwner(ctx)
	if err != nil {
		if stderrors.Is(err, errors.ErrOwnerNotFound) {
			return "", errNoLeader
		}
		return "", err
	}
	info, ok := captures[who.Capture]
	if !ok {
		return "", errors.ErrOwnerNotFound.New()
	}
	return info.AdvertiseAddr, nil
}

var errNoLeader = stderrors.New("election: no leader")

// Resign asks the owner's work to end.
func (s *Service) Resign() error {
	own, ok := s.o.Node.Owner()
	if !ok {
		return errors.ErrNotOwner.New()
	}
	own.Resign()
	return nil
}

// ClusterID is the id of this TiCDC cluster.
func (s *Service) ClusterID() string { return s.o.ClusterID }
