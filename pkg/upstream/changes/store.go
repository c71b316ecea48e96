package changes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
)

// store serves the parts whose regions are led by one store. Its goroutine
// connects and sends; each stream has a goroutine that receives.
type store struct {
	c        *Client
	id       uint64
	wake     chan struct{}
	answered atomic.Bool // it has sent something since the last failure

	mu    sync.Mutex
	scans scans
	gone  []deregister // to be sent
	conn  *connection  // nil while not connected
}

type deregister struct {
	stream       *stream
	lane, region uint64
}

func newStore(c *Client, id uint64) *store {
	st := &store{c: c, id: id, wake: make(chan struct{}, 1), scans: newScans(c.cfg.MaxScans)}
	st.answered.Store(true) // its first failure is news
	return st
}

func (st *store) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// enqueue takes over a part that is to be registered here.
func (st *store) enqueue(p *part) {
	class := classOf(p, st.c.cfg.Now())
	st.mu.Lock()
	st.scans.enqueue(p, class)
	st.mu.Unlock()
	st.signal()
}

// forget drops the parts of a closed subscription.
func (st *store) forget(s *Subscription) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.scans.drop(s)
	if st.conn == nil {
		return
	}
	for _, sm := range st.conn.streams {
		for _, p := range sm.takeOf(s) {
			st.scans.ended(p, false)
			if sm.multi {
				st.gone = append(st.gone, deregister{sm, p.lane, p.region.ID})
			}
		}
		if sm.owner == s {
			sm.cancel() // it served nobody else
		}
	}
	st.signal()
}

// run connects when there is something to serve, until the context ends.
func (st *store) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-st.wake:
		}
		if st.idle() {
			continue
		}
		err := st.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // nothing was left to serve
		}
		if st.answered.Swap(false) { // told once per outage
			st.c.cfg.Logger.Warn("change stream of a store ended", zap.Uint64("store", st.id), zap.Error(err))
		}
		st.giveBack(err)
		if !sleep(ctx, st.c.cfg.StorePause) {
			return
		}
	}
}

// idle tells whether nothing waits to be registered.
func (st *store) idle() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.scans.empty()
}

// giveBack returns everything that waits here to the region lookup: the store
// may lose its regions meanwhile. A store that we cannot work with is final.
func (st *store) giveBack(err error) {
	st.mu.Lock()
	parts := st.scans.takeAll()
	st.mu.Unlock()
	for _, p := range parts {
		if errors.Is(err, cerrors.ErrVersionIncompatible) {
			p.sub.end(err)
			continue
		}
		st.c.retry(p, ReasonStore, err.Error(), st.c.cfg.StorePause)
	}
}

// serve connects and registers parts until the connection breaks, which is an
// error, or nothing is left to serve for a while.
func (st *store) serve(ctx context.Context) error {
	conn, err := st.connect(ctx)
	if err != nil {
		return err
	}
	st.mu.Lock()
	st.conn = conn
	st.mu.Unlock()
	err = st.send(ctx, conn)
	conn.close()
	st.mu.Lock()
	st.conn, st.gone = nil, nil
	st.mu.Unlock()
	reason := err
	if reason == nil {
		reason = errIdle
	}
	for _, sm := range conn.streams {
		st.reclaim(sm, reason)
	}
	return err
}

var errIdle = errors.New("the stream was closed as it seemed idle")

// reclaim returns the parts of an ended stream to the region lookup.
func (st *store) reclaim(sm *stream, err error) {
	parts := sm.takeAll()
	st.mu.Lock()
	for _, p := range parts {
		st.scans.ended(p, false)
	}
	st.mu.Unlock()
	for _, p := range parts {
		p.settled()
		st.c.metrics.failures.WithLabelValues("stream").Inc()
		st.c.retry(p, ReasonStore, err.Error(), st.c.cfg.StorePause)
	}
}

// send registers and deregisters until the connection fails or idles.
func (st *store) send(ctx context.Context, conn *connection) error {
	idle := time.NewTimer(st.c.cfg.IdleTimeout)
	defer idle.Stop()
	poll := time.NewTimer(admitPoll)
	defer poll.Stop()
	for {
		refused, err := st.flush(conn)
		if err != nil {
			return err
		}
		poll.Stop()
		if refused > 0 {
			poll.Reset(askAgain(refused))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case sm := <-conn.ends:
			if err := st.streamEnded(conn, sm); err != nil {
				return err
			}
		case <-st.wake:
		case <-poll.C:
		case <-idle.C:
			if conn.idle() && st.idle() {
				return nil
			}
			idle.Reset(st.c.cfg.IdleTimeout)
		}
	}
}

// streamEnded cleans up after a stream. An error means that the connection is
// of no use any more.
func (st *store) streamEnded(conn *connection, sm *stream) error {
	conn.remove(sm)
	if sm.multi && unimplemented(sm.err) {
		st.c.cfg.Logger.Info("store does not multiplex change streams", zap.Uint64("store", st.id))
		conn.multi = false
		for _, p := range sm.takeAll() {
			st.mu.Lock()
			st.scans.ended(p, false)
			st.mu.Unlock()
			p.note(ReasonQueued, "")
			st.enqueue(p)
		}
		return nil
	}
	if sm.multi {
		st.reclaim(sm, sm.err)
		return sm.err
	}
	// A stream of its own ends with its subscription.
	if !sm.owner.ended.Load() {
		st.c.cfg.Logger.Warn("change stream of a table ended", zap.Uint64("store", st.id),
			zap.Int64("table", sm.owner.o.Span.TableID), zap.Error(sm.err))
	}
	st.reclaim(sm, sm.err)
	return nil
}

// flush sends what may be sent now. It returns how many parts belong to
// subscriptions that were not admitted and have to be asked again.
func (st *store) flush(conn *connection) (refused int, err error) {
	st.mu.Lock()
	gone := st.gone
	st.gone = nil
	st.mu.Unlock()
	for _, d := range gone {
		if slices.Contains(conn.streams, d.stream) {
			d.stream.send(st.c.deregisterRequest(d))
		}
	}
	for {
		st.mu.Lock()
		p := st.scans.next(time.Now(), &refused)
		st.mu.Unlock()
		if p == nil {
			return refused, nil
		}
		if err := st.register(conn, p); err != nil {
			return 0, err
		}
	}
}

// register sends one part's request. After an error the part is on its way
// back to the region lookup.
func (st *store) register(conn *connection, p *part) error {
	sm, err := conn.place(p)
	if err != nil {
		st.scanEnded(p, false)
		st.c.retry(p, ReasonStore, err.Error(), st.c.cfg.StorePause)
		return err
	}
	// A subscription that ends from here on finds the part on the stream.
	if p.sub.ended.Load() {
		sm.remove(p, true)
		st.scanEnded(p, false)
		return nil
	}
	p.note(ReasonScanning, "")
	sm.send(st.c.registerRequest(p))
	return nil
}

// scanEnded is called with the end of a part's scan of history.
func (st *store) scanEnded(p *part, done bool) {
	st.mu.Lock()
	st.scans.ended(p, done)
	more := !st.scans.empty()
	st.mu.Unlock()
	if more {
		st.signal()
	}
}

// scanGrew is called by the receiver with the bytes of history of a message.
func (st *store) scanGrew(p *part, n int64) {
	st.mu.Lock()
	st.scans.grew(p, n)
	st.mu.Unlock()
}

func (c *Client) header() *cdcpb.Header {
	return &cdcpb.Header{ClusterId: c.cfg.ClusterID, TicdcVersion: c.cfg.Version}
}

func (c *Client) registerRequest(p *part) *cdcpb.ChangeDataRequest {
	return &cdcpb.ChangeDataRequest{
		Header:       c.header(),
		RegionId:     p.region.ID,
		RegionEpoch:  &metapb.RegionEpoch{ConfVer: p.region.ConfVer, Version: p.region.Version},
		CheckpointTs: p.match.startTs,
		StartKey:     p.keys.Start,
		EndKey:       p.keys.End,
		RequestId:    p.lane,
		ExtraOp:      kvrpcpb.ExtraOp_ReadOldValue,
		FilterLoop:   p.sub.o.FilterLoop,
		Request:      &cdcpb.ChangeDataRequest_Register_{Register: &cdcpb.ChangeDataRequest_Register{}},
	}
}

func (c *Client) deregisterRequest(d deregister) *cdcpb.ChangeDataRequest {
	return &cdcpb.ChangeDataRequest{
		Header:    c.header(),
		RegionId:  d.region,
		RequestId: d.lane,
		Request:   &cdcpb.ChangeDataRequest_Deregister_{Deregister: &cdcpb.ChangeDataRequest_Deregister{}},
	}
}
