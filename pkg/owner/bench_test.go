package owner

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

// BenchmarkRound is what one round of resolved-ts costs an idle owner with
// fifty changefeeds: rounds come five times a second. The figure includes the
// stream, a fake capture and, unlike in production, the etcd.
func BenchmarkRound(b *testing.B) {
	tables := make([]*model.Table, 10)
	for i := range tables {
		tables[i] = table(int64(i+1), fmt.Sprintf("t%d", i))
	}
	c := newCluster(b, newFakeSchema(200, tables...))
	c.startOwner(c.addCapture("c-a"))
	const feeds = 50
	for i := range feeds {
		info := &etcdmeta.ChangefeedInfo{
			Namespace: "default", ID: fmt.Sprintf("f-%d", i), SinkURI: "blackhole://", StartTs: 100,
			Config: config.DefaultReplicaConfig(), State: model.StateNormal, Epoch: 7,
		}
		require.NoError(b, c.meta.CreateFeed(b.Context(), info, nil))
	}
	reached := func(ts uint64) func() bool {
		return func() bool {
			n := 0
			for _, f := range c.owner.View().Feeds {
				if f.Status != nil && f.Status.CheckpointTs >= ts {
					n++
				}
			}
			return n == feeds
		}
	}
	require.Eventually(b, reached(200), 10*time.Second, 10*time.Millisecond)
	before := cpu()
	ts := uint64(200)
	for b.Loop() {
		ts++
		c.schema.advance(ts)
		<-time.After(200 * time.Millisecond)
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/round")
	require.Eventually(b, reached(ts), 10*time.Second, 10*time.Millisecond)
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
