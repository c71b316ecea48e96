package service

import (
	"cmp"
	"context"
	stderrors "errors"
	"net/url"
	"slices"
	"strings"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink/dispatch"
)

// VerifyRequest asks what a configuration would replicate.
type VerifyRequest struct {
	Config  *config.ReplicaConfig
	StartTs uint64 // taken as it is: at 0 there are no tables
	SinkURI config.SinkURI
	PD      PDAddress
}

// VerifyTables lists the tables that a configuration would select, by whether
// they can be replicated. For Kafka it also checks that dispatch
// rules and column selectors fit the tables. Errors: ErrFilterRuleInvalid,
// those of dispatch.NewRules and Verify, ErrNewStore when the upstream cannot
// be read.
func (s *Service) VerifyTables(ctx context.Context, req VerifyRequest) (eligible, ineligible []*model.Table, err error) {
	cfg := req.Config
	cfg.Complete()
	f, err := filter.New(cfg.Filter, cfg.CaseSensitive)
	if err != nil {
		return nil, nil, err
	}
	if req.StartTs > 0 {
		tables, release, err := s.tablesOf(ctx, req.PD, req.StartTs)
		if err != nil {
			return nil, nil, newStoreError(err)
		}
		defer release()
		eligible, ineligible = splitEligible(tables, f)
	}
	for _, list := range [][]*model.Table{eligible, ineligible} {
		slices.SortFunc(list, func(a, b *model.Table) int {
			return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Name, b.Name))
		})
	}
	return eligible, ineligible, checkDispatch(cfg, req.SinkURI, eligible, ineligible)
}

// checkDispatch checks that the dispatch rules and column selectors fit the
// tables that will be replicated to Kafka.
func checkDispatch(cfg *config.ReplicaConfig, uri config.SinkURI, eligible, ineligible []*model.Table) error {
	u, err := url.Parse(uri.Reveal())
	if err != nil || !dispatches(uri) {
		return nil // nothing is dispatched, or another check's concern
	}
	given := u.Query().Get("protocol")
	if given == "" && cfg.Sink.Protocol != nil {
		given = *cfg.Sink.Protocol
	}
	protocol, _ := config.CanonicalProtocol(given)
	rules, err := dispatch.NewRules(cfg, strings.Trim(u.Path, "/"), protocol)
	if err != nil {
		return err
	}
	if err := rules.Verify(eligible); err != nil || !cfg.ForceReplicate {
		return err
	}
	return rules.Verify(ineligible)
}

// dispatches tells whether a sink has topics and partitions.
func dispatches(uri config.SinkURI) bool {
	u, err := url.Parse(uri.Reveal())
	return err == nil && config.KindOfScheme(u.Scheme) == config.SinkKafka
}

// tablesOf lists the tables of the upstream that a request means.
func (s *Service) tablesOf(ctx context.Context, pd PDAddress, ts uint64) ([]*model.Table, func(), error) {
	if len(pd.Endpoints) == 0 {
		return s.o.TablesAt(ctx, ts)
	}
	other, err := s.dial(ctx, pd)
	if err != nil {
		return nil, nil, err
	}
	tables, err := other.TablesAt(ctx, ts)
	if err != nil {
		other.Close()
		return nil, nil, err
	}
	return tables, other.Close, nil
}

func newStoreError(err error) error {
	if stderrors.Is(err, errors.ErrNewStore) {
		return err
	}
	return errors.ErrNewStore.Wrap(err)
}
