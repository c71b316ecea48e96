package server

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
)

// TestSharedDataDir: captures of one machine may have the same data directory,
// and none of them touches the files of another.
func TestSharedDataDir(t *testing.T) {
	data := t.TempDir()
	here := func(c *config.ServerConfig) { c.DataDir = data }
	sorterDir := func(n string) string { return filepath.Join(data, "tmp", "sorter", n) }
	require.NoError(t, os.MkdirAll(sorterDir("0001"), 0o700))
	leftover := filepath.Join(sorterDir("0001"), "of-a-dead-process")
	require.NoError(t, os.WriteFile(leftover, nil, 0o600))

	b := newBench(t)
	first := b.start(here)
	file := filepath.Join(sorterDir("0000"), "of-the-first")
	require.NoError(t, os.MkdirAll(sorterDir("0000"), 0o700)) // as with its first run
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	second := b.start(here)
	require.FileExists(t, file)
	require.NoFileExists(t, leftover)
	second.stop()
	require.FileExists(t, file)
	first.stop()
	require.NoFileExists(t, file)

	dir, lock, err := claimSorterDir(sorterDir(""))
	require.NoError(t, err)
	defer lock.Close()
	require.Equal(t, sorterDir("0000"), dir, "who ends lets go")
}
