package kafka

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
)

// readCodec reads what the encoders have to know. Errors: ErrSinkUnknownProtocol,
// or ErrSinkInvalidConfig around ErrCodecInvalidConfig.
func (o *options) readCodec(p *params, sc *config.SinkConfig, cfg *config.ReplicaConfig, so sink.Options) error {
	word := p.text("protocol", sc.Protocol, "")
	protocol, ok := config.CanonicalProtocol(word)
	if !ok {
		return errors.ErrSinkUnknownProtocol.New(word)
	}
	kc := kafkaConfig(sc)
	cc := kc.CodecConfig
	if cc == nil {
		cc = &config.CodecConfig{}
	}
	c := &o.codec
	c.Changefeed, c.ClusterID, c.Protocol, c.TimeZone = so.Changefeed, so.ClusterID, protocol, o.zone
	c.EnableTiDBExtension = p.boolean("enable-tidb-extension", cc.EnableTiDBExtension, false)
	if c.EnableTiDBExtension && protocol != config.ProtocolCanalJSON && protocol != config.ProtocolAvro {
		o.warnings = append(o.warnings, "enable-tidb-extension has no effect with protocol "+protocol)
		c.EnableTiDBExtension = false
	}
	c.MaxBatchSize = defaultMaxBatchSize
	if n, given := number(p, "max-batch-size", cc.MaxBatchSize); given {
		c.MaxBatchSize = n
		if n <= 0 {
			p.fail(fmt.Errorf("invalid max-batch-size %d", n))
		}
	}
	c.ContentCompatible = p.boolean("content-compatible", sc.ContentCompatible, false)
	c.OnlyOutputUpdatedColumns = p.boolean("only-output-updated-columns", sc.OnlyOutputUpdatedColumns, false) || c.ContentCompatible
	c.DeleteOnlyHandleKey = sc.DeleteOnlyOutputHandleKeyColumns != nil && *sc.DeleteOnlyOutputHandleKeyColumns // not in the URI
	c.DebeziumDisableSchema = p.boolean("debezium-disable-schema", sc.DebeziumDisableSchema, false)
	c.OutputOldValue = outputsOldValue(protocol, sc)
	c.OutputRowChecksum = cfg.Integrity != nil && cfg.Integrity.IntegrityCheckLevel == config.IntegrityCorrectness
	o.failCorrupted = c.OutputRowChecksum && cfg.Integrity.CorruptionHandleLevel == config.CorruptionError
	c.SimpleFormat = strings.ToLower(p.text("encoding-format", cc.EncodingFormat, "json"))
	o.readAvro(p, sc, cc)
	o.readLargeMessage(kc.LargeMessageHandle)
	o.readEncoders(sc)
	if p.err != nil {
		return errors.ErrSinkInvalidConfig.Wrap(errors.ErrCodecInvalidConfig.Wrap(p.err))
	}
	if err := o.checkCodec(); err != nil {
		return errors.ErrSinkInvalidConfig.Wrap(errors.ErrCodecInvalidConfig.Wrap(err))
	}
	return nil
}

// outputsOldValue is a switch of two protocols, and on for all others.
func outputsOldValue(protocol string, sc *config.SinkConfig) bool {
	section := (*config.OldValueConfig)(nil)
	switch protocol {
	case config.ProtocolOpen:
		section = sc.OpenProtocol
	case config.ProtocolDebezium:
		section = sc.Debezium
	}
	return section == nil || section.OutputOldValue
}

func (o *options) readAvro(p *params, sc *config.SinkConfig, cc *config.CodecConfig) {
	if o.codec.Protocol != config.ProtocolAvro {
		return
	}
	a := &o.codec.Avro
	a.Registry = config.SinkURI(p.text("schema-registry", sc.SchemaRegistry, ""))
	a.Glue = kafkaConfig(sc).GlueSchemaRegistryConfig
	a.DecimalHandlingMode = p.text("avro-decimal-handling-mode", cc.AvroDecimalHandlingMode, "precise")
	a.BigintUnsignedHandlingMode = p.text("avro-bigint-unsigned-handling-mode", cc.AvroBigintUnsignedHandlingMode, "long")
	a.EnableWatermark = p.boolean("avro-enable-watermark", cc.AvroEnableWatermark, false)
}

func (o *options) readLargeMessage(h *config.LargeMessageHandleConfig) {
	l := &o.codec.LargeMessage
	l.Option, l.Compression = config.LargeMessageNone, "none"
	if h == nil {
		return
	}
	if h.LargeMessageHandleOption != "" {
		l.Option = strings.ToLower(h.LargeMessageHandleOption)
	}
	if h.LargeMessageHandleCompression != "" {
		l.Compression = strings.ToLower(h.LargeMessageHandleCompression)
	}
	l.RawValue = h.ClaimCheckRawValue
	o.claimCheckURI = config.SinkURI(h.ClaimCheckStorageURI)
}

func (o *options) readEncoders(sc *config.SinkConfig) {
	o.encoders = defaultEncoders
	if sc.EncoderConcurrency != nil && *sc.EncoderConcurrency > 0 {
		o.encoders = *sc.EncoderConcurrency
	}
	if o.codec.Protocol != config.ProtocolSimple {
		return
	}
	b := bootstrapOptions{interval: 120 * time.Second, rows: 10000, allPartitions: true}
	if sc.SendBootstrapIntervalInSec != nil {
		b.interval = time.Duration(*sc.SendBootstrapIntervalInSec) * time.Second
	}
	if sc.SendBootstrapInMsgCount != nil {
		b.rows = int(*sc.SendBootstrapInMsgCount)
	}
	if sc.SendBootstrapToAllPartition != nil {
		b.allPartitions = *sc.SendBootstrapToAllPartition
	}
	b.atStart = sc.SendAllBootstrapAtStart != nil && *sc.SendAllBootstrapAtStart
	b.on = b.interval > 0 && b.rows > 0
	o.bootstrap = b
}

// checkCodec refuses settings that exclude each other.
func (o *options) checkCodec() error {
	c := &o.codec
	switch {
	case o.forceReplicate && c.Protocol == config.ProtocolAvro:
		return fmt.Errorf("force-replicate must be disabled with protocol avro")
	case o.forceReplicate && c.DeleteOnlyHandleKey:
		return fmt.Errorf("force-replicate must be disabled when delete-only-output-handle-key-columns is set")
	case o.forceReplicate && c.LargeMessage.Option != config.LargeMessageNone:
		return fmt.Errorf("force-replicate must be disabled when the large message handle option is set")
	case c.SimpleFormat != "json" && c.SimpleFormat != "avro":
		return fmt.Errorf("unknown encoding-format %q, which must be json or avro", c.SimpleFormat)
	}
	if c.Protocol == config.ProtocolAvro {
		return o.checkAvro()
	}
	return nil
}

func (o *options) checkAvro() error {
	a := &o.codec.Avro
	switch {
	case a.Registry == "" && a.Glue == nil:
		return fmt.Errorf("protocol avro requires the parameter schema-registry or a glue schema registry")
	case a.Registry != "" && a.Glue != nil:
		return fmt.Errorf("schema-registry and glue-schema-registry-config cannot both be set")
	case a.DecimalHandlingMode != "precise" && a.DecimalHandlingMode != "string":
		return fmt.Errorf("avro-decimal-handling-mode must be precise or string, not %q", a.DecimalHandlingMode)
	case a.BigintUnsignedHandlingMode != "long" && a.BigintUnsignedHandlingMode != "string":
		return fmt.Errorf("avro-bigint-unsigned-handling-mode must be long or string, not %q", a.BigintUnsignedHandlingMode)
	case a.EnableWatermark && !o.codec.EnableTiDBExtension:
		return fmt.Errorf("avro-enable-watermark requires enable-tidb-extension")
	case !o.codec.OutputRowChecksum:
		return nil
	case !o.codec.EnableTiDBExtension || a.DecimalHandlingMode != "string" || a.BigintUnsignedHandlingMode != "string":
		return fmt.Errorf("row checksums with protocol avro require enable-tidb-extension=true and " +
			"avro-decimal-handling-mode=string and avro-bigint-unsigned-handling-mode=string")
	}
	return nil
}

// ddlToOnePartition tells the protocols whose consumers read schema changes
// from partition 0 only.
func ddlToOnePartition(c *codec.Options) bool {
	return c.Protocol == config.ProtocolCanal || c.Protocol == config.ProtocolCanalJSON
}
