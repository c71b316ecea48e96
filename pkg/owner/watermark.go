package owner

import (
	"net/url"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// watermarkEvery is the least time between two watermarks without a DDL.
const watermarkEvery = time.Second

// watermarks tells a downstream how far the changefeed is. It belongs to the
// feed's goroutine, but for what write does.
type watermarks struct {
	on      bool // the downstream knows watermarks
	told    uint64
	at      time.Time // when told was sent
	urgent  bool      // a DDL was executed: tell at once
	sending bool
	moved   bool // the sink has not been told of the present tables
}

// takesWatermarks tells the downstreams that have no other way to learn how
// far the changefeed is: rows in a database say it all.
func takesWatermarks(uri config.SinkURI) bool {
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return false
	}
	kind := config.KindOfScheme(u.Scheme)
	return kind.IsMQ() || kind == config.SinkStorage
}

// watermark is the greatest TSO that may be told: a DDL that was not executed
// is not downstream, although every row up to it is.
func (r *run) watermark() uint64 {
	if next := r.planner.next; next != nil && r.f.checkpoint >= next.ts {
		return next.ts - 1
	}
	return r.f.checkpoint
}

// tell sends a watermark if there is something to tell, in the background. A
// sink writes one thing at a time: not while a DDL is executed.
func (r *run) tell() {
	w := &r.watermarks
	ts := r.watermark()
	if !w.on || w.sending || r.delivery != nil || !r.settled || ts <= w.told {
		return
	}
	now := r.f.o.clock()
	last := r.info.TargetTs != 0 && ts >= r.info.TargetTs
	if !w.urgent && !last && now.Sub(w.at) < watermarkEvery {
		return
	}
	var tables []*model.Table
	if w.moved {
		tables = r.planner.versions()
	}
	moved := w.moved
	w.sending, w.urgent, w.moved, w.told, w.at = true, false, false, ts, now
	r.f.o.spawn(&r.tasks, func() {
		err := r.writeWatermark(ts, moved, tables)
		r.f.post(func() { r.onTold(err) })
	})
}

// toldAll tells whether the downstream knows how far the changefeed is.
func (r *run) toldAll() bool {
	w := &r.watermarks
	return !w.on || !w.sending && w.told >= r.watermark()
}

// tellWait is how long until a watermark is due; 0 when nothing is to be told.
func (r *run) tellWait(now time.Time) time.Duration {
	w := &r.watermarks
	if r.planner == nil || !w.on || w.sending || r.watermark() <= w.told {
		return 0
	}
	return max(watermarkEvery-now.Sub(w.at), time.Millisecond)
}

func (r *run) writeWatermark(ts uint64, moved bool, tables []*model.Table) error {
	if err := r.openSink(); err != nil {
		return err
	}
	if follower, ok := r.sink.(sink.TableFollower); ok && moved {
		follower.FollowTables(tables)
	}
	return r.sink.WriteWatermark(r.ctx, ts)
}

func (r *run) onTold(err error) {
	r.watermarks.sending = false
	if r.f.run == r && err != nil {
		r.failure = err
	}
}
