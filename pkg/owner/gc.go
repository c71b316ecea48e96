package owner

import (
	"context"
	stderrors "errors"
	"math"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// gcInterval is the time between two updates of the cluster's safe point, and
// staleInterval between two looks for changefeeds that fell behind it.
const (
	gcInterval      = time.Minute
	staleInterval   = time.Second
	initializingTTL = int64(600) // seconds
	gcCallTimeout   = 10 * time.Second
	gcDropTimeout   = 2 * time.Second // somebody waits for the removal
)

// The services that hold GC for one changefeed while it begins.
const (
	serviceCreating     = "-creating-"
	serviceResuming     = "-resuming-"
	serviceInitializing = "-initializing-"
)

// keeper keeps GC away from what the changefeeds still need.
type keeper struct {
	o     *Owner
	force chan struct{} // a changefeed was seen for the first time
	// least is the least safe point of all services, own the one that was set
	// with it; 0 until known.
	least, own atomic.Uint64
}

func newKeeper(o *Owner) *keeper { return &keeper{o: o, force: make(chan struct{}, 1)} }

// hurry asks for an update soon.
func (k *keeper) hurry() {
	select {
	case k.force <- struct{}{}:
	default:
	}
}

// run updates the safe point until ctx ends. It fails when PD has not
// accepted one for as long as it would keep it.
func (k *keeper) run(ctx context.Context) error {
	tick := time.NewTicker(staleInterval)
	defer tick.Stop()
	last := k.o.clock()
	next := last
	for {
		now := k.o.clock()
		if !now.Before(next) {
			next = now.Add(gcInterval)
			if err := k.update(ctx); err == nil {
				last = now
			} else if stderrors.Is(err, errors.ErrNotOwner) {
				return err
			} else if ctx.Err() == nil {
				next = now.Add(staleInterval)
				k.o.logger.Warn("cannot update the service safe point", zap.Error(err))
				if now.Sub(last) > k.o.gcTTL {
					return errors.ErrUpdateServiceSafepointFailed.Wrap(err)
				}
			}
		}
		k.checkStale()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-k.force:
			next = k.o.clock()
		}
	}
}

// update sets the safe point to just before the least checkpoint that is
// still needed; to now when nothing is.
func (k *keeper) update(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, gcCallTimeout)
	defer cancel()
	own := uint64(math.MaxUint64)
	for _, f := range k.o.all() {
		if v := f.view.Load(); v.Info.HoldsGC() {
			own = min(own, v.checkpoint()-1)
		}
	}
	if own == math.MaxUint64 {
		now, err := k.o.upstream.CurrentTSO(ctx)
		if err != nil {
			return err
		}
		own = now
	}
	// PD knows no fence: an owner that was frozen must not set what it knew then.
	if err := k.o.meta.CheckFence(ctx); err != nil {
		return err
	}
	least, err := k.o.upstream.SetServiceSafePoint(ctx, k.o.gcServiceID, int64(k.o.gcTTL/time.Second), own)
	if err != nil {
		return err
	}
	k.own.Store(own)
	k.least.Store(least)
	return nil
}

// checkStale fails the changefeeds whose data is, or may soon be, gone.
func (k *keeper) checkStale() {
	least, own := k.least.Load(), k.own.Load()
	if least == 0 {
		return
	}
	now := k.o.upstream.Now()
	for _, f := range k.o.all() {
		v := f.view.Load()
		if !v.Info.HoldsGC() {
			continue
		}
		if stale(f.id, v.checkpoint(), least, own, now, k.o.gcTTL) == nil {
			continue
		}
		f.post(func() { // it may be another checkpoint by now
			if err := stale(f.id, f.stored.CheckpointTs(), least, own, now, k.o.gcTTL); err != nil && f.stored.Info.HoldsGC() {
				f.failWith(k.o.ctx, err)
			}
		})
	}
}

// stale tells why a changefeed cannot go on: either it is what holds GC back,
// and has done so for too long, or GC has passed it.
func stale(id model.ChangefeedID, checkpoint, least, own, now uint64, ttl time.Duration) error {
	lag := time.Duration(model.PhysicalMs(now)-model.PhysicalMs(checkpoint-1)) * time.Millisecond
	switch {
	case least == own && lag > ttl:
		return errors.ErrGCTTLExceeded.New(checkpoint, id.ID)
	case least != own && checkpoint-1 < least:
		return errors.ErrSnapshotLostByGC.New(checkpoint, least)
	}
	return nil
}

// holdGC makes sure that a changefeed which begins at the checkpoint finds
// its data: it holds GC there until the cluster's safe point does.
func (o *Owner) holdGC(ctx context.Context, id model.ChangefeedID, checkpoint uint64) error {
	least, err := o.upstream.SetServiceSafePoint(ctx, o.feedService(serviceInitializing, id), initializingTTL, checkpoint-1)
	if err != nil {
		return errors.ErrPDEtcdAPIError.Wrap(err)
	}
	if checkpoint < least+1 {
		return errors.ErrStartTsBeforeGC.New(checkpoint, least)
	}
	o.background.Go(func() {
		ctx, cancel := context.WithTimeout(o.ctx, gcCallTimeout)
		defer cancel()
		o.withdraw(ctx, o.feedService(serviceCreating, id), o.feedService(serviceResuming, id))
	})
	return nil
}

func (o *Owner) feedService(purpose string, id model.ChangefeedID) string {
	return o.gcServiceID + purpose + id.Namespace + "_" + id.ID
}

// dropSafePoints withdraws every safe point of a removed changefeed.
func (o *Owner) dropSafePoints(ctx context.Context, id model.ChangefeedID) {
	ctx, cancel := context.WithTimeout(ctx, gcDropTimeout)
	defer cancel()
	o.withdraw(ctx, o.feedService(serviceCreating, id), o.feedService(serviceResuming, id), o.feedService(serviceInitializing, id))
}

// withdraw removes safe points. One that stays expires by itself.
func (o *Owner) withdraw(ctx context.Context, services ...string) {
	for _, service := range services {
		_, err := o.upstream.SetServiceSafePoint(ctx, service, 0, math.MaxUint64)
		if err != nil && o.ctx.Err() == nil {
			o.logger.Warn("cannot withdraw a service safe point, it will expire",
				zap.String("service", service), zap.Error(err))
		}
	}
}
