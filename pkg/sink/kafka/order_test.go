package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

// wires keeps the connections of a sink, to break them.
type wires struct {
	mu    sync.Mutex
	conns []*wire
	wg    sync.WaitGroup // drains
	over  bool           // no drain is started any more
}

// wait waits for the drains.
func (w *wires) wait() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *wires) wrap(c net.Conn) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	conn := &wire{Conn: c, owner: w}
	w.conns = append(w.conns, conn)
	return conn
}

// cut breaks a connection, at random.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.conns) == 0 {
		return
	}
	i := rand.IntN(len(w.conns))
	w.conns[i].broken.Store(true)
	_ = w.conns[i].SetDeadline(time.Now()) // wakes who reads or writes
	w.conns = append(w.conns[:i], w.conns[i+1:]...)
}

// wire is a connection that can break for the client only: the broker goes on
// with what it has received. (The broker of the tests would not survive the
// loss of a connection that it has yet to answer.)
type wire struct {
	net.Conn
	owner  *wires
	broken atomic.Bool
	closed atomic.Bool
}

var errCut = errors.New("the wire is cut")

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.broken.Load() {
		return 0, errCut
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	if w.broken.Load() {
		return 0, errCut
	}
	n, err := w.Conn.Write(b)
	if n < len(b) && w.broken.Load() {
		// Half a request would make the broker read on for ever.
		_ = w.SetWriteDeadline(time.Time{})
		_, _ = w.Conn.Write(b[n:])
		return n, errCut
	}
	return n, err
}

func (w *wire) SetDeadline(t time.Time) error {
	if w.broken.Load() && !t.Before(time.Now()) {
		return errCut
	}
	return w.Conn.SetDeadline(t)
}

func (w *wire) SetReadDeadline(t time.Time) error { return w.SetDeadline(t) }

// Close leaves a broken connection to the broker until that has said all.
func (w *wire) Close() error {
	if !w.broken.Load() || !w.closed.CompareAndSwap(false, true) {
		return w.Conn.Close()
	}
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	if w.owner.over {
		return w.Conn.Close()
	}
	w.owner.wg.Go(func() {
		_ = w.Conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, w.Conn)
		_ = w.Conn.Close()
	})
	return nil
}

// openShaky is openSink with connections that can be cut and quick retries.
func openShaky(t testing.TB, o sink.Options) (*Sink, *wires) {
	t.Helper()
	options, err := parseOptions(o)
	require.NoError(t, err)
	w := &wires{}
	options.wrapConn = w.wrap
	s, c, err := prepareWith(t.Context(), options, o)
	require.NoError(t, err)
	require.NoError(t, s.start(t.Context(), c))
	p := s.producer.(*producer)
	p.mu.Lock()
	p.backoff = backoff{first: time.Millisecond, most: 20 * time.Millisecond, giveUp: time.Minute}
	p.window = min(p.window, 4) // the broker of the tests remembers one batch less than a real one
	p.maxSize = 2000            // so that many batches are under way
	p.mu.Unlock()
	t.Cleanup(func() {
		s.Close()
		w.wait()
	})
	s.newEncoder = func(context.Context) (codec.Encoder, error) { return &textEncoder{}, nil }
	return s, w
}

// refuse answers every n-th produce request with a retriable error per
// partition, at random, and appends nothing of it.
func refuse(c *kfake.Cluster, n int32, refused *atomic.Int32) {
	var seen atomic.Int32
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if seen.Add(1)%n != 0 {
			return nil, nil, false
		}
		refused.Add(1)
		return answer(req.(*kmsg.ProduceRequest), kerr.NotEnoughReplicas.Code), nil, true
	})
}

// answer gives all partitions of a request one error.
func answer(in *kmsg.ProduceRequest, code int16) *kmsg.ProduceResponse {
	out := in.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range in.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		out.Topics = append(out.Topics, rt)
	}
	return out
}

// trouble moves leaders and cuts connections until the test has what it wants.
func trouble(t testing.TB, c *kfake.Cluster, w *wires, partitions int32) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if sleep(ctx, time.Duration(1+rand.IntN(8))*time.Millisecond) != nil {
				return
			}
			if rand.IntN(2) == 0 {
				w.cut()
				continue
			}
			_ = c.MoveTopicPartition(topic, rand.Int32N(partitions), rand.Int32N(3))
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// Whatever happens to connections and leaders, no row is lost, repeated or
// overtaken by a later one.
func TestOrderUnderTrouble(t *testing.T) {
	for _, acks := range []int{-1, 1} {
		t.Run(fmt.Sprint("acks ", acks), func(t *testing.T) {
			const partitions, tables, batches, size = 4, 3, 100, 30
			c := newCluster(t, 3, partitions)
			o := sinkOptions(t, c, fmt.Sprintf("protocol=open-protocol&required-acks=%d", acks))
			o.Logger = nil
			o.Config.Sink.DispatchRules = []*config.DispatchRule{{Matcher: []string{"*.*"}, PartitionRule: "index-value"}}
			s, w := openShaky(t, o)
			var refused atomic.Int32
			refuse(c, 3, &refused)
			stop := trouble(t, c, w, partitions)

			var writers sync.WaitGroup
			var acks sync.WaitGroup
			var failure atomic.Pointer[error] // of the first batch that was not taken or not acknowledged
			for id := range tables {
				u := sinktest.NewTable(t, int64(id), fmt.Sprintf("CREATE TABLE db.t%d (id INT PRIMARY KEY)", id))
				writers.Go(func() {
					for b := range batches {
						rows := make([]model.RawChange, size)
						for i := range rows {
							n := b*size + i
							rows[i] = u.Change(uint64(n+1), 0, nil, []any{id*1000 + n%17})
						}
						acks.Add(1)
						err := s.Write(t.Context(), &model.RowBatch{TableID: u.Model.ID, Table: u.Model, Rows: rows, Done: func(err error) {
							if err != nil {
								failure.CompareAndSwap(nil, &err)
							}
							acks.Done()
						}})
						if err != nil {
							failure.CompareAndSwap(nil, &err)
							acks.Done()
							return
						}
					}
				})
			}
			writers.Wait()
			acks.Wait()
			stop()
			if err := failure.Load(); err != nil {
				require.NoError(t, *err)
			}
			require.Positive(t, refused.Load())
			require.Eventually(t, func() bool { return s.Status() == sink.Status{} }, eventually, tick)

			p := s.producer.(*producer)
			p.mu.Lock()
			senders := len(p.senders)
			p.mu.Unlock()
			require.LessOrEqual(t, senders, partitions, "senders that lead nothing have ended")

			got := consume(t, c, topic)
			const all = tables * batches * size
			require.Eventually(t, func() bool { return got.different() >= all }, eventually, tick)
			checkOrder(t, got, partitions, all, s.o.acks == sarama.WaitForAll)
		})
	}
}

// checkOrder looks at the first time that each row is there; with exact set
// there must be no other.
func checkOrder(t *testing.T, got *consumer, partitions, all int, exact bool) {
	first := 0
	for p := range partitions {
		last, seen := map[int]int{}, map[string]bool{}
		for _, line := range got.of(topic, p) {
			if seen[line] {
				require.False(t, exact, "repeated: %s", line)
				continue
			}
			seen[line] = true
			first++
			var ts, id int
			_, err := fmt.Sscanf(line, "insert %d %d", &ts, &id)
			require.NoError(t, err)
			require.Greater(t, ts, last[id], "partition %d, key %d", p, id)
			last[id] = ts
		}
	}
	require.Equal(t, all, first)
}

// A broker may have a batch that it refused, as when it has too few replicas at
// the moment or its first answer was lost, and then it appends what comes
// behind. As it remembers no more batches than may be under way, nothing new
// may follow a batch that is sent again.
func TestRepeatedBatchGoesAlone(t *testing.T) {
	p := &producer{id: producerID{id: 1}, maxSize: 1, window: maxRequests}
	part := &partition{key: partitionKey{topic, 0}}
	for range 3 * maxRequests {
		part.queue = append(part.queue, &send{messages: make([]codec.Message, 1), parts: 1})
	}
	for range maxRequests {
		require.True(t, part.waits(p.window))
		part.next(p)
	}
	require.False(t, part.waits(p.window), "all that may be is under way")

	flights := append([]*flight(nil), part.flights...)
	land := func(f *flight, ok bool) {
		part.open--
		if f.failed = !ok; ok {
			part.remove(f)
		}
		require.Equal(t, !ok && part.open == 0 || ok && len(part.flights) > 0 && part.open == 0, part.landed())
	}
	land(flights[0], false)
	for _, f := range flights[1:4] { // the broker had the first one all the same
		require.False(t, part.waits(p.window), "one has failed")
		land(f, true)
	}
	land(flights[4], false)

	for range 10 { // however often it is refused
		require.True(t, part.waits(p.window))
		require.Same(t, flights[0], part.next(p))
		require.False(t, part.waits(p.window), "the repeated one is under way")
		land(flights[0], false)
	}
	for _, f := range []*flight{flights[0], flights[4]} {
		require.True(t, part.waits(p.window))
		require.Same(t, f, part.next(p))
		require.False(t, part.waits(p.window), "the repeated one is under way")
		land(f, true)
	}
	for range maxRequests {
		require.True(t, part.waits(p.window))
		require.NotContains(t, flights, part.next(p))
	}
}

// A partition that stands in line at a broker when one of its batches fails
// waits for its new leader, and stands in line there as soon as it is known.
func TestPartitionLeavesTheLine(t *testing.T) {
	p := &producer{id: producerID{id: 1}, maxSize: 1, window: maxRequests, lost: make(chan struct{}, 1)}
	before, after := &sender{p: p}, &sender{p: p}
	before.wake.L, after.wake.L = &p.mu, &p.mu
	part := &partition{key: partitionKey{topic, 0}, sender: before}
	for range 2 {
		part.queue = append(part.queue, &send{messages: make([]codec.Message, 1), parts: 1})
	}
	p.schedule(part)
	_, flights := before.collect()
	require.Len(t, flights, 1)
	require.Equal(t, []*partition{part}, before.ready, "the second batch stands in line")

	flights[0].failed = true
	part.open--
	require.True(t, part.landed())
	p.retry(part)
	_, flights = before.collect()
	require.Empty(t, flights, "nobody knows the leader")
	require.Empty(t, before.ready)

	part.searching = false
	p.schedule(part)
	part.sender = after // found while it stood in line again
	_, flights = before.collect()
	require.Empty(t, flights)
	require.Equal(t, []*partition{part}, after.ready)
	_, flights = after.collect()
	require.Len(t, flights, 1)
}

// A topic that takes smaller batches than the default one gets smaller ones.
func TestBatchTooLargeForTopic(t *testing.T) {
	const most = 3 // messages
	c := newCluster(t, 1, 1)
	s, _ := openShaky(t, sinkOptions(t, c, "protocol=open-protocol"))
	var refused atomic.Int32
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		in := req.(*kmsg.ProduceRequest)
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(in.Topics[0].Partitions[0].Records); err != nil || batch.NumRecords <= most {
			return nil, err, false
		}
		refused.Add(1)
		return answer(in, kerr.MessageTooLarge.Code), nil, true
	})
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	var rows []model.RawChange
	for i := range 200 {
		rows = append(rows, u.Change(uint64(i+1), 0, nil, []any{i}))
	}
	first, second := write(t, s, u.Model, rows[:100]...), write(t, s, u.Model, rows[100:]...)
	require.NoError(t, acked(t, first))
	require.NoError(t, acked(t, second))
	require.Positive(t, refused.Load())
	got := consume(t, c, topic)
	got.await(200)
	for i, line := range got.of(topic, 0) {
		require.Equal(t, fmt.Sprintf("insert %d %d", i+1, i), line)
	}
	require.Empty(t, s.Status().Reason)
}

func TestSequenceWraps(t *testing.T) {
	require.Equal(t, int32(math.MaxInt32), advance(math.MaxInt32-1, 1))
	require.Equal(t, int32(0), advance(math.MaxInt32, 1))
	require.Equal(t, int32(4), advance(math.MaxInt32, 5))
}

// A partition that stays away is shown, and given up after a while.
func TestGivesUp(t *testing.T) {
	c := newCluster(t, 1, 1)
	s, _ := openShaky(t, sinkOptions(t, c, "protocol=open-protocol"))
	p := s.producer.(*producer)
	p.mu.Lock()
	p.backoff.giveUp = 300 * time.Millisecond
	p.mu.Unlock()
	var refused atomic.Int32
	refuse(c, 1, &refused)
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	done := write(t, s, u.Model, u.Change(5, 0, nil, []any{1}))
	require.Eventually(t, func() bool {
		st := s.Status()
		return st.Reason == model.StallSink && !st.Since.IsZero() && !st.RetryAt.IsZero() && st.Code == "CDC:ErrKafkaAsyncSendMessage"
	}, eventually, tick)
	err := acked(t, done)
	require.ErrorContains(t, err, "[CDC:ErrKafkaAsyncSendMessage]")
	require.ErrorContains(t, err, "partition rows/0, given up after 300ms")
	require.Eventually(t, func() bool { return s.broken() != nil }, eventually, tick)
	require.ErrorIs(t, s.WriteWatermark(t.Context(), 9), s.broken())
}
