package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// TestBrokers produces to three brokers while one of them is killed and comes
// back, and reads everything.
func TestBrokers(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c, err := Start(ctx, t.TempDir(), 3)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.CreateTopic("t", 1, 3, map[string]string{"min.insync.replicas": "2"}))

	cfg := ClientConfig()
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Producer.Return.Successes = true
	cfg.Producer.Retry.Max = 1000 // a busy machine takes its time to elect a leader
	cfg.Producer.Retry.Backoff = 100 * time.Millisecond
	p, err := sarama.NewSyncProducer(c.Addrs(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	send := func(text string) {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(text)})
		require.NoError(t, err)
	}
	send("before")
	c.Kill(0)
	send("without")
	require.NoError(t, c.Run(ctx, 0))
	send("after")
	require.NoError(t, c.AddPartitions("t", 4))

	consumer, err := sarama.NewConsumer(c.Addrs(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, consumer.Close()) }()
	part, err := consumer.ConsumePartition("t", 0, sarama.OffsetOldest)
	require.NoError(t, err)
	defer func() { require.NoError(t, part.Close()) }()
	for _, want := range []string{"before", "without", "after"} {
		select {
		case m := <-part.Messages():
			require.Equal(t, want, string(m.Value))
		case <-ctx.Done():
			require.FailNow(t, "nothing to read")
		}
	}
}
