package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		args       []string
		downstream int
		err        string
	}{
		"defaults":                      {},
		"free downstream":               {args: []string{"--downstream-port", "-1"}, downstream: freePort},
		"demo brings its downstream":    {args: []string{"--demo"}, downstream: freePort},
		"demo keeps the one given":      {args: []string{"--demo", "--downstream-port", "4001"}, downstream: 4001},
		"demo needs a capture":          {args: []string{"--demo", "--captures", "0"}, err: "needs a capture"},
		"negative captures":             {args: []string{"--captures", "-1"}, err: "--captures"},
		"negative port":                 {args: []string{"--pd-port", "-1"}, err: "--pd-port"},
		"port too large":                {args: []string{"--cdc-port", "65536"}, err: "--cdc-port"},
		"downstream port out of bounds": {args: []string{"--downstream-port", "70000"}, err: "--downstream-port"},
	} {
		t.Run(name, func(t *testing.T) {
			var f flags
			cmd := commandFor(&f)
			require.NoError(t, cmd.ParseFlags(tc.args))
			err := f.check()
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.downstream, f.downstreamPort)
		})
	}
}

func TestDefaultsAreThoseOfTheField(t *testing.T) {
	var f flags
	require.NoError(t, commandFor(&f).ParseFlags(nil))
	require.Equal(t, []int{2379, 20160, 4000, 10080, 8300, 1},
		[]int{f.PDPort, f.KVPort, f.DBPort, f.DBStatusPort, f.CDCPort, f.Captures})
}

func TestArgumentsAreRefused(t *testing.T) {
	cmd := newCommand()
	cmd.SetArgs([]string{"now"})
	cmd.SetErr(&bytes.Buffer{})
	require.Error(t, cmd.Execute())
}

func TestPrepareData(t *testing.T) {
	t.Run("temporary", func(t *testing.T) {
		var f flags
		remove, err := f.prepareData()
		require.NoError(t, err)
		require.DirExists(t, f.DataDir)
		require.Equal(t, filepath.Join(f.DataDir, "playground.log"), f.logFile)
		require.NoError(t, remove())
		require.NoDirExists(t, f.DataDir)
	})
	t.Run("given", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "new")
		var f flags
		f.DataDir, f.logFile = dir, "elsewhere.log"
		remove, err := f.prepareData()
		require.NoError(t, err)
		require.NoError(t, remove())
		require.DirExists(t, dir)
		require.Equal(t, "elsewhere.log", f.logFile)
	})
}

func TestDownstreamCommand(t *testing.T) {
	f := flags{downstreamPort: freePort}
	f.Host, f.DataDir = "127.0.0.1", "/data"
	cmd, err := f.downstreamCommand()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, self, cmd.Path)

	// The child has to understand what it is told.
	var child flags
	require.NoError(t, commandFor(&child).ParseFlags(cmd.Args[1:]))
	require.NoError(t, child.check())
	require.True(t, child.child)
	require.Zero(t, child.Captures)
	require.Zero(t, child.DBPort)
	require.Equal(t, "/data/downstream", child.DataDir)
}

func TestUntilEOF(t *testing.T) {
	ctx := untilEOF(context.Background(), strings.NewReader("some input"))
	<-ctx.Done()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}
