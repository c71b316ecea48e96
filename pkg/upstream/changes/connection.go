package changes

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	featuresKey  = "features"
	multiplexing = "stream-multiplexing"
	methodV1     = "/cdcpb.ChangeData/EventFeed"
	methodV2     = "/cdcpb.ChangeData/EventFeedV2"

	streamWindow   = 4 << 20
	connWindow     = 8 << 20
	readBuffer     = 128 << 10
	maxMessage     = 256 << 20
	connectTimeout = 5 * time.Second
	keepaliveTime  = 10 * time.Second
	keepaliveLimit = 3 * time.Second
	// streamsPerConn is the most streams that stores let one connection carry.
	streamsPerConn = 1000
)

// connection is what connects us to one store: one multiplexed stream, or,
// to a store that cannot multiplex, a stream per subscription.
type connection struct {
	st       *store
	addr     string
	multi    bool
	ctx      context.Context
	cancel   context.CancelFunc
	receives sync.WaitGroup
	ends     chan *stream

	ccs     []*clientConn
	streams []*stream // changed by the store's worker, under st.mu
}

type clientConn struct {
	*grpc.ClientConn
	streams int
}

// connect finds the store's address; dialing is left to the first stream.
func (st *store) connect(ctx context.Context) (*connection, error) {
	addr, err := st.c.cfg.Regions.StoreAddr(ctx, st.id)
	if err != nil {
		return nil, err
	}
	c := &connection{st: st, addr: addr, multi: true, ends: make(chan *stream)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c, nil
}

// dial returns a gRPC connection that has room for a stream.
func (c *connection) dial() (*clientConn, error) {
	for _, cc := range c.ccs {
		if cc.streams < streamsPerConn {
			return cc, nil
		}
	}
	creds := insecure.NewCredentials()
	if tls := c.st.c.cfg.TLS; tls != nil {
		creds = credentials.NewTLS(tls)
	}
	cc, err := grpc.NewClient("passthrough:///"+c.addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.ForceCodecV2(rawCodec{})),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveLimit, PermitWithoutStream: true}),
	)
	if err != nil {
		return nil, err
	}
	c.ccs = append(c.ccs, &clientConn{ClientConn: cc})
	return c.ccs[len(c.ccs)-1], nil
}

func unimplemented(err error) bool { return status.Code(err) == codes.Unimplemented }

// place registers a part on a stream, which is opened when it is new.
func (c *connection) place(p *part) (*stream, error) {
	for _, sm := range c.streams {
		if sm.multi == c.multi && sm.add(p) {
			return sm, nil
		}
	}
	sm, err := c.open(p.sub)
	if err != nil {
		return nil, err
	}
	sm.add(p)
	return sm, nil
}

// open starts a stream: for everybody, or for one subscription when the store
// cannot multiplex. Whether it can is what the stream's own end tells, so
// that no probe has to go ahead.
func (c *connection) open(s *Subscription) (*stream, error) {
	cc, err := c.dial()
	if err != nil {
		return nil, err
	}
	sm := newStream(c.st, cc, c.multi)
	ctx, cancel := context.WithCancel(c.ctx)
	method := methodV2
	if c.multi {
		ctx = metadata.AppendToOutgoingContext(ctx, featuresKey, multiplexing)
	} else {
		method, sm.owner = methodV1, s
	}
	desc := &grpc.StreamDesc{StreamName: "EventFeed", ServerStreams: true, ClientStreams: true}
	if sm.raw, err = cc.NewStream(ctx, desc, method); err != nil {
		cancel()
		return nil, err
	}
	sm.cancel = cancel
	cc.streams++
	c.st.mu.Lock()
	c.streams = append(c.streams, sm)
	c.st.mu.Unlock()
	c.st.c.metrics.stream(c.st.id, 1)
	c.receives.Go(func() {
		sm.err = sm.receive()
		cancel()
		c.st.c.metrics.stream(c.st.id, -1)
		select {
		case c.ends <- sm:
		case <-c.ctx.Done():
		}
	})
	return sm, nil
}

// remove forgets an ended stream.
func (c *connection) remove(sm *stream) {
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	sm.cc.streams--
	c.streams = slices.DeleteFunc(c.streams, func(o *stream) bool { return o == sm })
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
	for _, cc := range c.ccs {
		_ = cc.Close()
	}
	c.receives.Wait()
}
