package config

// SinkConfig is the part of a changefeed's configuration that its sink reads.
type SinkConfig struct {
	TxnAtomicity                     *string             `toml:"transaction-atomicity" json:"transaction-atomicity,omitempty"`
	Protocol                         *string             `toml:"protocol" json:"protocol,omitempty"`
	DispatchRules                    []*DispatchRule     `toml:"dispatchers" json:"dispatchers,omitempty"`
	ColumnSelectors                  []*ColumnSelector   `toml:"column-selectors" json:"column-selectors,omitempty"`
	SchemaRegistry                   *string             `toml:"schema-registry" json:"schema-registry,omitempty"`
	CSVConfig                        *CSVConfig          `toml:"csv" json:"csv,omitempty"`
	EncoderConcurrency               *int                `toml:"encoder-concurrency" json:"encoder-concurrency,omitempty"`
	Terminator                       *string             `toml:"terminator" json:"terminator,omitempty"`
	DateSeparator                    *string             `toml:"date-separator" json:"date-separator,omitempty"`
	EnablePartitionSeparator         *bool               `toml:"enable-partition-separator" json:"enable-partition-separator,omitempty"`
	FileIndexWidth                   *int                `toml:"file-index-digit" json:"file-index-digit,omitempty"`
	EnableKafkaSinkV2                *bool               `toml:"enable-kafka-sink-v2" json:"enable-kafka-sink-v2,omitempty"`
	OnlyOutputUpdatedColumns         *bool               `toml:"only-output-updated-columns" json:"only-output-updated-columns,omitempty"`
	DeleteOnlyOutputHandleKeyColumns *bool               `toml:"delete-only-output-handle-key-columns" json:"delete-only-output-handle-key-columns,omitempty"`
	ContentCompatible                *bool               `toml:"content-compatible" json:"content-compatible,omitempty"`
	KafkaConfig                      *KafkaConfig        `toml:"kafka-config" json:"kafka-config,omitempty"`
	PulsarConfig                     *PulsarConfig       `toml:"pulsar-config" json:"pulsar-config,omitempty"`
	MySQLConfig                      *MySQLConfig        `toml:"mysql-config" json:"mysql-config,omitempty"`
	CloudStorageConfig               *CloudStorageConfig `toml:"cloud-storage-config" json:"cloud-storage-config,omitempty"`
	SafeMode                         *bool               `toml:"safe-mode" json:"safe-mode,omitempty"`
	AdvanceTimeoutInSec              *uint               `toml:"advance-timeout-in-sec" json:"advance-timeout-in-sec,omitempty"`
	SendBootstrapIntervalInSec       *int64              `toml:"send-bootstrap-interval-in-sec" json:"send-bootstrap-interval-in-sec,omitempty"`
	SendBootstrapInMsgCount          *int32              `toml:"send-bootstrap-in-msg-count" json:"send-bootstrap-in-msg-count,omitempty"`
	SendBootstrapToAllPartition      *bool               `toml:"send-bootstrap-to-all-partition" json:"send-bootstrap-to-all-partition,omitempty"`
	SendAllBootstrapAtStart          *bool               `toml:"send-all-bootstrap-at-start" json:"send-all-bootstrap-at-start,omitempty"`
	DebeziumDisableSchema            *bool               `toml:"debezium-disable-schema" json:"debezium-disable-schema,omitempty"`
	Debezium                         *OldValueConfig     `toml:"debezium" json:"debezium,omitempty"`
	OpenProtocol                     *OldValueConfig     `toml:"open" json:"open,omitempty"`
}

// DispatchRule sends the matched tables to a topic and partition.
type DispatchRule struct {
	Matcher        []string `toml:"matcher" json:"matcher"`
	DispatcherRule string   `toml:"dispatcher" json:"dispatcher"` // old name of Partition
	PartitionRule  string   `toml:"partition" json:"partition"`
	IndexName      string   `toml:"index" json:"index"`
	Columns        []string `toml:"columns" json:"columns"`
	TopicRule      string   `toml:"topic" json:"topic"`
}

// ColumnSelector keeps only some columns of the matched tables.
type ColumnSelector struct {
	Matcher []string `toml:"matcher" json:"matcher"`
	Columns []string `toml:"columns" json:"columns"`
}

// OldValueConfig switches old values in a protocol.
type OldValueConfig struct {
	OutputOldValue bool `toml:"output-old-value" json:"output-old-value"`
}

// CSVConfig shapes csv files.
type CSVConfig struct {
	Delimiter            string `toml:"delimiter" json:"delimiter"`
	Quote                string `toml:"quote" json:"quote"`
	NullString           string `toml:"null" json:"null"`
	IncludeCommitTs      bool   `toml:"include-commit-ts" json:"include-commit-ts"`
	BinaryEncodingMethod string `toml:"binary-encoding-method" json:"binary-encoding-method"`
	OutputOldValue       bool   `toml:"output-old-value" json:"output-old-value"`
	OutputHandleKey      bool   `toml:"output-handle-key" json:"output-handle-key"`
}

// MySQLConfig holds the MySQL sink's settings; URI parameters win over them.
type MySQLConfig struct {
	WorkerCount                  *int    `toml:"worker-count" json:"worker-count,omitempty"`
	MaxTxnRow                    *int    `toml:"max-txn-row" json:"max-txn-row,omitempty"`
	MaxMultiUpdateRowSize        *int    `toml:"max-multi-update-row-size" json:"max-multi-update-row-size,omitempty"`
	MaxMultiUpdateRowCount       *int    `toml:"max-multi-update-row" json:"max-multi-update-row,omitempty"`
	TiDBTxnMode                  *string `toml:"tidb-txn-mode" json:"tidb-txn-mode,omitempty"`
	SSLCa                        *string `toml:"ssl-ca" json:"ssl-ca,omitempty"`
	SSLCert                      *string `toml:"ssl-cert" json:"ssl-cert,omitempty"`
	SSLKey                       *string `toml:"ssl-key" json:"ssl-key,omitempty"`
	TimeZone                     *string `toml:"time-zone" json:"time-zone,omitempty"`
	WriteTimeout                 *string `toml:"write-timeout" json:"write-timeout,omitempty"`
	ReadTimeout                  *string `toml:"read-timeout" json:"read-timeout,omitempty"`
	Timeout                      *string `toml:"timeout" json:"timeout,omitempty"`
	EnableBatchDML               *bool   `toml:"enable-batch-dml" json:"enable-batch-dml,omitempty"`
	EnableMultiStatement         *bool   `toml:"enable-multi-statement" json:"enable-multi-statement,omitempty"`
	EnableCachePreparedStatement *bool   `toml:"enable-cache-prepared-statement" json:"enable-cache-prepared-statement,omitempty"`
}
