package pd

import (
	"context"
	"encoding/json"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// documents keeps what clients set and get again and what has no effect here: placement rules, label rules,
// configuration. They are JSON, grouped by kind.
type documents struct {
	kv     *clientv3.Client
	prefix string
}

func (d *documents) key(kind, id string) string { return d.prefix + kind + "/" + id }

// list returns all of a kind in the order of their IDs; never nil, so that it encodes as a list.
func (d *documents) list(ctx context.Context, kind string) ([]json.RawMessage, error) {
	resp, err := d.kv.Get(ctx, d.key(kind, ""), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("pd: list %s: %w", kind, err)
	}
	out := make([]json.RawMessage, 0, len(resp.Kvs))
	for _, item := range resp.Kvs {
		out = append(out, item.Value)
	}
	return out, nil
}

// get returns nil when there is none.
func (d *documents) get(ctx context.Context, kind, id string) (json.RawMessage, error) {
	resp, err := d.kv.Get(ctx, d.key(kind, id))
	if err != nil {
		return nil, fmt.Errorf("pd: get %s %s: %w", kind, id, err)
	}
	if len(resp.Kvs) == 0 {
		return nil, nil
	}
	return resp.Kvs[0].Value, nil
}

func (d *documents) put(ctx context.Context, kind, id string, doc json.RawMessage) error {
	if _, err := d.kv.Put(ctx, d.key(kind, id), string(doc)); err != nil {
		return fmt.Errorf("pd: put %s %s: %w", kind, id, err)
	}
	return nil
}

func (d *documents) remove(ctx context.Context, kind, id string) error {
	if _, err := d.kv.Delete(ctx, d.key(kind, id)); err != nil {
		return fmt.Errorf("pd: remove %s %s: %w", kind, id, err)
	}
	return nil
}

func (d *documents) clear(ctx context.Context, kind string) error {
	if _, err := d.kv.Delete(ctx, d.key(kind, ""), clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("pd: clear %s: %w", kind, err)
	}
	return nil
}
