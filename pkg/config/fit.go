package config

import (
	"net/url"
	"strings"
)

// FitTo returns the configuration as it applies to a downstream: missing
// parts completed, settings that the downstream has no use for dropped. The
// receiver is left as it is; the parts that do not change are shared.
func (c *ReplicaConfig) FitTo(uri SinkURI) *ReplicaConfig {
	out := *c
	if c.Consistent != nil {
		consistent := *c.Consistent
		out.Consistent = &consistent
	}
	out.Complete()
	sink := *out.Sink
	out.Sink = &sink

	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return &out
	}
	if out.Scheduler.EnableTableAcrossNodes && !cutsTables(u.Scheme) {
		scheduler := *out.Scheduler
		scheduler.EnableTableAcrossNodes = false
		out.Scheduler = &scheduler
	}
	kind := KindOfScheme(u.Scheme)
	if kind == SinkBlackhole {
		return &out
	}
	if kind != SinkMySQL {
		out.EnableSyncPoint, out.BDRMode = nil, nil
		out.SyncPointInterval, out.SyncPointRetention = nil, nil
		out.Consistent = nil
	}
	fitSink(&sink, kind)
	return &out
}

// fitSink drops what a sink of this kind does not read.
func fitSink(s *SinkConfig, kind SinkKind) {
	if kind.IsMQ() {
		if !strings.EqualFold(valueOf(s.Protocol), ProtocolAvro) && !strings.EqualFold(valueOf(s.Protocol), "flat-avro") {
			s.SchemaRegistry = nil
		}
	} else {
		s.DispatchRules = nil
		s.SchemaRegistry = nil
		s.EncoderConcurrency = nil
		s.EnableKafkaSinkV2 = nil
		s.OnlyOutputUpdatedColumns = nil
		s.DeleteOnlyOutputHandleKeyColumns = nil
		s.ContentCompatible = nil
		s.KafkaConfig = nil
	}
	if kind != SinkStorage {
		s.CSVConfig = nil
		s.DateSeparator = nil
		s.EnablePartitionSeparator = nil
		s.FileIndexWidth = nil
		s.CloudStorageConfig = nil
	}
	if kind == SinkMySQL {
		s.Protocol = nil
		s.Terminator = nil
	} else {
		s.SafeMode = nil
		s.MySQLConfig = nil
	}
}
