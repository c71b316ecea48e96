package factory

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
)

// TestSinksToCome: this version has no sink for files and none for Pulsar. Their
// settings are read and checked, and then the sink is refused, so that none of
// them is taken and ignored.
func TestSinksToCome(t *testing.T) {
	const (
		files  = "file:///nowhere?protocol=csv"
		pulsar = "pulsar://127.0.0.1:1/t?protocol=canal-json"
	)
	sections := []struct {
		uri     config.SinkURI
		section string
		keys    map[string]string // with values that are not the defaults
	}{
		{files, "sink", map[string]string{
			"terminator": "'|'", "date-separator": "'month'", "enable-partition-separator": "false", "file-index-digit": "9",
		}},
		{files, "sink.csv", map[string]string{
			"delimiter": "'|'", "quote": "''", "null": "'nil'", "include-commit-ts": "true",
			"binary-encoding-method": "'hex'", "output-old-value": "true", "output-handle-key": "true",
		}},
		{files, "sink.cloud-storage-config", map[string]string{
			"worker-count": "3", "flush-interval": "'7s'", "file-size": "2000000", "output-column-id": "true",
			"file-expiration-days": "2", "file-cleanup-cron-spec": "'0 0 3 * * *'", "flush-concurrency": "2", "output-raw-change-event": "true",
		}},
		{pulsar, "sink.pulsar-config", map[string]string{
			"tls-key-file-path": "'x'", "tls-certificate-file": "'x'", "tls-trust-certs-file-path": "'x'", "pulsar-producer-cache-size": "3",
			"pulsar-version": "'v2'", "compression-type": "'lz4'", "authentication-token": "'x'", "connection-timeout": "7",
			"operation-timeout": "7", "batching-max-messages": "7", "batching-max-publish-delay": "7", "send-timeout": "7",
			"token-from-file": "'x'", "basic-user-name": "'x'", "basic-password": "'x'", "auth-tls-certificate-path": "'x'",
			"auth-tls-private-key-path": "'x'", "output-raw-change-event": "true",
			"oauth2": "{oauth2-issuer-url='x', oauth2-audience='x', oauth2-private-key='x', oauth2-client-id='x', oauth2-scope='x'}",
		}},
	}
	for _, s := range sections {
		t.Run(s.section, func(t *testing.T) {
			for key, value := range s.keys {
				t.Run(key, func(t *testing.T) { refused(t, s.uri, "["+s.section+"]\n"+key+" = "+value) })
			}
		})
	}
}

// refused reads a file and holds that its sink is refused, with it and without.
func refused(t *testing.T, uri config.SinkURI, file string) {
	plain, set := config.DefaultReplicaConfig(), config.DefaultReplicaConfig()
	path := filepath.Join(t.TempDir(), "changefeed.toml")
	require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	require.NoError(t, set.LoadFile(path))
	require.NotEqual(t, plain, set, "the key is read")
	for _, c := range []*config.ReplicaConfig{plain, set} {
		require.NoError(t, c.ValidateAndAdjust(uri))
		o := sink.Options{URI: uri, Config: c.FitTo(uri)}
		_, err := New(t.Context(), o)
		require.ErrorIs(t, err, errors.ErrSinkURIInvalid)
		require.ErrorIs(t, Probe(t.Context(), o), errors.ErrSinkURIInvalid)
	}
}
