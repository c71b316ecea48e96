package wire

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// requireSame holds an item's own form against that of encoding/json.
func requireSame(t *testing.T, item interface {
	AppendJSON(b []byte) ([]byte, error)
}) {
	want, err := json.Marshal(item)
	require.NoError(t, err)
	got, err := item.AppendJSON([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, "x"+string(want), string(got))
}

func FuzzAppendJSON(f *testing.F) {
	for _, s := range []string{"", "test-1", "a\"b", `\`, "<&>", "\x7f", "\x00", "é", "\xff", "\u2028"} {
		f.Add(s, uint64(426921294362574849), true)
		f.Add(s, uint64(0), false)
	}
	f.Fuzz(func(t *testing.T, s string, n uint64, yes bool) {
		summary := Summary{UpstreamID: n, Namespace: s, ID: s, State: model.FeedState(s), CheckpointTSO: n, CheckpointTime: TimeOfTSO(n)}
		if yes {
			summary.CheckpointTime = Time{}
			summary.Error = &model.RunningError{Time: time.Unix(1, 2), Addr: s, Code: s, Message: s}
		}
		requireSame(t, summary)
		requireSame(t, Processor{Namespace: s, ChangefeedID: s, CaptureID: s})
		requireSame(t, Capture{ID: s, IsOwner: yes, Address: s, ClusterID: s})
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	s := Summary{UpstreamID: 7204115354417354325, Namespace: "default", ID: "test-1", State: model.StateNormal,
		CheckpointTSO: 426921294362574849, CheckpointTime: TimeOfTSO(426921294362574849)}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.AppendJSON(buf); err != nil {
			b.Fatal(err)
		}
	}
}
