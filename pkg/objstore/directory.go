package objstore

import (
	"context"
	stderrors "errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidemark/tidemark/pkg/errors"
)

// tempPrefix begins the names of files that are being written. They are not listed.
const tempPrefix = ".writing-"

// directory is a Store in a file system.
type directory struct{ root string }

func openDirectory(root string) (*directory, error) {
	if root == "" {
		return nil, stderrors.New("the URI has no path")
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	_, err := os.Stat(filepath.Join(root, probeName))
	if err != nil && !stderrors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &directory{root}, nil
}

// pathOf keeps names within the root.
func (d *directory) pathOf(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", errors.ErrExternalStorageAPI.Wrap(fmt.Errorf("bad file name %q", name))
	}
	return filepath.Join(d.root, filepath.FromSlash(name)), nil
}

func (d *directory) Put(ctx context.Context, name string, content []byte) error {
	target, err := d.pathOf(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return errors.ErrExternalStorageAPI.Wrap(err)
	}
	if err := write(target, content); err != nil {
		return errors.ErrExternalStorageAPI.Wrap(err)
	}
	return nil
}

// write puts the content on disk under another name first, and returns when the
// name is on disk too.
func write(target string, content []byte) (err error) {
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// The first error counts; a file that is left over is not listed.
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return err
	}
	return syncDirectory(dir)
}

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (d *directory) Get(_ context.Context, name string) ([]byte, error) {
	source, err := d.pathOf(name)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(source)
	switch {
	case stderrors.Is(err, fs.ErrNotExist):
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, errors.ErrExternalStorageAPI.Wrap(err)
	}
	return content, nil
}

func (d *directory) List(ctx context.Context, dir string, visit func(string, int64) error) error {
	start := d.root
	if dir != "" {
		var err error
		if start, err = d.pathOf(dir); err != nil {
			return err
		}
	}
	var visitErr error
	err := filepath.WalkDir(start, func(at string, entry fs.DirEntry, err error) error {
		if stderrors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile, or an empty store
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), tempPrefix) {
			return err
		}
		info, err := entry.Info()
		if stderrors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(d.root, at)
		if err != nil {
			return err
		}
		visitErr = visit(filepath.ToSlash(name), info.Size())
		return visitErr
	})
	if err != nil && visitErr == nil {
		return errors.ErrExternalStorageAPI.Wrap(err)
	}
	return visitErr
}

func (d *directory) Delete(_ context.Context, names ...string) error {
	for _, name := range names {
		target, err := d.pathOf(name)
		if err != nil {
			return err
		}
		if err := os.Remove(target); err != nil && !stderrors.Is(err, fs.ErrNotExist) {
			return errors.ErrExternalStorageAPI.Wrap(err)
		}
	}
	return nil
}

func (d *directory) Close() {}
