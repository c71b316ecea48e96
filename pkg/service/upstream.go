package service

import (
	"context"
	stderrors "errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidemark/tidemark/pkg/errors"
)

// dialTimeout bounds connecting to a PD that a request names.
const dialTimeout = 30 * time.Second

// dial connects to the PD cluster of a request. The error's code is
// ErrAPIGetPDClientFailed or ErrNewStore.
func (s *Service) dial(ctx context.Context, pd PDAddress) (Upstream, func(), error) {
	if s.o.DialPD == nil {
		return nil, nil, errors.ErrAPIGetPDClientFailed.Wrap(stderrors.New("this server works for its own PD cluster only"))
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	up, closePD, err := s.o.DialPD(ctx, pd)
	switch {
	case err == nil:
		return up, closePD, nil
	case stderrors.Is(err, errors.ErrNewStore):
		return nil, nil, err
	case !stderrors.Is(err, errors.ErrAPIGetPDClientFailed):
		err = errors.ErrAPIGetPDClientFailed.Wrap(err)
	}
	// The text comes twice, as clients of TiCDC know it.
	return nil, nil, errors.ErrAPIGetPDClientFailed.Wrap(err)
}

// checkOwnUpstream makes sure that a request which names a PD cluster means
// the one that this server works for.
func (s *Service) checkOwnUpstream(ctx context.Context, pd PDAddress) error {
	if len(pd.Endpoints) == 0 {
		return nil
	}
	up, closePD, err := s.dial(ctx, pd)
	if err != nil {
		return err
	}
	defer closePD()
	if own := s.o.Upstream.ClusterID(); up.ClusterID() != own {
		return errors.ErrUpstreamMissMatch.New(own, up.ClusterID())
	}
	return nil
}

// importPrefix is where restore and import tools announce themselves.
const importPrefix = "/tidb/brie/import"

// RunningImport makes the check for Options.HasRunningImport from a client of
// the upstream PD's etcd: a task runs as long as the lease of its key lives.
func RunningImport(etcd *clientv3.Client) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
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
