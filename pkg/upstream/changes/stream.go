package changes

import (
	"context"
	"sync"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc"
)

// stream is one change stream and the parts registered on it.
type stream struct {
	st     *store
	cc     *clientConn
	raw    grpc.ClientStream
	cancel context.CancelFunc
	multi  bool
	owner  *Subscription // the only one served; nil with multiplexing
	err    error         // why it ended

	mu    sync.Mutex
	parts map[laneKey]*part
	lanes map[uint64]*laneUse // by region
}

type laneKey struct{ lane, region uint64 }

// laneUse knows the lanes of one region on one stream.
type laneUse struct {
	used uint64   // lanes up to it were handed out
	free []uint64 // ended by the store, so that nothing of them is still under way
}

func newStream(st *store, cc *clientConn, multi bool) *stream {
	return &stream{st: st, cc: cc, multi: multi, parts: make(map[laneKey]*part), lanes: make(map[uint64]*laneUse)}
}

// send sends a request. It returns no error: a failure ends the stream, and
// its receiver learns why.
func (sm *stream) send(r *cdcpb.ChangeDataRequest) { _ = sm.raw.SendMsg(r) }

// add puts a part in the first lane that is free for its region. A lane is a
// request id: many spans share it, each region once, so that the store sends
// their resolved-ts in one message. A lane that we deregistered is not used
// again for the region, as late events may still name it. Without multiplexing
// a stream is a lane, and add fails when it has the region or is not for the
// part's subscription.
func (sm *stream) add(p *part) bool {
	if !sm.multi && sm.owner != p.sub {
		return false
	}
	sm.mu.Lock()
	defer sm.mu.Unlock()
	use := sm.lanes[p.region.ID]
	if use == nil {
		use = &laneUse{}
		sm.lanes[p.region.ID] = use
	}
	if !sm.multi && use.used > 0 && len(use.free) == 0 {
		return false
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
	p.match = matcher{startTs: p.join(lane)}
	sm.parts[sm.key(p.lane, p.region.ID)] = p
	sm.st.c.metrics.regions.Inc()
	return true
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
	sm.mu.Lock()
	defer sm.mu.Unlock()
	return sm.parts[sm.key(lane, region)]
}

// findAll appends the parts of a batched resolved-ts to out.
func (sm *stream) findAll(lane uint64, regions []uint64, out []*part) []*part {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	for _, region := range regions {
		if p := sm.parts[sm.key(lane, region)]; p != nil {
			out = append(out, p)
		}
	}
	return out
}

// remove takes a part off. Its lane may be used again when nothing of it can
// be under way. False when it was taken off before.
func (sm *stream) remove(p *part, reuse bool) bool {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	k := sm.key(p.lane, p.region.ID)
	if sm.parts[k] != p {
		return false
	}
	sm.drop(k)
	if reuse {
		use := sm.lanes[p.region.ID]
		use.free = append(use.free, p.lane>>1)
		if uint64(len(use.free)) == use.used {
			delete(sm.lanes, p.region.ID)
		}
	}
	return true
}

// drop requires sm.mu.
func (sm *stream) drop(k laneKey) {
	delete(sm.parts, k)
	sm.st.c.metrics.regions.Dec()
}

// takeOf removes and returns the parts of a closed subscription.
func (sm *stream) takeOf(s *Subscription) []*part {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*part
	for _, p := range s.frontier.parts {
		k := sm.key(p.lane, p.region.ID)
		if sm.parts[k] == p {
			sm.drop(k)
			out = append(out, p)
		}
	}
	return out
}

// takeAll removes and returns every part.
func (sm *stream) takeAll() []*part {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	out := make([]*part, 0, len(sm.parts))
	for k, p := range sm.parts {
		sm.drop(k)
		out = append(out, p)
	}
	return out
}

func (sm *stream) empty() bool {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	return len(sm.parts) == 0
}
