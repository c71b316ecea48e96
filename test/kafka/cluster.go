// Package kafka runs real Apache Kafka brokers for tests, without ZooKeeper,
// and the programs of other projects that read what we write.
package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidemark/tidemark/pkg/freeport"
	"github.com/tidemark/tidemark/test/child"
)

const (
	// stopWait is how long a broker may take to stop before it is killed.
	stopWait = 20 * time.Second
	// pollInterval is how often a starting cluster is asked.
	pollInterval = 50 * time.Millisecond
	// topicWait is how long a new topic may take to be known.
	topicWait = 20 * time.Second
	host      = "127.0.0.1"
)

// Cluster is a Kafka cluster; every broker is a controller too.
type Cluster struct {
	dir       string
	classpath string
	brokers   []*broker
}

// broker is one process. Its ports and data outlive it.
type broker struct {
	id             int
	dir            string
	port, ctrlPort int
	cmd            *exec.Cmd
	exited         <-chan struct{} // closed when the process is gone
}

// Start runs n brokers with data and logs below dir and returns when all of
// them are at work. The properties ("name=value") come after the built-in
// ones, so that they win. The first start on a machine fetches the broker from
// Maven Central.
func Start(ctx context.Context, dir string, n int, properties ...string) (*Cluster, error) {
	path, err := classpath(ctx, "broker")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, classpath: path}
	for id := 1; id <= n; id++ {
		b := &broker{id: id, dir: filepath.Join(dir, "broker"+strconv.Itoa(id))}
		if b.port, err = freeport.Find(host); err != nil {
			return nil, err
		}
		if b.ctrlPort, err = freeport.Find(host); err != nil {
			return nil, err
		}
		c.brokers = append(c.brokers, b)
	}
	for _, b := range c.brokers {
		if err := c.format(b, properties); err != nil {
			return nil, err
		}
	}
	for _, b := range c.brokers {
		if err := c.launch(b); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := c.await(ctx, n); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// format writes what Kafka's own formatting tool would.
func (c *Cluster) format(b *broker, properties []string) error {
	data := filepath.Join(b.dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	uuid := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "tidemark-disk-%02d", b.id))
	meta := fmt.Sprintf("version=1\ncluster.id=TidemarkTestCluster000\nnode.id=%d\ndirectory.id=%s\n", b.id, uuid)
	if err := os.WriteFile(filepath.Join(data, "meta.properties"), []byte(meta), 0o644); err != nil {
		return err
	}
	voters := make([]string, len(c.brokers))
	for i, v := range c.brokers {
		voters[i] = fmt.Sprintf("%d@%s:%d", v.id, host, v.ctrlPort)
	}
	replicas := strconv.Itoa(min(len(c.brokers), 3))
	all := append([]string{
		"process.roles=broker,controller",
		"node.id=" + strconv.Itoa(b.id),
		"controller.quorum.voters=" + strings.Join(voters, ","),
		fmt.Sprintf("listeners=PLAINTEXT://%s:%d,CONTROLLER://%s:%d", host, b.port, host, b.ctrlPort),
		"controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=PLAINTEXT",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + data,
		"offsets.topic.num.partitions=1",
		"offsets.topic.replication.factor=" + replicas,
		"transaction.state.log.num.partitions=1",
		"transaction.state.log.replication.factor=" + replicas,
		"transaction.state.log.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
		"auto.create.topics.enable=false",
		"message.max.bytes=16777216",
		"replica.fetch.max.bytes=16777216",
		"log.cleaner.enable=false",
		// With less, elections among brokers that start on a busy machine do not end.
		"controller.quorum.election.timeout.ms=2000",
		"controller.quorum.fetch.timeout.ms=4000",
		// A dead broker is noticed sooner than in production.
		"broker.session.timeout.ms=4000",
		"broker.heartbeat.interval.ms=500",
		"replica.lag.time.max.ms=4000",
		"num.network.threads=2",
		"num.io.threads=4",
	}, properties...)
	return os.WriteFile(filepath.Join(b.dir, "server.properties"), []byte(strings.Join(all, "\n")+"\n"), 0o644)
}

// launch starts the process and does not wait for it to be at work.
func (c *Cluster) launch(b *broker) error {
	log, err := os.OpenFile(filepath.Join(b.dir, "kafka.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	b.cmd = exec.Command("java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", c.classpath, "kafka.Kafka", filepath.Join(b.dir, "server.properties"))
	b.cmd.Stdout, b.cmd.Stderr = log, log
	process, err := child.Start(b.cmd)
	if err != nil {
		return err
	}
	b.exited = process.Done()
	return nil
}

// await waits until n brokers are registered and the cluster answers.
func (c *Cluster) await(ctx context.Context, n int) error {
	for {
		alive, err := c.alive()
		if err == nil && alive == n {
			return nil
		}
		for _, b := range c.brokers {
			if b.running() {
				continue
			}
			if text, readErr := os.ReadFile(filepath.Join(b.dir, "kafka.log")); readErr == nil && n == len(c.brokers) {
				return fmt.Errorf("broker %d stopped:\n%s", b.id, text[max(0, len(text)-4000):])
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d brokers at work: %w (last error: %v)", alive, n, ctx.Err(), err)
		case <-time.After(pollInterval):
		}
	}
}

// alive returns how many brokers the cluster counts, once one of them gives out
// producer ids, which is the last thing to come up.
func (c *Cluster) alive() (int, error) {
	client, err := sarama.NewClient(c.Addrs(), ClientConfig())
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }()
	broker, err := client.RefreshController()
	if err != nil {
		return 0, err
	}
	id, err := broker.InitProducerID(&sarama.InitProducerIDRequest{})
	if err == nil && id.Err != sarama.ErrNoError {
		err = id.Err
	}
	return len(client.Brokers()), err
}

// Addrs are the brokers' addresses, host:port.
func (c *Cluster) Addrs() []string {
	out := make([]string, len(c.brokers))
	for i, b := range c.brokers {
		out[i] = net.JoinHostPort(host, strconv.Itoa(b.port))
	}
	return out
}

// Kill ends broker i (from 0) at once.
func (c *Cluster) Kill(i int) {
	b := c.brokers[i]
	_ = b.cmd.Process.Kill()
	<-b.exited
}

// Stop ends broker i in order: it hands over what it leads.
func (c *Cluster) Stop(i int) {
	b := c.brokers[i]
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.exited:
	case <-time.After(stopWait):
		c.Kill(i)
	}
}

// Run starts broker i again, on its old ports and data, and returns when every
// broker that runs is at work.
func (c *Cluster) Run(ctx context.Context, i int) error {
	if c.brokers[i].running() {
		return errors.New("the broker runs already")
	}
	if err := c.launch(c.brokers[i]); err != nil {
		return err
	}
	n := 0
	for _, b := range c.brokers {
		if b.running() {
			n++
		}
	}
	return c.await(ctx, n)
}

func (b *broker) running() bool {
	if b.exited == nil {
		return false
	}
	select {
	case <-b.exited:
		return false
	default:
		return true
	}
}

// Close kills every broker. The directory stays.
func (c *Cluster) Close() {
	for i, b := range c.brokers {
		if b.running() {
			c.Kill(i)
		}
	}
}

// Pid returns the process id of broker i.
func (c *Cluster) Pid(i int) int { return c.brokers[i].cmd.Process.Pid }

// Admin connects to the cluster; the caller closes the connection.
func (c *Cluster) Admin() (sarama.ClusterAdmin, error) {
	cfg := ClientConfig()
	cfg.Admin.Timeout = 10 * time.Second
	return sarama.NewClusterAdmin(c.Addrs(), cfg)
}

// ClientConfig is a client configuration for these brokers.
func ClientConfig() *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	cfg.Metadata.Retry.Max = 1
	cfg.Metadata.AllowAutoTopicCreation = false
	cfg.Net.DialTimeout = 2 * time.Second
	return cfg
}

// CreateTopic makes a topic; config may be nil.
func (c *Cluster) CreateTopic(name string, partitions int32, replicas int16, config map[string]string) error {
	admin, err := c.Admin()
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: replicas, ConfigEntries: map[string]*string{}}
	for k, v := range config {
		detail.ConfigEntries[k] = &v
	}
	if err := admin.CreateTopic(name, detail, false); err != nil {
		return err
	}
	return c.awaitTopic(name)
}

// awaitTopic waits until every broker that runs knows a new topic.
func (c *Cluster) awaitTopic(name string) error {
	deadline := time.Now().Add(topicWait)
	for i, b := range c.brokers {
		for b.running() {
			err := knows(c.Addrs()[i], name)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("topic %s on broker %d: %w", name, b.id, err)
			}
			<-time.After(pollInterval)
		}
	}
	return nil
}

// knows returns nil when a broker names leaders of all partitions.
func knows(addr, topic string) error {
	broker := sarama.NewBroker(addr)
	if err := broker.Open(ClientConfig()); err != nil {
		return err
	}
	defer func() { _ = broker.Close() }()
	res, err := broker.GetMetadata(&sarama.MetadataRequest{Version: 5, Topics: []string{topic}})
	if err != nil {
		return err
	}
	for _, t := range res.Topics {
		if t.Err != sarama.ErrNoError {
			return t.Err
		}
		for _, p := range t.Partitions {
			if p.Err != sarama.ErrNoError {
				return p.Err
			}
		}
	}
	return nil
}

// AddPartitions raises a topic's partition count.
func (c *Cluster) AddPartitions(topic string, count int32) error {
	admin, err := c.Admin()
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	return admin.CreatePartitions(topic, count, nil, false)
}
