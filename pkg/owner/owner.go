// Package owner drives all changefeeds of a cluster while this capture holds
// the election: their state machines, the placement of their tables on
// captures, the DDL barrier, the stored checkpoints and the GC safepoint.
package owner

import (
	"context"
	stderrors "errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// Options wires an Owner. Every field is required unless it says otherwise.
type Options struct {
	Self       model.CaptureInfo
	Meta       *etcdmeta.OwnerClient
	Hub        *peer.Hub
	UpstreamID uint64 // PD cluster id of Upstream
	Upstream   Upstream
	Schemas    Schemas
	FilterDDL  FilterDDL
	OpenSink   OpenSink
	// GCServiceID is "ticdc-<cluster id>-<etcd cluster id>"; GCTTL is how long
	// PD keeps its safe point without hearing of it.
	GCServiceID string
	GCTTL       time.Duration
	SessionTTL  time.Duration
	// BalanceInterval is how long after a change of captures or tables it is
	// looked at whether the tables are spread evenly; 0 means a minute.
	BalanceInterval time.Duration
	Clock           Clock          // optional, for tests
	Random          func() float64 // optional, for tests
	Logger          *zap.Logger    // optional
	Metrics         *Metrics       // optional
}

// minGrace is how long the tables of a vanished capture stay where they are,
// at least.
const minGrace = 3 * time.Second

// graceOf is for what a capture has under way when its lease ends. It has begun
// nothing new for a fifth of the TTL by then (etcdmeta.Session.Valid), which
// makes it half a TTL in all.
func graceOf(sessionTTL time.Duration) time.Duration { return max(minGrace, sessionTTL*3/10) }

// sweepEvery is how often it is looked whether captures have to be given up.
const sweepEvery = 200 * time.Millisecond

// finalFlushTimeout bounds storing the last checkpoints at the end of a term.
const finalFlushTimeout = 2 * time.Second

// Owner is the work of one term of office. A new term makes a new Owner.
type Owner struct {
	self        model.CaptureInfo
	meta        *etcdmeta.OwnerClient
	hub         *peer.Hub
	upstreamID  uint64
	upstream    Upstream
	schemas     Schemas
	filterDDL   FilterDDL
	openSink    OpenSink
	gcServiceID string
	gcTTL       time.Duration
	// balanceEvery is how long after a change it is looked at whether tables
	// are spread evenly.
	balanceEvery time.Duration
	clock        Clock
	random       func() float64
	logger       *zap.Logger
	metrics      *Metrics

	fleet   *fleet
	flusher *flusher
	keeper  *keeper
	resign  chan struct{}
	// records is meta, as far as changefeeds need it.
	records records
	// spawn runs a function in a goroutine that a group waits for.
	spawn func(group *sync.WaitGroup, fn func())

	ctx        context.Context // of the term, set by Run
	cancel     context.CancelCauseFunc
	over       chan struct{} // closed when Run returns
	loops      sync.WaitGroup
	background sync.WaitGroup

	mu     sync.Mutex
	feeds  map[model.ChangefeedID]*feed
	count  atomic.Int64 // of feeds
	graves map[model.ChangefeedID]*grave
	ready  bool

	// generation rises with every change that readers can see; cached is the
	// view of cachedAt.
	generation atomic.Uint64
	viewMu     sync.Mutex
	cached     atomic.Pointer[View]
	cachedAt   atomic.Uint64
}

// New prepares a term; nothing happens before Run.
func New(o Options) *Owner {
	own := &Owner{
		self: o.Self, meta: o.Meta, hub: o.Hub, upstreamID: o.UpstreamID, upstream: o.Upstream,
		schemas: o.Schemas, filterDDL: o.FilterDDL, openSink: o.OpenSink,
		gcServiceID: o.GCServiceID, gcTTL: o.GCTTL, balanceEvery: o.BalanceInterval, clock: o.Clock, random: o.Random,
		logger: o.Logger, metrics: o.Metrics,
		feeds: map[model.ChangefeedID]*feed{}, graves: map[model.ChangefeedID]*grave{},
		resign: make(chan struct{}), over: make(chan struct{}),
	}
	if own.clock == nil {
		own.clock = time.Now
	}
	if own.random == nil {
		own.random = rand.Float64
	}
	if own.logger == nil {
		own.logger = zap.NewNop()
	}
	if own.balanceEvery == 0 {
		own.balanceEvery = time.Minute
	}
	own.records, own.spawn = own.meta, (*sync.WaitGroup).Go
	own.fleet = newFleet(own, graceOf(o.SessionTTL), peer.GiveUpAfter(o.SessionTTL))
	own.flusher = newFlusher(own)
	own.keeper = newKeeper(own)
	own.cached.Store(&View{})
	return own
}

// Run works until ctx ends, Resign is called or the election is lost. It
// returns nil in the first two cases. Afterwards nothing of the term runs any
// more here; the captures keep what they were told.
func (o *Owner) Run(ctx context.Context) error {
	defer close(o.over)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.ctx, o.cancel = ctx, cancel
	state, err := o.meta.Load(ctx)
	if err != nil {
		return err
	}
	if err := o.checkTerm(state); err != nil {
		return err
	}
	o.metrics.begin(o)
	defer o.metrics.end(o)
	o.fleet.begin(state, o.clock())
	for key, err := range state.Bad {
		o.logger.Error("cannot read a value in etcd", zap.String("key", key), zap.Error(err))
	}
	for _, stored := range state.Feeds {
		o.onRecord(stored.ID, stored)
	}
	closeHub := o.hub.Open(o.meta.Fence().Rev, o.fleet)
	o.mu.Lock()
	o.ready = true
	o.mu.Unlock()
	o.touch()
	o.logger.Info("this capture is the owner", zap.Int64("revision", o.meta.Fence().Rev), zap.Int("changefeeds", len(state.Feeds)))

	if len(state.Positions) > 0 {
		alive := state.CaptureIDs()
		o.background.Go(func() { o.cleanPositions(ctx, alive) })
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return o.watch(groupCtx, state) })
	group.Go(func() error { return o.flusher.run(groupCtx) })
	group.Go(func() error { return o.keeper.run(groupCtx) })
	group.Go(func() error { return o.sweep(groupCtx) })
	group.Go(func() error { return o.awaitResign(groupCtx) })
	err = group.Wait()
	if cause := context.Cause(ctx); cause != nil && !stderrors.Is(cause, context.Canceled) {
		err = cause
	}
	cancel(nil)
	closeHub()
	o.loops.Wait()
	o.background.Wait()
	o.finalFlush(ctx)
	if stderrors.Is(err, errResigned) {
		return nil
	}
	return err
}

var errResigned = stderrors.New("resigned")

func (o *Owner) awaitResign(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-o.resign:
		return errResigned
	}
}

// finalFlush stores the last checkpoints, so that the next owner need not
// send again what the captures have delivered already.
func (o *Owner) finalFlush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalFlushTimeout)
	defer cancel()
	if _, err := o.flusher.flush(ctx); err != nil {
		o.logger.Info("the last checkpoints were not stored", zap.Error(err))
	}
}

// cleanPositions deletes what TiCDC captures that are gone have left behind.
func (o *Owner) cleanPositions(ctx context.Context, alive map[model.CaptureID]struct{}) {
	err := o.meta.RemovePositions(ctx, func(k etcdmeta.Key) bool {
		_, ok := alive[k.Capture]
		return !ok
	})
	if err != nil && ctx.Err() == nil {
		o.logger.Warn("cannot delete the task positions of vanished captures", zap.Error(err))
	}
}

// abort ends the term because of an error that only a new term can cure.
func (o *Owner) abort(err error) { o.cancel(err) }

// watch follows the metadata.
func (o *Owner) watch(ctx context.Context, state *etcdmeta.State) error {
	prefix := o.meta.Keys().Prefix()
	updates := o.meta.Watch(ctx, prefix, state.Revision)
	for {
		update, open := <-updates
		if ctx.Err() != nil {
			return nil
		}
		if !open { // history was compacted away
			var err error
			if state, err = o.reload(ctx); err != nil {
				return err
			}
			updates = o.meta.Watch(ctx, prefix, state.Revision)
			continue
		}
		changes := state.Apply(update)
		if changes.Owner {
			if err := o.checkTerm(state); err != nil {
				return err
			}
		}
		if changes.Captures {
			o.fleet.stopped(changes.Stopped)
			o.fleet.update(state.Captures, o.clock())
		}
		for id := range changes.Feeds {
			o.onRecord(id, state.Feeds[id])
		}
	}
}

// reload reads everything again after updates were missed.
func (o *Owner) reload(ctx context.Context) (*etcdmeta.State, error) {
	state, err := o.meta.Load(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.checkTerm(state); err != nil {
		return nil, err
	}
	o.fleet.update(state.Captures, o.clock())
	for id, stored := range state.Feeds {
		o.onRecord(id, stored)
	}
	for _, f := range o.all() {
		if _, ok := state.Feeds[f.id]; !ok {
			o.onRecord(f.id, nil)
		}
	}
	return state, nil
}

// checkTerm makes sure that this capture still holds the election and is
// still registered.
func (o *Owner) checkTerm(state *etcdmeta.State) error {
	owner, ok := state.Owner()
	if !ok || owner.Fence != o.meta.Fence() {
		return errors.ErrNotOwner.New()
	}
	return nil
}

// onRecord brings a changed record to its feed, which may be new.
func (o *Owner) onRecord(id model.ChangefeedID, stored *etcdmeta.Feed) {
	o.mu.Lock()
	old := o.graves[id]
	if old != nil && stored != nil && stored.Info != nil && stored.InfoRev < old.rev {
		o.mu.Unlock()
		return
	}
	f := o.feeds[id]
	if f == nil && stored != nil && stored.Info != nil {
		o.adopt(stored, old)
		o.mu.Unlock()
		o.keeper.hurry()
		o.touch()
		return
	}
	if f != nil {
		f.latest = stored
	}
	o.mu.Unlock()
	switch {
	case f == nil && stored != nil:
		o.background.Go(func() { o.removeOrphan(id) })
	case f == nil:
	case stored != nil && stored.Info != nil && stored.InfoRev == f.infoRev.Load():
		f.postNews(func() { f.onRecord(o.ctx, stored) }) // a stored checkpoint, most likely by us
	default:
		f.post(func() { f.onRecord(o.ctx, stored) })
	}
}

// adopt starts the feed of a new record, behind what is left of an earlier one
// of its id. Owner.mu is held.
func (o *Owner) adopt(stored *etcdmeta.Feed, old *grave) {
	f := newFeed(o, stored)
	if old != nil {
		f.succeed(old)
		delete(o.graves, f.id)
	}
	o.feeds[f.id] = f
	o.count.Store(int64(len(o.feeds)))
	o.loops.Go(func() { f.loop(o.ctx) })
}

// grave is what is left of a removed changefeed.
type grave struct {
	rev      int64 // of the deletion: records from before are void
	ended    <-chan struct{}
	draining map[model.CaptureID]uint64 // as the feed's
	at       time.Time
}

// graveTime is how long a grave is kept. By then the watch has seen the
// deletion, and nothing of the changefeed is on its way downstream.
const graveTime = 10 * time.Minute

// bury drops a feed that was removed at a revision. Its id may be in use again
// already: then the record of the next one has come to this feed.
func (o *Owner) bury(f *feed, rev int64) {
	now := o.clock()
	o.mu.Lock()
	delete(o.feeds, f.id)
	o.count.Store(int64(len(o.feeds)))
	maps.DeleteFunc(o.graves, func(_ model.ChangefeedID, g *grave) bool { return now.Sub(g.at) > graveTime })
	left := &grave{rev: rev, ended: f.done, draining: maps.Clone(f.draining), at: now}
	o.graves[f.id] = left
	if next := f.latest; next != nil && next.Info != nil && next.InfoRev > rev {
		o.adopt(next, left)
		defer o.keeper.hurry()
	}
	o.mu.Unlock()
	o.touch()
}

// removeOrphan deletes a status without an info, which would keep a changefeed
// of that id from being created.
func (o *Owner) removeOrphan(id model.ChangefeedID) {
	if err := o.meta.RemoveOrphan(o.ctx, id); err != nil && o.ctx.Err() == nil {
		o.logger.Warn("cannot delete the status of a changefeed that is gone", zap.Stringer("changefeed", id), zap.Error(err))
	}
}

func (o *Owner) find(id model.ChangefeedID) *feed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.feeds[id]
}

func (o *Owner) all() []*feed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Values(o.feeds))
}

// notify posts to every feed.
func (o *Owner) notify(fn func(*feed)) {
	for _, f := range o.all() {
		f.post(func() { fn(f) })
	}
}

// sweep gives vanished captures up in time.
func (o *Owner) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			o.fleet.sweep(o.clock())
		}
	}
}

// Submit hands a job to its changefeed and returns when it was accepted and
// stored; for AdminRemove when every key of the changefeed is gone. A job that
// the state does not allow is ignored without error. Errors:
// ErrChangeFeedNotExists, ErrOwnerNotFound when the term ends meanwhile.
func (o *Owner) Submit(ctx context.Context, job Job) error {
	f := o.find(job.ID)
	if f == nil {
		return errors.ErrChangeFeedNotExists.New(job.ID)
	}
	result := make(chan error, 1)
	f.post(func() {
		err := f.onJob(o.ctx, job)
		f.publish() // whoever asks next sees what the job did
		result <- err
	})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
	}
	select {
	case err := <-result: // it was the last thing that the feed did
		return err
	default:
	}
	if o.ctx.Err() == nil {
		return errors.ErrChangeFeedNotExists.New(job.ID)
	}
	return errors.ErrOwnerNotFound.New()
}

// Arrange takes a wish about where tables run and returns at once. A wish that
// cannot be met is dropped: its changefeed may be gone meanwhile. The error has
// the code ErrOwnerNotFound when the term is over.
func (o *Owner) Arrange(wish Arrangement) error {
	if o.ctx.Err() != nil {
		return errors.ErrOwnerNotFound.New()
	}
	if wish.Kind == ArrangeDrain {
		o.fleet.drain(wish.Capture)
	} else if f := o.find(wish.ID); f != nil {
		f.post(func() { f.onArrange(wish) })
	}
	return nil
}

// Resign asks for the end of the term and does not wait for it. It may be
// called once or many times.
func (o *Owner) Resign() {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.resign:
	default:
		close(o.resign)
	}
}

// touch notes that readers would see something new.
func (o *Owner) touch() { o.generation.Add(1) }

// View returns the current snapshot. It is never nil and never modified.
func (o *Owner) View() *View {
	generation := o.generation.Load()
	if o.cachedAt.Load() == generation {
		return o.cached.Load()
	}
	o.viewMu.Lock()
	defer o.viewMu.Unlock()
	generation = o.generation.Load()
	if o.cachedAt.Load() == generation {
		return o.cached.Load()
	}
	v := o.buildView()
	o.cached.Store(v)
	o.cachedAt.Store(generation)
	return v
}

func (o *Owner) buildView() *View {
	fleet := o.fleet.snapshot()
	v := &View{Captures: fleet.captureViews(o.self.ID), Incompatible: fleet.incompatible}
	o.mu.Lock()
	defer o.mu.Unlock()
	v.Ready = o.ready
	v.Feeds = make(map[model.ChangefeedID]*FeedView, len(o.feeds))
	for id, f := range o.feeds {
		v.Feeds[id] = f.view.Load()
	}
	return v
}

// newEpoch makes a number that no run of any changefeed has had: a TSO, or
// the local time when PD does not answer.
func (o *Owner) newEpoch(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if ts, err := o.upstream.CurrentTSO(ctx); err == nil {
		return ts
	}
	return uint64(o.clock().UnixNano())
}

// fromWire reads a failure that a capture reported.
func (o *Owner) fromWire(capture model.CaptureID, e *peerpb.Failure) *model.RunningError {
	return &model.RunningError{
		Time: time.UnixMilli(e.UnixMs), Addr: o.fleet.snapshot().addr(capture), Code: e.Code, Message: e.Message,
	}
}

// runningError is the stored form of an error; fallback is the code of errors
// that have none.
func runningError(err error, fallback *errors.Code, addr string, now time.Time) *model.RunningError {
	code := errors.CodeOf(err)
	if code == "" {
		code = fallback.Text()
	}
	return &model.RunningError{Time: now, Addr: addr, Code: code, Message: err.Error()}
}
