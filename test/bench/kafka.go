package main

import (
	"context"
	"fmt"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/kafka"
	"github.com/tidemark/tidemark/test/workload"
)

// kafkaCase is one changefeed into Kafka.
type kafkaCase struct {
	protocol   string
	partitions int
	load       workload.Bulk
}

func (c kafkaCase) id() string {
	return fmt.Sprintf("%s-%d-%s", c.protocol, c.partitions, c.load.Schema)
}

// kafkaCatchUp measures catching up into one broker, which acknowledges what
// all of its replicas have: rows of 200 bytes and of 2 KB, into 1 partition
// and into 16.
func kafkaCatchUp(ctx context.Context, b *bench) error {
	brokers, err := kafka.Start(ctx, b.stack.dir+"/kafka", 1)
	if err != nil {
		return err
	}
	defer brokers.Close()
	for _, load := range []workload.Bulk{
		{Schema: "b200", Tables: 10, Changes: b.rows},
		{Schema: "b2000", Tables: 10, Changes: b.rows / 5, TextBytes: 1960},
	} {
		if err := b.kafkaLoad(ctx, brokers, load); err != nil {
			return err
		}
	}
	return nil
}

// kafkaLoad writes a load while the changefeeds are paused, and lets one after
// the other catch up.
func (b *bench) kafkaLoad(ctx context.Context, brokers *kafka.Cluster, load workload.Bulk) error {
	s := b.stack
	if err := load.Prepare(ctx, s.upDB); err != nil {
		return err
	}
	startTs, err := cluster.TSO(ctx, s.upDB)
	if err != nil {
		return err
	}
	if err := load.Run(ctx, s.upDB); err != nil {
		return err
	}
	endTs, err := cluster.TSO(ctx, s.upDB)
	if err != nil {
		return err
	}
	for _, protocol := range []string{"canal-json", "open-protocol"} {
		for _, partitions := range []int{1, 16} {
			c := kafkaCase{protocol, partitions, load}
			if err := b.kafkaOne(ctx, brokers, c, startTs, endTs); err != nil {
				return fmt.Errorf("%s: %w", c.id(), err)
			}
		}
	}
	return nil
}

// kafkaOne measures a changefeed from its making, in a server that was just
// started, until it has caught up.
func (b *bench) kafkaOne(ctx context.Context, brokers *kafka.Cluster, c kafkaCase, startTs, endTs uint64) error {
	uri := fmt.Sprintf("kafka://%s/%s?protocol=%s&partition-num=%d&required-acks=-1", brokers.Addrs()[0], c.id(), c.protocol, c.partitions)
	api := b.stack.server.API
	spent, err := b.measure(ctx, c.id(), endTs, func() error {
		return api.Create(ctx, cluster.Feed{ID: c.id(), SinkURI: uri, StartTs: startTs, ReplicaConfig: map[string]any{
			"filter": map[string]any{"rules": []string{c.load.Schema + ".*"}},
			"sink":   map[string]any{"dispatchers": []any{map[string]any{"matcher": []string{"*.*"}, "partition": "index-value"}}},
		}})
	})
	if err != nil {
		return err
	}
	messages, bytes, err := brokers.TopicSize(c.id())
	if err != nil {
		return err
	}
	rows := float64(c.load.Total())
	if c.protocol == "canal-json" && messages < int64(rows) {
		return fmt.Errorf("%d messages for %.0f rows", messages, rows)
	}
	b.add(fmt.Sprintf("Kafka, %s, %d partitions, rows of %d bytes, %d changes", c.protocol, c.partitions, rowBytes(c.load), c.load.Total()),
		"%s; %.1f MB/s", spent.over(rows), float64(bytes)/1e6/spent.took.Seconds())
	return api.Delete(ctx, c.id())
}

// rowBytes is about the size of a load's rows.
func rowBytes(load workload.Bulk) int {
	if load.TextBytes == 0 {
		return 200
	}
	return load.TextBytes + 40
}
