// Package config holds what a server and a changefeed can be told. The
// structs have the key names of the metadata in etcd and of TOML files
// (kebab-case); the API's snake_case models live with the API.
package config

import (
	"fmt"
	"time"
)

// ReplicaConfig is the configuration of one changefeed.
type ReplicaConfig struct {
	MemoryQuota                  uint64              `toml:"memory-quota" json:"memory-quota"` // bytes
	CaseSensitive                bool                `toml:"case-sensitive" json:"case-sensitive"`
	ForceReplicate               bool                `toml:"force-replicate" json:"force-replicate"`
	CheckGCSafePoint             bool                `toml:"check-gc-safe-point" json:"check-gc-safe-point"`
	EnableSyncPoint              *bool               `toml:"enable-sync-point" json:"enable-sync-point,omitempty"`
	IgnoreIneligibleTable        bool                `toml:"ignore-ineligible-table" json:"ignore-ineligible-table"`
	EnableTableMonitor           *bool               `toml:"enable-table-monitor" json:"enable-table-monitor"`
	BDRMode                      *bool               `toml:"bdr-mode" json:"bdr-mode,omitempty"`
	SyncPointInterval            *time.Duration      `toml:"sync-point-interval" json:"sync-point-interval,omitempty"`
	SyncPointRetention           *time.Duration      `toml:"sync-point-retention" json:"sync-point-retention,omitempty"`
	Filter                       *FilterConfig       `toml:"filter" json:"filter"`
	Mounter                      *MounterConfig      `toml:"mounter" json:"mounter"`
	Sink                         *SinkConfig         `toml:"sink" json:"sink"`
	Consistent                   *ConsistentConfig   `toml:"consistent" json:"consistent,omitempty"`
	Scheduler                    *SchedulerConfig    `toml:"scheduler" json:"scheduler"`
	Integrity                    *IntegrityConfig    `toml:"integrity" json:"integrity"`
	ChangefeedErrorStuckDuration *time.Duration      `toml:"changefeed-error-stuck-duration" json:"changefeed-error-stuck-duration,omitempty"`
	SyncedStatus                 *SyncedStatusConfig `toml:"synced-status" json:"synced-status,omitempty"`
	// SQLMode is written for older readers and otherwise unused.
	SQLMode string `toml:"sql-mode" json:"sql-mode"`
}

// FilterConfig says which tables and events are replicated.
type FilterConfig struct {
	Rules            []string             `toml:"rules" json:"rules"`
	IgnoreTxnStartTs []uint64             `toml:"ignore-txn-start-ts" json:"ignore-txn-start-ts"`
	EventFilters     []*EventFilterConfig `toml:"event-filters" json:"event-filters"`

	// The selection by lists of API documents before 7.6. It counts only
	// where Rules is empty.
	DoTables     []*FilterTable `toml:"do-tables" json:"do-tables,omitempty"`
	DoDBs        []string       `toml:"do-dbs" json:"do-dbs,omitempty"`
	IgnoreTables []*FilterTable `toml:"ignore-tables" json:"ignore-tables,omitempty"`
	IgnoreDBs    []string       `toml:"ignore-dbs" json:"ignore-dbs,omitempty"`
}

// HasLists tells whether the old selection by lists is in force.
func (f *FilterConfig) HasLists() bool {
	return len(f.Rules) == 0 && len(f.DoTables)+len(f.DoDBs)+len(f.IgnoreTables)+len(f.IgnoreDBs) > 0
}

// String is how error texts show the section.
func (f *FilterConfig) String() string {
	return fmt.Sprintf("&{%v %v %v}", f.Rules, f.IgnoreTxnStartTs, f.EventFilters)
}

// FilterTable names one table in the old lists.
type FilterTable struct {
	Schema string `toml:"db-name" json:"db-name"`
	Name   string `toml:"tbl-name" json:"tbl-name"`
}

// EventFilterConfig drops single events of the matched tables.
type EventFilterConfig struct {
	Matcher                  []string `toml:"matcher" json:"matcher"`
	IgnoreEvent              []string `toml:"ignore-event" json:"ignore-event"`
	IgnoreSQL                []string `toml:"ignore-sql" json:"ignore-sql"`
	IgnoreInsertValueExpr    string   `toml:"ignore-insert-value-expr" json:"ignore-insert-value-expr"`
	IgnoreUpdateNewValueExpr string   `toml:"ignore-update-new-value-expr" json:"ignore-update-new-value-expr"`
	IgnoreUpdateOldValueExpr string   `toml:"ignore-update-old-value-expr" json:"ignore-update-old-value-expr"`
	IgnoreDeleteValueExpr    string   `toml:"ignore-delete-value-expr" json:"ignore-delete-value-expr"`
}

// MounterConfig sizes the decoding stage.
type MounterConfig struct {
	WorkerNum int `toml:"worker-num" json:"worker-num"`
}

// SchedulerConfig says when a table is split over captures.
type SchedulerConfig struct {
	EnableTableAcrossNodes bool `toml:"enable-table-across-nodes" json:"enable-table-across-nodes"`
	RegionThreshold        int  `toml:"region-threshold" json:"region-threshold"`
	WriteKeyThreshold      int  `toml:"write-key-threshold" json:"write-key-threshold"`
	RegionPerSpan          int  `toml:"region-per-span" json:"region-per-span"`
}

// IntegrityConfig switches row checksum verification.
type IntegrityConfig struct {
	IntegrityCheckLevel   string `toml:"integrity-check-level" json:"integrity-check-level"`
	CorruptionHandleLevel string `toml:"corruption-handle-level" json:"corruption-handle-level"`
}

// SyncedStatusConfig holds the thresholds, in seconds, of the synced query.
type SyncedStatusConfig struct {
	SyncedCheckInterval int64 `toml:"synced-check-interval" json:"synced-check-interval"`
	CheckpointInterval  int64 `toml:"checkpoint-interval" json:"checkpoint-interval"`
}

// ConsistentConfig switches the redo log.
type ConsistentConfig struct {
	Level                 string                 `toml:"level" json:"level"`
	MaxLogSize            int64                  `toml:"max-log-size" json:"max-log-size"`               // MiB
	FlushIntervalInMs     int64                  `toml:"flush-interval" json:"flush-interval"`           // ms
	MetaFlushIntervalInMs int64                  `toml:"meta-flush-interval" json:"meta-flush-interval"` // ms
	EncodingWorkerNum     int                    `toml:"encoding-worker-num" json:"encoding-worker-num"`
	FlushWorkerNum        int                    `toml:"flush-worker-num" json:"flush-worker-num"`
	Storage               string                 `toml:"storage" json:"storage"`
	UseFileBackend        bool                   `toml:"use-file-backend" json:"use-file-backend"`
	Compression           string                 `toml:"compression" json:"compression"`
	FlushConcurrency      int                    `toml:"flush-concurrency" json:"flush-concurrency,omitempty"`
	MemoryUsage           *ConsistentMemoryUsage `toml:"memory-usage" json:"memory-usage"`
}

// ConsistentMemoryUsage is the redo log's share of the memory quota.
type ConsistentMemoryUsage struct {
	MemoryQuotaPercentage uint64 `toml:"memory-quota-percentage" json:"memory-quota-percentage"`
}
