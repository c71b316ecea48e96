package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// execute runs a command line; the server is not started but recorded.
func execute(t *testing.T, runErr error, args ...string) (o *serverOptions, stdout, stderr string, err error) {
	t.Helper()
	root := newRootCommand(func(_ *cobra.Command, got *serverOptions) error {
		o = got
		return runErr
	})
	var out, errOut bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs(args)
	err = root.Execute()
	return o, out.String(), errOut.String(), err
}

func TestVersion(t *testing.T) {
	_, stdout, stderr, err := execute(t, nil, "version")
	require.NoError(t, err)
	require.Empty(t, stderr)
	require.Regexp(t, regexp.MustCompile(`^Release Version: v8\.5\.3
Git Commit Hash: None
Git Branch: None
UTC Build Time: None
Go Version: go1\.\S+
Failpoint Build: false
$`), stdout)
}

func TestServerDefaults(t *testing.T) {
	o, stdout, stderr, err := execute(t, nil, "server")
	require.NoError(t, err)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "data-dir is not set")
	require.Equal(t, []string{"http://127.0.0.1:2379"}, o.pd)
	require.Equal(t, "127.0.0.1:8300", o.config.AdvertiseAddr)
	require.Empty(t, o.config.DataDir)
}

func TestServerFlagsWinOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cdc.toml")
	require.NoError(t, os.WriteFile(file, []byte("addr = \"127.0.0.1:1\"\ngc-ttl = 7\nlog-level = \"warn\"\n"), 0o600))
	dir := t.TempDir()
	o, _, stderr, err := execute(t, nil, "server", "--config", file, "--pd", "http://a:1, http://b:2", "--addr", "127.0.0.1:2",
		"--advertise-addr", "cdc:3", "--data-dir", dir, "--cluster-id", "c-1", "--tz", "UTC", "--log-file", "f",
		"--ca", "x", "--cert-allowed-cn", "a, b", "--owner-flush-interval", "1s", "--processor-flush-interval", "2s")
	require.NoError(t, err)
	require.Empty(t, stderr)
	require.Equal(t, []string{"http://a:1", "http://b:2"}, o.pd)
	c := o.config
	require.Equal(t, "127.0.0.1:2", c.Addr)
	require.Equal(t, "cdc:3", c.AdvertiseAddr)
	require.Equal(t, int64(7), c.GCTTL, "from the file")
	require.Equal(t, "warn", c.LogLevel, "from the file")
	require.Equal(t, filepath.Join(dir, "tmp", "sorter"), c.Sorter.SortDir)
	require.Equal(t, []string{"a", "b"}, c.Security.CertAllowedCN)
	require.Equal(t, "x", c.Security.CAPath)
	require.Equal(t, "c-1", c.ClusterID)
	require.Equal(t, "f", c.LogFile)
	require.Equal(t, time.Second, c.OwnerFlushInterval)
	require.Equal(t, 2*time.Second, c.ProcessorFlushInterval)
}

// TestUsageOnlyForWrongCommandLines: what is wrong on the command line shows
// the usage, what fails later does not.
func TestUsageOnlyForWrongCommandLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cdc.toml")
	require.NoError(t, os.WriteFile(file, []byte("unknown = 1\n"), 0o600))
	tests := []struct {
		name string
		args []string
		err  string
	}{
		{"flag", []string{"server", "--nope"}, "unknown flag: --nope"},
		{"argument", []string{"server", "x"}, `unknown command "x" for "cdc server"`},
		{"version argument", []string{"version", "x"}, `unknown command "x" for "cdc version"`},
		{"number", []string{"server", "--gc-ttl", "x"}, "invalid argument"},
		{"gc-ttl", []string{"server", "--gc-ttl", "0"}, "GC TTL"},
		{"zone", []string{"server", "--tz", "Moon/Base"}, "timezone"},
		{"cluster id", []string{"server", "--cluster-id", "meta"}, "reserved"},
		{"advertise", []string{"server", "--advertise-addr", "0.0.0.0:8300"}, "unspecified"},
		{"file", []string{"server", "--config", file}, "contained unknown configuration options: unknown"},
		{"no pd", []string{"server", "--pd", ""}, "empty PD address"},
		{"pd without scheme", []string{"server", "--pd", "127.0.0.1:2379"}, "valid http or https URL"},
		{"pd with another scheme", []string{"server", "--pd", "ftp://h:1"}, "http or https"},
		{"https without certificates", []string{"server", "--pd", "http://a:1,https://b:2"}, "please provide certificate"},
		{"http with certificates", []string{"server", "--pd", "http://a:1", "--ca", "a", "--cert", "b", "--key", "c"}, "should be https"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, stdout, stderr, err := execute(t, nil, tt.args...)
			require.ErrorContains(t, err, tt.err)
			require.Nil(t, o)
			require.Contains(t, stderr, "Error: ")
			require.Contains(t, stdout+stderr, "Usage:")
		})
	}

	_, stdout, stderr, err := execute(t, errors.New("boom"), "server", "--data-dir", t.TempDir())
	require.EqualError(t, err, "boom")
	require.Equal(t, "Error: boom\n", stderr)
	require.Empty(t, stdout)
}

func TestDeprecatedSortDir(t *testing.T) {
	o, _, stderr, err := execute(t, nil, "server", "--data-dir", t.TempDir(), "--sort-dir", "/x")
	require.NoError(t, err)
	require.Contains(t, stderr, "sort-dir is deprecated")
	require.NotEqual(t, "/x", o.config.Sorter.SortDir)
	_, stdout, _, err := execute(t, nil, "server", "--help")
	require.NoError(t, err)
	for _, hidden := range []string{"sort-dir", "owner-flush-interval", "processor-flush-interval"} {
		require.NotContains(t, stdout, hidden)
	}
	_, stdout, _, err = execute(t, nil, "--help")
	require.NoError(t, err)
	require.NotContains(t, stdout, "completion")
}

// fakeCapture works until it is told to stop.
type fakeCapture struct {
	prepared chan struct{}
	blocks   bool
	err      error
}

func (f *fakeCapture) Run(ctx context.Context) error {
	if f.err != nil {
		return f.err
	}
	<-ctx.Done()
	return nil
}

func (f *fakeCapture) PrepareStop(ctx context.Context) {
	close(f.prepared)
	if f.blocks {
		<-ctx.Done()
	}
}

func TestSignals(t *testing.T) {
	run := func(c *fakeCapture, signals chan os.Signal) chan error {
		done := make(chan error, 1)
		go func() { done <- runUntilSignal(context.Background(), c, signals, zap.NewNop()) }()
		return done
	}
	t.Run("first stops in order", func(t *testing.T) {
		c, signals := &fakeCapture{prepared: make(chan struct{})}, make(chan os.Signal, 2)
		done := run(c, signals)
		signals <- syscall.SIGTERM
		require.NoError(t, <-done)
		<-c.prepared
	})
	t.Run("second forces", func(t *testing.T) {
		c, signals := &fakeCapture{prepared: make(chan struct{}), blocks: true}, make(chan os.Signal, 2)
		done := run(c, signals)
		signals <- syscall.SIGINT
		<-c.prepared
		signals <- syscall.SIGINT
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(prepareTimeout / 2):
			t.Fatal("the second signal was not heard")
		}
	})
	t.Run("failure needs no signal", func(t *testing.T) {
		c := &fakeCapture{prepared: make(chan struct{}), err: errors.New("boom")}
		require.EqualError(t, <-run(c, make(chan os.Signal)), "boom")
	})
}

// TestLinksNoDatabase: the server must stay small, so neither TiDB's server,
// nor the planner that brings most of it, nor the playground's parts may be
// linked. Of TiDB's upper layers only the expressions are used, for filters.
func TestLinksNoDatabase(t *testing.T) {
	const tidb = "github.com/pingcap/tidb/pkg/"
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	for _, pkg := range strings.Fields(string(out)) {
		// Below these lie small packages of types that the expressions need.
		for _, banned := range []string{
			tidb + "session", tidb + "domain", tidb + "planner/core", tidb + "executor", tidb + "ddl", tidb + "infoschema",
			tidb + "statistics", tidb + "table/tables",
		} {
			require.NotEqual(t, banned, pkg)
		}
		for _, banned := range []string{
			tidb + "server", tidb + "store/mockstore", "github.com/pingcap/badger", "go.etcd.io/etcd/server",
			"github.com/tidemark/tidemark/pkg/playground", "github.com/pingcap/tiflow", "github.com/pingcap/ticdc",
		} {
			require.False(t, pkg == banned || strings.HasPrefix(pkg, banned+"/"), pkg)
		}
	}
}
