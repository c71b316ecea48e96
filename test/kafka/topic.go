package kafka

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/IBM/sarama"
)

// ReadTopic returns the messages of each partition, from its start to its
// present end.
func (c *Cluster) ReadTopic(ctx context.Context, topic string) (map[int32][]*sarama.ConsumerMessage, error) {
	client, err := sarama.NewClient(c.Addrs(), ClientConfig())
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer func() { _ = consumer.Close() }()
	ids, err := client.Partitions(topic)
	if err != nil {
		return nil, err
	}
	out := make(map[int32][]*sarama.ConsumerMessage)
	for _, id := range ids {
		end, err := client.GetOffset(topic, id, sarama.OffsetNewest)
		if err != nil {
			return nil, err
		}
		if out[id], err = readPartition(ctx, consumer, topic, id, end); err != nil {
			return nil, fmt.Errorf("partition %d of %s: %w", id, topic, err)
		}
	}
	return out, nil
}

func readPartition(ctx context.Context, c sarama.Consumer, topic string, id int32, end int64) ([]*sarama.ConsumerMessage, error) {
	if end == 0 {
		return nil, nil
	}
	pc, err := c.ConsumePartition(topic, id, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = pc.Close() }()
	var out []*sarama.ConsumerMessage
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case m := <-pc.Messages():
			out = append(out, m)
			if m.Offset+1 >= end {
				return out, nil
			}
		}
	}
}

// TopicSize returns how many messages a topic has had, and the bytes that they
// take in the brokers' logs, each replica counted.
func (c *Cluster) TopicSize(topic string) (messages, bytes int64, err error) {
	client, err := sarama.NewClient(c.Addrs(), ClientConfig())
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = client.Close() }()
	ids, err := client.Partitions(topic)
	if err != nil {
		return 0, 0, err
	}
	for _, id := range ids {
		end, err := client.GetOffset(topic, id, sarama.OffsetNewest)
		if err != nil {
			return 0, 0, err
		}
		messages += end
	}
	for _, b := range c.brokers {
		logs, err := filepath.Glob(filepath.Join(b.dir, "data", topic+"-*", "*.log"))
		if err != nil {
			return 0, 0, err
		}
		for _, log := range logs {
			if info, err := os.Stat(log); err == nil {
				bytes += info.Size()
			}
		}
	}
	return messages, bytes, nil
}
