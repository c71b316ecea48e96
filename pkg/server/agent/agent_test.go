package agent

import (
	"context"
	"encoding/json"
	stderrors "errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
	"github.com/tidemark/tidemark/pkg/processor"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

var feedID = model.DefaultChangefeedID("f")

// fakeProcessor runs until it is cancelled, told to fail, or held.
type fakeProcessor struct {
	epoch   uint64
	changed chan struct{}
	fail    chan error
	hold    chan struct{} // Run returns only after it is closed; nil does not hold

	mu      sync.Mutex
	spans   map[int64]uint64
	removed []processor.SpanStart
	barrier uint64
	running bool
}

func (p *fakeProcessor) Run(ctx context.Context) error {
	p.set(func() { p.running = true })
	defer p.set(func() { p.running = false })
	select {
	case <-ctx.Done():
		if p.hold != nil {
			<-p.hold
		}
		return nil
	case err := <-p.fail:
		return err
	}
}

func (p *fakeProcessor) set(fn func()) {
	p.mu.Lock()
	fn()
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *fakeProcessor) AddSpans(spans []processor.SpanStart) {
	p.set(func() {
		for _, s := range spans {
			p.spans[s.Span.TableID] = s.CheckpointTs
		}
	})
}

func (p *fakeProcessor) RemoveSpans(spans []model.Span) {
	p.set(func() {
		for _, s := range spans {
			p.removed = append(p.removed, processor.SpanStart{Span: s, CheckpointTs: p.spans[s.TableID]})
			delete(p.spans, s.TableID)
		}
	})
}

func (p *fakeProcessor) SetBarrier(ts uint64)     { p.set(func() { p.barrier = max(p.barrier, ts) }) }
func (p *fakeProcessor) Changed() <-chan struct{} { return p.changed }

func (p *fakeProcessor) Spans() []processor.SpanStart {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []processor.SpanStart
	for id, ts := range p.spans {
		out = append(out, processor.SpanStart{Span: model.TableSpan(id), CheckpointTs: ts})
	}
	slices.SortFunc(out, func(a, b processor.SpanStart) int { return int(a.Span.TableID - b.Span.TableID) })
	return out
}

func (p *fakeProcessor) Progress() processor.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	removed := p.removed
	p.removed = nil
	return processor.Progress{Spans: len(p.spans), CheckpointTs: p.barrier, ResolvedTs: p.barrier, Removed: removed}
}

// bench is an agent whose processors the test holds in its hand.
type bench struct {
	*Agent
	mu   sync.Mutex
	made []*fakeProcessor
	next fakeProcessor // what the next one is like
	left int           // how often it was asked to leave
	err  error
}

func newBench(t *testing.T) *bench {
	b := &bench{}
	b.Agent = New(func(info *etcdmeta.ChangefeedInfo) (Processor, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.err != nil {
			return nil, b.err
		}
		p := &fakeProcessor{
			epoch: info.Epoch, changed: make(chan struct{}, 1), fail: make(chan error, 1),
			spans: map[int64]uint64{}, hold: b.next.hold,
		}
		b.made = append(b.made, p)
		return p, nil
	}, func() { b.left++ }, zap.NewNop())
	t.Cleanup(b.Close)
	return b
}

func start(epoch, seq uint64, tables ...int64) *peerpb.Order {
	info, _ := json.Marshal(&etcdmeta.ChangefeedInfo{Namespace: "default", ID: "f", Epoch: epoch})
	o := &peerpb.Order{Feed: peer.FeedKey(feedID, epoch), Seq: seq, Start: info, BarrierTs: 100}
	for _, id := range tables {
		o.Add = append(o.Add, &peerpb.SpanStart{Span: &peerpb.Span{TableId: id}, CheckpointTs: 50})
	}
	return o
}

func stop(epoch uint64) *peerpb.Order {
	return &peerpb.Order{Feed: peer.FeedKey(feedID, epoch), Stop: true}
}

// await waits until a report about an epoch satisfies the condition.
func (b *bench) await(t *testing.T, epoch uint64, cond func(*peerpb.FeedReport) bool) *peerpb.FeedReport {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		if report := b.Report(); report != nil {
			for _, r := range report.Feeds {
				if r.Feed.Epoch == epoch && cond(r) {
					return r
				}
			}
		}
		select {
		case <-b.Changed():
		case <-deadline:
			require.FailNow(t, "no such report")
		}
	}
}

func TestLifeOfARun(t *testing.T) {
	b := newBench(t)
	b.Apply([]*peerpb.Order{start(1, 1, 10, 11)})
	r := b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Applied == 1 })
	require.Equal(t, uint32(2), r.Spans)
	require.Equal(t, uint64(100), r.CheckpointTs)

	key := peer.FeedKey(feedID, 1)
	b.Apply([]*peerpb.Order{
		{Feed: key, Seq: 2, Remove: []*peerpb.Span{{TableId: 11}}, Add: []*peerpb.SpanStart{{Span: &peerpb.Span{TableId: 12}, CheckpointTs: 60}}, BarrierTs: 120},
		{Feed: peer.FeedKey(feedID, 9), Seq: 3, Remove: []*peerpb.Span{{TableId: 10}}}, // another run's
	})
	r = b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Applied == 2 })
	require.Equal(t, uint64(120), r.CheckpointTs)
	require.Len(t, r.Removed, 1)
	require.Equal(t, uint64(50), r.Removed[0].CheckpointTs)

	hello := b.Hello()
	require.Len(t, hello.Feeds, 1)
	require.Equal(t, uint64(2), hello.Feeds[0].Applied)
	require.Equal(t, []int64{10, 12}, []int64{hello.Feeds[0].Held[0].TableId, hello.Feeds[0].Held[1].TableId})

	b.Apply([]*peerpb.Order{stop(1)})
	b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Stopped })
	require.Empty(t, b.Hello().Feeds)
	require.False(t, b.made[0].running)
	// The owner may not have heard it and asks again.
	b.Apply([]*peerpb.Order{stop(1)})
	b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Stopped })
	require.Nil(t, b.Report(), "nothing more to tell")
}

// The next run of a changefeed begins only when the one before has ended.
func TestRunsDoNotOverlap(t *testing.T) {
	b := newBench(t)
	hold := make(chan struct{})
	b.next.hold = hold
	b.Apply([]*peerpb.Order{start(1, 1, 10)})
	b.next.hold = nil
	b.Apply([]*peerpb.Order{start(2, 2, 20), {Feed: peer.FeedKey(feedID, 2), Seq: 3, BarrierTs: 130}})
	b.Apply([]*peerpb.Order{stop(1)})
	require.Len(t, b.made, 1)
	close(hold)
	r := b.await(t, 2, func(r *peerpb.FeedReport) bool { return r.Applied == 3 })
	require.Equal(t, uint64(130), r.CheckpointTs)
	require.Equal(t, uint64(2), b.made[1].epoch)
	require.False(t, b.made[0].running)
}

// A run that waits for its predecessor may be called off.
func TestStopOfWaitingRun(t *testing.T) {
	b := newBench(t)
	hold := make(chan struct{})
	b.next.hold = hold
	b.Apply([]*peerpb.Order{start(1, 1, 10)})
	b.Apply([]*peerpb.Order{start(2, 2, 20), stop(2)})
	b.await(t, 2, func(r *peerpb.FeedReport) bool { return r.Stopped })
	close(hold)
	b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Stopped })
	require.Len(t, b.made, 1)
}

func TestErrorStaysUntilStopped(t *testing.T) {
	b := newBench(t)
	b.Apply([]*peerpb.Order{start(1, 1, 10)})
	b.made[0].fail <- errors.ErrMySQLTxnError.Wrap(stderrors.New("boom"))
	r := b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Error != nil })
	require.Equal(t, "CDC:ErrMySQLTxnError", r.Error.Code)
	require.Contains(t, r.Error.Message, "boom")
	require.NotNil(t, b.Hello().Feeds[0].Error, "a new owner hears of it")
	b.Apply([]*peerpb.Order{stop(1)})
	b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Stopped })
	b.Apply([]*peerpb.Order{start(2, 2, 10)})
	b.await(t, 2, func(r *peerpb.FeedReport) bool { return r.Applied == 2 && r.Error == nil })
}

func TestUncodedErrorAndFailedFactory(t *testing.T) {
	b := newBench(t)
	b.err = stderrors.New("no")
	b.Apply([]*peerpb.Order{start(1, 1, 10)})
	r := b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Error != nil })
	require.Equal(t, errors.ErrProcessorUnknown.Text(), r.Error.Code)
	b.Apply([]*peerpb.Order{stop(1)})
	b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Stopped })
}

func TestLivenessIsTold(t *testing.T) {
	b := newBench(t)
	require.Nil(t, b.Report())
	b.SetLiveness(model.LivenessStopping)
	require.Equal(t, int32(model.LivenessStopping), b.Report().Liveness)
	require.Nil(t, b.Report())
	b.SetLiveness(model.LivenessAlive)
	require.Nil(t, b.Report(), "it only rises")
}

func TestCloseWaitsForProcessors(t *testing.T) {
	b := newBench(t)
	b.Apply([]*peerpb.Order{start(1, 1, 10)})
	b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Applied == 1 })
	b.Close()
	require.False(t, b.made[0].running)
	b.await(t, 1, func(r *peerpb.FeedReport) bool { return r.Stopped })
	b.Apply([]*peerpb.Order{start(2, 2, 10)})
	require.Len(t, b.made, 1, "nothing starts any more")
}
