package e2e

import (
	"context"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/workload"
)

// streamed is how many tables of a load go into Kafka: one of each kind, and
// a few more.
const streamed = 10

// stream is a changefeed into Kafka beside the one into MariaDB while captures
// are in trouble. Its topic is validated message by message: the order of each
// row, watermarks, and a counter of which no value may be missing.
type stream struct {
	*queueFeed
	c       *captures
	s       *sharedStack
	load    workload.Spec
	stop    context.CancelFunc
	counter sync.WaitGroup
	err     error // of the counter
}

// startStream makes the changefeed for the first tables of a load, before
// these are created.
func (c *captures) startStream(load workload.Spec, startTs uint64) *stream {
	t := c.t
	shared.queue.start(c.ctx, t)
	s := *c.sharedStack
	s.queue = shared.queue
	s.downs = []downstream{{}, c.downs[len(c.downs)-1]} // the consumer's is MariaDB
	st := &stream{c: c, s: &s, load: load, stop: func() {}}
	rules := []string{load.Schema + ".counters", load.Schema + ".extra*"}
	for i := range min(streamed, load.Tables) {
		rules = append(rules, load.Schema+"."+workload.TableName(i))
	}
	st.queueFeed = startQueueFeed(c.ctx, t, &s, feedOptions{name: load.Schema, protocol: protocolCases()[0],
		dispatch: dispatchers()["index"], startTs: startTs, rules: rules})
	return st
}

// countUp raises counters until end is called.
func (st *stream) countUp() {
	exec(st.c.ctx, st.c.t, st.c.upDB, "CREATE TABLE "+st.load.Schema+".counters (id INT PRIMARY KEY, n INT)")
	ctx, stop := context.WithCancel(st.c.ctx)
	st.stop = stop
	st.counter.Go(func() { st.err = countUp(ctx, st.c.upDB, st.load.Schema, 100) })
}

// end stops counting, waits for the consumer, which must have what the
// upstream has, and validates the topic.
func (st *stream) end() {
	t, ctx := st.c.t, st.c.ctx
	st.stop()
	st.counter.Wait()
	require.NoError(t, st.err)
	st.s.server = st.c.server
	var others []string
	for i := streamed; i < st.load.Tables; i++ {
		others = append(others, st.load.Schema+"."+workload.TableName(i))
	}
	st.requireConsumed(ctx, t, st.s, settledTSO(ctx, t, st.s), []string{st.load.Schema}, others...)
	requireHonest(ctx, t, st.s.queue.broker, st.queueFeed)
}
