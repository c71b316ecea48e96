package upstream

import (
	"context"
	"fmt"
	"strconv"

	pd "github.com/tikv/pd/client"
	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
)

const (
	sourceIDItem = "source_id"
	// What a TiDB cluster has that was not given another one, and the greatest
	// that fits into what a transaction carries.
	defaultSourceID = 1
	maxSourceID     = 15
)

// SourceID is the number, from 1 to 15, that users gave this cluster among
// those that replicate to each other: TiDB's tidb_source_id. PD failures are
// retried 9 times from 1 s; then, and for a value that is no such number, the
// error is ErrPDEtcdAPIError.
func (u *Upstream) SourceID(ctx context.Context) (uint64, error) {
	var items []pd.GlobalConfigItem
	err := retry(ctx, safePointTries, safePointBackoff, safePointMaxPause, func() error {
		var err error
		items, _, err = u.pd.LoadGlobalConfig(ctx, []string{sourceIDItem}, "")
		if err != nil {
			u.cfg.Logger.Warn("cannot read the cluster's source id", zap.Error(err))
		}
		return err
	})
	if err != nil {
		return 0, cerrors.ErrPDEtcdAPIError.Wrap(err)
	}
	if len(items) == 0 || items[0].Value == "" {
		return defaultSourceID, nil
	}
	id, err := strconv.ParseUint(items[0].Value, 10, 64)
	if err != nil || id == 0 || id > maxSourceID {
		return 0, cerrors.ErrPDEtcdAPIError.Wrap(fmt.Errorf("%s in the global configuration is %q and not from 1 to %d",
			sourceIDItem, items[0].Value, maxSourceID))
	}
	return id, nil
}
