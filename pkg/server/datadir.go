package server

import (
	"context"
	"fmt"
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
)

// prepareDataDir makes the data directory usable and returns the sorter's
// part of it.
func (s *Server) prepareDataDir(ctx context.Context) (string, error) {
	dir := s.o.Config.DataDir
	if dir == "" {
		dir = s.bestSortDir(ctx)
	}
	sorterDir := filepath.Join(dir, "tmp", "sorter")
	if err := os.MkdirAll(sorterDir, dataDirMode); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := checkWritable(sorterDir); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if free, err := freeSpace(dir); err == nil && free < recommendedFree {
		s.logger.Warn("the data directory has less than the recommended 500 GB of free space",
			zap.String("dir", dir), zap.Uint64("freeBytes", free))
	}
	return filepath.Join(sorterDir, "0000"), nil
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
