package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
)

func TestValidateRefuses(t *testing.T) {
	kafka := SinkURI("kafka://h/t?protocol=open-protocol")
	storage := SinkURI("file:///tmp/x?protocol=csv")
	type change func(*ReplicaConfig)
	large := func(option, compression, uri string, raw bool) change {
		return func(c *ReplicaConfig) {
			c.Sink.KafkaConfig = &KafkaConfig{LargeMessageHandle: &LargeMessageHandleConfig{
				LargeMessageHandleOption: option, LargeMessageHandleCompression: compression,
				ClaimCheckStorageURI: uri, ClaimCheckRawValue: raw,
			}}
		}
	}
	glue := func(g GlueSchemaRegistryConfig) change {
		return func(c *ReplicaConfig) { c.Sink.KafkaConfig = &KafkaConfig{GlueSchemaRegistryConfig: &g} }
	}
	csv := func(f func(*CSVConfig)) change { return func(c *ReplicaConfig) { f(c.Sink.CSVConfig) } }
	redo := func(f func(*ConsistentConfig)) change {
		return func(c *ReplicaConfig) {
			c.Consistent.Level, c.Consistent.Storage = ConsistentLevelEventual, "nfs:///x"
			f(c.Consistent)
		}
	}
	tests := []struct {
		name   string
		uri    SinkURI
		change change
		code   *errors.Code // nil: an error without a code
		text   string
	}{
		{name: "uri", uri: "mysql://u:sesame%zz@h", code: errors.ErrSinkURIInvalid, text: "sink uri invalid '%s': "},
		{name: "atomicity word", uri: "mysql://h?transaction-atomicity=all", code: errors.ErrSinkURIInvalid,
			text: "[CDC:ErrSinkURIInvalid]all level atomicity is not supported by mysql scheme"},
		{name: "atomicity on mq", uri: "kafka://h/t?protocol=canal&transaction-atomicity=table", code: errors.ErrSinkURIInvalid,
			text: "table level atomicity is not supported by kafka scheme"},
		{name: "protocol with tidb", uri: "tidb://h?protocol=simple", code: errors.ErrSinkURIInvalid,
			text: "protocol simple is incompatible with tidb scheme"},
		{name: "no protocol", uri: "kafka://h/t", code: errors.ErrSinkUnknownProtocol, text: "unknown '' message protocol for sink"},
		{name: "unknown protocol", uri: "s3://b?protocol=xml", code: errors.ErrSinkUnknownProtocol, text: "unknown 'xml' message protocol for sink"},
		{name: "large message compression", uri: kafka, change: large("none", "zip", "", false), code: errors.ErrInvalidReplicaConfig},
		{name: "large message protocol", uri: "kafka://h/t?protocol=maxwell", change: large("handle-key-only", "", "", false), code: errors.ErrInvalidReplicaConfig},
		{name: "large message needs extension", uri: "kafka://h/t?protocol=canal-json", change: large("handle-key-only", "", "", false), code: errors.ErrInvalidReplicaConfig},
		{name: "large message on blackhole", uri: "blackhole://", change: large("claim-check", "", "", false), code: errors.ErrInvalidReplicaConfig},
		{name: "claim check without storage", uri: kafka, change: large("claim-check", "none", "", false), code: errors.ErrInvalidReplicaConfig},
		{name: "raw claim check with open", uri: kafka, change: large("claim-check", "lz4", "file:///x", true), code: errors.ErrInvalidReplicaConfig},
		{name: "glue beside a registry", uri: kafka, change: func(c *ReplicaConfig) {
			glue(GlueSchemaRegistryConfig{RegistryName: "r", Region: "x"})(c)
			c.Sink.SchemaRegistry = ptr("http://r")
		}, code: errors.ErrInvalidReplicaConfig},
		{name: "glue name", uri: kafka, change: glue(GlueSchemaRegistryConfig{Region: "x"}), code: errors.ErrInvalidGlueSchemaRegistryConfig},
		{name: "glue region", uri: kafka, change: glue(GlueSchemaRegistryConfig{RegistryName: "r"}), code: errors.ErrInvalidGlueSchemaRegistryConfig},
		{name: "glue secret", uri: kafka, change: glue(GlueSchemaRegistryConfig{RegistryName: "r", Region: "x", AccessKey: "k"}), code: errors.ErrInvalidGlueSchemaRegistryConfig},
		{name: "pulsar oauth", uri: "pulsar://h/t?protocol=canal-json", change: func(c *ReplicaConfig) {
			c.Sink.PulsarConfig = &PulsarConfig{OAuth2: &PulsarOAuth2{OAuth2IssuerURL: "x"}}
		}, text: "issuer-url and audience and private-key and client-id not be empty"},
		{name: "encoders", uri: kafka, change: func(c *ReplicaConfig) { c.Sink.EncoderConcurrency = ptr(-1) }, code: errors.ErrSinkInvalidConfig,
			text: "[CDC:ErrSinkInvalidConfig]encoder-concurrency should greater than 0, but got -1"},
		{name: "csv handle keys only", uri: storage, change: func(c *ReplicaConfig) { c.Sink.DeleteOnlyOutputHandleKeyColumns = ptr(true) }, code: errors.ErrSinkInvalidConfig},
		{name: "date separator", uri: storage, change: func(c *ReplicaConfig) { c.Sink.DateSeparator = ptr("week") }, code: errors.ErrSinkInvalidConfig,
			text: "[CDC:ErrStorageSinkInvalidDateSeparator]date separator in storage sink is invalid%!(EXTRA string=week)"},
		{name: "csv quote", uri: storage, change: csv(func(c *CSVConfig) { c.Quote = "ab" }), code: errors.ErrSinkInvalidConfig},
		{name: "csv quote break", uri: storage, change: csv(func(c *CSVConfig) { c.Quote = "\n" }), code: errors.ErrSinkInvalidConfig},
		{name: "csv no delimiter", uri: storage, change: csv(func(c *CSVConfig) { c.Delimiter = "" }), code: errors.ErrSinkInvalidConfig},
		{name: "csv long delimiter", uri: storage, change: csv(func(c *CSVConfig) { c.Delimiter = "abcd" }), code: errors.ErrSinkInvalidConfig},
		{name: "csv delimiter break", uri: storage, change: csv(func(c *CSVConfig) { c.Delimiter = "\r" }), code: errors.ErrSinkInvalidConfig},
		{name: "csv delimiter and quote", uri: storage, change: csv(func(c *CSVConfig) { c.Delimiter = `|"` }), code: errors.ErrSinkInvalidConfig},
		{name: "csv binary", uri: storage, change: csv(func(c *CSVConfig) { c.BinaryEncodingMethod = "x" }), code: errors.ErrSinkInvalidConfig},
		{name: "redo flush", uri: "mysql://h", change: redo(func(c *ConsistentConfig) { c.FlushIntervalInMs = 49 }), code: errors.ErrInvalidReplicaConfig},
		{name: "redo meta flush", uri: "mysql://h", change: redo(func(c *ConsistentConfig) { c.MetaFlushIntervalInMs = 49 }), code: errors.ErrInvalidReplicaConfig},
		{name: "redo compression", uri: "mysql://h", change: redo(func(c *ConsistentConfig) { c.Compression = "zip" }), code: errors.ErrInvalidReplicaConfig},
		{name: "redo storage", uri: "mysql://h", change: redo(func(c *ConsistentConfig) { c.Storage = "ftp://x" }), code: errors.ErrConsistentStorage,
			text: "[CDC:ErrConsistentStorage]consistent storage (ftp) not support"},
		{name: "sync point interval", uri: "mysql://h", change: func(c *ReplicaConfig) {
			c.EnableSyncPoint, c.SyncPointInterval = ptr(true), ptr(29*time.Second)
		}, code: errors.ErrInvalidReplicaConfig},
		{name: "sync point retention", uri: "mysql://h", change: func(c *ReplicaConfig) {
			c.EnableSyncPoint, c.SyncPointRetention = ptr(true), ptr(time.Minute)
		}, code: errors.ErrInvalidReplicaConfig},
		{name: "sync point sink", uri: "blackhole://", change: func(c *ReplicaConfig) { c.EnableSyncPoint = ptr(true) }, code: errors.ErrSinkURIInvalid,
			text: "[CDC:ErrSinkURIInvalid]sink uri scheme is not supported with syncpoint enabledsink uri: blackhole:"},
		{name: "bdr sink", uri: "blackhole://", change: func(c *ReplicaConfig) { c.BDRMode = ptr(true) }, code: errors.ErrSinkURIInvalid,
			text: "sink uri scheme is not supported in BDR mode, sink uri: blackhole:"},
		{name: "region threshold", uri: "blackhole://", change: func(c *ReplicaConfig) {
			c.Scheduler.EnableTableAcrossNodes, c.Scheduler.RegionThreshold = true, -1
		}, text: "region-threshold must be larger than 0"},
		{name: "write keys", uri: "blackhole://", change: func(c *ReplicaConfig) {
			c.Scheduler.EnableTableAcrossNodes, c.Scheduler.WriteKeyThreshold = true, -1
		}, text: "write-key-threshold must be larger than 0"},
		{name: "integrity level", uri: kafka, change: func(c *ReplicaConfig) { c.Integrity.IntegrityCheckLevel = "x" }, code: errors.ErrInvalidReplicaConfig,
			text: "[CDC:ErrInvalidReplicaConfig]invalid replica config, %s"},
		{name: "corruption level", uri: kafka, change: func(c *ReplicaConfig) { c.Integrity.CorruptionHandleLevel = "" }, code: errors.ErrInvalidReplicaConfig},
		{name: "integrity with selectors", uri: kafka, change: func(c *ReplicaConfig) {
			c.Integrity.IntegrityCheckLevel = IntegrityCorrectness
			c.Sink.ColumnSelectors = []*ColumnSelector{{}}
		}, code: errors.ErrInvalidReplicaConfig},
		{name: "stuck duration", uri: "blackhole://", change: func(c *ReplicaConfig) {
			c.ChangefeedErrorStuckDuration = ptr(29 * time.Minute)
		}, code: errors.ErrInvalidReplicaConfig},
		{name: "both dispatcher keys", uri: kafka, change: func(c *ReplicaConfig) {
			c.Sink.DispatchRules = []*DispatchRule{{DispatcherRule: "ts", PartitionRule: "ts"}}
		}, code: errors.ErrSinkInvalidConfig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultReplicaConfig()
			if tt.change != nil {
				tt.change(c)
			}
			err := c.ValidateAndAdjust(tt.uri)
			require.Error(t, err)
			if tt.code != nil {
				require.ErrorIs(t, err, tt.code)
			} else {
				require.Empty(t, errors.CodeOf(err))
			}
			require.Contains(t, err.Error(), tt.text)
			require.NotContains(t, err.Error(), "sesame")
		})
	}
}

func TestValidateAdjusts(t *testing.T) {
	adjusted := func(uri SinkURI, change func(*ReplicaConfig)) *ReplicaConfig {
		c := DefaultReplicaConfig()
		change(c)
		require.NoError(t, c.ValidateAndAdjust(uri))
		return c
	}
	c := adjusted("kafka://h/t?protocol=Canal-JSON&transaction-atomicity=none", func(c *ReplicaConfig) {
		c.Sink.Protocol, c.Sink.TxnAtomicity = ptr("simple"), ptr("table")
		c.MemoryQuota = 0
		c.Sink.Terminator, c.Sink.AdvanceTimeoutInSec = nil, ptr(uint(0))
		c.Scheduler.EnableTableAcrossNodes = true
		c.Integrity.IntegrityCheckLevel = IntegrityCorrectness
	})
	require.Equal(t, "Canal-JSON", *c.Sink.Protocol, "the URI wins, as it is written")
	require.Equal(t, "none", *c.Sink.TxnAtomicity)
	require.Equal(t, DefaultMemoryQuota, c.MemoryQuota)
	require.Equal(t, "\r\n", *c.Sink.Terminator)
	require.Equal(t, uint(150), *c.Sink.AdvanceTimeoutInSec)
	require.True(t, c.Scheduler.EnableTableAcrossNodes)
	require.Equal(t, IntegrityCorrectness, c.Integrity.IntegrityCheckLevel)

	c = adjusted("mysql://h?transaction-atomicity=table", func(c *ReplicaConfig) {
		c.Scheduler.EnableTableAcrossNodes = true
		c.Integrity.IntegrityCheckLevel = IntegrityCorrectness
		c.Filter, c.Sink, c.Consistent.MemoryUsage = nil, nil, nil
	})
	require.False(t, c.Scheduler.EnableTableAcrossNodes)
	require.Equal(t, IntegrityNone, c.Integrity.IntegrityCheckLevel)
	require.NotNil(t, c.Filter)
	require.NotNil(t, c.Consistent.MemoryUsage)

	for given, want := range map[int]int{0: 20, 5: 20, 6: 6, 20: 20, 21: 20} {
		c = adjusted("file:///x?protocol=csv", func(c *ReplicaConfig) { c.Sink.FileIndexWidth = &given })
		require.Equal(t, want, *c.Sink.FileIndexWidth)
	}
	adjusted("file:///x?protocol=csv", func(c *ReplicaConfig) {
		c.Sink.DateSeparator, c.Sink.Terminator = ptr("YEAR"), ptr("")
		c.Sink.CSVConfig.Quote, c.Sink.CSVConfig.Delimiter = "", "|+|"
	})
	adjusted("mysql://h", func(c *ReplicaConfig) {
		c.EnableSyncPoint, c.BDRMode = ptr(true), ptr(true)
		c.Consistent = &ConsistentConfig{Level: ConsistentLevelEventual, Storage: "s3://b/p", Compression: "lz4"}
	})
	adjusted("kafka://h/t?protocol=canal-json&enable-tidb-extension=true", func(c *ReplicaConfig) {
		c.Sink.KafkaConfig = &KafkaConfig{LargeMessageHandle: &LargeMessageHandleConfig{
			LargeMessageHandleOption: LargeMessageClaimCheck, ClaimCheckStorageURI: "file:///x", ClaimCheckRawValue: true,
		}}
	})
}

// TestPulsarOAuth: what a login needs, and what it does not.
func TestPulsarOAuth(t *testing.T) {
	for key, tc := range map[string]struct {
		drop   func(*PulsarOAuth2)
		needed bool
	}{
		"oauth2-issuer-url":  {func(o *PulsarOAuth2) { o.OAuth2IssuerURL = "" }, true},
		"oauth2-audience":    {func(o *PulsarOAuth2) { o.OAuth2Audience = "" }, true},
		"oauth2-private-key": {func(o *PulsarOAuth2) { o.OAuth2PrivateKey = "" }, true},
		"oauth2-client-id":   {func(o *PulsarOAuth2) { o.OAuth2ClientID = "" }, true},
		"oauth2-scope":       {func(o *PulsarOAuth2) { o.OAuth2Scope = "" }, false},
	} {
		t.Run(key, func(t *testing.T) {
			c := DefaultReplicaConfig()
			o := &PulsarOAuth2{OAuth2IssuerURL: "a", OAuth2Audience: "b", OAuth2PrivateKey: "c", OAuth2ClientID: "d", OAuth2Scope: "e"}
			c.Sink.PulsarConfig = &PulsarConfig{OAuth2: o}
			require.NoError(t, c.ValidateAndAdjust("pulsar://h/t?protocol=canal-json"))
			tc.drop(o)
			require.Equal(t, tc.needed, c.ValidateAndAdjust("pulsar://h/t?protocol=canal-json") != nil)
		})
	}
}

func TestSchemes(t *testing.T) {
	for scheme, want := range map[string]SinkKind{
		"blackhole": SinkBlackhole, "MySQL": SinkMySQL, "tidb+ssl": SinkMySQL, "kafka+ssl": SinkKafka,
		"pulsar+https": SinkPulsar, "gs": SinkStorage, "noop": SinkStorage, "nfs": SinkUnknown, "": SinkUnknown, "blackhome": SinkUnknown,
	} {
		require.Equal(t, want, KindOfScheme(scheme), scheme)
	}
	for name, want := range map[string]string{"Default": "open-protocol", "flat-avro": "avro", "CSV": "csv", "canal": "canal"} {
		got, ok := CanonicalProtocol(name)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
}

// FuzzValidate: no URI and no setting makes validation crash, and what it
// accepts once it accepts again unchanged.
func FuzzValidate(f *testing.F) {
	f.Add("mysql://root:x@h:3306/?worker-count=1", "", "", "", int64(0))
	f.Add("kafka://h/t?protocol=avro", "canal", "table", "http://r", int64(-1))
	f.Add("file:///x?protocol=csv&date-separator=x", "csv", "", "", int64(6))
	f.Fuzz(func(t *testing.T, uri, protocol, atomicity, registry string, n int64) {
		c := DefaultReplicaConfig()
		c.Sink.Protocol, c.Sink.TxnAtomicity, c.Sink.SchemaRegistry = &protocol, &atomicity, &registry
		c.Sink.FileIndexWidth = ptr(int(n))
		if c.ValidateAndAdjust(SinkURI(uri)) == nil {
			require.NoError(t, c.ValidateAndAdjust(SinkURI(uri)))
			require.NotNil(t, c.FitTo(SinkURI(uri)))
		}
	})
}
