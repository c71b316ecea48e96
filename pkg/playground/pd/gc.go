package pd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// gcWorkerID is the name under which TiDB's own garbage collection appears among the services.
	gcWorkerID = "gc_worker"
	// txnSafePointKey is where TiDB's of all versions look the transaction safe point up.
	txnSafePointKey = "/tidb/store/gcworker/saved_safe_point"
	never           = math.MaxInt64
)

var (
	errSafePointBack  = errors.New("a safe point must not go back")
	errBehindTxnPoint = errors.New("the barrier lies behind the transaction safe point")
	errAheadOfTxn     = errors.New("the GC safe point must not pass the transaction safe point")
	errBarrierTTL     = errors.New("a barrier needs a TTL")
)

// barrier holds garbage collection back: a service safe point in old terms.
type barrier struct {
	ID        string `json:"service_id"`
	ExpiredAt int64  `json:"expired_at"` // Unix seconds
	SafePoint uint64 `json:"safe_point"`
}

func (b barrier) expired(now time.Time) bool { return b.ExpiredAt <= now.Unix() }

// ttl returns the seconds that are left.
func (b barrier) ttl(now time.Time) int64 {
	if b.ExpiredAt == never {
		return never
	}
	return max(b.ExpiredAt-now.Unix(), 0)
}

func expiry(now time.Time, ttlSeconds int64) int64 {
	if ttlSeconds >= never-now.Unix() {
		return never
	}
	return now.Unix() + ttlSeconds
}

// gcState is a snapshot of what garbage collection may do.
type gcState struct {
	txnSafePoint uint64 // no transaction below it may begin
	gcSafePoint  uint64 // old versions below it may be gone
	barriers     []barrier
}

// gcKeeper keeps the state of garbage collection in etcd. All keyspaces share it.
type gcKeeper struct {
	now    func() time.Time
	kv     *clientv3.Client
	prefix string

	mu           sync.Mutex
	txnSafePoint uint64
	gcSafePoint  uint64
	// wanted is what TiDB's garbage collection would like the transaction safe point to be.
	wanted   uint64
	barriers map[string]barrier
}

func loadGC(ctx context.Context, now func() time.Time, kv *clientv3.Client, prefix string) (*gcKeeper, error) {
	g := &gcKeeper{now: now, kv: kv, prefix: prefix, barriers: map[string]barrier{}}
	resp, err := kv.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("pd: load GC state: %w", err)
	}
	for _, item := range resp.Kvs {
		name := strings.TrimPrefix(string(item.Key), prefix)
		if err := g.loadItem(name, item.Value); err != nil {
			return nil, fmt.Errorf("pd: load GC state %s: %w", name, err)
		}
	}
	return g, nil
}

func (g *gcKeeper) loadItem(name string, value []byte) error {
	if strings.HasPrefix(name, "barrier/") {
		var b barrier
		if err := json.Unmarshal(value, &b); err != nil {
			return err
		}
		g.barriers[b.ID] = b
		return nil
	}
	n, err := strconv.ParseUint(string(value), 10, 64)
	switch name {
	case "txn_safe_point":
		g.txnSafePoint = n
	case "safe_point":
		g.gcSafePoint = n
	case "wanted":
		g.wanted = n
	}
	return err
}

func (g *gcKeeper) state() gcState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return gcState{txnSafePoint: g.txnSafePoint, gcSafePoint: g.gcSafePoint, barriers: g.live()}
}

// services lists what holds garbage collection back, TiDB's own part included, and the least of all.
func (g *gcKeeper) services() (all []barrier, least barrier) {
	g.mu.Lock()
	defer g.mu.Unlock()
	least = g.least()
	return append(g.live(), g.worker()), least
}

func (g *gcKeeper) worker() barrier {
	return barrier{ID: gcWorkerID, ExpiredAt: never, SafePoint: g.wanted}
}

// live returns the barriers that count, in the order of their names.
func (g *gcKeeper) live() []barrier {
	now := g.now()
	out := make([]barrier, 0, len(g.barriers)+1)
	for _, b := range g.barriers {
		if !b.expired(now) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b barrier) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func (g *gcKeeper) least() barrier {
	least := g.worker()
	for _, b := range g.live() {
		if b.SafePoint < least.SafePoint {
			least = b
		}
	}
	return least
}

// updateService sets a service's safe point for so many seconds, or removes it when there are none, and returns the
// least of all. A safe point behind the least of all is not set: what it wants to protect may be gone.
func (g *gcKeeper) updateService(ctx context.Context, id string, ttlSeconds int64, ts uint64) (barrier, error) {
	if id == gcWorkerID {
		return g.updateWorker(ctx, ttlSeconds, ts)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case ttlSeconds <= 0:
		if err := g.remove(ctx, id); err != nil {
			return barrier{}, err
		}
	case ts >= max(g.least().SafePoint, g.txnSafePoint):
		if err := g.set(ctx, barrier{ID: id, ExpiredAt: expiry(g.now(), ttlSeconds), SafePoint: ts}); err != nil {
			return barrier{}, err
		}
	}
	return g.least(), nil
}

// updateWorker is how TiDB's before 8.5 advance the safe point.
func (g *gcKeeper) updateWorker(ctx context.Context, ttlSeconds int64, ts uint64) (barrier, error) {
	if ttlSeconds != never {
		return barrier{}, fmt.Errorf("the TTL of %s must be infinite", gcWorkerID)
	}
	if _, _, _, err := g.advanceTxn(ctx, ts); err != nil && !errors.Is(err, errSafePointBack) {
		return barrier{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.least(), nil
}

// setBarrier fails when the barrier would come too late.
func (g *gcKeeper) setBarrier(ctx context.Context, id string, ttlSeconds int64, ts uint64) (barrier, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ttlSeconds <= 0 {
		return barrier{}, errBarrierTTL
	}
	if ts < g.txnSafePoint {
		return barrier{}, fmt.Errorf("%w: %d < %d", errBehindTxnPoint, ts, g.txnSafePoint)
	}
	b := barrier{ID: id, ExpiredAt: expiry(g.now(), ttlSeconds), SafePoint: ts}
	return b, g.set(ctx, b)
}

// deleteBarrier returns false when there was none.
func (g *gcKeeper) deleteBarrier(ctx context.Context, id string) (barrier, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.barriers[id]
	return b, ok, g.remove(ctx, id)
}

// advanceTxn moves the transaction safe point towards the target, as far as the barriers let it, and says which one
// does not.
func (g *gcKeeper) advanceTxn(ctx context.Context, target uint64) (from, to uint64, blocker string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from = g.txnSafePoint
	if target < from {
		return from, from, "", fmt.Errorf("%w: %d < %d", errSafePointBack, target, from)
	}
	if err := g.put(ctx, "wanted", strconv.FormatUint(target, 10)); err != nil {
		return from, from, "", err
	}
	g.wanted = target
	to = target
	for _, b := range g.live() {
		if b.SafePoint < to {
			to = b.SafePoint
			blocker = fmt.Sprintf("BarrierID: %q, BarrierTS: %d, ExpirationTime: %d", b.ID, b.SafePoint, b.ExpiredAt)
		}
	}
	to = max(from, to)
	return from, to, blocker, g.saveTxn(ctx, to)
}

// advanceGC moves the GC safe point, which stays behind the transaction safe point.
func (g *gcKeeper) advanceGC(ctx context.Context, target uint64) (from, to uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from = g.gcSafePoint
	switch {
	case target < from:
		return from, from, fmt.Errorf("%w: %d < %d", errSafePointBack, target, from)
	case target > g.txnSafePoint:
		return from, from, fmt.Errorf("%w: %d > %d", errAheadOfTxn, target, g.txnSafePoint)
	}
	return from, target, g.saveGC(ctx, target)
}

// updateGC is advanceGC for clients that do not know the transaction safe point. A lower target changes nothing.
func (g *gcKeeper) updateGC(ctx context.Context, target uint64) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if target <= g.gcSafePoint {
		return g.gcSafePoint, nil
	}
	if target > g.txnSafePoint {
		if err := g.saveTxn(ctx, target); err != nil {
			return g.gcSafePoint, err
		}
	}
	err := g.saveGC(ctx, target)
	return g.gcSafePoint, err
}

func (g *gcKeeper) saveTxn(ctx context.Context, ts uint64) error {
	if ts == g.txnSafePoint {
		return nil
	}
	text := strconv.FormatUint(ts, 10)
	if err := g.put(ctx, "txn_safe_point", text); err != nil {
		return err
	}
	g.txnSafePoint = ts
	if _, err := g.kv.Put(ctx, txnSafePointKey, text); err != nil {
		return fmt.Errorf("pd: save the safe point for older TiDB: %w", err)
	}
	return nil
}

func (g *gcKeeper) saveGC(ctx context.Context, ts uint64) error {
	if err := g.put(ctx, "safe_point", strconv.FormatUint(ts, 10)); err != nil {
		return err
	}
	g.gcSafePoint = ts
	return nil
}

func (g *gcKeeper) set(ctx context.Context, b barrier) error {
	value, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("pd: encode barrier: %w", err)
	}
	if err := g.put(ctx, "barrier/"+b.ID, string(value)); err != nil {
		return err
	}
	g.barriers[b.ID] = b
	return nil
}

func (g *gcKeeper) remove(ctx context.Context, id string) error {
	if _, ok := g.barriers[id]; !ok {
		return nil
	}
	if _, err := g.kv.Delete(ctx, g.prefix+"barrier/"+id); err != nil {
		return fmt.Errorf("pd: remove barrier: %w", err)
	}
	delete(g.barriers, id)
	return nil
}

func (g *gcKeeper) put(ctx context.Context, name, value string) error {
	if _, err := g.kv.Put(ctx, g.prefix+name, value); err != nil {
		return fmt.Errorf("pd: save GC %s: %w", name, err)
	}
	return nil
}
