package playground

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// dirLock keeps a second playground off a data folder. It goes with the process.
type dirLock struct {
	file *os.File
}

func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("playground: data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("playground: the data folder %s is in use: %w", dir, err)
	}
	return &dirLock{file: f}, nil
}

func (l *dirLock) release() error { return l.file.Close() }
