package upstream

import (
	"context"
	"errors"

	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/txnkv/txnlock"

	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

const (
	lockScanLimit  = 1024
	lockMaxBackoff = 10_000 // ms that one scan or resolve may spend on retries
)

// locks resolves stale locks the way that any reader of the store does:
// transactions that are still alive are left alone.
type locks struct{ store *tikv.KVStore }

var _ changes.Locks = (*locks)(nil)

// Resolve implements changes.Locks.
func (l *locks) Resolve(ctx context.Context, start, end []byte, maxTs uint64) (int, error) {
	r := &readerLocks{BaseRegionLockResolver: tikv.NewRegionLockResolver("cdc", l.store)}
	backoff := func(ctx context.Context) *tikv.Backoffer {
		return tikv.NewBackofferWithVars(ctx, lockMaxBackoff, nil)
	}
	_, err := tikv.ResolveLocksForRange(ctx, r, maxTs, start, end, backoff, lockScanLimit)
	return r.found, err
}

// ResolveLocks resolves the locks that transactions up to maxTs left in a
// region; those of living transactions stay. It fails when PD knows of no such
// region, or when the store does not answer.
func (u *Upstream) ResolveLocks(ctx context.Context, regionID, maxTs uint64) error {
	if regionID == 0 { // PD's client ends the process when it is asked for it
		return errors.New("region not found for regionID 0")
	}
	at, err := u.store.GetRegionCache().LocateRegionByIDFromPD(
		tikv.NewBackofferWithVars(ctx, lockMaxBackoff, nil), regionID)
	if err != nil {
		return err
	}
	_, err = (&locks{store: u.store}).Resolve(ctx, at.StartKey, at.EndKey, maxTs)
	return err
}

// readerLocks replaces the garbage collector's rule, which also rolls living
// transactions back.
type readerLocks struct {
	*tikv.BaseRegionLockResolver
	found int
}

// ResolveLocksInOneRegion implements tikv.RegionLockResolver.
func (r *readerLocks) ResolveLocksInOneRegion(bo *tikv.Backoffer, found []*txnlock.Lock, at *tikv.KeyLocation) (*tikv.KeyLocation, error) {
	r.found += len(found)
	if len(found) == 0 {
		return at, nil
	}
	_, err := r.GetStore().GetLockResolver().ResolveLocks(bo, 0, found)
	return at, err
}
