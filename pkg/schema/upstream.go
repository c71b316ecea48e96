package schema

import (
	"context"
	stderrors "errors"

	tikverr "github.com/tikv/client-go/v2/error"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/upstream"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// FromUpstream reads the schema of a connected cluster.
func FromUpstream(u *upstream.Upstream) Upstream { return cluster{u} }

type cluster struct{ u *upstream.Upstream }

func (c cluster) CurrentTSO(ctx context.Context) (uint64, error) { return c.u.CurrentTSO(ctx) }

func (c cluster) Get(ctx context.Context, ts uint64, key []byte) ([]byte, error) {
	value, err := c.u.Storage().Snapshot(ts).Get(ctx, key)
	return value, gcError(err, ts)
}

func (c cluster) Scan(ctx context.Context, ts uint64, start, end []byte, fn func(key, value []byte) error) error {
	it, err := c.u.Storage().Snapshot(ts).Iter(ctx, start, end)
	if err != nil {
		return gcError(err, ts)
	}
	defer it.Close()
	for it.Valid() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
		if err := it.Next(); err != nil {
			return gcError(err, ts)
		}
	}
	return nil
}

func (c cluster) Subscribe(o changes.Options) Subscription { return c.u.Changes().Subscribe(o) }

// gcError gives reads below the GC safepoint their code.
func gcError(err error, ts uint64) error {
	var lost *tikverr.ErrTxnAbortedByGC
	if stderrors.As(err, &lost) {
		return errors.ErrSnapshotLostByGC.Wrap(err, ts, lost.TxnSafePoint)
	}
	return err
}
