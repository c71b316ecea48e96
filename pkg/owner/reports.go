package owner

import (
	"context"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// onAttached takes over what a capture says it is running of this changefeed,
// nil for nothing.
func (f *feed) onAttached(ctx context.Context, capture model.CaptureID, conn Conn, report *peerpb.FeedReport) {
	f.conns[capture] = conn
	if epoch, ok := f.draining[capture]; ok && (report == nil || report.Feed.Epoch != epoch) {
		delete(f.draining, capture)
	}
	if report == nil {
		if f.run != nil {
			f.run.onAttached(capture, conn, nil)
		}
		return
	}
	_, draining := f.draining[capture]
	if !draining && f.run != nil && f.run.epoch == report.Feed.Epoch {
		f.run.onAttached(capture, conn, report)
		f.onTrouble(ctx, capture, report) // it may have been told by a stream that broke
		return
	}
	if f.run != nil {
		f.run.onAttached(capture, conn, nil)
	}
	f.sendStop(conn, capture, report.Feed.Epoch)
}

// onReport takes progress of a capture over.
func (f *feed) onReport(ctx context.Context, capture model.CaptureID, report *peerpb.FeedReport) {
	// The present run may have the epoch of the one that is being ended.
	if epoch, draining := f.draining[capture]; draining && epoch == report.Feed.Epoch {
		f.onDrained(ctx, capture, report)
		return
	}
	if f.run == nil || f.run.epoch != report.Feed.Epoch {
		return
	}
	f.run.onReport(capture, report)
	f.onTrouble(ctx, capture, report)
}

// onTrouble reacts to what went wrong in the present run on a capture. An error
// that ended it there is told once for each stream.
func (f *feed) onTrouble(ctx context.Context, capture model.CaptureID, report *peerpb.FeedReport) {
	if w := report.Warning; w != nil {
		f.warn(ctx, f.o.fromWire(capture, w))
	}
	if e := report.Error; e != nil {
		f.fail(ctx, f.o.fromWire(capture, e))
	}
}

// onDrained hears of an earlier run.
func (f *feed) onDrained(ctx context.Context, capture model.CaptureID, report *peerpb.FeedReport) {
	if report.Stopped {
		delete(f.draining, capture)
	}
	// Of several errors of one run the one that no retry cures wins.
	if report.Error != nil {
		if e := f.o.fromWire(capture, report.Error); unretryable(e) {
			f.fail(ctx, e)
		}
	}
}

// onFleet reacts to captures that came, went or lost their stream.
func (f *feed) onFleet(lost []model.CaptureID) {
	for _, capture := range lost {
		delete(f.draining, capture)
		delete(f.conns, capture)
		if f.run != nil {
			f.run.forget(capture)
		}
	}
	if f.run != nil {
		f.run.disturb()
	}
}

// onDetached notes that a capture's stream broke.
func (f *feed) onDetached(capture model.CaptureID) {
	delete(f.conns, capture)
	if f.run != nil {
		f.run.onDetached(capture)
	}
}

// heardAll tells whether the feed knows what runs on every connected capture.
func (f *feed) heardAll(fleet *fleetView) bool {
	for id, m := range fleet.members {
		if m.conn != nil && f.conns[id] != m.conn {
			return false
		}
	}
	return fleet.settled
}
