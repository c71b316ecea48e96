package kafka

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
)

// The defaults of the sink's parameters.
const (
	defaultPartitions      = int32(3) // of topics that the sink creates
	defaultReplication     = int16(1)
	defaultMaxMessageBytes = 10 << 20
	defaultTimeout         = 10 * time.Second
	defaultMaxBatchSize    = 16
	defaultEncoders        = 32
)

var legalClientID = regexp.MustCompile(`^[A-Za-z0-9._\-]+$`)

// options is the sink's configuration: URI parameters over the changefeed's
// configuration over defaults, checked as far as that goes without a broker.
type options struct {
	brokers []string
	topic   string
	fence   func() error // see sink.Options; nil lets everything pass

	partitions     int32 // of the default topic; 0 when not configured
	replication    int16
	autoCreate     bool
	version        sarama.KafkaVersion
	versionGiven   bool
	clientID       string
	compression    sarama.CompressionCodec
	acks           sarama.RequiredAcks
	dialTimeout    time.Duration
	readTimeout    time.Duration
	writeTimeout   time.Duration
	tls            *tls.Config // nil without TLS
	sasl           saslOptions
	encoders       int
	codec          codec.Options
	claimCheckURI  config.SinkURI
	bootstrap      bootstrapOptions
	zone           *time.Location
	forceReplicate bool
	failCorrupted  bool                    // a row whose checksum does not fit ends the changefeed
	wrapConn       func(net.Conn) net.Conn // of tests that break connections

	warnings []string // about values that are replaced by others
}

// parseOptions reads and checks everything that needs no connection. Errors
// have the code ErrSinkURIInvalid, or ErrKafkaInvalidConfig around the code of
// the parameter; they hold no secrets.
func parseOptions(o sink.Options) (*options, error) {
	u, err := parseURI(o.URI)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.ErrSinkURIInvalid.Msg("the query of the sink uri does not parse")
	}
	out := &options{brokers: strings.Split(u.Host, ","), topic: strings.Trim(u.Path, "/"), zone: o.TimeZone, fence: o.Fence}
	if out.zone == nil {
		out.zone = time.UTC
	}
	cfg := o.Config
	if cfg == nil {
		cfg = config.DefaultReplicaConfig()
	}
	sc := config.SinkConfig{}
	if cfg.Sink != nil {
		sc = *cfg.Sink
	}
	out.forceReplicate = cfg.ForceReplicate
	p := &params{values: values}
	out.readClient(p, kafkaConfig(&sc))
	out.clientID = p.text("kafka-client-id", kafkaConfig(&sc).KafkaClientID, defaultClientID(o))
	if !legalClientID.MatchString(out.clientID) {
		p.fail(errors.ErrKafkaInvalidClientID.New(out.clientID))
	}
	out.readSecurity(p, kafkaConfig(&sc))
	if p.err != nil {
		return nil, errors.ErrKafkaInvalidConfig.Wrap(p.err)
	}
	if err := out.readCodec(p, &sc, cfg, o); err != nil {
		return nil, err
	}
	return out, nil
}

func kafkaConfig(sc *config.SinkConfig) *config.KafkaConfig {
	if sc.KafkaConfig != nil {
		return sc.KafkaConfig
	}
	return &config.KafkaConfig{}
}

// parseURI checks the address as a whole. The parser's error texts quote
// pieces of it, which may be of a password, so they are dropped.
func parseURI(uri config.SinkURI) (*url.URL, error) {
	if uri.Reveal() == "" {
		return nil, errors.ErrSinkURIInvalid.Msg("sink uri is empty")
	}
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return nil, errors.ErrSinkURIInvalid.Msg("sink uri does not parse: special characters in it must be percent-encoded")
	}
	switch {
	case config.KindOfScheme(u.Scheme) != config.SinkKafka:
		return nil, errors.ErrSinkURIInvalid.Msg("the sink scheme (%s) is not supported", u.Scheme)
	case u.Host == "":
		return nil, errors.ErrKafkaInvalidConfig.Wrap(fmt.Errorf("the sink uri names no broker"))
	case strings.Trim(u.Path, "/") == "":
		return nil, errors.ErrKafkaInvalidConfig.Wrap(fmt.Errorf("no topic is specified in sink-uri"))
	}
	return u, nil
}

// defaultClientID tells the captures and changefeeds of a cluster apart.
func defaultClientID(o sink.Options) string {
	id := fmt.Sprintf("TiCDC_producer_%s_%s_%s", o.Capture, o.Changefeed.Namespace, o.Changefeed.ID)
	return strings.Map(func(r rune) rune {
		if legalClientID.MatchString(string(r)) {
			return r
		}
		return '_'
	}, id)
}

func (o *options) readClient(p *params, kc *config.KafkaConfig) {
	if n, given := number(p, "partition-num", kc.PartitionNum); given {
		o.partitions = n
		if n <= 0 {
			p.fail(errors.ErrKafkaInvalidPartitionNum.New(n))
		}
	}
	o.replication = defaultReplication
	if n, given := number(p, "replication-factor", kc.ReplicationFactor); given {
		o.replication = n
	}
	o.autoCreate = p.boolean("auto-create-topic", kc.AutoCreateTopic, true)
	o.version = sarama.V2_0_0_0
	if text := p.text("kafka-version", kc.KafkaVersion, ""); text != "" {
		version, err := sarama.ParseKafkaVersion(text)
		if err != nil {
			p.fail(errors.ErrKafkaInvalidVersion.Wrap(err))
		}
		o.version, o.versionGiven = version, true
	}
	o.codec.MaxMessageBytes = defaultMaxMessageBytes
	if n, given := number(p, "max-message-bytes", kc.MaxMessageBytes); given {
		o.codec.MaxMessageBytes = n
		if n <= 0 {
			p.fail(fmt.Errorf("invalid max-message-bytes %d", n))
		}
	}
	o.readCompression(p.text("compression", kc.Compression, "none"))
	o.acks = sarama.WaitForAll
	if n, given := number(p, "required-acks", kc.RequiredAcks); given {
		o.acks = sarama.RequiredAcks(n)
		if n < -1 || n > 1 {
			p.fail(errors.ErrKafkaInvalidRequiredAcks.New(n))
		}
	}
	o.dialTimeout = p.duration("dial-timeout", kc.DialTimeout, defaultTimeout)
	o.writeTimeout = p.duration("write-timeout", kc.WriteTimeout, defaultTimeout)
	o.readTimeout = p.duration("read-timeout", kc.ReadTimeout, defaultTimeout)
}

func (o *options) readCompression(word string) {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "none":
	case "gzip":
		o.compression = sarama.CompressionGZIP
	case "snappy":
		o.compression = sarama.CompressionSnappy
	case "lz4":
		o.compression = sarama.CompressionLZ4
	case "zstd":
		o.compression = sarama.CompressionZSTD
	default:
		o.warnings = append(o.warnings, fmt.Sprintf("unknown compression %q, none is used", word))
	}
}

// client makes the configuration of sarama's client.
func (o *options) client() (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID, c.Version = o.clientID, o.version
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = o.dialTimeout, o.readTimeout, o.writeTimeout
	c.Net.MaxOpenRequests = maxRequests
	c.Net.KeepAlive = 30 * time.Second
	// Nobody asks for topics that nobody named.
	c.Metadata.Full = false
	c.Metadata.AllowAutoTopicCreation = false
	c.Metadata.RefreshFrequency = refreshEvery
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff = 3, 200*time.Millisecond
	c.Admin.Retry.Max, c.Admin.Retry.Backoff = 3, 200*time.Millisecond
	c.Admin.Timeout = o.readTimeout
	if o.tls != nil {
		c.Net.TLS.Enable, c.Net.TLS.Config = true, o.tls
	}
	o.sasl.apply(c)
	if err := c.Validate(); err != nil {
		return nil, errors.ErrKafkaInvalidConfig.Wrap(err)
	}
	return c, nil
}
