package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
)

func TestOptionsOfTheChangefeed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "changefeed.toml")
	require.NoError(t, os.WriteFile(file, []byte(`[sink.kafka-config.large-message-handle]
large-message-handle-option = "claim-check"
large-message-handle-compression = "lz4"
claim-check-storage-uri = "file:///tmp/large"
`), 0o644))
	var got *flags
	c := newCommand(func(_ context.Context, f *flags) error { got = f; return nil })
	c.SetArgs([]string{"--sink-uri", "kafka://a:1,b:2/orders?protocol=canal-json&enable-tidb-extension=true", "--config", file, "--tz", "UTC"})
	require.NoError(t, c.Execute())
	feed, err := got.changefeed(zap.NewNop())
	require.NoError(t, err)
	o, claimCheck, err := got.consumerOptions(feed)
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:2"}, o.Brokers)
	require.Equal(t, []string{"orders"}, o.Topics)
	require.Equal(t, config.ProtocolCanalJSON, o.Codec.Protocol)
	require.True(t, o.Codec.EnableTiDBExtension)
	require.Equal(t, "lz4", o.Codec.LargeMessage.Compression)
	require.EqualValues(t, "file:///tmp/large", claimCheck)
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--sink-uri", "kafka://a:1/t?protocol=nope"},
		{"--sink-uri", "kafka://a:1/t?protocol=open-protocol", "--tz", "Nowhere/None"},
		{"--sink-uri", "kafka://a:1/t?protocol=open-protocol", "--topic-pattern", "("},
		{"--sink-uri", "kafka://a:1/t?protocol=open-protocol", "--config", "/no/such/file"},
		{"--sink-uri", "kafka://a:1/t?protocol=open-protocol", "--log-level", "loud"},
	} {
		c := newCommand(run)
		c.SetArgs(args)
		c.SilenceErrors = true
		require.Error(t, c.ExecuteContext(t.Context()), args)
	}
}
