package kafka

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

// largeMessages makes rows of more than 600 bytes too large.
func largeMessages(t *testing.T, handle *config.LargeMessageHandleConfig) sink.Options {
	o := sinkOptions(t, newCluster(t, 1, 1), "protocol=open-protocol&max-message-bytes=600")
	o.Config.Sink.KafkaConfig = &config.KafkaConfig{LargeMessageHandle: handle}
	return o
}

func TestClaimCheck(t *testing.T) {
	dir := t.TempDir()
	o := largeMessages(t, &config.LargeMessageHandleConfig{
		LargeMessageHandleOption: config.LargeMessageClaimCheck, ClaimCheckStorageURI: "file://" + dir,
	})
	registry := prometheus.NewRegistry()
	o.Registerer = registry
	s, err := New(t.Context(), o)
	require.NoError(t, err)
	defer s.Close()
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, v TEXT)")
	large := strings.Repeat("x", 2000)
	require.NoError(t, acked(t, write(t, s, u.Model, u.Change(5, 0, nil, []any{1, large}), u.Change(6, 0, nil, []any{2, "small"}))))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	families, err := registry.Gather()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, f := range families {
		seen[f.GetName()] = true
	}
	require.True(t, seen["ticdc_sink_mq_claim_check_send_message_count"])
	require.True(t, seen["ticdc_sink_flush_lag_histogram"])
}

func TestTooLargeMessage(t *testing.T) {
	s, err := New(t.Context(), largeMessages(t, nil))
	require.NoError(t, err)
	defer s.Close()
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, v TEXT)")
	err = acked(t, write(t, s, u.Model, u.Change(5, 0, nil, []any{1, strings.Repeat("x", 2000)})))
	require.Equal(t, errors.ErrMessageTooLarge.Text(), errors.CodeOf(err))
	require.ErrorContains(t, err, "db.t")
}

func TestClaimCheckStorageThatIsNone(t *testing.T) {
	o := largeMessages(t, &config.LargeMessageHandleConfig{
		LargeMessageHandleOption: config.LargeMessageClaimCheck, ClaimCheckStorageURI: "what://x",
	})
	require.Error(t, Probe(t.Context(), o))
}
