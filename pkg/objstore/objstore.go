// Package objstore keeps whole files in a directory or in a bucket of a cloud:
// claim-check messages, the storage sink's files, redo logs.
package objstore

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// Store is a place for files. Names are relative, with slashes. It is safe for
// concurrent use.
type Store interface {
	// Put writes a file, which replaces any of that name. Readers see all of it
	// or nothing. After an error the old file, the new one or none may be there.
	Put(ctx context.Context, name string, content []byte) error
	// Get reads a file. The error is fs.ErrNotExist where there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	// List calls visit for the files below a directory, "" for all, in no
	// order, with their sizes in bytes. It ends with visit's error, or one of
	// the store, when some files were not visited.
	List(ctx context.Context, dir string, visit func(name string, size int64) error) error
	// Delete removes files; those that are not there are no error. After an
	// error some may be gone.
	Delete(ctx context.Context, names ...string) error
	// Close ends all use of the store.
	Close()
}

const (
	// probeTimeout bounds how long opening may take.
	probeTimeout = 5 * time.Minute
	// probeName is the file that is asked for to see whether the store answers.
	probeName = "test"
)

// Open opens the store that a URI names, by its scheme: file, local and nfs for
// a directory, which is made, s3, gcs or gs, azblob or azure for the clouds,
// noop for one that forgets everything. It asks for a file to see whether the
// store answers. The error is ErrFailToCreateExternalStorage; no secret of the
// URI is in it.
func Open(ctx context.Context, uri config.SinkURI) (Store, error) {
	// Access keys have plus signs, which in a query would be spaces.
	u, err := url.Parse(strings.ReplaceAll(uri.Reveal(), "+", "%2B"))
	if err != nil {
		return nil, errors.ErrFailToCreateExternalStorage.Msg("the storage URI is malformed")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s, err := open(ctx, u)
	if err != nil {
		return nil, errors.ErrFailToCreateExternalStorage.Wrap(err)
	}
	return s, nil
}

func open(ctx context.Context, u *url.URL) (Store, error) {
	switch u.Scheme {
	case "file", "local", "nfs":
		return openDirectory(u.Path)
	case "noop":
		return noop{}, nil
	case "s3", "gcs", "gs", "azblob", "azure":
		return openCloud(ctx, u)
	}
	return nil, fmt.Errorf("unknown scheme %q of a storage", u.Scheme)
}

// noop forgets everything.
type noop struct{}

func (noop) Put(context.Context, string, []byte) error   { return nil }
func (noop) Get(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }
func (noop) List(context.Context, string, func(string, int64) error) error {
	return nil
}
func (noop) Delete(context.Context, ...string) error { return nil }
func (noop) Close()                                  {}

// ClaimCheck keeps the messages that are too large for a queue in a Store. It
// implements codec.ClaimCheckStore and is safe for concurrent use.
type ClaimCheck struct {
	store Store
	base  string // the address of the store, without secrets
}

// OpenClaimCheck opens the store of a URI for messages.
func OpenClaimCheck(ctx context.Context, uri config.SinkURI) (*ClaimCheck, error) {
	s, err := Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	return &ClaimCheck{store: s, base: address(uri)}, nil
}

// Put writes a message and returns its address: that of the store, a slash, and
// the name.
func (c *ClaimCheck) Put(ctx context.Context, name string, content []byte) (string, error) {
	if err := c.store.Put(ctx, name, content); err != nil {
		return "", err
	}
	return c.base + "/" + name, nil
}

// Get reads the message at an address that Put returned, perhaps that of
// another process. The error is fs.ErrNotExist where there is none.
func (c *ClaimCheck) Get(ctx context.Context, location string) ([]byte, error) {
	return c.store.Get(ctx, path.Base(location))
}

// Close closes the store.
func (c *ClaimCheck) Close() { c.store.Close() }

// address is a storage URI without user, query and trailing slash: what
// consumers may see.
func address(uri config.SinkURI) string {
	u, err := url.Parse(uri.Reveal())
	if err != nil { // Open has parsed it before
		return ""
	}
	return strings.TrimRight(u.Scheme+"://"+u.Host+u.Path, "/")
}
