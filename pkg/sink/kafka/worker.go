package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink/dispatch"
)

const (
	// roundRows is how many rows a worker takes at a time.
	roundRows = 2048
	// sendBytes is how many bytes of stored rows go to the producer at once.
	sendBytes = 256 << 10
)

// task is what a worker has to encode for one partition: events of a batch, or
// the schema of a table.
type task struct {
	pending   *pending // nil for a bootstrap
	plan      *dispatch.Plan
	partition int32
	items     []dispatch.Item
	table     *model.Table // bootstrap: its schema is announced
	over      bool
}

// finish ends the task, once: the worker needs the rows no more.
func (t *task) finish(err error) {
	if t.pending != nil && !t.over {
		t.pending.encoded()
		t.pending.finish(err)
	}
	t.over = true
}

// worker encodes the rows of its partitions. It starts with its first task.
type worker struct {
	sink    *Sink
	encoder codec.Encoder
	reader  *dispatch.Reader
	event   codec.RowEvent

	mu      sync.Mutex
	queue   []*task
	started bool
	closed  error         // why no task is taken any more
	wake    chan struct{} // holds a token when the queue got its first task

	round  []*task
	groups map[partitionKey]int // position in lists
	lists  [][]*task
}

func newWorker(s *Sink) *worker {
	return &worker{sink: s, wake: make(chan struct{}, 1), groups: map[partitionKey]int{}}
}

// enqueue hands over a task, which is finished at once when the worker is gone.
func (w *worker) enqueue(t *task) {
	w.mu.Lock()
	if w.closed != nil {
		err := w.closed
		w.mu.Unlock()
		t.finish(err)
		return
	}
	w.queue = append(w.queue, t)
	if !w.started && w.sink.ctx.Err() == nil {
		w.started = true
		w.sink.wg.Go(w.run)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run encodes tasks until the sink ends.
func (w *worker) run() {
	ctx := w.sink.ctx
	err := w.prepare(ctx)
	for err == nil {
		select {
		case <-w.wake:
			for err == nil && w.take() {
				err = w.encodeRound(ctx)
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if ctx.Err() == nil {
		err = w.sink.fail(err)
	}
	w.stop(w.sink.endError(err))
}

func (w *worker) prepare(ctx context.Context) (err error) {
	w.reader = dispatch.NewReader(w.sink.o.zone)
	if w.sink.o.codec.OutputRowChecksum {
		w.reader.VerifyChecksums(w.sink.corrupted)
	}
	w.encoder, err = w.sink.newEncoder(ctx)
	return err
}

// stop finishes everything that the worker holds and refuses what comes.
func (w *worker) stop(err error) {
	w.mu.Lock()
	left := w.queue
	w.queue = nil
	if w.closed == nil {
		w.closed = err
	}
	w.mu.Unlock()
	for _, t := range append(w.round, left...) {
		t.finish(err)
	}
	w.round = nil
}

// take moves queued tasks to the round; false when there are none.
func (w *worker) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.round = w.round[:0]
	rows := 0
	for _, t := range w.queue {
		if rows >= roundRows {
			break
		}
		w.round = append(w.round, t)
		rows += len(t.items)
	}
	rest := copy(w.queue, w.queue[len(w.round):])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	return len(w.round) > 0
}

// encodeRound encodes the round, partition by partition: messages of several
// rows get full also where batches are small.
func (w *worker) encodeRound(ctx context.Context) error {
	start := time.Now()
	rows := 0
	clear(w.groups)
	w.lists = w.lists[:0]
	for _, t := range w.round {
		key := partitionKey{t.plan.Topic, t.partition}
		at, known := w.groups[key]
		if !known {
			at = len(w.lists)
			w.groups[key] = at
			if cap(w.lists) > at {
				w.lists = w.lists[:at+1]
				w.lists[at] = w.lists[at][:0]
			} else {
				w.lists = append(w.lists, nil)
			}
		}
		w.lists[at] = append(w.lists[at], t)
		rows += len(t.items)
	}
	for _, list := range w.lists {
		if err := w.encode(ctx, list); err != nil {
			return err
		}
	}
	for i := range w.lists {
		clear(w.lists[i])
	}
	clear(w.round)
	w.round = w.round[:0]
	w.sink.metrics.encoded(rows, time.Since(start))
	return nil
}

// encode encodes the tasks of one partition and hands their messages over.
func (w *worker) encode(ctx context.Context, tasks []*task) error {
	g := group{topic: tasks[0].plan.Topic, partition: tasks[0].partition}
	for _, t := range tasks {
		add := w.encodeRows
		if t.table != nil {
			add = w.announce
		}
		if err := add(ctx, &g, t); err != nil {
			g.drop(err)
			return err
		}
	}
	if err := w.flush(ctx, &g); err != nil {
		return err
	}
	for _, t := range tasks {
		t.finish(nil)
	}
	return nil
}

// encodeRows appends the rows of a task. Whenever enough has come together it
// goes to the producer.
func (w *worker) encodeRows(ctx context.Context, g *group, t *task) error {
	g.join(t.pending)
	b := t.pending.batch
	for _, item := range t.items {
		if err := w.reader.Read(t.plan, b, item, &w.event); err != nil {
			return err
		}
		if err := w.encoder.AppendRow(ctx, g.topic, &w.event); err != nil {
			return err
		}
		g.rows++
		g.lastCommit = w.event.CommitTs
		if g.bytes += b.Rows[item.Row].Size(); g.bytes >= sendBytes {
			if err := w.flush(ctx, g); err != nil {
				return err
			}
			g.join(t.pending)
		}
	}
	return nil
}

// announce sends the schema of a table, in its place between rows.
func (w *worker) announce(ctx context.Context, g *group, t *task) error {
	if err := w.flush(ctx, g); err != nil {
		return err
	}
	b, ok := w.encoder.(codec.Bootstrapper)
	if !ok {
		return nil
	}
	m, err := b.Bootstrap(ctx, g.topic, t.table)
	if err != nil || m == nil {
		return err
	}
	return w.sink.producer.Send(ctx, g.topic, g.partition, []codec.Message{*m}, func(error) {})
}

// flush hands over what was appended since the last time.
func (w *worker) flush(ctx context.Context, g *group) error {
	if g.rows == 0 {
		g.drop(nil)
		return nil
	}
	messages, err := w.encoder.Messages()
	if err != nil {
		g.drop(err)
		return err
	}
	m, rows, bytes, sent := w.sink.metrics, g.rows, 0, time.Now()
	for i := range messages {
		bytes += messages[i].Size()
	}
	joined, lastCommit := g.joined, g.lastCommit
	done := func(err error) {
		if err == nil {
			m.delivered(rows, bytes, lastCommit, time.Since(sent))
		}
		for _, p := range joined {
			p.finish(err)
		}
	}
	if err := w.sink.producer.Send(ctx, g.topic, g.partition, messages, done); err != nil {
		g.drop(err)
		return err
	}
	g.reset()
	return nil
}

// group is what was appended for one partition and is not sent.
type group struct {
	topic      string
	partition  int32
	rows       int
	bytes      int64
	lastCommit uint64
	joined     []*pending // batches with rows among them
}

// join makes a batch wait for the group's messages.
func (g *group) join(p *pending) {
	if n := len(g.joined); n > 0 && g.joined[n-1] == p {
		return
	}
	p.left.Add(1)
	g.joined = append(g.joined, p)
}

// drop lets the batches go without messages.
func (g *group) drop(err error) {
	for _, p := range g.joined {
		p.finish(err)
	}
	g.reset()
}

func (g *group) reset() { g.rows, g.bytes, g.joined = 0, 0, nil }
