package kv

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	featuresKey        = "features"
	featureMultiplexed = "stream-multiplexing"
	// kvAPIVersion is the version that a client is told to have when it asks for changes of another API.
	kvAPIVersion = "6.2.0"
)

// changeData is the gRPC service of change feeds.
type changeData struct {
	feed      *feed
	clusterID uint64
	limit     int
	buffers   bufferPool
	// wg counts the goroutines that serve streams besides gRPC's own.
	wg sync.WaitGroup
}

// EventFeed implements cdcpb.ChangeDataServer.
func (c *changeData) EventFeed(server cdcpb.ChangeData_EventFeedServer) error {
	return c.serve(server, false)
}

// EventFeedV2 implements cdcpb.ChangeDataServer.
func (c *changeData) EventFeedV2(server cdcpb.ChangeData_EventFeedV2Server) error {
	multiplexed, err := readFeatures(server.Context())
	if err != nil {
		return err
	}
	return c.serve(server, multiplexed)
}

// readFeatures returns what the client asks for in its metadata. A feature that is not known here is an error.
func readFeatures(ctx context.Context) (multiplexed bool, err error) {
	for _, list := range metadata.ValueFromIncomingContext(ctx, featuresKey) {
		for feature := range strings.SplitSeq(list, ",") {
			switch strings.TrimSpace(feature) {
			case "":
			case featureMultiplexed:
				multiplexed = true
			default:
				return false, status.Errorf(codes.Unimplemented, "feature %q is not supported", feature)
			}
		}
	}
	return multiplexed, nil
}

// eventServer is what both versions of the call have in common.
type eventServer interface {
	Context() context.Context
	Recv() (*cdcpb.ChangeDataRequest, error)
	SendMsg(m any) error
}

// serve sends in this goroutine and receives in another one, which ends when gRPC ends the call.
func (c *changeData) serve(server eventServer, multiplexed bool) error {
	st := newStream(server.Context(), c.limit, &c.buffers)
	st.perRequest = multiplexed
	c.feed.addStream(st)
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		st.stop(c.receive(server, st))
	}()
	err := st.send(server.SendMsg)
	c.feed.removeStream(st)
	return err
}

// receive handles requests until the client sends no more. It returns the status that ends the call: an error when
// there were requests, because clients take a clean end for one that they asked for and wait for ever.
func (c *changeData) receive(server eventServer, st *stream) error {
	first := true
	var clusterCheck bool
	for {
		req, err := server.Recv()
		switch {
		case errors.Is(err, io.EOF) && first:
			return nil // a probe
		case errors.Is(err, io.EOF):
			return status.Error(codes.Canceled, "the client closed its side of the stream")
		case err != nil:
			return err
		}
		if first {
			version := req.GetHeader().GetTicdcVersion()
			st.batchResolved = versionAtLeast(version, 4, 0, 8)
			clusterCheck = versionAtLeast(version, 5, 3, 0)
			first = false
		}
		c.handle(st, req, clusterCheck)
	}
}

func (c *changeData) handle(st *stream, req *cdcpb.ChangeDataRequest, clusterCheck bool) {
	switch req.Request.(type) {
	case *cdcpb.ChangeDataRequest_Deregister_:
		c.feed.deregister(st, req.RequestId, req.RegionId)
		return
	case *cdcpb.ChangeDataRequest_NotifyTxnStatus_:
		return // a hint for transactions that are never held back here
	}
	sub, refusal := c.newSubscription(st, req, clusterCheck)
	if refusal == nil {
		refusal = c.feed.register(sub, req)
	}
	if refusal != nil {
		if err := st.pushError(req.RegionId, req.RequestId, refusal); err != nil {
			c.feed.logger.Error("error event was not sent", zap.Error(err))
		}
		return
	}
	if st.scans.add(sub) {
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			c.feed.scanAll(st)
		}()
	}
}

func (c *changeData) newSubscription(st *stream, req *cdcpb.ChangeDataRequest, clusterCheck bool) (*subscription, *cdcpb.Error) {
	if got := req.GetHeader().GetClusterId(); clusterCheck && got != c.clusterID {
		return nil, &cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: c.clusterID, Request: got}}
	}
	if req.KvApi != cdcpb.ChangeDataRequest_TiDB {
		return nil, &cdcpb.Error{Compatibility: &cdcpb.Compatibility{RequiredVersion: kvAPIVersion}}
	}
	return &subscription{
		stream: st, checkpoint: req.CheckpointTs,
		oldValues: req.ExtraOp == kvrpcpb.ExtraOp_ReadOldValue, filterLoop: req.FilterLoop,
	}, nil
}

func (f *feed) addStream(st *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams[st] = struct{}{}
}

func (f *feed) removeStream(st *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.streams, st)
	for _, r := range st.requests {
		f.endRequest(r)
	}
}

func (f *feed) endRequest(r *request) {
	for len(r.parts) > 0 {
		f.endPart(r.parts[len(r.parts)-1])
	}
}

func (f *feed) endPart(p *requestRegion) {
	for len(p.subs) > 0 {
		f.end(p.subs[0], nil)
	}
}

// deregister ends subscriptions without an answer: one region of a request, all of a request, or, without any ID, all
// of the stream.
func (f *feed) deregister(st *stream, requestID, regionID uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case requestID == 0 && regionID == 0:
		for _, r := range st.requests {
			f.endRequest(r)
		}
	case regionID == 0:
		if r := st.requests[requestID]; r != nil {
			f.endRequest(r)
		}
	default:
		if p := st.part(requestID, regionID); p != nil {
			f.endPart(p)
		}
	}
}

// register makes the subscription get live events, or says why it cannot.
func (f *feed) register(s *subscription, req *cdcpb.ChangeDataRequest) *cdcpb.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.streams[s.stream]; !ok {
		return &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "the stream has ended"}}
	}
	r := f.table.byID[req.RegionId]
	if r == nil {
		return &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: req.RegionId}}
	}
	if r.meta.RegionEpoch.Version != req.GetRegionEpoch().GetVersion() || !s.setRange(r, req) {
		return &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: f.table.around(r)}}
	}
	if p := s.stream.part(req.RequestId, req.RegionId); p != nil && p.has(s.start, s.end) {
		return &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: req.RegionId}}
	}
	s.region = r
	r.subs = append(r.subs, s)
	s.stream.addSub(s, req.RequestId, req.RegionId)
	return nil
}

func (p *requestRegion) has(start, end []byte) bool {
	for _, s := range p.subs {
		if string(s.start) == string(start) && string(s.end) == string(end) {
			return true
		}
	}
	return false
}

// setRange sets the part of the request's range that is in the region, and reports whether there is any.
func (s *subscription) setRange(r *region, req *cdcpb.ChangeDataRequest) bool {
	start, err := decodeKey(req.StartKey)
	if err != nil {
		return false
	}
	end, err := decodeKey(req.EndKey)
	if err != nil {
		if slices.ContainsFunc(req.EndKey, func(b byte) bool { return b != 0xff }) {
			return false
		}
		end = nil // only 0xff: how clients write a bound above all keys
	}
	s.start, s.end = start, end
	if string(s.start) < string(r.rawStart) {
		s.start = r.rawStart
	}
	if len(r.rawEnd) > 0 && (len(s.end) == 0 || string(s.end) > string(r.rawEnd)) {
		s.end = r.rawEnd
	}
	return len(s.end) == 0 || string(s.start) < string(s.end)
}

// around returns the region and the one before it, which is where a split puts the keys that left it.
func (t *regionTable) around(r *region) []*metapb.Region {
	list := []*metapb.Region{r.meta}
	if i := indexRaw(t.sorted, r.rawStart); i > 0 {
		list = append(list, t.sorted[i-1].meta)
	}
	return list
}

// versionAtLeast compares a semantic version. What cannot be read, such as one with a leading v, counts as 0.0.0, and a
// pre-release comes before its release.
func versionAtLeast(version string, want ...int) bool {
	core, pre, hasPre := strings.Cut(version, "-")
	core, _, _ = strings.Cut(core, "+")
	fields := strings.Split(core, ".")
	if len(fields) != len(want) || hasPre && pre == "" {
		return false
	}
	got := make([]int, len(want))
	for i, field := range fields {
		n, err := strconv.Atoi(field)
		if err != nil || n < 0 {
			return false
		}
		got[i] = n
	}
	for i := range want {
		if got[i] != want[i] {
			return got[i] > want[i]
		}
	}
	return !hasPre
}
