package service

import (
	"context"
	stderrors "errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

// safepointTTL is how long, in seconds, the data that a new or resumed
// changefeed starts from stays upstream until the owner takes care of it.
const safepointTTL = 3600

// withdrawTimeout bounds taking a safe point back after a failure.
const withdrawTimeout = 5 * time.Second

// CreateRequest asks for a new changefeed.
type CreateRequest struct {
	ID       model.ChangefeedID
	SinkURI  config.SinkURI
	StartTs  uint64 // 0 is now
	TargetTs uint64 // 0 is none
	Config   *config.ReplicaConfig
	PD       PDAddress
	// TimeZone is only checked to exist.
	TimeZone string
	// Engine is stored as given.
	Engine string
	// EmptyURI is the text for a missing sink URI.
	EmptyURI string
}

// RandomID makes an id for a changefeed whose creator did not care.
func RandomID() string { return uuid.NewString() }

// RuleError is a filter rule that does not parse. The API versions show it
// differently.
type RuleError struct{ err error }

// Error is the coded text.
func (e *RuleError) Error() string { return e.err.Error() }

// Unwrap returns the coded error.
func (e *RuleError) Unwrap() error { return e.err }

// Bare is the parser's own text.
func (e *RuleError) Bare() error {
	if cause := stderrors.Unwrap(e.err); cause != nil {
		return cause
	}
	return e.err
}

// Create checks the request in the documented order and stores the
// changefeed. When it fails, nothing is left behind in etcd or PD. When it
// returns, the owner's snapshot normally shows the changefeed.
func (s *Service) Create(ctx context.Context, req CreateRequest) (*etcdmeta.ChangefeedInfo, error) {
	if err := s.checkOwnUpstream(ctx, req.PD); err != nil {
		return nil, err
	}
	_, view, err := s.owner(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkNames(req); err != nil {
		return nil, err
	}
	if _, exists := view.Feeds[req.ID]; exists {
		return nil, errors.ErrChangeFeedAlreadyExists.New(req.ID.ID)
	}
	now, err := s.currentTSO(ctx)
	if err != nil {
		return nil, err
	}
	if req.StartTs == 0 {
		req.StartTs = now
	}
	if req.StartTs > now {
		return nil, errors.ErrAPIInvalidParam.Msg("invalid start-ts %d, larger than current tso %d", req.StartTs, now)
	}
	withdraw, err := s.holdGC(ctx, "-creating-", req.ID, req.StartTs)
	if err != nil {
		return nil, err
	}
	info, err := s.createHeld(ctx, req, now)
	if err != nil {
		withdraw()
		return nil, err
	}
	return info, nil
}

// createHeld does what follows once GC cannot overtake the start-ts.
func (s *Service) createHeld(ctx context.Context, req CreateRequest, now uint64) (*etcdmeta.ChangefeedInfo, error) {
	if req.TargetTs > 0 && req.TargetTs <= req.StartTs {
		return nil, errors.ErrTargetTsBeforeStartTs.New(req.TargetTs, req.StartTs)
	}
	if err := req.Config.ValidateAndAdjust(req.SinkURI); err != nil {
		return nil, err
	}
	release, err := s.checkTables(ctx, req)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := config.LoadLocation(req.TimeZone); err != nil {
		return nil, errors.ErrAPIInvalidParam.Wrap(
			fmt.Errorf("invalid timezone:%s: %w", req.TimeZone, errors.ErrLoadTimezone.Wrap(err)))
	}
	if err := s.o.Probe(ctx, Target{ID: req.ID, URI: req.SinkURI, Config: req.Config}); err != nil {
		return nil, err
	}
	if err := s.checkImport(ctx); err != nil {
		return nil, err
	}
	info := s.newInfo(req, now)
	up := s.o.UpstreamInfo
	if err := s.o.Meta.CreateFeed(ctx, info, &up); err != nil {
		return nil, err
	}
	s.o.Logger.Info("changefeed created", zap.Stringer("changefeed", req.ID),
		zap.Uint64("startTs", req.StartTs), zap.Stringer("sinkURI", req.SinkURI))
	s.awaitVisible(ctx, req.ID, true)
	return info, nil
}

func checkNames(req CreateRequest) error {
	switch {
	case req.SinkURI == "":
		return errors.ErrSinkURIInvalid.New(req.EmptyURI)
	case !model.ValidID(req.ID.ID):
		return errors.ErrAPIInvalidParam.Msg("invalid changefeed_id: %s", req.ID.ID)
	case !model.ValidID(req.ID.Namespace):
		return errors.ErrAPIInvalidParam.Msg("invalid namespace: %s", req.ID.Namespace)
	}
	return nil
}

func (s *Service) currentTSO(ctx context.Context) (uint64, error) {
	now, err := s.o.Upstream.CurrentTSO(ctx)
	if err != nil {
		s.o.Logger.Warn("PD gives no timestamp", zap.Error(err))
		return 0, errors.ErrPDEtcdAPIError.Msg("etcd api call error%%!(EXTRA string=fail to get ts from pd client)")
	}
	return now, nil
}

// holdGC keeps the data from ts on upstream, under a service id of its own.
// It fails with ErrStartTsBeforeGC when GC has passed ts already; then, and
// by the returned function, the safe point is withdrawn.
func (s *Service) holdGC(ctx context.Context, purpose string, id model.ChangefeedID, ts uint64) (withdraw func(), err error) {
	service := s.o.GCServiceID + purpose + id.Namespace + "_" + id.ID
	withdraw = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
		defer cancel()
		if _, err := s.o.Upstream.SetServiceSafePoint(ctx, service, 0, math.MaxUint64); err != nil {
			s.o.Logger.Warn("cannot withdraw a service safe point, it will expire",
				zap.String("service", service), zap.Error(err))
		}
	}
	// The snapshot at ts needs the versions visible just before it.
	least, err := s.o.Upstream.SetServiceSafePoint(ctx, service, safepointTTL, ts-min(ts, 1))
	if err != nil {
		withdraw()
		return nil, errors.ErrPDEtcdAPIError.Wrap(err)
	}
	if ts < least+1 {
		withdraw()
		return nil, errors.ErrStartTsBeforeGC.New(ts, least)
	}
	return withdraw, nil
}

// checkTables checks the filter, that the tables which it selects can be
// replicated, and that the rules of a message queue fit them. The schema stays
// loaded until release.
func (s *Service) checkTables(ctx context.Context, req CreateRequest) (release func(), err error) {
	f, err := newFilter(req.Config)
	if err != nil {
		return nil, err
	}
	if err := checkBuilt(req.Config); err != nil {
		return nil, err
	}
	tables, release, err := s.o.TablesAt(ctx, req.StartTs)
	if err != nil {
		return nil, err
	}
	if s.o.CheckExpressions != nil {
		if err := s.o.CheckExpressions(f, tables); err != nil {
			release()
			return nil, err
		}
	}
	eligible, ineligible := splitEligible(tables, f)
	if len(ineligible) > 0 && !req.Config.ForceReplicate && !req.Config.IgnoreIneligibleTable {
		release()
		return nil, errors.ErrTableIneligible.New(tableNames(ineligible))
	}
	if err := checkDispatch(req.Config, req.SinkURI, eligible, ineligible); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// newFilter compiles a filter that somebody has just written. A rule that does
// not parse is a *RuleError; a name in the lists of old clients keeps the code
// that those know.
func newFilter(cfg *config.ReplicaConfig) (*filter.Filter, error) {
	f, err := filter.New(cfg.Filter, cfg.CaseSensitive)
	if stderrors.Is(err, errors.ErrFilterRuleInvalid) && !cfg.Filter.HasLists() {
		return nil, &RuleError{err: err}
	}
	if err != nil {
		return nil, err
	}
	return f, f.CheckPatterns()
}

// splitEligible returns the tables that the filter selects, by whether they
// can be replicated; views, sequences and temporary tables hold no rows and
// are in neither list.
func splitEligible(tables []*model.Table, f *filter.Filter) (eligible, ineligible []*model.Table) {
	for _, t := range tables {
		switch {
		case !t.Eligible(true) || !f.MatchTable(t.Schema, t.Name):
		case t.Eligible(false):
			eligible = append(eligible, t)
		default:
			ineligible = append(ineligible, t)
		}
	}
	return eligible, ineligible
}

func tableNames(tables []*model.Table) []string {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.Schema + "." + t.Name
	}
	sort.Strings(names)
	return names
}

func (s *Service) checkImport(ctx context.Context) error {
	if s.o.HasRunningImport == nil {
		return nil
	}
	running, err := s.o.HasRunningImport(ctx)
	if err != nil {
		return err
	}
	if running {
		return errors.ErrUpstreamHasRunningImport.New(s.o.Upstream.ClusterID())
	}
	return nil
}

func (s *Service) newInfo(req CreateRequest, now uint64) *etcdmeta.ChangefeedInfo {
	creator, _ := s.o.Node.Capture()
	return &etcdmeta.ChangefeedInfo{
		UpstreamID:     s.o.Upstream.ClusterID(),
		Namespace:      req.ID.Namespace,
		ID:             req.ID.ID,
		SinkURI:        req.SinkURI,
		CreateTime:     s.o.Now(),
		StartTs:        req.StartTs,
		TargetTs:       req.TargetTs,
		Engine:         req.Engine,
		Config:         req.Config,
		State:          model.StateNormal,
		CreatorVersion: creator.Version,
		Epoch:          now,
	}
}

// awaitVisible waits until the owner's snapshot shows a changefeed, or no
// longer does, so that the client's next read agrees with the answer. It gives
// up after a while: what was asked for is stored anyway.
func (s *Service) awaitVisible(ctx context.Context, id model.ChangefeedID, want bool) {
	poll(ctx, visibleTimeout, func() bool {
		own, ok := s.o.Node.Owner()
		if !ok {
			return true
		}
		_, shown := own.View().Feeds[id]
		return shown == want
	})
}
