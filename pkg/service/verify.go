package service

import (
	"context"
	stderrors "errors"
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
	cfg.Complete()
	f, err := filter.New(cfg.Filter, cfg.CaseSensitive)
	if err != nil {
		return nil, nil, err
	}
	if ts == 0 {
		return nil, nil, nil // nothing existed then
	}
	tables, release, err := s.tablesOf(ctx, pd, ts)
	if err != nil {
		return nil, nil, newStoreError(err)
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
