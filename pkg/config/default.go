package config

import (
	"reflect"
	"slices"
	"time"
)

// The defaults that more than one place needs.
const (
	DefaultMemoryQuota       = uint64(1 << 30) // bytes per changefeed and capture
	DefaultTerminator        = "\r\n"
	DefaultFileIndexWidth    = 20
	DefaultAdvanceTimeout    = uint(150) // seconds
	DefaultErrorStuck        = 30 * time.Minute
	defaultSyncPointInterval = 10 * time.Minute
	defaultSyncPointRetain   = 24 * time.Hour
)

// DefaultReplicaConfig returns a fresh configuration with every default.
func DefaultReplicaConfig() *ReplicaConfig {
	return &ReplicaConfig{
		MemoryQuota:                  DefaultMemoryQuota,
		CheckGCSafePoint:             true,
		EnableSyncPoint:              new(bool),
		EnableTableMonitor:           new(bool),
		BDRMode:                      new(bool),
		SyncPointInterval:            ptr(defaultSyncPointInterval),
		SyncPointRetention:           ptr(defaultSyncPointRetain),
		Filter:                       DefaultFilterConfig(),
		Mounter:                      DefaultMounterConfig(),
		Sink:                         DefaultSinkConfig(),
		Consistent:                   DefaultConsistentConfig(),
		Scheduler:                    DefaultSchedulerConfig(),
		Integrity:                    DefaultIntegrityConfig(),
		ChangefeedErrorStuckDuration: ptr(DefaultErrorStuck),
		SyncedStatus:                 DefaultSyncedStatusConfig(),
	}
}

// DefaultFilterConfig replicates every table.
func DefaultFilterConfig() *FilterConfig { return &FilterConfig{Rules: []string{"*.*"}} }

// DefaultMounterConfig returns the default decoding stage.
func DefaultMounterConfig() *MounterConfig { return &MounterConfig{WorkerNum: 16} }

// DefaultSinkConfig returns the settings that every kind of sink starts from.
func DefaultSinkConfig() *SinkConfig {
	return &SinkConfig{
		CSVConfig: &CSVConfig{
			Delimiter: ",", Quote: `"`, NullString: `\N`, BinaryEncodingMethod: BinaryEncodingBase64,
		},
		EncoderConcurrency:               ptr(32),
		Terminator:                       ptr(DefaultTerminator),
		DateSeparator:                    ptr(DateSeparatorDay),
		EnablePartitionSeparator:         ptr(true),
		EnableKafkaSinkV2:                new(bool),
		OnlyOutputUpdatedColumns:         new(bool),
		DeleteOnlyOutputHandleKeyColumns: new(bool),
		ContentCompatible:                new(bool),
		AdvanceTimeoutInSec:              ptr(DefaultAdvanceTimeout),
		SendBootstrapIntervalInSec:       ptr(int64(120)),
		SendBootstrapInMsgCount:          ptr(int32(10000)),
		SendBootstrapToAllPartition:      ptr(true),
		SendAllBootstrapAtStart:          new(bool),
		DebeziumDisableSchema:            new(bool),
		Debezium:                         &OldValueConfig{OutputOldValue: true},
		OpenProtocol:                     &OldValueConfig{OutputOldValue: true},
	}
}

// DefaultConsistentConfig returns a redo log that is off.
func DefaultConsistentConfig() *ConsistentConfig {
	return &ConsistentConfig{
		Level:                 ConsistentLevelNone,
		MaxLogSize:            64,
		FlushIntervalInMs:     2000,
		MetaFlushIntervalInMs: 200,
		EncodingWorkerNum:     16,
		FlushWorkerNum:        8,
		MemoryUsage:           &ConsistentMemoryUsage{MemoryQuotaPercentage: 50},
	}
}

// DefaultSchedulerConfig keeps every table whole.
func DefaultSchedulerConfig() *SchedulerConfig { return &SchedulerConfig{RegionThreshold: 100000} }

// DefaultIntegrityConfig verifies no checksums.
func DefaultIntegrityConfig() *IntegrityConfig {
	return &IntegrityConfig{IntegrityCheckLevel: IntegrityNone, CorruptionHandleLevel: CorruptionWarn}
}

// DefaultSyncedStatusConfig returns the thresholds of the synced query.
func DefaultSyncedStatusConfig() *SyncedStatusConfig {
	return &SyncedStatusConfig{SyncedCheckInterval: 300, CheckpointInterval: 15}
}

// Complete fills missing parts with their defaults, so that a configuration
// of any age and any writer can be used without nil checks.
func (c *ReplicaConfig) Complete() {
	setDefault(&c.Filter, DefaultFilterConfig)
	setDefault(&c.Mounter, DefaultMounterConfig)
	setDefault(&c.Sink, DefaultSinkConfig)
	setDefault(&c.Consistent, DefaultConsistentConfig)
	setDefault(&c.Consistent.MemoryUsage, func() *ConsistentMemoryUsage { return DefaultConsistentConfig().MemoryUsage })
	setDefault(&c.Scheduler, DefaultSchedulerConfig)
	setDefault(&c.Integrity, DefaultIntegrityConfig)
	setDefault(&c.ChangefeedErrorStuckDuration, func() *time.Duration { return ptr(DefaultErrorStuck) })
	setDefault(&c.SyncedStatus, DefaultSyncedStatusConfig)
	if valueOf(c.EnableSyncPoint) {
		setDefault(&c.SyncPointInterval, func() *time.Duration { return ptr(defaultSyncPointInterval) })
		setDefault(&c.SyncPointRetention, func() *time.Duration { return ptr(defaultSyncPointRetain) })
	}
	if c.MemoryQuota == 0 {
		c.MemoryQuota = DefaultMemoryQuota
	}
	dropNil(&c.Sink.DispatchRules)
	dropNil(&c.Sink.ColumnSelectors)
	dropNil(&c.Filter.EventFilters)
}

// Clone copies the configuration with all its parts.
func (c *ReplicaConfig) Clone() *ReplicaConfig {
	return deepCopy(reflect.ValueOf(c)).Interface().(*ReplicaConfig)
}

// deepCopy copies pointers, structs and slices; there is nothing else in a
// configuration that could be shared.
func deepCopy(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(deepCopy(v.Elem()))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(deepCopy(v.Field(i)))
		}
	case v.Kind() == reflect.Slice && !v.IsNil():
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(deepCopy(v.Index(i)))
		}
	default:
		out.Set(v)
	}
	return out
}

// dropNil takes null entries out of a list, in a copy.
func dropNil[T any](list *[]*T) {
	isNil := func(p *T) bool { return p == nil }
	if slices.ContainsFunc(*list, isNil) {
		*list = slices.DeleteFunc(slices.Clone(*list), isNil)
	}
}

func setDefault[T any](field **T, make func() *T) {
	if *field == nil {
		*field = make()
	}
}

func ptr[T any](v T) *T { return &v }

// valueOf is the pointed-to value, or the zero value of an unset field.
func valueOf[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
