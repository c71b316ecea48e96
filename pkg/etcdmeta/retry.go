package etcdmeta

import (
	"context"
	stderrors "errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemark/tidemark/pkg/errors"
)

// retryPolicy says how often and after which pauses an operation is repeated.
type retryPolicy struct {
	tries     int
	base, max time.Duration
}

func defaultRetry() retryPolicy {
	return retryPolicy{tries: 12, base: 200 * time.Millisecond, max: 2 * time.Second}
}

// do runs op until it succeeds, fails for good or the tries are used up.
func (p retryPolicy) do(ctx context.Context, retryable func(error) bool, op func(context.Context) error) error {
	pause := p.base
	for try := 1; ; try++ {
		err := attempt(ctx, op)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || try >= p.tries || !retryable(err) {
			return errors.ErrPDEtcdAPIError.Wrap(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.ErrPDEtcdAPIError.Wrap(ctx.Err())
		case <-timer.C:
		}
		pause = min(pause*2, p.max)
	}
}

func attempt(ctx context.Context, op func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	return op(ctx)
}

// anyError is for operations that may be repeated whatever happened.
func anyError(error) bool { return true }

// beforeCommit is for transactions: repeat only when etcd was not there. Where
// the connection broke it may have been applied nevertheless, so a repeated
// compare-and-put may have compared with its own result.
func beforeCommit(err error) bool {
	var etcdErr rpctypes.EtcdError
	if stderrors.As(err, &etcdErr) {
		return etcdErr.Code() == codes.Unavailable && !stderrors.Is(err, rpctypes.ErrTimeout)
	}
	return status.Code(err) == codes.Unavailable
}

func (c *Client) get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = c.retry.do(ctx, anyError, func(ctx context.Context) error {
		resp, err = c.etcd.Get(ctx, key, opts...)
		return err
	})
	return resp, err
}

func (c *Client) txn(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, _, err := c.txnTries(ctx, cmps, ops)
	return resp, err
}

// txnTries is txn, and tells how often it was tried.
func (c *Client) txnTries(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) (resp *clientv3.TxnResponse, tries int, err error) {
	retryable := beforeCommit
	if len(cmps) == 0 {
		retryable = anyError
	}
	err = c.retry.do(ctx, retryable, func(ctx context.Context) error {
		tries++
		resp, err = c.etcd.Txn(ctx).If(cmps...).Then(ops...).Commit()
		return err
	})
	return resp, tries, err
}
