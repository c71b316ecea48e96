package changestest

import (
	"bytes"
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// store is one gRPC server.
type store struct {
	c       *Cluster
	id      uint64
	classic bool
	addr    string
	server  *grpc.Server
	serving sync.WaitGroup
	streams map[*stream]struct{} // guarded by c.mu
}

func startStore(c *Cluster, id uint64, classic bool) (*store, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	st := &store{c: c, id: id, classic: classic, addr: l.Addr().String(), streams: make(map[*stream]struct{})}
	st.serveOn(l)
	return st, nil
}

// restart listens again, on the same address.
func (st *store) restart() error {
	l, err := net.Listen("tcp", st.addr)
	if err != nil {
		return err
	}
	st.serveOn(l)
	return nil
}

func (st *store) serveOn(l net.Listener) {
	server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	cdcpb.RegisterChangeDataServer(server, st)
	st.server = server
	st.serving.Go(func() { _ = server.Serve(l) })
}

func (st *store) stop() {
	st.server.Stop()
	st.serving.Wait()
}

// EventFeed implements cdcpb.ChangeDataServer: one registration per region.
func (st *store) EventFeed(s cdcpb.ChangeData_EventFeedServer) error { return st.serve(s, false) }

// EventFeedV2 implements cdcpb.ChangeDataServer.
func (st *store) EventFeedV2(s cdcpb.ChangeData_EventFeedV2Server) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	if st.classic || !slices.Contains(md.Get("features"), "stream-multiplexing") {
		return status.Error(codes.Unimplemented, "unknown method EventFeedV2")
	}
	return st.serve(s, true)
}

func (st *store) serve(s eventStream, multi bool) error {
	ctx, cut := context.WithCancel(s.Context())
	sm := &stream{cut: cut, multi: multi, feeds: make(map[feedKey]*feed), wake: make(chan struct{}, 1)}
	st.c.mu.Lock()
	st.streams[sm] = struct{}{}
	st.c.mu.Unlock()
	// The receiver ends with the handler's return, when the stream's context
	// does. gRPC allows it to outlive the handler.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			req, err := s.Recv()
			if err != nil {
				return
			}
			st.handle(sm, req)
		}
	}()
	defer func() {
		cut()
		st.c.mu.Lock()
		delete(st.streams, sm)
		st.c.mu.Unlock()
	}()
	for {
		for _, e := range sm.take(st.c) {
			if err := s.Send(e); err != nil {
				return err
			}
		}
		select {
		case <-sm.wake:
		case <-closed:
			return nil
		case <-ctx.Done():
			return status.Error(codes.Unavailable, "stream was cut")
		}
	}
}

func (st *store) handle(sm *stream, req *cdcpb.ChangeDataRequest) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, req)
	k := sm.key(req.RequestId, req.RegionId)
	if _, ok := req.Request.(*cdcpb.ChangeDataRequest_Deregister_); ok {
		delete(sm.feeds, k)
		return
	}
	if e := st.check(sm, req); e != nil {
		sm.fail(req.RequestId, req.RegionId, e)
		return
	}
	f := &feed{stream: sm, request: req.RequestId, region: req.RegionId,
		start: req.StartKey, end: req.EndKey, checkpoint: req.CheckpointTs}
	sm.feeds[k] = f
	if !c.held {
		c.scan(f)
	}
}

// check looks at a registration the way that the store does.
func (st *store) check(sm *stream, req *cdcpb.ChangeDataRequest) *cdcpb.Error {
	c := st.c
	if c.refuse != nil {
		if e := c.refuse(req); e != nil {
			return e
		}
	}
	if id := req.GetHeader().GetClusterId(); id != ClusterID {
		return &cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: ClusterID, Request: id}}
	}
	r := c.byID(req.RegionId)
	switch {
	case r == nil:
		return regionNotFound(req.RegionId)
	case sm.feeds[sm.key(req.RequestId, req.RegionId)] != nil:
		return &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: req.RegionId}}
	case r.leader != st.id:
		return NotLeader(r.leader)
	case r.version != req.GetRegionEpoch().GetVersion():
		return epochNotMatch()
	}
	return nil
}

func epochNotMatch() *cdcpb.Error { return &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{}} }

// NotLeader names the store that leads a region, 0 when it is not known.
func NotLeader(storeID uint64) *cdcpb.Error {
	e := &errorpb.NotLeader{}
	if storeID != 0 {
		e.Leader = &metapb.Peer{Id: storeID, StoreId: storeID}
	}
	return &cdcpb.Error{NotLeader: e}
}

func regionNotFound(id uint64) *cdcpb.Error {
	return &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: id}}
}

// stream is one open stream. All but cut, multi and wake is guarded by the cluster's mu.
type stream struct {
	cut   context.CancelFunc
	multi bool
	wake  chan struct{}
	feeds map[feedKey]*feed
	queue []*cdcpb.ChangeDataEvent
}

type feedKey struct{ request, region uint64 }

func (sm *stream) key(request, region uint64) feedKey {
	if !sm.multi {
		request = 0
	}
	return feedKey{request, region}
}

func (sm *stream) push(e *cdcpb.ChangeDataEvent) {
	sm.queue = append(sm.queue, e)
	select {
	case sm.wake <- struct{}{}:
	default:
	}
}

func (sm *stream) take(c *Cluster) []*cdcpb.ChangeDataEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := sm.queue
	sm.queue = nil
	return q
}

func (sm *stream) fail(request, region uint64, e *cdcpb.Error) {
	sm.push(&cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{{
		RequestId: sm.key(request, region).request, RegionId: region, Event: &cdcpb.Event_Error{Error: e}}}})
}

// resolve sends one message for each request id and returns their number.
func (sm *stream) resolve(ts uint64) int {
	byRequest := make(map[uint64][]uint64)
	for k, f := range sm.feeds {
		if f.ready {
			byRequest[k.request] = append(byRequest[k.request], k.region)
		}
	}
	for request, regions := range byRequest {
		sm.push(&cdcpb.ChangeDataEvent{ResolvedTs: &cdcpb.ResolvedTs{RequestId: request, Regions: regions, Ts: ts}})
	}
	return len(byRequest)
}

// feed is one registration.
type feed struct {
	stream          *stream
	request, region uint64
	start, end      []byte // encoded
	checkpoint      uint64
	ready           bool
}

func (f *feed) key() feedKey { return f.stream.key(f.request, f.region) }

func (f *feed) covers(k []byte) bool {
	return bytes.Compare(k, f.start) >= 0 && (len(f.end) == 0 || bytes.Compare(k, f.end) < 0)
}

func (f *feed) send(r *cdcpb.Event_Row) {
	f.stream.push(&cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{{
		RequestId: f.key().request, RegionId: f.region,
		Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: []*cdcpb.Event_Row{r}}}}}})
}

// eventStream is what both kinds of streams have.
type eventStream interface {
	Send(*cdcpb.ChangeDataEvent) error
	Recv() (*cdcpb.ChangeDataRequest, error)
	grpc.ServerStream
}
