package processor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	tderrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// open lets everything pass that has a table.
func (r *rig) open(tables ...int64) {
	for _, id := range tables {
		r.up.table(id, 1)
	}
	r.up.resolveSchema(math.MaxUint64)
	r.SetBarrier(math.MaxUint64)
}

func TestRowsComeInOrderOnce(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.up.now = 77
	r.add(1, 10)
	s := r.up.sub(t, 1)
	require.Equal(t, uint64(10), s.o.StartTs)
	s.rows(change(30, "a"), change(20, "b"))
	s.rows(change(25, "a"), change(20, "b"), change(41, "z"))
	s.resolve(40)
	r.waitCheckpoint(40)
	require.Equal(t, []uint64{20, 25, 30}, commitTimes(r.sink.rowsOf(1)))
	p := r.Progress()
	p.Stall = nil // nothing more may have come for a while
	require.Equal(t, Progress{Spans: 1, CheckpointTs: 40, ResolvedTs: 40, PullerResolvedTs: 40, LastCommitTs: 30}, p)
	b := r.sink.got()[0]
	require.Equal(t, uint64(77), b.ReplicateTs)
	require.Equal(t, int64(1), b.TableID)
	require.True(t, b.LastOfTxn)

	s.resolve(50)
	r.waitCheckpoint(50)
	require.Equal(t, []uint64{20, 25, 30, 41}, commitTimes(r.sink.rowsOf(1)))
	require.NoError(t, r.stop())
}

func TestLimitsHoldRowsBack(t *testing.T) {
	tests := []struct {
		name   string
		target uint64
		raise  func(r *rig, ts uint64)
		reason string
	}{
		{"barrier", 0, func(r *rig, ts uint64) { r.up.resolveSchema(1000); r.SetBarrier(ts) }, model.StallDDL},
		{"schema", 0, func(r *rig, ts uint64) { r.SetBarrier(1000); r.up.resolveSchema(ts) }, model.StallSchema},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.up.table(1, 1)
			r.add(1, 10)
			r.add(2, 10)
			s := r.up.sub(t, 1)
			s.rows(change(20, "a"), change(30, "a"), change(40, "a"))
			s.resolve(100)
			r.up.sub(t, 2).resolve(100)
			test.raise(r, 30)
			r.waitCheckpoint(30)
			require.Equal(t, []uint64{20, 30}, commitTimes(r.sink.rowsOf(1)))
			require.Equal(t, uint64(30), r.Progress().ResolvedTs)
			require.Equal(t, uint64(100), r.Progress().PullerResolvedTs)
			r.waitFor("reason", func() bool {
				st := r.Progress().Stall
				return st != nil && st.Reason == test.reason
			})
			test.raise(r, 35)
			r.waitCheckpoint(35)
			test.raise(r, 200)
			r.waitCheckpoint(100)
			require.Equal(t, []uint64{20, 30, 40}, commitTimes(r.sink.rowsOf(1)))
		})
	}
}

func TestNothingPassesWithoutBarrier(t *testing.T) {
	r := newRig(t)
	r.up.table(1, 1)
	r.up.resolveSchema(1000)
	r.add(1, 10)
	r.up.sub(t, 1).rows(change(20, "a"))
	r.up.sub(t, 1).resolve(100)
	r.waitFor("reason", func() bool {
		st := r.Progress().Stall
		return st != nil && st.Reason == model.StallScheduling
	})
	require.Empty(t, r.sink.got())
	require.Equal(t, uint64(10), r.Progress().CheckpointTs)
}

func TestTargetTsEnds(t *testing.T) {
	r := newRig(t, func(o *Options) { o.TargetTs = 50 })
	r.open(1)
	r.add(1, 10)
	s := r.up.sub(t, 1)
	s.rows(change(50, "a"), change(51, "a"))
	s.resolve(100)
	r.waitCheckpoint(50)
	require.Equal(t, []uint64{50}, commitTimes(r.sink.rowsOf(1)))
	require.Nil(t, r.Progress().Stall)
}

func TestAcknowledgementsOutOfOrder(t *testing.T) {
	r := newRig(t)
	r.limits.Rows = 2
	r.open(1)
	r.sink.hold = true
	r.add(1, 10)
	s := r.up.sub(t, 1)
	// Two transactions of three rows: batches end within and between them.
	for _, ts := range []uint64{20, 30} {
		s.rows(change(ts, "a"), change(ts, "b"), change(ts, "c"))
	}
	s.resolve(100)
	r.waitFor("batches", func() bool { return len(r.sink.got()) == 3 })
	b := r.sink.got()
	require.False(t, b[0].LastOfTxn)
	require.False(t, b[1].LastOfTxn)
	require.True(t, b[2].LastOfTxn)

	b[1].Done(nil)
	b[1].Done(nil) // a second one changes nothing
	require.Equal(t, uint64(10), r.Progress().CheckpointTs)
	b[0].Done(nil)
	r.waitCheckpoint(29)
	require.Equal(t, uint64(30), r.Progress().LastCommitTs)
	b[2].Done(nil)
	r.waitCheckpoint(100)
}

func TestTransactionsStayWhole(t *testing.T) {
	for _, uri := range []string{"", "?transaction-atomicity=table"} {
		r := newRig(t, func(o *Options) {
			o.SinkURI = config.SinkURI("mysql://h/" + uri)
			if uri == "" {
				table := config.AtomicityTable
				o.Config.Sink = &config.SinkConfig{TxnAtomicity: &table}
			}
		})
		r.limits.Rows = 2
		r.open(1)
		r.add(1, 10)
		s := r.up.sub(t, 1)
		for _, ts := range []uint64{20, 30} {
			s.rows(change(ts, "a"), change(ts, "b"), change(ts, "c"))
		}
		s.resolve(100)
		r.waitCheckpoint(100)
		require.Len(t, r.sink.got(), 2)
		require.NoError(t, r.stop())
	}
}

func TestBatchesEndAtTableVersions(t *testing.T) {
	r := newRig(t)
	v1, v2, v3 := r.up.table(1, 1), r.up.table(1, 20), r.up.table(1, 40)
	r.up.resolveSchema(1000)
	r.SetBarrier(1000)
	r.add(1, 10)
	s := r.up.sub(t, 1)
	for _, ts := range []uint64{15, 20, 21, 22, 40, 41, 50} {
		s.rows(change(ts, "a"))
	}
	s.resolve(100)
	r.waitCheckpoint(100)
	b := r.sink.got()
	require.Len(t, b, 3)
	for i, want := range []struct {
		table *model.Table
		ts    []uint64
	}{{v1, []uint64{15, 20}}, {v2, []uint64{21, 22, 40}}, {v3, []uint64{41, 50}}} {
		require.Same(t, want.table, b[i].Table)
		require.Equal(t, want.ts, commitTimes(b[i].Rows))
		require.True(t, b[i].LastOfTxn)
	}
}

func TestRowsOfTablesThatAreNotReplicated(t *testing.T) {
	t.Run("dropped", func(t *testing.T) {
		r := newRig(t)
		r.open(1)
		r.up.dropped[1] = 30
		r.add(1, 10)
		s := r.up.sub(t, 1)
		s.rows(change(20, "a"), change(31, "a"), change(32, "b"))
		s.resolve(40)
		r.waitCheckpoint(40)
		s.rows(change(50, "c"))
		s.resolve(60)
		r.waitCheckpoint(60)
		require.Equal(t, []uint64{20}, commitTimes(r.sink.rowsOf(1)))
	})
	t.Run("dropped before any row", func(t *testing.T) {
		r := newRig(t)
		r.open(1)
		r.up.dropped[1] = 15
		r.add(1, 10)
		r.up.sub(t, 1).rows(change(20, "a"))
		r.up.sub(t, 1).resolve(40)
		r.waitCheckpoint(40)
		require.Empty(t, r.sink.got())
	})
	t.Run("without key", func(t *testing.T) {
		r := newRig(t)
		r.open(1)
		r.up.versions[1][0].HandleKey = nil
		r.up.table(1, 30)
		r.add(1, 10)
		r.up.sub(t, 1).rows(change(20, "a"), change(35, "a"))
		r.up.sub(t, 1).resolve(40)
		r.waitCheckpoint(40)
		require.Equal(t, []uint64{35}, commitTimes(r.sink.rowsOf(1)))
	})
	t.Run("without key but forced", func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.Config.ForceReplicate = true })
		r.open(1)
		r.up.versions[1][0].HandleKey = nil
		r.add(1, 10)
		r.up.sub(t, 1).rows(change(20, "a"))
		r.up.sub(t, 1).resolve(40)
		r.waitCheckpoint(40)
		require.Equal(t, []uint64{20}, commitTimes(r.sink.rowsOf(1)))
	})
	t.Run("unknown", func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.add(7, 10)
		r.up.sub(t, 7).rows(change(20, "a"))
		r.up.sub(t, 7).resolve(40)
		require.ErrorIs(t, r.failed(), tderrors.ErrSnapshotTableNotFound)
	})
}

func TestErrorsEndTheRun(t *testing.T) {
	tests := []struct {
		name   string
		break_ func(r *rig, s *fakeSub)
		want   error
		code   string
	}{
		{"sink refuses", func(r *rig, s *fakeSub) {
			r.sink.mu.Lock()
			r.sink.err = errSink
			r.sink.mu.Unlock()
			s.rows(change(20, "a"))
			s.resolve(30)
		}, errSink, "CDC:ErrProcessorUnknown"},
		{"sink fails later", func(r *rig, s *fakeSub) {
			r.sink.mu.Lock()
			r.sink.hold = true
			r.sink.mu.Unlock()
			s.rows(change(20, "a"))
			s.resolve(30)
			r.waitFor("batch", func() bool { return len(r.sink.got()) == 1 })
			r.sink.got()[0].Done(tderrors.ErrMySQLTxnError.Wrap(errSink))
		}, errSink, "CDC:ErrMySQLTxnError"},
		{"subscription", func(_ *rig, s *fakeSub) {
			s.o.Consumer.OnError(tderrors.ErrPrewriteNotMatch.New("k", 1, 2, "COMMIT", "PUT"))
		}, tderrors.ErrPrewriteNotMatch, "CDC:ErrPrewriteNotMatch"},
		{"broken resolved-ts", func(r *rig, s *fakeSub) {
			s.rows(change(20, "a"))
			s.resolve(30)
			r.waitCheckpoint(30)
			s.rows(change(25, "a"))
		}, tderrors.ErrResolvedTsBroken, "CDC:ErrResolvedTsBroken"},
		{"schema", func(r *rig, _ *fakeSub) {
			r.up.set(func() { r.up.storeErr = errors.New("history is gone") })
		}, nil, "CDC:ErrProcessorUnknown"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.open(1)
			r.add(1, 10)
			test.break_(r, r.up.sub(t, 1))
			err := r.failed()
			require.Error(t, err)
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
			}
			require.Equal(t, test.code, tderrors.CodeOf(err))
			require.LessOrEqual(t, r.Progress().CheckpointTs, uint64(30))
			require.True(t, r.sink.closed)
		})
	}
	t.Run("sink does not connect", func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			o.NewSink = func(context.Context) (sink.Sink, error) { return nil, tderrors.ErrMySQLConnectionError.Wrap(errSink) }
		})
		r.add(1, 10)
		require.ErrorIs(t, r.failed(), tderrors.ErrMySQLConnectionError)
	})
}

func TestSinkFailureDoesNotMoveTheCheckpoint(t *testing.T) {
	r := newRig(t)
	r.limits.Rows = 1
	r.open(1)
	r.sink.hold = true
	r.add(1, 10)
	s := r.up.sub(t, 1)
	s.rows(change(20, "a"), change(30, "a"), change(40, "a"))
	s.resolve(50)
	r.waitFor("batches", func() bool { return len(r.sink.got()) == 3 })
	b := r.sink.got()
	b[0].Done(nil)
	r.waitCheckpoint(20)
	b[1].Done(errSink)
	b[2].Done(nil)
	require.ErrorIs(t, r.failed(), errSink)
	require.Equal(t, uint64(20), r.Progress().CheckpointTs)
}

func TestCancellationIsNoError(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.sink.gate = make(chan struct{})
	r.add(1, 10)
	s := r.up.sub(t, 1)
	s.rows(change(20, "a"))
	s.resolve(30)
	r.waitFor("emission", func() bool { return r.stalled() })
	require.NoError(t, r.stop())
	require.Equal(t, uint64(10), r.Progress().CheckpointTs)
	require.Equal(t, []SpanStart{{Span: model.TableSpan(1), CheckpointTs: 10}}, r.Spans())
}

// requireRemoved: table 1 was let go, once. That its last row is delivered may
// be known before the resolved-ts behind it is.
func requireRemoved(t *testing.T, removed []SpanStart, row, resolved uint64) {
	t.Helper()
	require.Len(t, removed, 1)
	require.Equal(t, model.TableSpan(1), removed[0].Span)
	require.Contains(t, []uint64{row, resolved}, removed[0].CheckpointTs)
}

func TestRemoveSpans(t *testing.T) {
	r := newRig(t)
	r.open(1, 2)
	r.sink.hold = true
	r.add(1, 10)
	r.add(2, 15)
	s := r.up.sub(t, 1)
	r.up.sub(t, 2).resolve(100)
	s.rows(change(20, "a"))
	s.resolve(30)
	r.waitFor("batch", func() bool { return len(r.sink.got()) == 1 })
	s.rows(change(40, "b"))

	r.RemoveSpans([]model.Span{model.TableSpan(1), model.TableSpan(9)})
	p := r.Progress()
	require.Equal(t, []SpanStart{{Span: model.TableSpan(9)}}, p.Removed, "unknown spans are told at once")
	require.Equal(t, 2, p.Spans)
	r.waitFor("unsubscribed", func() bool {
		r.up.mu.Lock()
		defer r.up.mu.Unlock()
		return len(r.up.closed) == 1
	})
	require.Empty(t, r.Progress().Removed, "a batch is still on its way")
	require.Equal(t, uint64(10), r.Progress().CheckpointTs)

	r.sink.got()[0].Done(nil)
	r.waitFor("removed", func() bool {
		p = r.Progress()
		return len(p.Removed) > 0
	})
	requireRemoved(t, p.Removed, 20, 30)
	require.Equal(t, 1, p.Spans)
	r.waitCheckpoint(100)
	require.Len(t, r.sink.got(), 1, "the row after the removal was dropped")
}

func TestAddWhileRemoving(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.sink.hold = true
	r.add(1, 10)
	first := r.up.sub(t, 1)
	first.rows(change(20, "a"))
	first.resolve(30)
	r.waitFor("batch", func() bool { return len(r.sink.got()) == 1 })
	r.RemoveSpans([]model.Span{model.TableSpan(1)})
	r.add(1, 25)
	r.add(1, 26) // it is here already
	require.Equal(t, 2, r.Progress().Spans)
	r.sink.got()[0].Done(nil)
	r.waitFor("second subscription", func() bool {
		r.up.mu.Lock()
		defer r.up.mu.Unlock()
		s := r.up.subs[1]
		return s != nil && s != first
	})
	second := r.up.sub(t, 1)
	require.Equal(t, uint64(25), second.o.StartTs)
	p := r.Progress()
	requireRemoved(t, p.Removed, 20, 30)
	second.resolve(50)
	r.waitCheckpoint(50)
}

// A span that is removed, comes back and is removed again before anybody asked
// is told once, and only when its second stay is over.
func TestRemovedTwiceBeforeTold(t *testing.T) {
	r := newRig(t)
	r.open(1)
	r.sink.hold = true
	stay := func(start, row uint64, batches int) {
		r.add(1, start)
		s := r.up.sub(t, 1)
		s.rows(change(row, "a"))
		s.resolve(row + 5)
		r.waitFor("batch", func() bool { return len(r.sink.got()) == batches })
		r.RemoveSpans([]model.Span{model.TableSpan(1)})
	}
	stay(10, 20, 1)
	r.sink.got()[0].Done(nil)
	r.waitFor("it is gone", func() bool { return len(r.Spans()) == 0 })

	stay(25, 40, 2)
	require.Empty(t, r.Progress().Removed, "a batch is still on its way")
	r.sink.got()[1].Done(nil)
	r.waitFor("it is gone", func() bool { return len(r.Spans()) == 0 })
	requireRemoved(t, r.Progress().Removed, 40, 45)
}

func TestRemoveBeforeStart(t *testing.T) {
	r := newRig(t)
	r.up.set(func() { r.up.tsoErr = errors.New("PD is away") })
	r.add(1, 10)
	r.waitFor("reason", func() bool {
		st := r.Progress().Stall
		return st != nil && st.Reason == model.StallUpstream
	})
	r.RemoveSpans([]model.Span{model.TableSpan(1)})
	require.Equal(t, []SpanStart{{Span: model.TableSpan(1), CheckpointTs: 10}}, r.Progress().Removed)
	r.up.set(func() { r.up.tsoErr = nil })
	r.open(2)
	r.add(2, 20)
	r.up.sub(t, 2).resolve(30)
	r.waitCheckpoint(30)
	r.up.mu.Lock()
	defer r.up.mu.Unlock()
	require.NotContains(t, r.up.subs, int64(1))
}

func TestOlderSpanGetsOlderSchema(t *testing.T) {
	r := newRig(t)
	r.open(1, 2)
	r.add(1, 100)
	r.up.sub(t, 1).resolve(110)
	r.add(2, 50)
	r.up.sub(t, 2).resolve(110)
	r.waitCheckpoint(110)
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, uint64(50), r.leaseTs)
}

// olderSchemas gives leases on another store for what is older than 100.
type olderSchemas struct{ now, older *fakeUpstream }

func (s olderSchemas) Acquire(ctx context.Context, ts uint64) (SchemaLease, error) {
	if ts < 100 {
		return s.older.Acquire(ctx, ts)
	}
	return s.now.Acquire(ctx, ts)
}

func TestOlderSchemaMustCatchUpFirst(t *testing.T) {
	older := newFakeUpstream()
	older.table(1, 1)
	older.table(2, 1)
	t.Cleanup(func() { require.Zero(t, older.leases) })
	r := newRig(t, func(o *Options) { o.Schemas = olderSchemas{o.Schemas.(*fakeUpstream), older} })
	r.open(1, 2)
	r.up.resolveSchema(110)
	r.add(1, 100)
	r.up.sub(t, 1).resolve(110)
	r.waitCheckpoint(110)
	r.add(2, 50)
	older.resolveSchema(109)
	acquired := func() bool {
		older.mu.Lock()
		defer older.mu.Unlock()
		return older.leases == 1
	}
	r.waitFor("the older schema", acquired)
	r.mu.Lock()
	require.Equal(t, uint64(100), r.leaseTs, "tables are looked up where everything up to 110 is known")
	r.mu.Unlock()
	older.resolveSchema(120)
	r.up.sub(t, 2).resolve(115)
	r.up.sub(t, 1).resolve(115)
	r.waitCheckpoint(115)
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, uint64(50), r.leaseTs)
}

func TestStallReasons(t *testing.T) {
	retry := time.Now().Add(time.Minute)
	tests := []struct {
		name   string
		status changes.Status
		sink   sink.Status
		rows   bool
		want   string
	}{
		{"region", changes.Status{Reason: changes.ReasonLive, Slowest: 42}, sink.Status{}, false, model.StallRegion},
		{"lock", changes.Status{Reason: changes.ReasonLock}, sink.Status{}, false, model.StallLock},
		{"scan", changes.Status{Reason: changes.ReasonScanning, Regions: 5}, sink.Status{}, false, model.StallCatchingUp},
		{"store", changes.Status{Reason: changes.ReasonStore, Detail: "refused"}, sink.Status{}, false, model.StallUpstream},
		{"busy sink", changes.Status{}, sink.Status{}, true, model.StallSinkBusy},
		{"broken sink", changes.Status{}, sink.Status{Reason: model.StallSink, Code: "CDC:ErrMySQLTxnError", Detail: "refused", RetryAt: retry}, true, model.StallSink},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.open(1)
			r.up.statuses, r.sink.status, r.sink.hold = test.status, test.sink, true
			r.add(1, 10)
			s := r.up.sub(t, 1)
			if test.rows {
				s.rows(change(20, "a"))
				s.resolve(30)
			}
			var p Progress
			r.waitFor("stall", func() bool {
				<-r.Changed() // comes although nothing moves
				p = r.Progress()
				return p.Stall != nil && p.Stall.Reason == test.want
			})
			require.NotEmpty(t, p.Stall.Detail)
			if test.want != model.StallSink {
				require.Nil(t, p.Warning)
				return
			}
			require.Equal(t, retry, *p.Stall.RetryAt)
			require.Equal(t, "CDC:ErrMySQLTxnError", p.Warning.Code)
			require.Equal(t, "refused", p.Warning.Message)
		})
	}
}

func TestBackPressure(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Config.MemoryQuota = 4 << 20 })
	r.open(1)
	gate := make(chan struct{})
	r.sink.gate = gate
	r.add(1, 10)
	s := r.up.sub(t, 1)
	value := bytes.Repeat([]byte("x"), 1000)
	const rows = 60_000
	for i := range rows {
		s.rows(model.NewRawChange(20, uint64(21+i/10), fmt.Appendf(nil, "%08d", i), value, nil))
		if i%1000 == 0 {
			s.resolve(uint64(20 + i/10))
		}
	}
	require.Positive(t, r.engine.OnDisk(), "what does not fit is on disk")
	require.Less(t, r.engine.Held(), int64(32<<20))
	s.resolve(100_000)
	require.LessOrEqual(t, r.Progress().CheckpointTs, uint64(20))
	close(gate)
	r.waitCheckpoint(100_000)
	require.Len(t, r.sink.rowsOf(1), rows)
}
