package etcdmeta

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// opTimeout bounds one attempt of an etcd operation.
const opTimeout = 30 * time.Second

// Client reads and writes one cluster's metadata. It is safe for concurrent
// use and does not own the etcd client.
type Client struct {
	etcd  *clientv3.Client
	keys  Keys
	retry retryPolicy
}

// NewClient is for the cluster of this id, which must be valid.
func NewClient(etcd *clientv3.Client, clusterID string) *Client {
	return &Client{etcd: etcd, keys: NewKeys(clusterID), retry: defaultRetry()}
}

// Etcd is the client underneath.
func (c *Client) Etcd() *clientv3.Client { return c.etcd }

// Keys builds the cluster's keys.
func (c *Client) Keys() Keys { return c.keys }

// EtcdClusterID is the id of the etcd cluster, part of the GC service id.
func (c *Client) EtcdClusterID(ctx context.Context) (uint64, error) {
	resp, err := c.get(ctx, c.keys.MetaVersion())
	if err != nil {
		return 0, err
	}
	return resp.Header.ClusterId, nil
}

// Feed is one changefeed as stored, with the revisions that later writes
// compare. A missing key has a nil value and revision 0.
type Feed struct {
	ID        model.ChangefeedID
	Info      *ChangefeedInfo
	InfoRev   int64
	Status    *ChangefeedStatus
	StatusRev int64
}

// CheckpointTs is the stored checkpoint: the start-ts as long as there is no
// status, 0 when there is no info either.
func (f *Feed) CheckpointTs() uint64 {
	if f.Status != nil {
		return f.Status.CheckpointTs
	}
	if f.Info != nil {
		return f.Info.StartTs
	}
	return 0
}

// GetFeed reads a changefeed. Without an info the error has the code
// ErrChangeFeedNotExists.
func (c *Client) GetFeed(ctx context.Context, id model.ChangefeedID) (*Feed, error) {
	feed, err := c.readFeed(ctx, id)
	if err != nil {
		return nil, err
	}
	if feed.Info == nil {
		return nil, errors.ErrChangeFeedNotExists.New(c.keys.Info(id))
	}
	return feed, nil
}

// readFeed reads info and status at one revision.
func (c *Client) readFeed(ctx context.Context, id model.ChangefeedID) (*Feed, error) {
	resp, err := c.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(c.keys.Info(id)), clientv3.OpGet(c.keys.Status(id)),
	})
	if err != nil {
		return nil, err
	}
	feed := &Feed{ID: id}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		feed.InfoRev = kv.ModRevision
		if feed.Info, err = decodeInfo(id, kv.Value); err != nil {
			return nil, err
		}
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		feed.StatusRev = kv.ModRevision
		if feed.Status, err = decodeStatus(id, kv.Value); err != nil {
			return nil, err
		}
	}
	return feed, nil
}

// ListFeeds reads every changefeed that has an info, of all namespaces.
func (c *Client) ListFeeds(ctx context.Context) (map[model.ChangefeedID]*Feed, error) {
	state, err := c.Load(ctx)
	if err != nil {
		return nil, err
	}
	feeds := make(map[model.ChangefeedID]*Feed, len(state.Feeds))
	for id, f := range state.Feeds {
		if f.Info != nil {
			feeds[id] = f
		}
	}
	return feeds, nil
}

// CreateFeed stores a new changefeed, and its upstream where that is missing
// or different. The error has the code ErrMetaOpFailed when any key of a
// changefeed of this id exists.
func (c *Client) CreateFeed(ctx context.Context, info *ChangefeedInfo, up *UpstreamInfo) error {
	id := info.FeedID()
	cmps := []clientv3.Cmp{
		absent(c.keys.Info(id)),
		absent(c.keys.Status(id)),
	}
	return c.putFeed(ctx, "Create", info, up, cmps)
}

// UpdateFeed replaces the info of a changefeed that was read before, and its
// upstream where different. The error has the code ErrMetaOpFailed when info
// or status changed since then, ErrChangeFeedNotExists when there was no info.
func (c *Client) UpdateFeed(ctx context.Context, read *Feed, info *ChangefeedInfo, up *UpstreamInfo) error {
	if read.Info == nil {
		return errors.ErrChangeFeedNotExists.New(c.keys.Info(read.ID))
	}
	cmps := []clientv3.Cmp{
		modRevision(c.keys.Info(read.ID), read.InfoRev),
		modRevision(c.keys.Status(read.ID), read.StatusRev),
	}
	return c.putFeed(ctx, "Update", info, up, cmps)
}

func (c *Client) putFeed(ctx context.Context, verb string, info *ChangefeedInfo, up *UpstreamInfo, cmps []clientv3.Cmp) error {
	value, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode changefeed info: %w", err)
	}
	key := c.keys.Info(info.FeedID())
	ops := []clientv3.Op{clientv3.OpPut(key, string(value))}
	if up != nil {
		cmp, put, err := c.upstreamWrite(ctx, info.Namespace, up)
		if err != nil {
			return err
		}
		cmps, ops = append(cmps, cmp), append(ops, put...)
	}
	resp, tries, err := c.txnTries(ctx, cmps, ops)
	if err != nil || resp.Succeeded {
		return err
	}
	if tries > 1 { // the first one may have done it, without an answer
		stored, err := c.get(ctx, key)
		if err != nil {
			return err
		}
		if len(stored.Kvs) > 0 && bytes.Equal(stored.Kvs[0].Value, value) {
			return nil
		}
	}
	return errors.ErrMetaOpFailed.New(fmt.Sprintf("%s changefeed %s", verb, info.FeedID()))
}

// upstreamWrite prepares writing an upstream if it is not stored like this.
func (c *Client) upstreamWrite(ctx context.Context, namespace string, up *UpstreamInfo) (clientv3.Cmp, []clientv3.Op, error) {
	key := c.keys.Upstream(namespace, up.ID)
	resp, err := c.get(ctx, key)
	if err != nil {
		return clientv3.Cmp{}, nil, err
	}
	if len(resp.Kvs) > 0 {
		stored, err := decodeUpstream(up.ID, resp.Kvs[0].Value)
		if err == nil && reflect.DeepEqual(stored, up) {
			return modRevision(key, resp.Kvs[0].ModRevision), nil, nil
		}
	}
	value, err := json.Marshal(up)
	if err != nil {
		return clientv3.Cmp{}, nil, fmt.Errorf("encode upstream info: %w", err)
	}
	rev := int64(0)
	if len(resp.Kvs) > 0 {
		rev = resp.Kvs[0].ModRevision
	}
	return modRevision(key, rev), []clientv3.Op{clientv3.OpPut(key, string(value))}, nil
}

// GetUpstream reads an upstream; nil when it is not stored.
func (c *Client) GetUpstream(ctx context.Context, namespace string, id uint64) (*UpstreamInfo, error) {
	resp, err := c.get(ctx, c.keys.Upstream(namespace, id))
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return decodeUpstream(id, resp.Kvs[0].Value)
}

// PutUpstream stores an upstream if it is not stored like this already.
func (c *Client) PutUpstream(ctx context.Context, namespace string, up *UpstreamInfo) error {
	cmp, ops, err := c.upstreamWrite(ctx, namespace, up)
	if err != nil || len(ops) == 0 {
		return err
	}
	resp, err := c.txn(ctx, []clientv3.Cmp{cmp}, ops)
	if err == nil && !resp.Succeeded {
		err = errors.ErrMetaOpFailed.New(fmt.Sprintf("Update upstream %d", up.ID))
	}
	return err
}

// ListCaptures reads the registered captures.
func (c *Client) ListCaptures(ctx context.Context) (map[model.CaptureID]*model.CaptureInfo, error) {
	prefix := c.keys.CapturePrefix()
	resp, err := c.get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	captures := make(map[model.CaptureID]*model.CaptureInfo, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		info, err := decodeCapture(strings.TrimPrefix(string(kv.Key), prefix), kv.Value)
		if err != nil {
			return nil, err
		}
		captures[info.ID] = info
	}
	return captures, nil
}

// OwnerInfo is who holds the election, as seen in etcd.
type OwnerInfo struct {
	Capture model.CaptureID
	Fence   Fence
}

// GetOwner reads who is the owner: the election key that was created first.
// The error has the code ErrOwnerNotFound when nobody campaigns.
func (c *Client) GetOwner(ctx context.Context) (OwnerInfo, error) {
	resp, err := c.get(ctx, c.keys.OwnerPrefix()+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return OwnerInfo{}, err
	}
	if len(resp.Kvs) == 0 {
		return OwnerInfo{}, errors.ErrOwnerNotFound.New()
	}
	kv := resp.Kvs[0]
	return OwnerInfo{
		Capture: string(kv.Value),
		Fence:   Fence{Key: string(kv.Key), Rev: kv.ModRevision},
	}, nil
}

func absent(key string) clientv3.Cmp { return modRevision(key, 0) }

func modRevision(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
}
