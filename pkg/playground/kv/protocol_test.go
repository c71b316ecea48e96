package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// feedStream is what both versions of the call have for a client.
type feedStream interface {
	Send(*cdcpb.ChangeDataRequest) error
	Recv() (*cdcpb.ChangeDataEvent, error)
	CloseSend() error
}

func (c *cluster) eventFeed(features ...string) feedStream {
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	client := cdcpb.NewChangeDataClient(c.dial())
	if len(features) == 0 {
		stream, err := client.EventFeed(ctx)
		require.NoError(c.t, err)
		return stream
	}
	for _, f := range features {
		ctx = metadata.AppendToOutgoingContext(ctx, featuresKey, f)
	}
	stream, err := client.EventFeedV2(ctx)
	require.NoError(c.t, err)
	return stream
}

// register returns a request for the whole region of a key.
func (c *cluster) register(key string, requestID uint64, change ...func(*cdcpb.ChangeDataRequest)) *cdcpb.ChangeDataRequest {
	r := c.store.RegionByKey(encodeKey([]byte(key))).Meta
	req := &cdcpb.ChangeDataRequest{
		Header:   &cdcpb.Header{ClusterId: testCluster, TicdcVersion: "7.5.7"},
		RegionId: r.Id, RegionEpoch: r.RegionEpoch, StartKey: r.StartKey, EndKey: r.EndKey, RequestId: requestID,
		CheckpointTs: c.pd.ts(c.t), ExtraOp: kvrpcpb.ExtraOp_ReadOldValue,
	}
	for _, ch := range change {
		ch(req)
	}
	return req
}

// until receives messages up to the first for which the condition holds.
func until(t *testing.T, stream feedStream, holds func(*cdcpb.ChangeDataEvent) bool) *cdcpb.ChangeDataEvent {
	for {
		event, err := stream.Recv()
		require.NoError(t, err)
		if holds(event) {
			return event
		}
	}
}

func isResolved(e *cdcpb.ChangeDataEvent) bool { return e.ResolvedTs != nil }

// eventError returns the error that a message holds, nil when none.
func eventError(e *cdcpb.ChangeDataEvent) *cdcpb.Event {
	for _, event := range e.Events {
		if event.GetError() != nil {
			return event
		}
	}
	return nil
}

func hasError(e *cdcpb.ChangeDataEvent) bool { return eventError(e) != nil }

func TestFeedProbeAndFeatures(t *testing.T) {
	c := newCluster(t)
	probe := c.eventFeed(featureMultiplexed)
	require.NoError(t, probe.CloseSend())
	_, err := probe.Recv()
	require.ErrorIs(t, err, io.EOF)

	_, err = c.eventFeed(featureMultiplexed + ",time-travel").Recv()
	require.Equal(t, codes.Unimplemented, status.Code(err), "%v", err)

	// After requests a clean end would leave the client waiting for ever.
	used := c.eventFeed(featureMultiplexed)
	require.NoError(t, used.Send(c.register("t", 1)))
	until(t, used, isResolved)
	require.NoError(t, used.CloseSend())
	for err = nil; err == nil; {
		_, err = used.Recv()
	}
	require.NotErrorIs(t, err, io.EOF)
}

func TestFeedRefusals(t *testing.T) {
	c := newCluster(t)
	region := c.store.RegionByKey(nil).Meta
	for name, test := range map[string]struct {
		change func(*cdcpb.ChangeDataRequest)
		want   *cdcpb.Error
	}{
		"cluster_id_mismatch": {
			func(r *cdcpb.ChangeDataRequest) { r.Header.ClusterId = 3 },
			&cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: testCluster, Request: 3}},
		},
		"compatibility": {
			func(r *cdcpb.ChangeDataRequest) { r.KvApi = cdcpb.ChangeDataRequest_RawKV },
			&cdcpb.Error{Compatibility: &cdcpb.Compatibility{RequiredVersion: kvAPIVersion}},
		},
		"region_not_found": {func(r *cdcpb.ChangeDataRequest) { r.RegionId = 99 }, nil},
		"epoch_not_match": {
			func(r *cdcpb.ChangeDataRequest) { r.RegionEpoch = &metapb.RegionEpoch{Version: 77, ConfVer: 1} }, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream := c.eventFeed(featureMultiplexed)
			req := c.register("t", 8, test.change)
			require.NoError(t, stream.Send(req))
			event, err := stream.Recv()
			require.NoError(t, err)
			got := eventError(event)
			require.NotNil(t, got)
			require.Equal(t, name, errorName(got.GetError()))
			require.Equal(t, []uint64{req.RegionId, 8}, []uint64{got.RegionId, got.RequestId})
			if test.want != nil {
				require.Equal(t, test.want, got.GetError())
			}
			if name == "epoch_not_match" {
				require.Equal(t, region, got.GetError().EpochNotMatch.CurrentRegions[0])
			}
			// The stream lives on.
			require.NoError(t, stream.Send(c.register("t", 9)))
			until(t, stream, isResolved)
		})
	}
}

func TestFeedDuplicateAndDeregister(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	stream := c.eventFeed(featureMultiplexed)
	req := c.register("t", 5)
	require.NoError(t, stream.Send(req))
	until(t, stream, isResolved)
	require.NoError(t, stream.Send(req))
	duplicate := eventError(until(t, stream, hasError))
	require.Equal(t, req.RegionId, duplicate.GetError().GetDuplicateRequest().GetRegionId())

	for _, regionID := range []uint64{0, req.RegionId} {
		require.NoError(t, stream.Send(&cdcpb.ChangeDataRequest{
			Header: req.Header, RequestId: 5, RegionId: regionID,
			Request: &cdcpb.ChangeDataRequest_Deregister_{Deregister: &cdcpb.ChangeDataRequest_Deregister{}},
		}))
		require.Eventually(t, func() bool {
			c.store.feed.mu.Lock()
			defer c.store.feed.mu.Unlock()
			return len(c.store.table.sorted[0].subs) == 0
		}, waitLong, tick)
		write(t, client, txnKind{}, map[string]string{"t1": fmt.Sprint(regionID)})
		// The next thing that comes is of the new registration.
		again := c.register("t", 5)
		require.NoError(t, stream.Send(again))
		until(t, stream, func(e *cdcpb.ChangeDataEvent) bool {
			for _, event := range e.Events {
				for _, row := range event.GetEntries().GetEntries() {
					require.NotEqual(t, "t1", string(row.Key))
					if row.Type == cdcpb.Event_INITIALIZED {
						return true
					}
				}
			}
			return false
		})
	}
}

func TestFeedResolvedTsOfManyRegions(t *testing.T) {
	c := newCluster(t)
	var keys [][]byte
	for i := range 50 {
		keys = append(keys, encodeKey(fmt.Appendf(nil, "t%02d", i)))
	}
	_, err := c.store.Split(context.Background(), keys)
	require.NoError(t, err)
	stream := c.eventFeed(featureMultiplexed)
	for i := range keys {
		require.NoError(t, stream.Send(c.register(fmt.Sprintf("t%02d", i), 1)))
	}
	require.NoError(t, stream.Send(c.register("a", 2)))
	all := func(e *cdcpb.ChangeDataEvent) bool {
		return e.ResolvedTs != nil && len(e.ResolvedTs.Regions) == len(keys)
	}
	event := until(t, stream, all)
	require.Equal(t, uint64(1), event.ResolvedTs.RequestId)
	// A lock holds its region back, and no other.
	rpc := tikvpb.NewTikvClient(c.dial())
	start := c.pd.ts(t)
	c.prewrite(rpc, start, put("t07"))
	held, after := c.store.RegionByKey(encodeKey([]byte("t07"))).Meta.Id, c.pd.ts(t)
	event = until(t, stream, func(e *cdcpb.ChangeDataEvent) bool {
		return e.ResolvedTs != nil && e.ResolvedTs.Ts > after && e.ResolvedTs.RequestId == 1
	})
	require.Len(t, event.ResolvedTs.Regions, len(keys)-1)
	require.NotContains(t, event.ResolvedTs.Regions, held)
	c.commit(rpc, start, "t07")
	until(t, stream, all)
}

func TestFeedOfOldClients(t *testing.T) {
	c := newCluster(t)
	for _, test := range []struct {
		version string
		batched bool
	}{{"4.0.7", false}, {"", false}, {"4.0.8", true}} {
		stream := c.eventFeed()
		require.NoError(t, stream.Send(c.register("t", 3, func(r *cdcpb.ChangeDataRequest) {
			r.Header = &cdcpb.Header{ClusterId: 12345, TicdcVersion: test.version} // not checked before 5.3.0
		})))
		event := until(t, stream, func(e *cdcpb.ChangeDataEvent) bool {
			if e.ResolvedTs != nil {
				return true
			}
			_, ok := e.Events[0].Event.(*cdcpb.Event_ResolvedTs)
			return ok
		})
		require.Equal(t, test.batched, event.ResolvedTs != nil)
		if test.batched {
			require.Zero(t, event.ResolvedTs.RequestId, "streams of one subscription do not name it")
		}
	}
}

func TestFeedSources(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	start := c.pd.ts(t)
	commit := func(kind txnKind, key string, source uint64) {
		txn := kind.begin(t, client)
		txn.SetTxnSource(source)
		require.NoError(t, kind.lock(context.Background(), client, txn, []byte(key)))
		require.NoError(t, txn.Set([]byte(key), []byte("value")))
		require.NoError(t, txn.Commit(context.Background()))
	}
	follow := func() (all, noLoop *feedClient) {
		loop := func(f *feedClient) { f.loop = true }
		return newFeedClient(t, c, spanStart, spanEnd, start), newFeedClient(t, c, spanStart, spanEnd, start, loop)
	}
	live, liveNoLoop := follow()
	for i, kind := range txnKinds {
		commit(kind, fmt.Sprintf("t%d-user", i), 0)
		commit(kind, fmt.Sprintf("t%d-feed", i), 1)
		commit(kind, fmt.Sprintf("t%d-ddl", i), 1<<8)
	}
	late, lateNoLoop := follow()
	ts := c.pd.ts(t)
	for f, perKind := range map[*feedClient]int{live: 2, late: 2, liveNoLoop: 1, lateNoLoop: 1} {
		require.Eventually(t, func() bool { return f.resolved() >= ts }, waitLong, tick)
		require.Empty(t, f.problems)
		require.Len(t, f.rows, perKind*len(txnKinds))
	}
}

func TestCloseEndsStreamsWithAnError(t *testing.T) {
	c := openCluster(t, t.TempDir(), nil)
	stream := c.eventFeed(featureMultiplexed)
	require.NoError(t, stream.Send(c.register("t", 1)))
	until(t, stream, isResolved)
	require.NoError(t, c.store.Close())
	var err error
	for err == nil {
		_, err = stream.Recv()
	}
	require.False(t, errors.Is(err, io.EOF), "%v", err)
}

// TestSlowReaderIsCutOff has a client that stops reading: writers go on, and its requests end.
func TestSlowReaderIsCutOff(t *testing.T) {
	const buffer = 1 << 20
	c := newCluster(t, func(o *Options) { o.StreamBuffer = buffer })
	client := c.client()
	slow := c.eventFeed(featureMultiplexed)
	require.NoError(t, slow.Send(c.register("t", 1)))
	until(t, slow, isResolved)
	start := c.pd.ts(t)
	value := string(bytes.Repeat([]byte{'v'}, 100<<10))
	for i := range 200 { // whoever writes is not held up
		write(t, client, txnKind{}, map[string]string{fmt.Sprintf("t%d", i): value})
	}
	require.Equal(t, "congested", errorName(eventError(until(t, slow, hasError)).GetError()))
	// A reader that keeps up gets all of it.
	f := newFeedClient(t, c, spanStart, spanEnd, start)
	f.requireEqual(t, c, spanStart, spanEnd, c.pd.ts(t))
	require.Len(t, f.rows, 200)
	require.Greater(t, f.messages, 15)
	require.Less(t, f.largest, 2<<20)
}

// TestScanWaitsForItsReader has a scan of more than may wait in a stream.
func TestScanWaitsForItsReader(t *testing.T) {
	c := newCluster(t)
	rpc := tikvpb.NewTikvClient(c.dial())
	start := c.pd.ts(t)
	for i := range 40 {
		var muts []*kvrpcpb.Mutation
		for j := range 100 {
			muts = append(muts, &kvrpcpb.Mutation{
				Op: kvrpcpb.Op_Put, Key: fmt.Appendf(nil, "t%02d%02d", i, j), Value: make([]byte, 10<<10),
			})
		}
		require.Empty(t, c.prewrite(rpc, c.pd.ts(t), muts, onePC).Errors)
	}
	stream := c.eventFeed(featureMultiplexed)
	require.NoError(t, stream.Send(c.register("t", 1, func(r *cdcpb.ChangeDataRequest) { r.CheckpointTs = start })))
	queued := func() int {
		c.store.feed.mu.Lock()
		defer c.store.feed.mu.Unlock()
		for st := range c.store.feed.streams {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.queued
		}
		return 0
	}
	require.Eventually(t, func() bool { return queued() > scanQueueBytes }, waitLong, tick)
	rows := 0
	until(t, stream, func(e *cdcpb.ChangeDataEvent) bool {
		require.Less(t, queued(), scanQueueBytes+2*messageBytes)
		for _, event := range e.Events {
			rows += len(event.GetEntries().GetEntries())
		}
		return e.ResolvedTs != nil
	})
	require.Equal(t, 4001, rows)
}

func TestVersionAtLeast(t *testing.T) {
	for version, want := range map[string]bool{
		"5.3.0": true, "5.3.1": true, "6.0.0": true, "5.10.0": true, "6.0.0-alpha": true, "8.5.3+build": true,
		"5.3.0-alpha": false, "5.2.9": false, "4.9.9": false, "": false, "5.3": false, "five": false, "5.3.x": false, "5.3.0-": false, "v8.5.3": false,
	} {
		require.Equal(t, want, versionAtLeast(version, 5, 3, 0), version)
	}
}
