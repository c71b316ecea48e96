package etcdmeta

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "  ")
	require.NoError(t, err)
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got)+"\n")
}

func sampleInfo() *ChangefeedInfo {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.FixedZone("", 8*3600))
	return &ChangefeedInfo{
		UpstreamID: 7123456789, Namespace: "default", ID: "feed-1",
		SinkURI:    "mysql://root:secret@127.0.0.1:3306/",
		CreateTime: at, StartTs: 400000000000000001, TargetTs: 0,
		Config: config.DefaultReplicaConfig(), State: model.StateWarning,
		Error:          &model.RunningError{Time: at, Addr: "127.0.0.1:8300", Code: "CDC:ErrMySQLTxnError", Message: "[CDC:ErrMySQLTxnError]MySQL txn error"},
		CreatorVersion: "v8.5.3", Epoch: 400000000000000002,
	}
}

// The values are what other servers and tools read: every key is written, and
// the address keeps its password.
func TestGoldenValues(t *testing.T) {
	golden(t, "info.json", sampleInfo())
	golden(t, "status.json", &ChangefeedStatus{CheckpointTs: 1, MinTableBarrierTs: 2, AdminJobType: model.AdminStop})
	golden(t, "upstream.json", &UpstreamInfo{ID: 7123456789, PDEndpoints: "http://127.0.0.1:2379,http://127.0.0.2:2379"})
	golden(t, "capture.json", &model.CaptureInfo{
		ID: "c-1", AdvertiseAddr: "127.0.0.1:8300", Version: "v8.5.3", GitHash: "abc", DeployPath: "/bin/cdc", StartTimestamp: 1767225600,
	})
}

func TestDecodeInfo(t *testing.T) {
	id := model.DefaultChangefeedID("feed-1")
	value, err := json.Marshal(sampleInfo())
	require.NoError(t, err)
	info, err := decodeInfo(id, value)
	require.NoError(t, err)
	require.Equal(t, sampleInfo().SinkURI, info.SinkURI)
	require.Equal(t, sampleInfo().Epoch, info.Epoch)
	require.True(t, sampleInfo().CreateTime.Equal(info.CreateTime))

	// What a 5.x or 6.x server left: fewer keys, unknown ones, an old state.
	info, err = decodeInfo(id, []byte(`{"sink-uri":"blackhole://","opts":{},"start-ts":5,"state":"error","sync-point-enabled":true}`))
	require.NoError(t, err)
	require.Equal(t, id, info.FeedID())
	require.Equal(t, model.StatePending, info.State)
	require.NotNil(t, info.Config)

	_, err = decodeInfo(id, []byte(`{`))
	require.Error(t, err)
}

func TestDecodeStatus(t *testing.T) {
	status, err := decodeStatus(model.DefaultChangefeedID("f"), []byte(`{"resolved-ts":9,"checkpoint-ts":7,"admin-job-type":1}`))
	require.NoError(t, err)
	require.Equal(t, &ChangefeedStatus{CheckpointTs: 7, MinTableBarrierTs: 7, AdminJobType: model.AdminStop}, status)
}

func TestHoldsGC(t *testing.T) {
	gc := &model.RunningError{Code: errors.ErrGCTTLExceeded.Text()}
	other := &model.RunningError{Code: errors.ErrDispatcherFailed.Text()}
	tests := []struct {
		state model.FeedState
		err   *model.RunningError
		want  bool
	}{
		{model.StateNormal, nil, true},
		{model.StatePending, other, true},
		{model.StateStopped, gc, true},
		{model.StateFailed, other, true},
		{model.StateFailed, nil, true},
		{model.StateFailed, gc, false},
		{model.StateFinished, nil, false},
		{model.StateRemoved, nil, false},
	}
	for _, tt := range tests {
		info := &ChangefeedInfo{State: tt.state, Error: tt.err}
		require.Equal(t, tt.want, info.HoldsGC(), "%s %v", tt.state, tt.err)
	}
}

// FuzzDecode checks that no stored value, whoever wrote it, breaks the reader.
func FuzzDecode(f *testing.F) {
	value, err := json.Marshal(sampleInfo())
	require.NoError(f, err)
	f.Add(value)
	f.Add([]byte(`{"config":null}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		id := model.DefaultChangefeedID("f")
		if info, err := decodeInfo(id, value); err == nil {
			require.Equal(t, id, info.FeedID())
			require.NotNil(t, info.Config)
		}
		_, _ = decodeStatus(id, value)
		_, _ = decodeUpstream(1, value)
		_, _ = decodeCapture("c", value)
	})
}
