package kafka

import (
	"context"
	stderrors "errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
)

// limitMargin is what a batch costs beyond its messages, in bytes: a message
// may be that much smaller than the broker's limit.
const limitMargin = 128

const (
	visibleTries = 6 // how often a new topic is looked for
	visibleWait  = 500 * time.Millisecond
	// recheck is how often the client's idea of a topic is read.
	recheck = 10 * time.Second
)

// topics knows the topics of a changefeed and makes those that are missing.
// It is safe for concurrent use.
type topics struct {
	client sarama.Client
	admin  sarama.ClusterAdmin
	o      *options
	logger *zap.Logger

	mu     sync.Mutex // also held while a topic is made: nobody makes it twice
	counts map[string]count
}

type count struct {
	partitions int32
	until      time.Time
}

func newTopics(c *cluster, o *options, logger *zap.Logger) *topics {
	return &topics{client: c.Client, admin: c.admin, o: o, logger: logger, counts: map[string]count{}}
}

// Partitions is the number of a topic's partitions that are used. A topic that
// does not exist is made. Errors: ErrKafkaCreateTopic, ErrKafkaInvalidConfig.
func (t *topics) Partitions(ctx context.Context, topic string) (int32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.counts[topic]
	if ok && time.Now().Before(known.until) {
		return known.partitions, nil
	}
	if topic == t.o.topic && t.o.partitions > 0 {
		return t.o.partitions, nil // adjust has made sure that they are there
	}
	partitions, err := t.client.Partitions(topic)
	switch {
	case err == nil && len(partitions) > 0:
		if n := int32(len(partitions)); n != known.partitions {
			if ok {
				t.logger.Info("kafka topic has another number of partitions",
					zap.String("topic", topic), zap.Int32("before", known.partitions), zap.Int32("now", n))
			}
			known.partitions = n
		}
	case ok: // what was there is still there, as far as anyone knows
	case stderrors.Is(err, sarama.ErrUnknownTopicOrPartition) || err == nil:
		if err := t.create(ctx, topic); err != nil {
			return 0, err
		}
		known.partitions = t.newPartitions()
	default:
		return 0, errors.ErrKafkaCreateTopic.Wrap(fmt.Errorf("topic %s: %w", topic, err))
	}
	known.until = time.Now().Add(recheck)
	t.counts[topic] = known
	return known.partitions, nil
}

// newPartitions is how many partitions a new topic gets.
func (t *topics) newPartitions() int32 {
	if t.o.partitions > 0 {
		return t.o.partitions
	}
	return defaultPartitions
}

// create makes a topic and waits until it can be seen.
func (t *topics) create(ctx context.Context, topic string) error {
	if !t.o.autoCreate {
		return errors.ErrKafkaInvalidConfig.Wrap(fmt.Errorf("`auto-create-topic` is false, and topic %s does not exist", topic))
	}
	detail := &sarama.TopicDetail{NumPartitions: t.newPartitions(), ReplicationFactor: t.o.replication}
	err := t.admin.CreateTopic(topic, detail, false)
	if err != nil && !stderrors.Is(err, sarama.ErrTopicAlreadyExists) {
		return errors.ErrKafkaCreateTopic.Wrap(fmt.Errorf("topic %s: %w", topic, err))
	}
	t.logger.Info("kafka topic created", zap.String("topic", topic),
		zap.Int32("partitions", detail.NumPartitions), zap.Int16("replication-factor", detail.ReplicationFactor))
	for try := 1; ; try++ {
		err := t.client.RefreshMetadata(topic)
		if err == nil {
			return nil
		}
		if try == visibleTries {
			return errors.ErrKafkaCreateTopic.Wrap(fmt.Errorf("topic %s is not visible after it was created: %w", topic, err))
		}
		if err := sleep(ctx, visibleWait); err != nil {
			return err
		}
	}
}

// sleep waits; an error means that the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adjust fits the options to what the cluster has and allows, and makes the
// default topic. Errors: ErrKafkaInvalidConfig, ErrKafkaCreateTopic,
// ErrKafkaNewProducer.
func (t *topics) adjust(ctx context.Context) error {
	topic := t.o.topic
	err := t.client.RefreshMetadata(topic)
	exists := err == nil
	if err != nil && !stderrors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return errors.ErrKafkaNewProducer.Wrap(fmt.Errorf("topic %s: %w", topic, err))
	}
	if err := t.checkReplicas(exists); err != nil {
		return err
	}
	t.limitMessages(exists)
	if exists {
		return t.adoptPartitions()
	}
	return t.create(ctx, topic)
}

// adoptPartitions compares the configured number with the topic's own.
func (t *topics) adoptPartitions() error {
	partitions, err := t.client.Partitions(t.o.topic)
	if err != nil {
		return errors.ErrKafkaNewProducer.Wrap(fmt.Errorf("topic %s: %w", t.o.topic, err))
	}
	actual := int32(len(partitions))
	switch {
	case t.o.partitions > actual:
		return errors.ErrKafkaInvalidConfig.Wrap(errors.ErrKafkaInvalidPartitionNum.Msg(
			"the number of partition (%d) specified in sink-uri is more than that of actual topic (%d)", t.o.partitions, actual))
	case t.o.partitions > 0 && t.o.partitions < actual:
		t.logger.Warn("partition-num is less than the topic has: only the first partitions are used",
			zap.String("topic", t.o.topic), zap.Int32("partition-num", t.o.partitions), zap.Int32("actual", actual))
	}
	return nil
}

// limitMessages lowers the limit of messages to what the topic or, when there
// is none yet, the broker takes.
func (t *topics) limitMessages(exists bool) {
	limit, ok := t.number(exists, "max.message.bytes", "message.max.bytes")
	if !ok {
		t.logger.Warn("the kafka cluster does not tell its limit of messages", zap.Int("max-message-bytes", t.o.codec.MaxMessageBytes))
		return
	}
	if limit -= limitMargin; limit > 0 && limit < t.o.codec.MaxMessageBytes {
		t.logger.Warn("max-message-bytes is lowered to what the kafka cluster takes",
			zap.Int("configured", t.o.codec.MaxMessageBytes), zap.Int("limit", limit))
		t.o.codec.MaxMessageBytes = limit
	}
}

// checkReplicas makes sure that messages can be acknowledged by as many
// replicas as they must be.
func (t *topics) checkReplicas(exists bool) error {
	if t.o.acks != sarama.WaitForAll {
		return nil
	}
	least, ok := t.number(exists, "min.insync.replicas", "min.insync.replicas")
	if !ok {
		t.logger.Warn("the kafka cluster does not tell min.insync.replicas")
		return nil
	}
	replicas := int(t.o.replication)
	if exists {
		if nodes, err := t.client.Replicas(t.o.topic, 0); err == nil {
			replicas = len(nodes)
		}
	}
	if replicas < least {
		return errors.ErrKafkaInvalidConfig.Wrap(fmt.Errorf(
			"`replication-factor` %d is smaller than the `min.insync.replicas` %d of the topic or broker: "+
				"messages could never be acknowledged", replicas, least))
	}
	return nil
}

// number reads a setting of the default topic, or of the broker when the
// topic does not exist or does not tell.
func (t *topics) number(exists bool, ofTopic, ofBroker string) (int, bool) {
	if exists {
		if n, ok := t.setting(sarama.TopicResource, t.o.topic, ofTopic); ok {
			return n, true
		}
	}
	controller, err := t.client.Controller()
	if err != nil {
		return 0, false
	}
	return t.setting(sarama.BrokerResource, strconv.Itoa(int(controller.ID())), ofBroker)
}

func (t *topics) setting(kind sarama.ConfigResourceType, resource, name string) (int, bool) {
	entries, err := t.admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: resource, ConfigNames: []string{name}})
	if err != nil {
		return 0, false
	}
	for _, e := range entries {
		if e.Name == name {
			n, err := strconv.Atoi(e.Value)
			return n, err == nil
		}
	}
	return 0, false
}
