package etcdmeta

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Limits of one transaction, as TiCDC keeps them.
const (
	maxTxnOps   = 128
	maxTxnBytes = 1_250 * 1024
)

// Fence is the election key that a write of the owner depends on.
type Fence struct {
	Key string
	Rev int64 // mod revision, the "owner revision"
}

func (f Fence) cmp() clientv3.Cmp { return modRevision(f.Key, f.Rev) }

// OwnerClient writes on behalf of the owner. Every write fails with
// ErrNotOwner once the election is lost.
type OwnerClient struct {
	*Client
	fence Fence
}

// AsOwner returns a client whose writes hold only as long as the fence does.
func (c *Client) AsOwner(fence Fence) *OwnerClient { return &OwnerClient{Client: c, fence: fence} }

// Fence is what the writes depend on.
func (o *OwnerClient) Fence() Fence { return o.fence }

// maxConflicts bounds how often a read-modify-write is repeated.
const maxConflicts = 16

// ModifyFeed reads a changefeed, lets modify change copies of info and status,
// and writes what changed, all or nothing. modify may be called several times;
// it may set a nil Status. It returns the record as it stands afterwards, with
// revisions. Errors: ErrChangeFeedNotExists, ErrNotOwner, modify's own error.
func (o *OwnerClient) ModifyFeed(ctx context.Context, id model.ChangefeedID, modify func(*Feed) error) (*Feed, error) {
	for range maxConflicts {
		old, err := o.GetFeed(ctx, id)
		if err != nil {
			return nil, err
		}
		feed := *old
		feed.Info = old.Info.Clone()
		if old.Status != nil {
			status := *old.Status
			feed.Status = &status
		}
		if err := modify(&feed); err != nil {
			return nil, err
		}
		written, err := o.replaceFeed(ctx, old, &feed)
		if err != nil || written {
			return &feed, err
		}
	}
	return nil, errors.ErrMetaOpFailed.New("Update changefeed " + id.String())
}

// replaceFeed writes the difference between two records and sets the new
// one's revisions; false when the old one is not current any more.
func (o *OwnerClient) replaceFeed(ctx context.Context, old, feed *Feed) (bool, error) {
	infoKey, statusKey := o.keys.Info(feed.ID), o.keys.Status(feed.ID)
	oldInfo, err := json.Marshal(old.Info)
	if err != nil {
		return false, fmt.Errorf("encode changefeed info: %w", err)
	}
	newInfo, err := json.Marshal(feed.Info)
	if err != nil {
		return false, fmt.Errorf("encode changefeed info: %w", err)
	}
	cmps := []clientv3.Cmp{modRevision(infoKey, old.InfoRev), modRevision(statusKey, old.StatusRev)}
	var ops []clientv3.Op
	infoChanged := string(oldInfo) != string(newInfo)
	if infoChanged {
		ops = append(ops, clientv3.OpPut(infoKey, string(newInfo)))
	}
	statusChanged := feed.Status != nil && (old.Status == nil || *old.Status != *feed.Status)
	if statusChanged {
		ops = append(ops, statusPut(statusKey, feed.Status))
	}
	if len(ops) == 0 {
		return true, nil
	}
	rev, ok, err := o.commit(ctx, cmps, ops)
	if err != nil || !ok {
		return false, err
	}
	if infoChanged {
		feed.InfoRev = rev
	}
	if statusChanged {
		feed.StatusRev = rev
	}
	return true, nil
}

// StatusWrite is one changefeed's part of a batch.
type StatusWrite struct {
	ID     model.ChangefeedID
	Rev    int64 // revision that the status must have; 0: none yet, but there is an info
	Status ChangefeedStatus
}

// maxStatusWrites leaves room for two conditions of each write and the fence.
const maxStatusWrites = maxTxnOps/2 - 1

// WriteStatuses writes many statuses in as few transactions as the limits
// allow. Result i is the new revision of write i, 0 when its changefeed's
// status was not as expected and nothing was written for it. On error some
// may have been written.
func (o *OwnerClient) WriteStatuses(ctx context.Context, writes []StatusWrite) ([]int64, error) {
	revs := make([]int64, 0, len(writes))
	for len(writes) > 0 {
		n := min(len(writes), maxStatusWrites)
		got, err := o.writeBatch(ctx, writes[:n])
		if err != nil {
			return revs, err
		}
		revs = append(revs, got...)
		writes = writes[n:]
	}
	return revs, nil
}

// writeBatch writes all, or one by one when any of them conflicts.
func (o *OwnerClient) writeBatch(ctx context.Context, writes []StatusWrite) ([]int64, error) {
	cmps := make([]clientv3.Cmp, 0, 2*len(writes)+1)
	ops := make([]clientv3.Op, 0, len(writes))
	for _, w := range writes {
		key := o.keys.Status(w.ID)
		cmps = append(cmps, modRevision(key, w.Rev))
		if w.Rev == 0 { // the first one must not outlive a removal
			cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(o.keys.Info(w.ID)), ">", 0))
		}
		ops = append(ops, statusPut(key, &w.Status))
	}
	rev, ok, err := o.commit(ctx, cmps, ops)
	if err != nil {
		return nil, err
	}
	revs := make([]int64, len(writes))
	if ok || len(writes) == 1 {
		for i := range revs {
			revs[i] = rev
		}
		return revs, nil
	}
	for i := range writes {
		one, err := o.writeBatch(ctx, writes[i:i+1])
		if err != nil {
			return nil, err
		}
		revs[i] = one[0]
	}
	return revs, nil
}

// RemoveFeed deletes a changefeed's info and status, then its positions. It is
// no error when they are gone already. It returns the revision of the
// deletion: older records of the changefeed are void.
func (o *OwnerClient) RemoveFeed(ctx context.Context, id model.ChangefeedID) (int64, error) {
	rev, err := o.deleteKeys(ctx, []string{o.keys.Info(id), o.keys.Status(id)})
	if err != nil {
		return 0, err
	}
	return rev, o.RemovePositions(ctx, func(k Key) bool { return k.Feed == id })
}

// RemoveOrphan deletes the status of a changefeed that has no info. It is no
// error when there is nothing like that.
func (o *OwnerClient) RemoveOrphan(ctx context.Context, id model.ChangefeedID) error {
	for range maxConflicts {
		feed, err := o.readFeed(ctx, id)
		if err != nil || feed.Info != nil || feed.Status == nil {
			return err
		}
		count, bump, err := o.bumpDeleteCount(ctx)
		if err != nil {
			return err
		}
		statusKey := o.keys.Status(id)
		cmps := []clientv3.Cmp{count, absent(o.keys.Info(id)), modRevision(statusKey, feed.StatusRev)}
		if _, ok, err := o.commit(ctx, cmps, []clientv3.Op{bump, clientv3.OpDelete(statusKey)}); err != nil || ok {
			return err
		}
	}
	return errors.ErrMetaOpFailed.New("Delete the status of changefeed " + id.String())
}

// RemovePositions deletes the task positions that match.
func (o *OwnerClient) RemovePositions(ctx context.Context, match func(Key) bool) error {
	state, err := o.Load(ctx)
	if err != nil {
		return err
	}
	var keys []string
	for k := range state.Positions {
		if match(k) {
			keys = append(keys, o.keys.Position(k.Capture, k.Feed))
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), maxTxnOps-2)
		if _, err := o.deleteKeys(ctx, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// deleteKeys deletes keys in one transaction that also raises the deletion
// counter, which TiCDC servers compare.
func (o *OwnerClient) deleteKeys(ctx context.Context, keys []string) (int64, error) {
	for range maxConflicts {
		cmp, bump, err := o.bumpDeleteCount(ctx)
		if err != nil {
			return 0, err
		}
		ops := []clientv3.Op{bump}
		for _, key := range keys {
			ops = append(ops, clientv3.OpDelete(key))
		}
		rev, ok, err := o.commit(ctx, []clientv3.Cmp{cmp}, ops)
		if err != nil || ok {
			return rev, err
		}
	}
	return 0, errors.ErrMetaOpFailed.New("delete keys")
}

func (o *OwnerClient) bumpDeleteCount(ctx context.Context) (clientv3.Cmp, clientv3.Op, error) {
	key := o.keys.DeleteCount()
	resp, err := o.get(ctx, key)
	if err != nil {
		return clientv3.Cmp{}, clientv3.Op{}, err
	}
	count, rev := int64(0), int64(0)
	if len(resp.Kvs) > 0 {
		rev = resp.Kvs[0].ModRevision
		if count, err = strconv.ParseInt(string(resp.Kvs[0].Value), 10, 64); err != nil {
			return clientv3.Cmp{}, clientv3.Op{}, fmt.Errorf("deletion counter: %w", err)
		}
	}
	return modRevision(key, rev), clientv3.OpPut(key, decimal(count+1)), nil
}

// commit runs a transaction under the fence. ok is false when one of cmps did
// not hold; a lost fence is the error ErrNotOwner.
func (o *OwnerClient) commit(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) (rev int64, ok bool, err error) {
	if err := checkSize(ops); err != nil {
		return 0, false, err
	}
	resp, err := o.txn(ctx, append(cmps, o.fence.cmp()), ops)
	if err != nil {
		return 0, false, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, true, nil
	}
	return 0, false, o.CheckFence(ctx)
}

// CheckFence fails with ErrNotOwner when the election is lost. It is for what
// is written elsewhere than here.
func (o *OwnerClient) CheckFence(ctx context.Context) error {
	held, err := o.get(ctx, o.fence.Key)
	if err != nil {
		return err
	}
	if len(held.Kvs) == 0 || held.Kvs[0].ModRevision != o.fence.Rev {
		return errors.ErrNotOwner.New()
	}
	return nil
}

func checkSize(ops []clientv3.Op) error {
	if len(ops) > maxTxnOps {
		return errors.ErrEtcdTxnOpsExceed.New()
	}
	size := 0
	for _, op := range ops {
		size += 2*len(op.KeyBytes()) + len(op.ValueBytes()) // keys are also compared
	}
	if size > maxTxnBytes {
		return errors.ErrEtcdTxnSizeExceed.New()
	}
	return nil
}

// statusPut writes a status. Three numbers cannot fail to encode.
func statusPut(key string, s *ChangefeedStatus) clientv3.Op {
	value, _ := json.Marshal(s) //nolint:errcheck // plain numbers
	return clientv3.OpPut(key, string(value))
}
