package changes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
)

const (
	// smallScan is the history, in bytes, below which a scan does not count
	// as a load on memory.
	smallScan = 256 << 10
	// scanBudget is how much history of unfinished scans of one store may lie
	// in memory before no further scan is started beside them.
	scanBudget = 16 << 20
	firstScans = 2
	admitPoll  = 20 * time.Millisecond
)

// store serves the parts whose regions are led by one store. Its goroutine
// connects and sends; each stream has a goroutine that receives.
type store struct {
	c    *Client
	id   uint64
	wake chan struct{}

	mu      sync.Mutex
	urgent  []*part // Options.First
	pending []*part
	gone    []deregister // to be sent
	conn    *connection  // nil while not connected
	scans   int          // running
	limit   int          // of scans
	bytes   int64        // of history that running scans have brought
}

type deregister struct {
	stream       *stream
	lane, region uint64
}

func newStore(c *Client, id uint64) *store {
	return &store{c: c, id: id, wake: make(chan struct{}, 1), limit: firstScans}
}

func (st *store) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// enqueue takes over a part that is to be registered here.
func (st *store) enqueue(p *part) {
	st.mu.Lock()
	if p.sub.o.First {
		st.urgent = append(st.urgent, p)
	} else {
		st.pending = append(st.pending, p)
	}
	st.mu.Unlock()
	st.signal()
}

// forget drops the parts of a closed subscription.
func (st *store) forget(s *Subscription) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.urgent = without(st.urgent, s)
	st.pending = without(st.pending, s)
	if st.conn == nil {
		return
	}
	for _, sm := range st.conn.streams {
		for _, p := range sm.partsOf(s) {
			st.gone = append(st.gone, deregister{sm, p.lane, p.region.ID})
			st.endScanLocked(p, false)
		}
	}
	st.signal()
}

func without(parts []*part, s *Subscription) []*part {
	out := parts[:0]
	for _, p := range parts {
		if p.sub != s {
			out = append(out, p)
		}
	}
	clear(parts[len(out):])
	return out
}

// run connects when there is something to serve, until the context ends.
func (st *store) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-st.wake:
		}
		if !st.hasPending() {
			continue
		}
		conn, err := st.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // idle
		}
		st.c.cfg.Logger.Warn("change stream of store ended", zap.Uint64("store", st.id), zap.Error(err))
		st.giveBack(conn, err)
		if !sleep(ctx, st.c.cfg.StorePause) {
			return
		}
	}
}

func (st *store) hasPending() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.urgent)+len(st.pending) > 0
}

// giveBack returns everything that waits here, or was served by the ended
// connection (nil when there was none), to the region lookup: the store may
// have lost its regions meanwhile.
func (st *store) giveBack(conn *connection, err error) {
	st.mu.Lock()
	parts := append(st.urgent, st.pending...)
	if conn != nil {
		for _, sm := range conn.streams {
			parts = append(parts, sm.takeAll()...)
		}
	}
	for _, p := range parts {
		p.scanning = false
	}
	st.urgent, st.pending = nil, nil
	st.scans, st.bytes, st.limit = 0, 0, firstScans
	st.mu.Unlock()
	final := errors.Is(err, cerrors.ErrVersionIncompatible)
	for _, p := range parts {
		if final {
			p.sub.end(err)
		} else {
			st.c.retry(p, ReasonStore, err.Error())
		}
	}
}

// serve connects and registers parts until the connection breaks, which is an
// error, or nothing is left to serve for a while. The connection that it
// returns, if any, is closed: nothing is received any more.
func (st *store) serve(ctx context.Context) (*connection, error) {
	conn, err := st.connect(ctx)
	if err != nil {
		return nil, err
	}
	st.mu.Lock()
	st.conn = conn
	st.mu.Unlock()
	err = st.send(ctx, conn)
	st.mu.Lock()
	st.conn, st.gone = nil, nil
	st.mu.Unlock()
	conn.close()
	return conn, err
}

// send registers and deregisters until the connection fails or idles.
func (st *store) send(ctx context.Context, conn *connection) error {
	idle := time.NewTimer(st.c.cfg.IdleTimeout)
	defer idle.Stop()
	for {
		held, err := st.flush(conn)
		if err != nil {
			return err
		}
		var poll <-chan time.Time
		if held {
			poll = time.After(admitPoll)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-conn.failed:
			return err
		case <-st.wake:
		case <-poll:
		case <-idle.C:
			if conn.idle() && !st.hasPending() {
				return nil
			}
			idle.Reset(st.c.cfg.IdleTimeout)
		}
	}
}

// flush sends what may be sent now. held tells that a subscription was not
// admitted and has to be asked again.
func (st *store) flush(conn *connection) (held bool, err error) {
	st.mu.Lock()
	gone := st.gone
	st.gone = nil
	st.mu.Unlock()
	for _, d := range gone {
		if err := d.stream.send(st.c.deregisterRequest(d)); err != nil {
			return false, err
		}
	}
	refused := 0
	for {
		p := st.nextPart(&refused)
		if p == nil {
			return refused > 0, nil
		}
		if err := st.register(conn, p); err != nil {
			return false, err
		}
	}
}

// nextPart takes the next part whose scan may start. Large scans run one or
// two at a time, since their rows wait in memory for the last of them; while
// scans turn out small, many run. The first refused parts were not admitted a
// moment ago and are not asked about again.
func (st *store) nextPart(refused *int) (p *part) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.urgent) > 0 {
		p, st.urgent = st.urgent[0], st.urgent[1:]
		st.beginScanLocked(p)
		return p
	}
	if st.scans >= st.limit || (st.bytes > scanBudget && st.scans > 0) {
		return nil
	}
	var no *Subscription
	for ; *refused < len(st.pending); *refused++ {
		i := *refused
		p := st.pending[i]
		if p.sub == no || !st.admit(p.sub) {
			no = p.sub
			continue
		}
		if i == 0 {
			st.pending = st.pending[1:]
		} else {
			st.pending = slices.Delete(st.pending, i, i+1)
		}
		st.beginScanLocked(p)
		return p
	}
	return nil
}

// admit asks the subscription's owner, until it agrees, whether it has room
// for history. A closed subscription goes on, to be dropped.
func (st *store) admit(s *Subscription) bool {
	if s.o.Admit == nil || s.admitted.Load() || !s.alive() {
		return true
	}
	late := st.scans == 0 && time.Since(s.started) > st.c.cfg.AdmitTimeout
	if !late && !s.o.Admit() {
		return false
	}
	s.admitted.Store(true)
	return true
}

func (st *store) beginScanLocked(p *part) {
	p.scanning, p.scanned = true, 0
	st.scans++
}

// endScanLocked uncounts a scan; done tells that it ended well, so that its
// size says how many may run together.
func (st *store) endScanLocked(p *part, done bool) {
	if !p.scanning {
		return
	}
	p.scanning = false
	st.scans--
	st.bytes -= p.scanned
	if !done {
		return
	}
	if p.scanned < smallScan {
		st.limit = min(st.limit*2, st.c.cfg.MaxScans)
	} else {
		st.limit = max(st.limit/2, 1)
	}
}

// scanEnded is called by the receiver.
func (st *store) scanEnded(p *part, done bool) {
	st.mu.Lock()
	st.endScanLocked(p, done)
	waiting := len(st.pending) > 0
	st.mu.Unlock()
	if waiting {
		st.signal()
	}
}

// scanGrew is called by the receiver with the bytes of history of a message.
func (st *store) scanGrew(p *part, n int64) {
	st.mu.Lock()
	if p.scanning {
		p.scanned += n
		st.bytes += n
	}
	st.mu.Unlock()
}

// register sends one part's request. After an error the connection is of no
// use any more, and the part waits for being given back.
func (st *store) register(conn *connection, p *part) error {
	if !p.sub.alive() {
		st.scanEnded(p, false)
		return nil
	}
	sm, err := conn.assign(p)
	if err != nil {
		st.enqueue(p)
		return err
	}
	if !p.sub.alive() {
		// Closed, maybe after its parts were collected.
		sm.ended(p)
		st.scanEnded(p, false)
		return nil
	}
	p.note(ReasonScanning, "")
	return sm.send(st.c.registerRequest(p))
}

func (c *Client) registerRequest(p *part) *cdcpb.ChangeDataRequest {
	return &cdcpb.ChangeDataRequest{
		Header:       &cdcpb.Header{ClusterId: c.cfg.ClusterID, TicdcVersion: c.cfg.Version},
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
		Header:    &cdcpb.Header{ClusterId: c.cfg.ClusterID, TicdcVersion: c.cfg.Version},
		RegionId:  d.region,
		RequestId: d.lane,
		Request:   &cdcpb.ChangeDataRequest_Deregister_{Deregister: &cdcpb.ChangeDataRequest_Deregister{}},
	}
}

// sleep waits, false when the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
