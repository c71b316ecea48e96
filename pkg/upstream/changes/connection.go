package changes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	featuresKey    = "features"
	multiplexing   = "stream-multiplexing"
	methodV1       = "/cdcpb.ChangeData/EventFeed"
	methodV2       = "/cdcpb.ChangeData/EventFeedV2"
	streamWindow   = 1 << 20
	connWindow     = 8 << 20
	maxMessage     = 256 << 20
	keepaliveTime  = 10 * time.Second
	keepaliveLimit = 3 * time.Second
	connectTimeout = 5 * time.Second
	probeTimeout   = 10 * time.Second
)

// connection is a gRPC connection to a store and the streams on it. With
// multiplexing there is one stream and a lane is a request id; a store that
// cannot multiplex gets one stream per lane.
type connection struct {
	st       *store
	cc       *grpc.ClientConn
	multi    bool
	failed   chan error // the first failure of a stream
	cancel   context.CancelFunc
	ctx      context.Context
	receives sync.WaitGroup
	streams  map[uint64]*stream // by lane; lane 0 with multiplexing. Guarded by st.mu for writes
}

// connect dials the store and finds out whether it can multiplex.
func (st *store) connect(ctx context.Context) (*connection, error) {
	addr, err := st.c.cfg.Regions.StoreAddr(ctx, st.id)
	if err != nil {
		return nil, err
	}
	creds := insecure.NewCredentials()
	if st.c.cfg.TLS != nil {
		creds = credentials.NewTLS(st.c.cfg.TLS)
	}
	cc, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.ForceCodecV2(rawCodec{})),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveLimit, PermitWithoutStream: true}),
	)
	if err != nil {
		return nil, err
	}
	c := &connection{st: st, cc: cc, failed: make(chan error, 1), streams: make(map[uint64]*stream)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	if c.multi, err = c.probe(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// probe opens and half-closes a multiplexing stream: a store that does not
// know it answers UNIMPLEMENTED.
func (c *connection) probe() (bool, error) {
	ctx, cancel := context.WithTimeout(c.ctx, probeTimeout)
	defer cancel()
	s, err := c.cc.NewStream(withFeatures(ctx), streamDesc(), methodV2)
	if err == nil {
		if err = s.CloseSend(); err == nil {
			err = s.RecvMsg(&rawMessage{})
		}
	}
	switch {
	case err == nil, errors.Is(err, io.EOF), status.Code(err) == codes.Canceled && c.ctx.Err() == nil:
		return true, nil
	case status.Code(err) == codes.Unimplemented:
		return false, nil
	}
	return false, err
}

func withFeatures(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, featuresKey, multiplexing)
}

func streamDesc() *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: "EventFeed", ServerStreams: true, ClientStreams: true}
}

// assign gives a part its lane and stream, which is opened when it is new.
func (c *connection) assign(p *part) (*stream, error) {
	if c.multi {
		sm, err := c.stream(0)
		if err != nil {
			return nil, err
		}
		sm.add(p)
		return sm, nil
	}
	for lane := uint64(1); ; lane++ {
		sm, err := c.stream(lane)
		if err != nil {
			return nil, err
		}
		if sm.addOnly(p, lane) {
			return sm, nil
		}
	}
}

// stream returns the stream of a lane, opened on first use.
func (c *connection) stream(lane uint64) (*stream, error) {
	if sm, ok := c.streams[lane]; ok {
		return sm, nil
	}
	ctx, method := c.ctx, methodV1
	if c.multi {
		ctx, method = withFeatures(ctx), methodV2
	}
	raw, err := c.cc.NewStream(ctx, streamDesc(), method)
	if err != nil {
		return nil, fmt.Errorf("open change stream: %w", err)
	}
	sm := newStream(c.st, raw, c.multi)
	c.st.mu.Lock()
	c.streams[lane] = sm
	c.st.mu.Unlock()
	c.receives.Go(func() {
		err := sm.receive()
		select {
		case c.failed <- err:
		default:
		}
	})
	return sm, nil
}

// idle tells whether nothing is registered.
func (c *connection) idle() bool {
	for _, sm := range c.streams {
		if !sm.empty() {
			return false
		}
	}
	return true
}

// close ends the streams and waits for their receivers.
func (c *connection) close() {
	c.cancel()
	_ = c.cc.Close()
	c.receives.Wait()
}

// stream is one change stream and the parts registered on it.
type stream struct {
	st    *store
	raw   grpc.ClientStream
	multi bool

	mu      sync.RWMutex
	parts   map[laneKey]*part
	regions map[uint64]*laneUse

	rows []model.RawChange // of the receiver, reused from message to message
}

type laneKey struct{ lane, region uint64 }

// laneUse knows the lanes of one region on one stream.
type laneUse struct {
	used uint64   // lanes up to it were handed out
	free []uint64 // ended by the store, so that nothing of them is still under way
}

func newStream(st *store, raw grpc.ClientStream, multi bool) *stream {
	return &stream{st: st, raw: raw, multi: multi, parts: make(map[laneKey]*part), regions: make(map[uint64]*laneUse)}
}

func (sm *stream) send(r *cdcpb.ChangeDataRequest) error {
	if err := sm.raw.SendMsg(r); err != nil {
		return fmt.Errorf("send request to store: %w", err)
	}
	return nil
}

// add registers a part in the first lane that is free for its region. A lane
// is a request id: many spans share it, each region once, so that the store
// sends their resolved-ts in one message. A lane that we deregistered is not
// used again for the region, as late events may still name it.
func (sm *stream) add(p *part) {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	use := sm.regions[p.region.ID]
	if use == nil {
		use = &laneUse{}
		sm.regions[p.region.ID] = use
	}
	var n uint64
	if last := len(use.free) - 1; last >= 0 {
		n, use.free = use.free[last], use.free[:last]
	} else {
		use.used++
		n = use.used
	}
	// Filtering is a property of a request: keep the two kinds apart.
	lane := n << 1
	if p.sub.o.FilterLoop {
		lane |= 1
	}
	sm.put(p, lane)
}

// addOnly registers a part on a stream that is a lane itself, unless its
// region is there already.
func (sm *stream) addOnly(p *part, lane uint64) bool {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	if _, taken := sm.parts[laneKey{0, p.region.ID}]; taken {
		return false
	}
	if use := sm.regions[p.region.ID]; use != nil {
		return false // deregistered: late events may follow
	}
	sm.put(p, lane)
	return true
}

// put starts the part's matching anew. Requires sm.mu.
func (sm *stream) put(p *part, lane uint64) {
	p.sub.mu.Lock()
	p.lane, p.match = lane, matcher{startTs: p.resolved}
	p.sub.mu.Unlock()
	sm.parts[sm.key(p.lane, p.region.ID)] = p
}

// key is where a part is found by what events say. Without multiplexing they
// carry no reliable request id.
func (sm *stream) key(lane, region uint64) laneKey {
	if !sm.multi {
		lane = 0
	}
	return laneKey{lane, region}
}

func (sm *stream) find(lane, region uint64) *part {
	sm.mu.RLock()
	defer sm.mu.RUnlock()
	return sm.parts[sm.key(lane, region)]
}

// ended removes a part whose request the store has ended, or never got; false
// when it was taken off already.
func (sm *stream) ended(p *part) bool {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	k := sm.key(p.lane, p.region.ID)
	if sm.parts[k] != p {
		return false
	}
	delete(sm.parts, k)
	if use := sm.regions[p.region.ID]; use != nil && sm.multi {
		use.free = append(use.free, p.lane>>1)
	}
	return true
}

// partsOf removes and returns the parts of a closed subscription.
func (sm *stream) partsOf(s *Subscription) []*part {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	var out []*part
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ranges {
		k := sm.key(p.lane, p.region.ID)
		if sm.parts[k] != p {
			continue
		}
		delete(sm.parts, k)
		if !sm.multi {
			sm.regions[p.region.ID] = &laneUse{}
		}
		out = append(out, p)
	}
	return out
}

// takeAll removes and returns every part.
func (sm *stream) takeAll() []*part {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	out := make([]*part, 0, len(sm.parts))
	for _, p := range sm.parts {
		out = append(out, p)
	}
	clear(sm.parts)
	return out
}

func (sm *stream) empty() bool {
	sm.mu.RLock()
	defer sm.mu.RUnlock()
	return len(sm.parts) == 0
}
