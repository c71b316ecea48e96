package objstore

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/pingcap/tidb/pkg/objstore"
	"github.com/pingcap/tidb/pkg/objstore/storeapi"

	"github.com/tidemark/tidemark/pkg/errors"
)

// cloud is a Store in a bucket, reached by TiDB's own client: it takes the
// parameters that users of TiDB's tools know.
type cloud struct{ storage storeapi.Storage }

func openCloud(ctx context.Context, u *url.URL) (*cloud, error) {
	if u.Host == "" {
		return nil, fmt.Errorf("a storage URI of scheme %s names a bucket as its host", u.Scheme)
	}
	backend, err := objstore.ParseBackendFromURL(u, nil)
	if err != nil {
		return nil, err
	}
	s, err := objstore.New(ctx, backend, &storeapi.Options{})
	if err != nil {
		return nil, err
	}
	if _, err := s.FileExists(ctx, probeName); err != nil {
		s.Close()
		return nil, err
	}
	return &cloud{s}, nil
}

func (c *cloud) Put(ctx context.Context, name string, content []byte) error {
	if err := c.storage.WriteFile(ctx, name, content); err != nil {
		return errors.ErrExternalStorageAPI.Wrap(err)
	}
	return nil
}

func (c *cloud) Get(ctx context.Context, name string) ([]byte, error) {
	content, err := c.storage.ReadFile(ctx, name)
	if err == nil {
		return content, nil
	}
	// Each cloud has its own error for what is not there.
	if exists, existsErr := c.storage.FileExists(ctx, name); existsErr == nil && !exists {
		return nil, fs.ErrNotExist
	}
	return nil, errors.ErrExternalStorageAPI.Wrap(err)
}

func (c *cloud) List(ctx context.Context, dir string, visit func(string, int64) error) error {
	var visitErr error
	err := c.storage.WalkDir(ctx, &storeapi.WalkOption{SubDir: dir}, func(name string, size int64) error {
		visitErr = visit(name, size)
		return visitErr
	})
	if err != nil && visitErr == nil {
		return errors.ErrExternalStorageAPI.Wrap(err)
	}
	return visitErr
}

func (c *cloud) Delete(ctx context.Context, names ...string) error {
	for _, name := range names {
		err := c.storage.DeleteFile(ctx, name)
		if err == nil {
			continue
		}
		if exists, existsErr := c.storage.FileExists(ctx, name); existsErr == nil && !exists {
			continue
		}
		return errors.ErrExternalStorageAPI.Wrap(err)
	}
	return nil
}

func (c *cloud) Close() { c.storage.Close() }
