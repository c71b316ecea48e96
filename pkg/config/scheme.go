package config

import "strings"

// SinkKind is the class of a sink scheme. Validation, pruning and delivery
// differ by class only.
type SinkKind int

// The sink kinds.
const (
	SinkUnknown SinkKind = iota
	SinkBlackhole
	SinkMySQL // mysql, tidb, with or without +ssl
	SinkKafka
	SinkPulsar
	SinkStorage
)

// KindOfScheme classifies a URI scheme, in any letter case.
func KindOfScheme(scheme string) SinkKind {
	switch strings.ToLower(scheme) {
	case "blackhole":
		return SinkBlackhole
	case "mysql", "mysql+ssl", "tidb", "tidb+ssl":
		return SinkMySQL
	case "kafka", "kafka+ssl":
		return SinkKafka
	case "pulsar", "pulsar+ssl", "pulsar+http", "pulsar+https":
		return SinkPulsar
	case "file", "s3", "gcs", "gs", "azblob", "azure", "noop":
		return SinkStorage
	default:
		return SinkUnknown
	}
}

// IsMQ tells the message queues.
func (k SinkKind) IsMQ() bool { return k == SinkKafka || k == SinkPulsar }

// The message protocols, by their canonical names.
const (
	ProtocolOpen      = "open-protocol"
	ProtocolCanal     = "canal"
	ProtocolCanalJSON = "canal-json"
	ProtocolAvro      = "avro"
	ProtocolMaxwell   = "maxwell"
	ProtocolCraft     = "craft"
	ProtocolCSV       = "csv"
	ProtocolDebezium  = "debezium"
	ProtocolSimple    = "simple"
)

// CanonicalProtocol resolves aliases and letter case; false if no such
// protocol exists.
func CanonicalProtocol(name string) (string, bool) {
	switch p := strings.ToLower(name); p {
	case "default", ProtocolOpen:
		return ProtocolOpen, true
	case ProtocolAvro, "flat-avro":
		return ProtocolAvro, true
	case ProtocolCanal, ProtocolCanalJSON, ProtocolMaxwell, ProtocolCraft, ProtocolCSV, ProtocolDebezium, ProtocolSimple:
		return p, true
	default:
		return "", false
	}
}

// The values of enumerated settings.
const (
	AtomicityNone  = "none"
	AtomicityTable = "table"

	DateSeparatorNone  = "none"
	DateSeparatorYear  = "year"
	DateSeparatorMonth = "month"
	DateSeparatorDay   = "day"

	BinaryEncodingBase64 = "base64"
	BinaryEncodingHex    = "hex"

	ConsistentLevelNone     = "none"
	ConsistentLevelEventual = "eventual"

	IntegrityNone        = "none"
	IntegrityCorrectness = "correctness"
	CorruptionWarn       = "warn"
	CorruptionError      = "error"

	compressionNone   = "none"
	compressionSnappy = "snappy"
	compressionLZ4    = "lz4"
)
