package owner

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// maxVersions is how many releases may run in one cluster.
const maxVersions = 2

// fleet keeps the captures: who is registered, whose stream is open. It is
// the receiver of the hub.
type fleet struct {
	o *Owner
	// grace is how long a capture whose key is gone keeps its tables: it may
	// still be writing.
	grace time.Duration
	// patience is how long a registered capture without a stream keeps its
	// tables: by then it has stopped by itself.
	patience time.Duration

	// mu is held while changefeeds are told of a change, so that each of them
	// hears of all changes in their order.
	mu      sync.Mutex
	members map[model.CaptureID]*member
	// expected are the captures of the term's begin that have not said yet
	// what runs there. Until they have, nothing is placed.
	expected map[model.CaptureID]struct{}
	view     atomic.Pointer[fleetView]
}

type member struct {
	info     *model.CaptureInfo
	conn     stream // nil without one
	liveness model.Liveness
	goneAt   time.Time // zero while its key exists
	stopped  bool      // nothing of it goes on any more
	// cutOffAt is since when there is no stream; givenUp says that its tables
	// were given to others because of that.
	cutOffAt time.Time
	givenUp  bool
	// draining says that it was asked to take no tables any more.
	draining bool
}

// fleetView is an immutable picture of the fleet.
type fleetView struct {
	members      map[model.CaptureID]memberView
	settled      bool
	incompatible error
}

type memberView struct {
	info     *model.CaptureInfo // nil while its registration was not seen yet
	conn     Conn               // nil without a stream
	liveness model.Liveness
	gone     bool // its key is deleted
	awaited  bool // it is registered and its stream broke a while ago at most
	leaving  bool // it is stopping, or was asked to take no tables any more
}

// takesTables tells whether new tables may be given to the capture.
func (m memberView) takesTables() bool {
	return m.info != nil && !m.gone && m.conn != nil && !m.leaving
}

func newFleet(o *Owner, grace, patience time.Duration) *fleet {
	f := &fleet{o: o, grace: grace, patience: patience, members: map[model.CaptureID]*member{}, expected: map[model.CaptureID]struct{}{}}
	f.view.Store(&fleetView{})
	return f
}

func (f *fleet) snapshot() *fleetView { return f.view.Load() }

// begin sets the captures of the term's begin.
func (f *fleet) begin(state *etcdmeta.State, now time.Time) {
	f.mu.Lock()
	for id, info := range state.Captures {
		f.members[id] = &member{info: info, cutOffAt: now, stopped: info.Stopped}
		f.expected[id] = struct{}{}
	}
	f.publish()
	f.mu.Unlock()
}

// update follows the registrations.
func (f *fleet) update(captures map[model.CaptureID]*model.CaptureInfo, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, info := range captures {
		m := f.members[id]
		if m == nil {
			m = &member{cutOffAt: now}
			f.members[id] = m
		}
		m.info, m.goneAt = info, time.Time{}
		m.stopped = m.stopped || info.Stopped
	}
	for id, m := range f.members {
		if _, ok := captures[id]; !ok && m.goneAt.IsZero() {
			m.goneAt = now
		}
	}
	f.publish()
	f.o.notify(func(feed *feed) { feed.onFleet(nil) })
}

// stopped notes captures whose tables need not wait once their keys are gone.
func (f *fleet) stopped(captures []model.CaptureID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range captures {
		if m := f.members[id]; m != nil {
			m.stopped = true
		}
	}
}

// sweep gives captures up whose grace is over.
func (f *fleet) sweep(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lost []model.CaptureID
	for id, m := range f.members {
		if !m.goneAt.IsZero() && (m.stopped || now.Sub(m.goneAt) >= f.grace) {
			lost = append(lost, id)
			delete(f.members, id)
			delete(f.expected, id)
			if m.conn != nil {
				m.conn.Close()
			}
			continue
		}
		if m.conn == nil && !m.givenUp && now.Sub(m.cutOffAt) >= f.patience {
			m.givenUp = true
			lost = append(lost, id)
			delete(f.expected, id)
			f.o.logger.Warn("a registered capture cannot be reached, its tables go to others", zap.String("capture", id))
		}
	}
	if len(lost) == 0 {
		return
	}
	f.publish()
	f.o.notify(func(feed *feed) { feed.onFleet(lost) })
}

// publish makes the view; mu is held.
func (f *fleet) publish() {
	v := &fleetView{members: make(map[model.CaptureID]memberView, len(f.members)), settled: len(f.expected) == 0}
	versions := map[string]struct{}{}
	for id, m := range f.members {
		mv := memberView{info: m.info, liveness: m.liveness, gone: !m.goneAt.IsZero()}
		mv.leaving = m.draining || m.liveness != model.LivenessAlive
		mv.awaited = m.info != nil && !mv.gone && m.conn == nil && !m.givenUp
		if m.conn != nil {
			mv.conn = m.conn
		}
		v.members[id] = mv
		if m.info != nil {
			versions[m.info.Version] = struct{}{}
		}
	}
	if len(versions) > maxVersions {
		v.incompatible = errors.ErrVersionIncompatible.New(
			fmt.Sprintf("captures run %d versions: %v", len(versions), slices.Sorted(maps.Keys(versions))))
	}
	f.view.Store(v)
	f.o.touch()
}

// someStopping tells whether a capture is about to leave.
func (v *fleetView) someStopping() bool {
	for _, m := range v.members {
		if m.leaving && !m.gone {
			return true
		}
	}
	return false
}

// captureViews is what readers see.
func (v *fleetView) captureViews(self model.CaptureID) []CaptureView {
	views := make([]CaptureView, 0, len(v.members))
	for id, m := range v.members {
		if m.info != nil {
			views = append(views, CaptureView{Info: m.info, IsOwner: id == self, Liveness: m.liveness, Connected: m.conn != nil})
		}
	}
	slices.SortFunc(views, func(a, b CaptureView) int {
		if a.Info.ID < b.Info.ID {
			return -1
		}
		return 1
	})
	return views
}

// addr is where a capture says it listens; its id when that is not known.
func (v *fleetView) addr(id model.CaptureID) string {
	if m, ok := v.members[id]; ok && m.info != nil {
		return m.info.AdvertiseAddr
	}
	return id
}

// drain gives a capture no tables any more and moves away what it has. It is
// told, now and, unless it says that it has heard of it, whenever it connects:
// it stays like that when the owner changes.
func (f *fleet) drain(capture model.CaptureID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[capture]
	if m == nil {
		return
	}
	if m.conn != nil {
		m.conn.Send(&peerpb.Order{Leave: true})
	}
	if !m.draining { // clients repeat it until no table is left
		m.draining = true
		f.publish()
		f.o.notify(func(feed *feed) { feed.onFleet(nil) })
	}
}

// Attached implements peer.Receiver.
func (f *fleet) Attached(c *peer.Conn, hello *peerpb.Hello) { f.attached(c, hello) }

// Reported implements peer.Receiver.
func (f *fleet) Reported(c *peer.Conn, report *peerpb.Report) { f.reported(c, report) }

// Detached implements peer.Receiver.
func (f *fleet) Detached(c *peer.Conn) { f.detached(c) }

func (f *fleet) attached(c stream, hello *peerpb.Hello) {
	id := c.Capture()
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[id]
	if m == nil { // the stream is faster than the watch
		m = &member{}
		f.members[id] = m
	}
	if m.conn != nil {
		m.conn.Close()
	}
	m.conn, m.liveness, m.givenUp = c, model.Liveness(hello.Liveness), false
	delete(f.expected, id)
	f.publish()
	if m.draining && m.liveness == model.LivenessAlive {
		c.Send(&peerpb.Order{Leave: true})
	}

	running := map[model.ChangefeedID]*peerpb.FeedReport{}
	for _, report := range hello.Feeds {
		running[peer.FeedID(report.Feed)] = report
	}
	f.o.notify(func(feed *feed) { feed.onAttached(f.o.ctx, id, c, running[feed.id]) })
	for feedID, report := range running {
		if f.o.find(feedID) == nil {
			c.Send(&peerpb.Order{Feed: report.Feed, Stop: true})
		}
	}
}

func (f *fleet) reported(c stream, report *peerpb.Report) {
	id := c.Capture()
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[id]
	if m == nil || m.conn != c {
		return
	}
	if m.liveness != model.Liveness(report.Liveness) {
		m.liveness = model.Liveness(report.Liveness)
		f.publish()
		f.o.notify(func(feed *feed) { feed.onFleet(nil) })
	}
	for _, r := range report.Feeds {
		if feed := f.o.find(peer.FeedID(r.Feed)); feed != nil {
			deliver := feed.post
			if onlyProgress(r) {
				deliver = feed.postNews
			}
			deliver(func() { feed.onReport(f.o.ctx, id, r) })
		}
	}
}

// onlyProgress is true for reports of a run that goes on as it did.
func onlyProgress(r *peerpb.FeedReport) bool {
	return r.Error == nil && r.Warning == nil && !r.Stopped && len(r.Removed) == 0 && len(r.Prepared) == 0
}

func (f *fleet) detached(c stream) {
	id := c.Capture()
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[id]
	if m == nil || m.conn != c {
		return
	}
	m.conn, m.cutOffAt = nil, f.o.clock()
	unregistered := m.info == nil // no key tells when it is lost: that is now
	if unregistered {
		delete(f.members, id)
	}
	f.publish()
	f.o.notify(func(feed *feed) {
		feed.onDetached(id)
		if unregistered {
			feed.onFleet([]model.CaptureID{id})
		}
	})
}
