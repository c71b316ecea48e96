package processor

import (
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sorter"
)

type spanState int

const (
	spanWaiting spanState = iota // for its start
	spanRunning                  // subscribed
	spanLeaving                  // no row goes to the sink any more, some are on their way
)

// spanKey tells spans apart.
type spanKey struct {
	table      int64
	start, end string
}

func keyOf(s model.Span) spanKey {
	return spanKey{table: s.TableID, start: string(s.StartKey), end: string(s.EndKey)}
}

// span is one replicated span: the pipeline from its subscription to the sink.
// It is the consumer of its subscription.
type span struct {
	p       *Processor
	span    model.Span
	startTs uint64
	// skip is the checkpoint with which a prepared span took over: rows up to
	// it were delivered elsewhere. Set before the first row is emitted.
	skip uint64

	resolved atomic.Uint64 // what the subscription told last
	marked   atomic.Bool   // is in Processor.marked
	putOff   atomic.Bool   // waits for memory before its history is read
	acks     tracker
	rows     *sorter.Span // set when running

	// Only the goroutine that emits the span touches these.
	known bool // the schema knew the table once

	// The rest is guarded by Processor.mu.
	state       spanState
	replicateTs uint64
	sub         Subscription
	subClosed   bool
	after       *span // the leaving span of the same key that must be gone first
	target      uint64
	emitting    bool // is queued for or held by a worker
	limited     bool // is in Processor.limited
	gone        bool // left: nothing of it is here any more
	prepared    bool // collects rows only, and is in no heap
	ready       bool // prepared, and told so
	renew       bool // took over before it was subscribed: its replicateTs is too old

	checkpoint      uint64
	pulled          uint64 // resolved, as the heap knows it
	checkpointPlace int
	pulledPlace     int
}

// fields name the span in the log.
func (s *span) fields() []zap.Field {
	fields := []zap.Field{zap.Int64("tableID", s.span.TableID)}
	if !s.span.Whole() {
		start, end := s.span.Borders()
		fields = append(fields, zap.String("startKey", start), zap.String("endKey", end))
	}
	return fields
}

// from is the TSO after which rows are delivered here.
func (s *span) from() uint64 { return max(s.startTs, s.skip) }

// OnRows buffers rows of the subscription.
func (s *span) OnRows(rows []model.RawChange) {
	s.p.metrics.pulledRows.Add(float64(len(rows)))
	if err := s.rows.Add(rows); err != nil {
		s.p.fail(err)
	}
}

// OnResolved lists the span for the next round. A span that has come to the
// limit before asks for none: it can go on only when that rises, for which there
// will be a round. So the many spans of an idle changefeed wake nobody.
func (s *span) OnResolved(ts uint64) {
	before := s.resolved.Swap(ts)
	first := before <= s.startTs
	if first {
		s.p.admission.ended(s, s.rows.Added())
	}
	// The order matters: a round sets the limit before it takes the list.
	s.p.list(s)
	if first || before < s.p.gate.Load() {
		notify(s.p.wake)
	}
}

// OnError ends the run.
func (s *span) OnError(err error) { s.p.fail(err) }
