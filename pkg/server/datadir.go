package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// fallbackDataDir is used when neither the configuration nor an existing
	// changefeed names a directory.
	fallbackDataDir = "/tmp/cdc_data"
	// recommendedFree is the free space, in bytes, below which the log says so.
	recommendedFree = 500 << 30
	dataDirMode     = 0o700
	// sorterDirs is how many processes may share a data directory.
	sorterDirs = 1000
)

// prepareDataDir makes the data directory usable and returns the part of it
// that is this process's sorter's until the lock is closed.
func (s *Server) prepareDataDir(ctx context.Context) (sorterDir string, lock io.Closer, err error) {
	dir := s.o.Config.DataDir
	if dir == "" {
		dir = s.bestSortDir(ctx)
	}
	parent := filepath.Join(dir, "tmp", "sorter")
	if err := os.MkdirAll(parent, dataDirMode); err != nil {
		return "", nil, fmt.Errorf("data directory: %w", err)
	}
	if err := checkWritable(parent); err != nil {
		return "", nil, fmt.Errorf("data directory: %w", err)
	}
	if free, err := freeSpace(dir); err == nil && free < recommendedFree {
		s.logger.Warn("the data directory has less than the recommended 500 GB of free space",
			zap.String("dir", dir), zap.Uint64("freeBytes", free))
	}
	sorterDir, lock, err = claimSorterDir(parent)
	if err != nil {
		return "", nil, fmt.Errorf("data directory: %w", err)
	}
	return sorterDir, lock, nil
}

// claimSorterDir takes the first directory below parent that no other process
// has. Several captures of one machine may well have the same data directory,
// the fallback one above all, and a sorter wipes its own and gives its files
// the same names as every other.
func claimSorterDir(parent string) (dir string, lock io.Closer, err error) {
	for i := range sorterDirs {
		dir = filepath.Join(parent, fmt.Sprintf("%04d", i))
		f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return "", nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return dir, f, nil
		}
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return "", nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
	return "", nil, fmt.Errorf("%d processes use %s", sorterDirs, parent)
}

// bestSortDir is the directory with the most free space among those that
// existing changefeeds name.
func (s *Server) bestSortDir(ctx context.Context) string {
	feeds, err := s.meta.ListFeeds(ctx)
	if err != nil {
		s.logger.Warn("cannot look for a data directory in the changefeeds", zap.Error(err))
	}
	best, most := fallbackDataDir, uint64(0)
	for _, f := range feeds {
		dir := f.Info.SortDir
		if dir == "" || !filepath.IsAbs(dir) {
			continue
		}
		if free, err := freeSpace(dir); err == nil && free > most {
			best, most = dir, free
		}
	}
	return best
}

// checkWritable proves that files can be written and read back.
func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, "check-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString("ok"); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	_, err = os.ReadFile(f.Name())
	return err
}

func freeSpace(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}
