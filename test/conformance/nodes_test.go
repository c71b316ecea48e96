package conformance

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// TestForwarding asks a capture that is not the owner.
func TestForwarding(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	second, err := cluster.StartServer(ctx, cluster.ServerOptions{PD: shared.up.PD, Dir: shared.dir, Name: "second"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, second.Stop()) })
	r := newRunner(ctx, t, map[string]*cluster.Server{"a": shared.server, "b": second})
	r.runFiles(ctx, t, "testdata/forward.http")
}

// TestAuthentication asks a server of a cluster of its own that lets nobody
// write without credentials.
func TestAuthentication(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	file := filepath.Join(shared.dir, "auth.toml")
	require.NoError(t, os.WriteFile(file, []byte("[security]\nclient-user-required = true\nclient-allowed-user = [\"writer\"]\n"), 0o600))
	server, err := cluster.StartServer(ctx, cluster.ServerOptions{
		PD: shared.up.PD, Dir: shared.dir, Name: "auth", Args: []string{"--config", file, "--cluster-id", "auth"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	r := newRunner(ctx, t, map[string]*cluster.Server{"a": server})
	r.runFiles(ctx, t, "testdata/auth.http")
}
