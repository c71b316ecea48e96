package service

import (
	"context"
	stderrors "errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
)

// UpdateRequest asks for a change of a stopped changefeed. What is zero or
// nil stays as it is.
type UpdateRequest struct {
	ID       model.ChangefeedID
	TargetTs uint64
	SinkURI  config.SinkURI
	// Config makes the new configuration from a copy of the present one.
	Config func(old *config.ReplicaConfig) *config.ReplicaConfig
	PD     PDAddress
	// TargetText is the refusal of a target before the start; it takes both.
	TargetText string
}

// Updatable returns a changefeed that may be updated. Errors besides those of
// Changefeed: ErrChangefeedUpdateRefused in any state but stopped and failed.
func (s *Service) Updatable(ctx context.Context, id model.ChangefeedID) (*owner.FeedView, error) {
	f, err := s.Changefeed(ctx, id)
	if err != nil {
		return nil, err
	}
	return f, checkUpdatable(f.Info.State)
}

func checkUpdatable(state model.FeedState) error {
	if state == model.StateStopped || state == model.StateFailed {
		return nil
	}
	return errors.ErrChangefeedUpdateRefused.New("can only update changefeed config when it is stopped or failed")
}

// Update checks and stores a change; the changefeed stays stopped. It returns
// what was stored. Every fault of the request is an
// ErrChangefeedUpdateRefused with the original text inside.
func (s *Service) Update(ctx context.Context, req UpdateRequest) (*etcdmeta.ChangefeedInfo, *owner.FeedView, error) {
	shown, err := s.Updatable(ctx, req.ID)
	if err != nil {
		return nil, nil, err
	}
	read, err := s.o.Meta.GetFeed(ctx, req.ID)
	if err != nil {
		return nil, nil, err
	}
	if err := checkUpdatable(read.Info.State); err != nil {
		return nil, nil, err
	}
	if err := s.checkOwnUpstream(ctx, req.PD); err != nil {
		return nil, nil, err
	}
	info, err := s.changedInfo(ctx, read, req)
	if err != nil {
		return nil, nil, err
	}
	up := s.o.UpstreamInfo
	if err := s.o.Meta.UpdateFeed(ctx, read, info, &up); err != nil {
		return nil, nil, err
	}
	s.awaitChange(ctx, req.ID, shown.Info)
	return info, shown, nil
}

// changedInfo applies and checks the request.
func (s *Service) changedInfo(ctx context.Context, read *etcdmeta.Feed, req UpdateRequest) (*etcdmeta.ChangefeedInfo, error) {
	old := read.Info.Clone()
	if old.Config == nil {
		old.Config = config.DefaultReplicaConfig()
	}
	old.Config = old.Config.FitTo(old.SinkURI)
	info := old.Clone()
	if req.TargetTs != 0 {
		if req.TargetTs <= old.StartTs {
			return nil, errors.ErrChangefeedUpdateRefused.Msg(req.TargetText, req.TargetTs, old.StartTs)
		}
		info.TargetTs = req.TargetTs
	}
	if req.SinkURI != "" {
		info.SinkURI = req.SinkURI
	}
	if req.Config != nil {
		info.Config = req.Config(old.Config.Clone())
	}
	if req.Config != nil || req.SinkURI != "" {
		if err := s.checkChange(ctx, old, info, read.CheckpointTs()); err != nil {
			return nil, errors.ErrChangefeedUpdateRefused.New(err.Error())
		}
	}
	// What the downstream has no use for makes no difference.
	same := reflect.DeepEqual(info.Config.FitTo(info.SinkURI), old.Config.FitTo(old.SinkURI))
	if same && info.TargetTs == old.TargetTs && info.SinkURI == old.SinkURI {
		return nil, errors.ErrChangefeedUpdateRefused.New("changefeed config is the same with the old one, do nothing")
	}
	return info, nil
}

// checkChange checks a new configuration or sink URI as create does.
func (s *Service) checkChange(ctx context.Context, old, info *etcdmeta.ChangefeedInfo, checkpoint uint64) error {
	info.Config.Complete()
	f, err := newFilter(info.Config)
	if err != nil {
		var rule *RuleError
		if stderrors.As(err, &rule) {
			return rule.Bare()
		}
		return err
	}
	if err := s.checkExpressions(ctx, f, checkpoint); err != nil {
		return err
	}
	if err := checkAgainstURI(old.Config.Sink, info.Config.Sink, info.SinkURI); err != nil {
		return err
	}
	if err := info.Config.ValidateAndAdjust(info.SinkURI); err != nil {
		return err
	}
	if err := checkBuilt(info.Config); err != nil {
		return err
	}
	if err := s.checkDispatchAt(ctx, f, info, checkpoint); err != nil {
		return err
	}
	return s.o.Probe(ctx, Target{ID: info.FeedID(), URI: info.SinkURI, Config: info.Config})
}

// checkExpressions checks the expressions of event filters against the tables
// with which the changefeed will go on.
func (s *Service) checkExpressions(ctx context.Context, f *filter.Filter, checkpoint uint64) error {
	if s.o.CheckExpressions == nil || len(f.Expressions()) == 0 {
		return nil
	}
	tables, release, err := s.o.TablesAt(ctx, checkpoint)
	if err != nil {
		return err
	}
	defer release()
	return s.o.CheckExpressions(f, tables)
}

// checkDispatchAt checks dispatch rules and column selectors against the tables
// with which the changefeed will go on.
func (s *Service) checkDispatchAt(ctx context.Context, f *filter.Filter, info *etcdmeta.ChangefeedInfo, checkpoint uint64) error {
	sink := info.Config.Sink
	if len(sink.DispatchRules)+len(sink.ColumnSelectors) == 0 || !dispatches(info.SinkURI) {
		return nil
	}
	tables, release, err := s.o.TablesAt(ctx, checkpoint)
	if err != nil {
		return err
	}
	defer release()
	eligible, ineligible := splitEligible(tables, f)
	return checkDispatch(info.Config, info.SinkURI, eligible, ineligible)
}

// checkAgainstURI refuses a configuration that contradicts the parameters
// which the sink URI carries too, unless it is the URI that changes them.
func checkAgainstURI(old, changed *config.SinkConfig, uri config.SinkURI) error {
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return errors.ErrSinkURIInvalid.New(uri)
	}
	q := u.Query()
	var inURI, inConfig []string
	for _, p := range []struct {
		name         string
		old, changed *string
	}{
		{"protocol", old.Protocol, changed.Protocol},
		{"transaction-atomicity", old.TxnAtomicity, changed.TxnAtomicity},
	} {
		given := q.Get(p.name)
		uriChanges := given != "" && p.old != nil && *p.old != given
		if given != "" && p.changed != nil && *p.changed != "" && *p.changed != given && !uriChanges {
			inURI = append(inURI, fmt.Sprintf("%s=%s, ", p.name, given))
			inConfig = append(inConfig, fmt.Sprintf("%s=%s, ", p.name, *p.changed))
		}
	}
	if inURI == nil {
		return nil
	}
	return errors.ErrIncompatibleSinkConfig.New(strings.Join(inURI, ""), strings.Join(inConfig, ""))
}

// awaitChange waits until the owner's snapshot shows something newer.
func (s *Service) awaitChange(ctx context.Context, id model.ChangefeedID, old *etcdmeta.ChangefeedInfo) {
	poll(ctx, visibleTimeout, func() bool {
		own, ok := s.o.Node.Owner()
		if !ok {
			return true
		}
		f, ok := own.View().Feeds[id]
		return !ok || f.Info != old
	})
}
