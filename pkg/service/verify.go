package service

import (
	"context"
	"math"
	"sort"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

// VerifyTables lists the tables that a configuration would select as of a
// TSO, by whether they can be replicated. Errors: ErrFilterRuleInvalid,
// ErrNewStore when the upstream cannot be read.
func (s *Service) VerifyTables(
	ctx context.Context, cfg *config.ReplicaConfig, ts uint64, pd PDAddress,
) (eligible, ineligible []*model.Table, err error) {
	if err := s.checkOwnUpstream(ctx, pd); err != nil {
		return nil, nil, err
	}
	cfg.Complete()
	f, err := filter.New(cfg.Filter, cfg.CaseSensitive)
	if err != nil {
		return nil, nil, err
	}
	if ts == 0 {
		return nil, nil, nil // nothing existed then
	}
	tables, release, err := s.o.TablesAt(ctx, ts)
	if err != nil {
		return nil, nil, errors.ErrNewStore.Wrap(err)
	}
	defer release()
	eligible, ineligible = splitEligible(tables, f)
	for _, list := range [][]*model.Table{eligible, ineligible} {
		sort.Slice(list, func(i, j int) bool {
			a, b := list[i], list[j]
			return a.Schema < b.Schema || a.Schema == b.Schema && a.Name < b.Name
		})
	}
	return eligible, ineligible, nil
}

// DeleteSafePoint removes the cluster's own service safe point from the
// default upstream, or from the one that the request names.
func (s *Service) DeleteSafePoint(ctx context.Context, upstreamID uint64, pd PDAddress) error {
	if upstreamID > 0 && upstreamID != s.o.Upstream.ClusterID() {
		return errors.ErrUpstreamNotFound.New(upstreamID)
	}
	up := s.o.Upstream
	if upstreamID == 0 && len(pd.Endpoints) > 0 {
		other, closePD, err := s.dial(ctx, pd)
		if err != nil {
			return err
		}
		defer closePD()
		up = other
	}
	if _, err := up.SetServiceSafePoint(ctx, s.o.GCServiceID, 0, math.MaxUint64); err != nil {
		return errors.ErrInternalServerError.Wrap(err)
	}
	return nil
}
