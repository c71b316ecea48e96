package etcdmeta

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// MetaVersion is the layout that this package reads and writes.
const MetaVersion = 1

// CheckMetaVersion makes sure that the metadata has the layout that this
// package knows; a new cluster is marked with it. The error has the code
// ErrVersionIncompatible when a newer server wrote the metadata.
func (c *Client) CheckMetaVersion(ctx context.Context) error {
	key := c.keys.MetaVersion()
	resp, err := c.get(ctx, key)
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		_, err := c.txn(ctx, []clientv3.Cmp{absent(key)}, []clientv3.Op{clientv3.OpPut(key, strconv.Itoa(MetaVersion))})
		return err
	}
	version, err := strconv.Atoi(string(resp.Kvs[0].Value))
	if err != nil {
		return fmt.Errorf("meta version: %w", err)
	}
	if version > MetaVersion {
		return errors.ErrVersionIncompatible.New(fmt.Sprintf("metadata has version %d, this server knows %d", version, MetaVersion))
	}
	return nil
}

// Session is a lease that is kept alive, with the keys that hang on it. When
// it is lost the capture's registration and election key are gone, or will be
// within the TTL.
type Session struct {
	client  *Client
	session *concurrency.Session
	ttl     time.Duration
	capture model.CaptureID
	info    *model.CaptureInfo // nil before Register

	begun   time.Time
	renewed atomic.Int64 // since begun, when the newest renewal that etcd confirmed was asked for
	stop    context.CancelFunc
	stopped chan struct{} // closed when no renewal is asked for any more
}

// NewSession grants a lease of ttl, whole seconds, and keeps it alive until
// Close or until ctx ends.
func (c *Client) NewSession(ctx context.Context, ttl time.Duration, capture model.CaptureID) (*Session, error) {
	var lease clientv3.LeaseID
	begun := time.Now()
	err := c.retry.do(ctx, anyError, func(ctx context.Context) error {
		resp, err := c.etcd.Grant(ctx, int64(ttl/time.Second))
		if err == nil {
			lease = resp.ID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s, err := concurrency.NewSession(c.etcd, concurrency.WithLease(lease),
		concurrency.WithTTL(int(ttl/time.Second)), concurrency.WithContext(ctx))
	if err != nil {
		return nil, errors.ErrPDEtcdAPIError.Wrap(err)
	}
	out := &Session{client: c, session: s, ttl: ttl, capture: capture, begun: begun, stopped: make(chan struct{})}
	renewing, stop := context.WithCancel(ctx)
	out.stop = stop
	go func() {
		defer close(out.stopped)
		out.renew(renewing)
	}()
	return out, nil
}

// How often Valid learns that the lease is alive: so many times in a TTL, and
// this soon after a failure.
const (
	renewalsPerTTL = 5
	renewalRetry   = 300 * time.Millisecond
)

// renew asks for renewals of its own, until ctx ends: the client's say when an
// answer came, not when it was asked for. An answer that waited while the
// process was stopped, or on the network, tells of a lease that may be over.
func (s *Session) renew(ctx context.Context) {
	for {
		asked, pause := time.Since(s.begun), renewalRetry
		if s.renewOnce(ctx) == nil {
			s.renewed.Store(int64(asked))
			pause = s.ttl / renewalsPerTTL
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// renewOnce returns nil when etcd has renewed the lease during the call.
func (s *Session) renewOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.ttl/2)
	defer cancel()
	stream, err := etcdserverpb.NewLeaseClient(s.client.etcd.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(s.session.Lease())}); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err == nil && answer.TTL <= 0 {
		err = rpctypes.ErrLeaseNotFound
	}
	return err
}

// Valid tells whether the lease is alive for some time yet: whether a renewal
// that etcd confirmed was asked for within four fifths of its TTL. The rest is
// for what is on its way when the answer is given. Unlike Done it is right at
// once in a process that was stopped for a while and goes on.
func (s *Session) Valid() bool {
	return time.Since(s.begun)-time.Duration(s.renewed.Load()) < s.ttl*4/5
}

// Done is closed when the lease is lost.
func (s *Session) Done() <-chan struct{} { return s.session.Done() }

// Register writes the capture's key.
func (s *Session) Register(ctx context.Context, info *model.CaptureInfo) error {
	s.info = info
	return s.put(ctx, s.client.keys.Capture(info.ID), info)
}

// Announce writes the capture's topology key, for the upstream's own tools.
func (s *Session) Announce(ctx context.Context, gcServiceID string, info *model.CaptureInfo) error {
	return s.put(ctx, TopologyKey(gcServiceID, info.AdvertiseAddr), info)
}

func (s *Session) put(ctx context.Context, key string, info *model.CaptureInfo) error {
	value, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode capture info: %w", err)
	}
	_, err = s.client.txn(ctx, nil, []clientv3.Op{
		clientv3.OpPut(key, string(value), clientv3.WithLease(s.session.Lease())),
	})
	return err
}

// Campaign waits until this capture is the owner and returns the fence of its
// writes. It ends with ctx's error, or with another one when etcd fails.
func (s *Session) Campaign(ctx context.Context) (Fence, error) {
	election := concurrency.NewElection(s.session, s.client.keys.OwnerPrefix())
	if err := election.Campaign(ctx, s.capture); err != nil {
		return Fence{}, errors.ErrPDEtcdAPIError.Wrap(err)
	}
	resp, err := s.client.get(ctx, election.Key())
	if err != nil {
		return Fence{}, err
	}
	if len(resp.Kvs) == 0 {
		return Fence{}, errors.ErrNotOwner.New()
	}
	return Fence{Key: election.Key(), Rev: resp.Kvs[0].ModRevision}, nil
}

// Resign gives the election up.
func (s *Session) Resign(ctx context.Context, fence Fence) error {
	_, err := s.client.txn(ctx, []clientv3.Cmp{fence.cmp()}, []clientv3.Op{clientv3.OpDelete(fence.Key)})
	return err
}

// Close deletes the keys of the capture: its positions in the default
// namespace (the owner cleans others) and, with the lease, all that hangs on
// it. ctx bounds the deletion; the lease expires by itself if that fails, and
// Close may be called again. A lease that has expired is no error. Nothing of
// the capture may go on when it is called.
func (s *Session) Close(ctx context.Context) error {
	s.sayStopped(ctx)
	_, err := s.client.etcd.Delete(ctx, s.client.keys.PositionPrefix(model.DefaultNamespace, s.capture), clientv3.WithPrefix())
	s.stop()
	select {
	case <-s.stopped:
	case <-ctx.Done():
	}
	s.session.Orphan()
	_, revokeErr := s.client.etcd.Revoke(ctx, s.session.Lease())
	if err == nil && !stderrors.Is(revokeErr, rpctypes.ErrLeaseNotFound) {
		err = revokeErr
	}
	if err != nil {
		return errors.ErrPDEtcdAPIError.Wrap(err)
	}
	return nil
}

// sayStopped tells the owner that nothing of this capture goes on, so that its
// tables need not wait. Where that fails, they wait as after a crash.
func (s *Session) sayStopped(ctx context.Context) {
	select {
	case <-s.session.Done():
		return // the key is gone, or soon will be
	default:
	}
	if s.info == nil {
		return
	}
	info := *s.info
	info.Stopped = true
	value, err := json.Marshal(&info)
	if err != nil {
		return
	}
	// Once: whoever waits for the end of this process waits for this, too.
	_, _ = s.client.etcd.Put(ctx, s.client.keys.Capture(info.ID), string(value), clientv3.WithLease(s.session.Lease()))
}
