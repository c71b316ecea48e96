package service

import (
	"context"
	stderrors "errors"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidemark/tidemark/pkg/errors"
)

// dialTimeout bounds connecting to a PD that a request names.
const dialTimeout = 30 * time.Second

// dial connects to the PD cluster of a request. The error's code is
// ErrAPIGetPDClientFailed or ErrNewStore.
func (s *Service) dial(ctx context.Context, pd PDAddress) (OtherUpstream, error) {
	if s.o.DialPD == nil {
		return nil, errors.ErrAPIGetPDClientFailed.Wrap(stderrors.New("this server works for its own PD cluster only"))
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	up, err := s.o.DialPD(ctx, pd)
	switch {
	case err == nil:
		return up, nil
	case stderrors.Is(err, errors.ErrNewStore):
		return nil, err
	case !stderrors.Is(err, errors.ErrAPIGetPDClientFailed):
		err = errors.ErrAPIGetPDClientFailed.Wrap(err)
	}
	// The text comes twice, as clients of TiCDC know it.
	return nil, errors.ErrAPIGetPDClientFailed.Wrap(err)
}

// withUpstream calls fn with the upstream that a request means: the known one
// with the id unless that is 0, else the one at the address if there is one,
// else the default. Errors besides those of dial and fn: ErrUpstreamNotFound.
func (s *Service) withUpstream(ctx context.Context, id uint64, pd PDAddress, fn func(Upstream) error) error {
	switch {
	case id > 0 && id != s.o.Upstream.ClusterID():
		return errors.ErrUpstreamNotFound.New(id)
	case id > 0 || len(pd.Endpoints) == 0:
		return fn(s.o.Upstream)
	}
	other, err := s.dial(ctx, pd)
	if err != nil {
		return err
	}
	defer other.Close()
	return fn(other)
}

// checkOwnUpstream makes sure that a request which names a PD cluster means
// the one that this server works for.
func (s *Service) checkOwnUpstream(ctx context.Context, pd PDAddress) error {
	if len(pd.Endpoints) == 0 {
		return nil
	}
	up, err := s.dial(ctx, pd)
	if err != nil {
		return err
	}
	defer up.Close()
	if own := s.o.Upstream.ClusterID(); up.ClusterID() != own {
		return errors.ErrUpstreamMissMatch.New(own, up.ClusterID())
	}
	return nil
}

// TSO asks the upstream that a request means for a timestamp. Errors:
// ErrUpstreamNotFound, ErrInternalServerError.
func (s *Service) TSO(ctx context.Context, upstreamID uint64, pd PDAddress) (ts uint64, err error) {
	err = s.withUpstream(ctx, upstreamID, pd, func(up Upstream) error {
		ts, err = up.CurrentTSO(ctx)
		return err
	})
	return ts, internal(err)
}

// DeleteSafePoint removes the cluster's own service safe point from the
// upstream that a request means. Errors as TSO.
func (s *Service) DeleteSafePoint(ctx context.Context, upstreamID uint64, pd PDAddress) error {
	return internal(s.withUpstream(ctx, upstreamID, pd, func(up Upstream) error {
		_, err := up.SetServiceSafePoint(ctx, s.o.GCServiceID, 0, math.MaxUint64)
		return err
	}))
}

// ResolveLocks resolves what dead transactions up to maxTs left locked in a
// region. A region that does not exist is an error without a code.
func (s *Service) ResolveLocks(ctx context.Context, regionID, maxTs uint64, pd PDAddress) error {
	return s.withUpstream(ctx, 0, pd, func(up Upstream) error { return up.ResolveLocks(ctx, regionID, maxTs) })
}

// internal gives the failure of an upstream the code that clients know.
func internal(err error) error {
	if err == nil || stderrors.Is(err, errors.ErrUpstreamNotFound) {
		return err
	}
	return errors.ErrInternalServerError.Wrap(err)
}

// importPrefix is where restore and import tools announce themselves.
const importPrefix = "/tidb/brie/import"

// RunningImport makes the check for Options.HasRunningImport from a client of
// the upstream PD's etcd: a task runs as long as the lease of its key lives.
func RunningImport(etcd *clientv3.Client) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
		defer cancel()
		resp, err := etcd.Get(ctx, importPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			return false, errors.ErrPDEtcdAPIError.Wrap(err)
		}
		for _, kv := range resp.Kvs {
			if kv.Lease == 0 {
				continue
			}
			lease, err := etcd.TimeToLive(ctx, clientv3.LeaseID(kv.Lease))
			if err != nil {
				return false, errors.ErrPDEtcdAPIError.Wrap(err)
			}
			if lease.TTL > 0 {
				return true, nil
			}
		}
		return false, nil
	}
}
