package v2

import (
	"time"

	"github.com/tidemark/tidemark/pkg/config"
)

// toConfig returns the configuration that a request means. Parts that it
// leaves out take their defaults; parts that it gives are taken as they are.
func (c *ReplicaConfig) toConfig() *config.ReplicaConfig {
	out := config.DefaultReplicaConfig()
	out.MemoryQuota = c.MemoryQuota
	out.CaseSensitive = c.CaseSensitive
	out.ForceReplicate = c.ForceReplicate
	out.IgnoreIneligibleTable = c.IgnoreIneligibleTable
	out.CheckGCSafePoint = c.CheckGCSafePoint
	out.EnableSyncPoint = c.EnableSyncPoint
	out.EnableTableMonitor = c.EnableTableMonitor
	out.BDRMode = c.BDRMode
	override(&out.SyncPointInterval, (*time.Duration)(c.SyncPointInterval))
	override(&out.SyncPointRetention, (*time.Duration)(c.SyncPointRetention))
	override(&out.ChangefeedErrorStuckDuration, (*time.Duration)(c.ChangefeedErrorStuckDuration))
	override(&out.Filter, c.Filter.toConfig())
	override(&out.Mounter, (*config.MounterConfig)(c.Mounter))
	override(&out.Sink, c.Sink.toConfig())
	override(&out.Consistent, c.Consistent.toConfig())
	override(&out.Scheduler, c.Scheduler.toConfig())
	override(&out.Integrity, (*config.IntegrityConfig)(c.Integrity))
	override(&out.SyncedStatus, (*config.SyncedStatusConfig)(c.SyncedStatus))
	return out
}

// override replaces a default by what was given, if it was.
func override[T any](field **T, given *T) {
	if given != nil {
		*field = given
	}
}

// fromConfig shows a configuration. The parts are shared with it.
func fromConfig(c *config.ReplicaConfig) *ReplicaConfig {
	if c == nil {
		return nil
	}
	return &ReplicaConfig{
		MemoryQuota:                  c.MemoryQuota,
		CaseSensitive:                c.CaseSensitive,
		ForceReplicate:               c.ForceReplicate,
		IgnoreIneligibleTable:        c.IgnoreIneligibleTable,
		CheckGCSafePoint:             c.CheckGCSafePoint,
		EnableSyncPoint:              c.EnableSyncPoint,
		EnableTableMonitor:           c.EnableTableMonitor,
		BDRMode:                      c.BDRMode,
		SyncPointInterval:            (*Duration)(c.SyncPointInterval),
		SyncPointRetention:           (*Duration)(c.SyncPointRetention),
		Filter:                       fromFilter(c.Filter),
		Mounter:                      (*MounterConfig)(c.Mounter),
		Sink:                         fromSink(c.Sink),
		Consistent:                   fromConsistent(c.Consistent),
		Scheduler:                    fromScheduler(c.Scheduler),
		Integrity:                    (*IntegrityConfig)(c.Integrity),
		ChangefeedErrorStuckDuration: (*Duration)(c.ChangefeedErrorStuckDuration),
		SyncedStatus:                 (*SyncedStatusConfig)(c.SyncedStatus),
	}
}

// each converts a list of pointers; nil stays nil.
func each[A, B any](list []*A, convert func(*A) *B) []*B {
	if list == nil {
		return nil
	}
	out := make([]*B, 0, len(list))
	for _, a := range list {
		if a != nil {
			out = append(out, convert(a))
		}
	}
	return out
}

func (f *FilterConfig) toConfig() *config.FilterConfig {
	if f == nil {
		return nil
	}
	return &config.FilterConfig{
		Rules:            f.Rules,
		IgnoreTxnStartTs: f.IgnoreTxnStartTs,
		EventFilters: each(f.EventFilters, func(e *EventFilterConfig) *config.EventFilterConfig {
			return (*config.EventFilterConfig)(e)
		}),
		DoTables:     each(f.DoTables, func(t *FilterTable) *config.FilterTable { return (*config.FilterTable)(t) }),
		DoDBs:        f.DoDBs,
		IgnoreTables: each(f.IgnoreTables, func(t *FilterTable) *config.FilterTable { return (*config.FilterTable)(t) }),
		IgnoreDBs:    f.IgnoreDBs,
	}
}

func fromFilter(f *config.FilterConfig) *FilterConfig {
	if f == nil {
		return nil
	}
	return &FilterConfig{
		Rules:            f.Rules,
		IgnoreTxnStartTs: f.IgnoreTxnStartTs,
		EventFilters: each(f.EventFilters, func(e *config.EventFilterConfig) *EventFilterConfig {
			return (*EventFilterConfig)(e)
		}),
		DoTables:     each(f.DoTables, func(t *config.FilterTable) *FilterTable { return (*FilterTable)(t) }),
		DoDBs:        f.DoDBs,
		IgnoreTables: each(f.IgnoreTables, func(t *config.FilterTable) *FilterTable { return (*FilterTable)(t) }),
		IgnoreDBs:    f.IgnoreDBs,
	}
}

func (s *SchedulerConfig) toConfig() *config.SchedulerConfig {
	if s == nil {
		return nil
	}
	return &config.SchedulerConfig{
		EnableTableAcrossNodes: s.EnableTableAcrossNodes,
		RegionThreshold:        s.RegionThreshold,
		WriteKeyThreshold:      s.WriteKeyThreshold,
	}
}

func fromScheduler(s *config.SchedulerConfig) *SchedulerConfig {
	if s == nil {
		return nil
	}
	return &SchedulerConfig{
		EnableTableAcrossNodes: s.EnableTableAcrossNodes,
		RegionThreshold:        s.RegionThreshold,
		WriteKeyThreshold:      s.WriteKeyThreshold,
	}
}

func (c *ConsistentConfig) toConfig() *config.ConsistentConfig {
	if c == nil {
		return nil
	}
	return &config.ConsistentConfig{
		Level:                 c.Level,
		MaxLogSize:            c.MaxLogSize,
		FlushIntervalInMs:     c.FlushIntervalInMs,
		MetaFlushIntervalInMs: c.MetaFlushIntervalInMs,
		EncodingWorkerNum:     c.EncodingWorkerNum,
		FlushWorkerNum:        c.FlushWorkerNum,
		Storage:               c.Storage,
		UseFileBackend:        c.UseFileBackend,
		Compression:           c.Compression,
		FlushConcurrency:      c.FlushConcurrency,
		MemoryUsage:           (*config.ConsistentMemoryUsage)(c.MemoryUsage),
	}
}

func fromConsistent(c *config.ConsistentConfig) *ConsistentConfig {
	if c == nil {
		return nil
	}
	return &ConsistentConfig{
		Level:                 c.Level,
		MaxLogSize:            c.MaxLogSize,
		FlushIntervalInMs:     c.FlushIntervalInMs,
		MetaFlushIntervalInMs: c.MetaFlushIntervalInMs,
		EncodingWorkerNum:     c.EncodingWorkerNum,
		FlushWorkerNum:        c.FlushWorkerNum,
		Storage:               c.Storage,
		UseFileBackend:        c.UseFileBackend,
		Compression:           c.Compression,
		FlushConcurrency:      c.FlushConcurrency,
		MemoryUsage:           (*ConsistentMemoryUsage)(c.MemoryUsage),
	}
}

func (s *SinkConfig) toConfig() *config.SinkConfig {
	if s == nil {
		return nil
	}
	return &config.SinkConfig{
		TxnAtomicity: s.TxnAtomicity,
		Protocol:     s.Protocol,
		DispatchRules: each(s.DispatchRules, func(r *DispatchRule) *config.DispatchRule {
			return &config.DispatchRule{
				Matcher: r.Matcher, PartitionRule: r.PartitionRule, IndexName: r.IndexName,
				Columns: r.Columns, TopicRule: r.TopicRule,
			}
		}),
		ColumnSelectors: each(s.ColumnSelectors, func(c *ColumnSelector) *config.ColumnSelector {
			return (*config.ColumnSelector)(c)
		}),
		SchemaRegistry:                   s.SchemaRegistry,
		CSVConfig:                        (*config.CSVConfig)(s.CSVConfig),
		EncoderConcurrency:               s.EncoderConcurrency,
		Terminator:                       s.Terminator,
		DateSeparator:                    s.DateSeparator,
		EnablePartitionSeparator:         s.EnablePartitionSeparator,
		FileIndexWidth:                   s.FileIndexWidth,
		EnableKafkaSinkV2:                s.EnableKafkaSinkV2,
		OnlyOutputUpdatedColumns:         s.OnlyOutputUpdatedColumns,
		DeleteOnlyOutputHandleKeyColumns: s.DeleteOnlyOutputHandleKeyColumns,
		ContentCompatible:                s.ContentCompatible,
		KafkaConfig:                      s.KafkaConfig.toConfig(),
		PulsarConfig:                     (*config.PulsarConfig)(s.PulsarConfig),
		MySQLConfig:                      (*config.MySQLConfig)(s.MySQLConfig),
		CloudStorageConfig:               (*config.CloudStorageConfig)(s.CloudStorageConfig),
		SafeMode:                         s.SafeMode,
		AdvanceTimeoutInSec:              s.AdvanceTimeoutInSec,
		SendBootstrapIntervalInSec:       s.SendBootstrapIntervalInSec,
		SendBootstrapInMsgCount:          s.SendBootstrapInMsgCount,
		SendBootstrapToAllPartition:      s.SendBootstrapToAllPartition,
		SendAllBootstrapAtStart:          s.SendAllBootstrapAtStart,
		DebeziumDisableSchema:            s.DebeziumDisableSchema,
		Debezium:                         (*config.OldValueConfig)(s.Debezium),
		OpenProtocol:                     (*config.OldValueConfig)(s.OpenProtocol),
	}
}

func fromSink(s *config.SinkConfig) *SinkConfig {
	if s == nil {
		return nil
	}
	return &SinkConfig{
		TxnAtomicity: s.TxnAtomicity,
		Protocol:     s.Protocol,
		DispatchRules: each(s.DispatchRules, func(r *config.DispatchRule) *DispatchRule {
			return &DispatchRule{
				Matcher: r.Matcher, PartitionRule: r.PartitionRule, IndexName: r.IndexName,
				Columns: r.Columns, TopicRule: r.TopicRule,
			}
		}),
		ColumnSelectors: each(s.ColumnSelectors, func(c *config.ColumnSelector) *ColumnSelector {
			return (*ColumnSelector)(c)
		}),
		SchemaRegistry:                   s.SchemaRegistry,
		CSVConfig:                        (*CSVConfig)(s.CSVConfig),
		EncoderConcurrency:               s.EncoderConcurrency,
		Terminator:                       s.Terminator,
		DateSeparator:                    s.DateSeparator,
		EnablePartitionSeparator:         s.EnablePartitionSeparator,
		FileIndexWidth:                   s.FileIndexWidth,
		EnableKafkaSinkV2:                s.EnableKafkaSinkV2,
		OnlyOutputUpdatedColumns:         s.OnlyOutputUpdatedColumns,
		DeleteOnlyOutputHandleKeyColumns: s.DeleteOnlyOutputHandleKeyColumns,
		ContentCompatible:                s.ContentCompatible,
		KafkaConfig:                      fromKafka(s.KafkaConfig),
		PulsarConfig:                     (*PulsarConfig)(s.PulsarConfig),
		MySQLConfig:                      (*MySQLConfig)(s.MySQLConfig),
		CloudStorageConfig:               (*CloudStorageConfig)(s.CloudStorageConfig),
		SafeMode:                         s.SafeMode,
		AdvanceTimeoutInSec:              s.AdvanceTimeoutInSec,
		SendBootstrapIntervalInSec:       s.SendBootstrapIntervalInSec,
		SendBootstrapInMsgCount:          s.SendBootstrapInMsgCount,
		SendBootstrapToAllPartition:      s.SendBootstrapToAllPartition,
		SendAllBootstrapAtStart:          s.SendAllBootstrapAtStart,
		DebeziumDisableSchema:            s.DebeziumDisableSchema,
		Debezium:                         (*OldValueConfig)(s.Debezium),
		OpenProtocol:                     (*OldValueConfig)(s.OpenProtocol),
	}
}

func (k *KafkaConfig) toConfig() *config.KafkaConfig {
	if k == nil {
		return nil
	}
	return &config.KafkaConfig{
		KafkaOptions:             config.KafkaOptions(k.KafkaOptions),
		CodecConfig:              (*config.CodecConfig)(k.CodecConfig),
		LargeMessageHandle:       (*config.LargeMessageHandleConfig)(k.LargeMessageHandle),
		GlueSchemaRegistryConfig: (*config.GlueSchemaRegistryConfig)(k.GlueSchemaRegistryConfig),
		OutputRawChangeEvent:     k.OutputRawChangeEvent,
	}
}

func fromKafka(k *config.KafkaConfig) *KafkaConfig {
	if k == nil {
		return nil
	}
	return &KafkaConfig{
		KafkaOptions:             KafkaOptions(k.KafkaOptions),
		CodecConfig:              (*CodecConfig)(k.CodecConfig),
		LargeMessageHandle:       (*LargeMessageHandleConfig)(k.LargeMessageHandle),
		GlueSchemaRegistryConfig: (*GlueSchemaRegistryConfig)(k.GlueSchemaRegistryConfig),
		OutputRawChangeEvent:     k.OutputRawChangeEvent,
	}
}
