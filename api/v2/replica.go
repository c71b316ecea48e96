package v2

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tidemark/tidemark/api/openapi"
	"github.com/tidemark/tidemark/pkg/config"
)

// Duration is written as nanoseconds and read from nanoseconds or from text
// such as "10m".
type Duration time.Duration

// UnmarshalJSON accepts a number or a duration text.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case float64:
		var ns int64
		if json.Unmarshal(b, &ns) != nil { // a fraction, or in powers of ten
			ns = int64(v)
		}
		*d = Duration(ns)
		return nil
	case string:
		parsed, err := time.ParseDuration(v)
		*d = Duration(parsed)
		return err
	default:
		return errors.New("invalid duration")
	}
}

// JSONSchema implements openapi.Describer.
func (Duration) JSONSchema() openapi.Schema {
	return openapi.Schema{
		Description: "nanoseconds; a text such as 10m is read too",
		OneOf:       []*openapi.Schema{{Type: "integer", Format: "int64"}, {Type: "string"}},
	}
}

// ReplicaConfig is a changefeed's configuration in the API's keys.
type ReplicaConfig struct {
	MemoryQuota                  uint64              `json:"memory_quota"`
	CaseSensitive                bool                `json:"case_sensitive"`
	ForceReplicate               bool                `json:"force_replicate"`
	IgnoreIneligibleTable        bool                `json:"ignore_ineligible_table"`
	CheckGCSafePoint             bool                `json:"check_gc_safe_point"`
	EnableSyncPoint              *bool               `json:"enable_sync_point,omitempty"`
	EnableTableMonitor           *bool               `json:"enable_table_monitor,omitempty"`
	BDRMode                      *bool               `json:"bdr_mode,omitempty"`
	SyncPointInterval            *Duration           `json:"sync_point_interval,omitempty"`
	SyncPointRetention           *Duration           `json:"sync_point_retention,omitempty"`
	Filter                       *FilterConfig       `json:"filter"`
	Mounter                      *MounterConfig      `json:"mounter"`
	Sink                         *SinkConfig         `json:"sink"`
	Consistent                   *ConsistentConfig   `json:"consistent,omitempty"`
	Scheduler                    *SchedulerConfig    `json:"scheduler"`
	Integrity                    *IntegrityConfig    `json:"integrity"`
	ChangefeedErrorStuckDuration *Duration           `json:"changefeed_error_stuck_duration,omitempty"`
	SyncedStatus                 *SyncedStatusConfig `json:"synced_status,omitempty"`
	// SQLMode is accepted and dropped.
	SQLMode string `json:"sql_mode,omitempty"`
}

// FilterConfig says which tables and events are replicated.
type FilterConfig struct {
	DoTables         []*FilterTable       `json:"do_tables,omitempty"`
	DoDBs            []string             `json:"do_dbs,omitempty"`
	IgnoreTables     []*FilterTable       `json:"ignore_tables,omitempty"`
	IgnoreDBs        []string             `json:"ignore_dbs,omitempty"`
	Rules            []string             `json:"rules,omitempty"`
	IgnoreTxnStartTs []uint64             `json:"ignore_txn_start_ts,omitempty"`
	EventFilters     []*EventFilterConfig `json:"event_filters,omitempty"`
}

// FilterTable names one table in the lists of older documents.
type FilterTable struct {
	Schema string `json:"database_name"`
	Name   string `json:"table_name"`
}

// EventFilterConfig drops single events of the matched tables.
type EventFilterConfig struct {
	Matcher                  []string `json:"matcher"`
	IgnoreEvent              []string `json:"ignore_event"`
	IgnoreSQL                []string `json:"ignore_sql"`
	IgnoreInsertValueExpr    string   `json:"ignore_insert_value_expr"`
	IgnoreUpdateNewValueExpr string   `json:"ignore_update_new_value_expr"`
	IgnoreUpdateOldValueExpr string   `json:"ignore_update_old_value_expr"`
	IgnoreDeleteValueExpr    string   `json:"ignore_delete_value_expr"`
}

// MounterConfig sizes the decoding stage.
type MounterConfig struct {
	WorkerNum int `json:"worker_num"`
}

// SchedulerConfig says when a table is split over captures.
type SchedulerConfig struct {
	EnableTableAcrossNodes bool `json:"enable_table_across_nodes"`
	RegionThreshold        int  `json:"region_threshold"`
	WriteKeyThreshold      int  `json:"write_key_threshold"`
}

// IntegrityConfig switches row checksum verification.
type IntegrityConfig struct {
	IntegrityCheckLevel   string `json:"integrity_check_level"`
	CorruptionHandleLevel string `json:"corruption_handle_level"`
}

// SyncedStatusConfig holds the thresholds, in seconds, of the synced query.
type SyncedStatusConfig struct {
	SyncedCheckInterval int64 `json:"synced_check_interval"`
	CheckpointInterval  int64 `json:"checkpoint_interval"`
}

// ConsistentConfig switches the redo log.
type ConsistentConfig struct {
	Level                 string                 `json:"level,omitempty"`
	MaxLogSize            int64                  `json:"max_log_size"`
	FlushIntervalInMs     int64                  `json:"flush_interval"`
	MetaFlushIntervalInMs int64                  `json:"meta_flush_interval"`
	EncodingWorkerNum     int                    `json:"encoding_worker_num"`
	FlushWorkerNum        int                    `json:"flush_worker_num"`
	Storage               string                 `json:"storage,omitempty"`
	UseFileBackend        bool                   `json:"use_file_backend"`
	Compression           string                 `json:"compression,omitempty"`
	FlushConcurrency      int                    `json:"flush_concurrency,omitempty"`
	MemoryUsage           *ConsistentMemoryUsage `json:"memory_usage"`
}

// ConsistentMemoryUsage is the redo log's share of the memory quota.
type ConsistentMemoryUsage struct {
	MemoryQuotaPercentage uint64 `json:"memory_quota_percentage"`
}

// SinkConfig is the part that the sink reads.
type SinkConfig struct {
	Protocol                         *string             `json:"protocol,omitempty"`
	SchemaRegistry                   *string             `json:"schema_registry,omitempty"`
	CSVConfig                        *CSVConfig          `json:"csv,omitempty"`
	DispatchRules                    []*DispatchRule     `json:"dispatchers,omitempty"`
	ColumnSelectors                  []*ColumnSelector   `json:"column_selectors,omitempty"`
	TxnAtomicity                     *string             `json:"transaction_atomicity,omitempty"`
	EncoderConcurrency               *int                `json:"encoder_concurrency,omitempty"`
	Terminator                       *string             `json:"terminator,omitempty"`
	DateSeparator                    *string             `json:"date_separator,omitempty"`
	EnablePartitionSeparator         *bool               `json:"enable_partition_separator,omitempty"`
	FileIndexWidth                   *int                `json:"file_index_width,omitempty"`
	EnableKafkaSinkV2                *bool               `json:"enable_kafka_sink_v2,omitempty"`
	OnlyOutputUpdatedColumns         *bool               `json:"only_output_updated_columns,omitempty"`
	DeleteOnlyOutputHandleKeyColumns *bool               `json:"delete_only_output_handle_key_columns"`
	ContentCompatible                *bool               `json:"content_compatible"`
	SafeMode                         *bool               `json:"safe_mode,omitempty"`
	KafkaConfig                      *KafkaConfig        `json:"kafka_config,omitempty"`
	PulsarConfig                     *PulsarConfig       `json:"pulsar_config,omitempty"`
	MySQLConfig                      *MySQLConfig        `json:"mysql_config,omitempty"`
	CloudStorageConfig               *CloudStorageConfig `json:"cloud_storage_config,omitempty"`
	AdvanceTimeoutInSec              *uint               `json:"advance_timeout,omitempty"`
	SendBootstrapIntervalInSec       *int64              `json:"send_bootstrap_interval_in_sec,omitempty"`
	SendBootstrapInMsgCount          *int32              `json:"send_bootstrap_in_msg_count,omitempty"`
	SendBootstrapToAllPartition      *bool               `json:"send_bootstrap_to_all_partition,omitempty"`
	SendAllBootstrapAtStart          *bool               `json:"send-all-bootstrap-at-start,omitempty"`
	DebeziumDisableSchema            *bool               `json:"debezium_disable_schema,omitempty"`
	Debezium                         *OldValueConfig     `json:"debezium,omitempty"`
	OpenProtocol                     *OldValueConfig     `json:"open,omitempty"`
}

// DispatchRule sends the matched tables to a topic and partition.
type DispatchRule struct {
	Matcher       []string `json:"matcher,omitempty"`
	PartitionRule string   `json:"partition,omitempty"`
	IndexName     string   `json:"index,omitempty"`
	Columns       []string `json:"columns,omitempty"`
	TopicRule     string   `json:"topic,omitempty"`
}

// defaults is what a create request is decoded over. The rule that selects
// every table is left out: it must not stand beside the lists of older
// documents, which count only without rules.
func defaults() *ReplicaConfig {
	c := fromConfig(config.DefaultReplicaConfig())
	c.Filter.Rules = nil
	return c
}

// merged is what a request means that was decoded over the defaults; nil for
// one that put null in their place.
func (c *ReplicaConfig) merged() *config.ReplicaConfig {
	if c == nil {
		return config.DefaultReplicaConfig()
	}
	out := c.toConfig()
	if out.Filter.Rules == nil && !out.Filter.HasLists() {
		out.Filter.Rules = config.DefaultFilterConfig().Rules
	}
	return out
}
