package kv

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// loadRows writes n changes of about 200 bytes: 60 % inserts, 30 % updates, 10 % deletes.
func loadRows(b *testing.B, c *cluster, n int) {
	const batch = 2000
	tikv := tikvpb.NewTikvClient(c.dial())
	r := rand.New(rand.NewPCG(1, 2))
	inserted := 0
	for done := 0; done < n; done += batch {
		muts := make(map[int]*kvrpcpb.Mutation, batch)
		for len(muts) < batch {
			m := &kvrpcpb.Mutation{Op: kvrpcpb.Op_Put, Value: make([]byte, 200)}
			key := inserted
			switch p := r.IntN(10); {
			case p < 6 || inserted < 2*batch:
				inserted++
			case p < 9:
				key = r.IntN(inserted)
			default:
				key = r.IntN(inserted)
				m.Op, m.Value = kvrpcpb.Op_Del, nil
			}
			m.Key = fmt.Appendf(nil, "t%08d_x%08d", key%10, key)
			muts[key] = m
		}
		req := make([]*kvrpcpb.Mutation, 0, batch)
		for _, m := range muts {
			req = append(req, m)
		}
		require.Empty(b, c.prewrite(tikv, c.pd.ts(b), req, onePC).Errors)
	}
}

// countingCodec receives messages without looking at them, so that the benchmark's client costs little.
type countingCodec struct {
	encoding.CodecV2
	bytes int
}

func (c *countingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	c.bytes += data.Len()
	event := v.(*cdcpb.ChangeDataEvent)
	event.ResolvedTs = nil
	if first := data[0].ReadOnlyData(); len(first) > 0 && first[0] == tagMessageResolved {
		event.ResolvedTs = &cdcpb.ResolvedTs{}
	}
	return nil
}

// BenchmarkScan sends 300,000 changes with old values to a client that throws them away. cpu-ns/row is that of the
// process, the client's part of gRPC included.
func BenchmarkScan(b *testing.B) {
	const rows = 300_000
	c := openCluster(b, b.TempDir(), nil, func(o *Options) { o.RegionMaxBytes, o.RegionMaxKeys = -1, -1 })
	defer func() { require.NoError(b, c.store.Close()) }()
	start := c.pd.ts(b)
	loadRows(b, c, rows)
	codec := &countingCodec{CodecV2: encoding.GetCodecV2("proto")}
	client := cdcpb.NewChangeDataClient(c.dial())
	b.ResetTimer()
	cpu := cpuTime()
	for i := range b.N {
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := client.EventFeed(ctx, grpc.ForceCodecV2(codec), grpc.MaxCallRecvMsgSize(1<<30))
		require.NoError(b, err)
		r := c.store.RegionByKey(nil).Meta
		require.NoError(b, stream.Send(&cdcpb.ChangeDataRequest{
			Header:   &cdcpb.Header{ClusterId: testCluster, TicdcVersion: "8.5.3"},
			RegionId: r.Id, RegionEpoch: r.RegionEpoch, RequestId: uint64(i + 1), CheckpointTs: start,
			ExtraOp: kvrpcpb.ExtraOp_ReadOldValue,
		}))
		for resolved := false; !resolved; {
			event, err := stream.Recv()
			require.NoError(b, err)
			resolved = event.ResolvedTs != nil
		}
		cancel()
	}
	total := float64(b.N) * rows
	b.ReportMetric(float64(cpuTime()-cpu)/total, "cpu-ns/row")
	b.ReportMetric(total/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(codec.bytes)/total, "B/row")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
