package kafka

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
)

// apiMetadata is the number of the request whose newest form tells a broker's version.
const apiMetadata = 3

// cluster is a connection to a Kafka cluster.
type cluster struct {
	sarama.Client
	admin sarama.ClusterAdmin
	end   context.CancelFunc // of dialling
}

// connect logs in. It sets the version in the options unless one is
// configured. An error has the code ErrKafkaNewProducer or ErrKafkaInvalidConfig.
// The context bounds connecting only.
func connect(ctx context.Context, o *options, logger *zap.Logger) (*cluster, error) {
	living, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	c, err := connectUntil(living, o, logger)
	if err != nil || !stop() {
		end()
		if err == nil {
			_ = c.Client.Close()
			err = ctx.Err()
		}
		return nil, err
	}
	c.end = end
	return c, nil
}

// connectUntil is connect with a context that also ends later dialling.
func connectUntil(ctx context.Context, o *options, logger *zap.Logger) (*cluster, error) {
	conf, err := o.client()
	if err != nil {
		return nil, err
	}
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, &dialer{
		ctx: ctx, wrap: o.wrapConn, Dialer: net.Dialer{Timeout: o.dialTimeout, KeepAlive: conf.Net.KeepAlive},
	}
	if !o.versionGiven {
		if o.version, err = detectVersion(ctx, o.brokers, *conf, logger); err != nil {
			return nil, errors.ErrKafkaNewProducer.Wrap(err)
		}
		conf.Version = o.version
	}
	if !o.version.IsAtLeast(sarama.V0_11_0_0) {
		return nil, errors.ErrKafkaInvalidConfig.Wrap(errors.ErrKafkaInvalidVersion.Wrap(
			fmt.Errorf("version %s is too old, at least 0.11.0 is needed", o.version)))
	}
	if o.compression == sarama.CompressionZSTD && !o.version.IsAtLeast(sarama.V2_1_0_0) {
		return nil, errors.ErrKafkaInvalidConfig.Wrap(fmt.Errorf("compression zstd needs a broker of version 2.1 or later"))
	}
	client, err := sarama.NewClient(o.brokers, conf)
	if err != nil {
		return nil, errors.ErrKafkaNewProducer.Wrap(err)
	}
	// A client that does not ask for all topics meets the brokers by its first one.
	err = client.RefreshMetadata(o.topic)
	if err != nil && !stderrors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		_ = client.Close()
		return nil, errors.ErrKafkaNewProducer.Wrap(fmt.Errorf("topic %s: %w", o.topic, err))
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		_ = client.Close()
		return nil, errors.ErrKafkaNewProducer.Wrap(err)
	}
	return &cluster{Client: client, admin: admin}, nil
}

// Close ends all connections and every attempt to open one.
func (c *cluster) Close() error {
	c.end()
	return c.Client.Close()
}

// dialer dials as long as its context lives.
type dialer struct {
	net.Dialer
	ctx  context.Context
	wrap func(net.Conn) net.Conn
}

// Dial makes it a dialer for sarama.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	conn, err := d.DialContext(d.ctx, network, addr)
	if err == nil && d.wrap != nil {
		conn = d.wrap(conn)
	}
	return conn, err
}

// detectVersion asks the first broker that answers.
func detectVersion(ctx context.Context, addrs []string, conf sarama.Config, logger *zap.Logger) (sarama.KafkaVersion, error) {
	conf.ApiVersionsRequest = false // it is what is asked below
	var failures []error
	for _, addr := range addrs {
		version, err := askVersion(addr, &conf)
		if err == nil {
			return version, nil
		}
		failures = append(failures, fmt.Errorf("broker %s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	err := stderrors.Join(failures...)
	logger.Warn("no broker tells its version", zap.Error(err))
	return sarama.V2_0_0_0, err
}

func askVersion(addr string, conf *sarama.Config) (sarama.KafkaVersion, error) {
	b := sarama.NewBroker(addr)
	if err := b.Open(conf); err != nil {
		return sarama.V2_0_0_0, err
	}
	if _, err := b.Connected(); err != nil {
		return sarama.V2_0_0_0, err
	}
	defer func() { _ = b.Close() }()
	res, err := b.ApiVersions(&sarama.ApiVersionsRequest{})
	if err != nil {
		return sarama.V2_0_0_0, err
	}
	for _, key := range res.ApiKeys {
		if key.ApiKey == apiMetadata {
			return versionOfMetadata(key.MaxVersion), nil
		}
	}
	return sarama.V2_0_0_0, nil
}

// versionOfMetadata maps the newest form of the metadata request that a
// broker knows to the oldest version that has it.
func versionOfMetadata(form int16) sarama.KafkaVersion {
	versions := []sarama.KafkaVersion{
		sarama.V0_8_2_0, sarama.V0_10_0_0, sarama.V0_10_1_0, sarama.V0_10_1_0, sarama.V0_11_0_0,
		sarama.V1_0_0_0, sarama.V2_0_0_0, sarama.V2_1_0_0, sarama.V2_3_0_0, sarama.V2_4_0_0, sarama.V2_8_0_0,
	}
	return versions[min(max(int(form), 0), len(versions)-1)]
}

// idTries is how often a cluster is asked for a producer id that says that it
// is not ready to give one, which it is soon after a start; idWait is between.
const (
	idTries = 40
	idWait  = 250 * time.Millisecond
)

// idOf asks for a producer id. Without one, which is what a cluster does that
// does not allow it, order is kept by sending one batch at a time.
func (c *cluster) idOf(ctx context.Context, o *options, logger *zap.Logger) (producerID, error) {
	none := producerID{id: -1, epoch: -1}
	if o.acks != sarama.WaitForAll {
		return none, nil
	}
	res, err := c.askID(ctx)
	if err == nil {
		return producerID{id: res.ProducerID, epoch: res.ProducerEpoch}, nil
	}
	if stderrors.Is(err, sarama.ErrClusterAuthorizationFailed) || stderrors.Is(err, sarama.ErrUnsupportedVersion) ||
		stderrors.Is(err, sarama.ErrTransactionalIDAuthorizationFailed) {
		logger.Warn("the kafka cluster gives no producer id: rows are sent one batch at a time per partition", zap.Error(err))
		return none, nil
	}
	return none, errors.ErrKafkaNewProducer.Wrap(err)
}

// askID asks again while the answer is that a cluster that has just started
// cannot give ids yet.
func (c *cluster) askID(ctx context.Context) (*sarama.InitProducerIDResponse, error) {
	for try := 1; ; try++ {
		res, err := c.InitProducerID()
		if err == nil && res.Err != sarama.ErrNoError {
			err = res.Err
		}
		if err == nil || try == idTries || !notReady(err) {
			return res, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(idWait):
		}
	}
}

// notReady tells the answers of brokers that are starting.
func notReady(err error) bool {
	return stderrors.Is(err, sarama.ErrOffsetsLoadInProgress) || stderrors.Is(err, sarama.ErrConsumerCoordinatorNotAvailable) ||
		stderrors.Is(err, sarama.ErrNotCoordinatorForConsumer) || stderrors.Is(err, sarama.ErrRequestTimedOut)
}

// refreshEvery is how often the client reads again where partitions are, and
// how many there are.
const refreshEvery = 10 * time.Minute
