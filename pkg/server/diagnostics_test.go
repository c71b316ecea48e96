package server

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pingcap/kvproto/pkg/diagnosticspb"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
)

// TestLogIsSearched: as TiDB does it for information_schema.cluster_log.
func TestLogIsSearched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cdc.log")
	require.NoError(t, os.WriteFile(file, []byte(
		"[2026/01/02 03:04:05.678 +00:00] [INFO] [server.go:42] [\"http server is running\"] [addr=127.0.0.1:8300]\n"+
			"[2026/01/02 03:04:06.678 +00:00] [WARN] [feed.go:7] [stalled] [changefeed=default/a]\n"), 0o600))
	s := newBench(t).start(func(c *config.ServerConfig) { c.LogFile = file })
	conn, err := s.dialPeer(s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	stream, err := diagnosticspb.NewDiagnosticsClient(conn).SearchLog(t.Context(), &diagnosticspb.SearchLogRequest{
		Levels: []diagnosticspb.LogLevel{diagnosticspb.LogLevel_Warn},
	})
	require.NoError(t, err)
	answer, err := stream.Recv()
	require.NoError(t, err)
	require.Len(t, answer.Messages, 1)
	require.Equal(t, "[feed.go:7] [stalled] [changefeed=default/a]", answer.Messages[0].Message)
}
