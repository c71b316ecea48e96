package config

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// full is a configuration in which every prunable setting is set.
func full() *ReplicaConfig {
	c := DefaultReplicaConfig()
	s := c.Sink
	s.Protocol = ptr("canal-json")
	s.SchemaRegistry = ptr("http://r")
	s.DispatchRules = []*DispatchRule{{Matcher: []string{"a.*"}}}
	s.FileIndexWidth = ptr(20)
	s.SafeMode = ptr(true)
	s.KafkaConfig = &KafkaConfig{}
	s.PulsarConfig = &PulsarConfig{}
	s.MySQLConfig = &MySQLConfig{}
	s.CloudStorageConfig = &CloudStorageConfig{}
	return c
}

// Only queues take rows of one table from several captures.
func TestFitToCutTables(t *testing.T) {
	c := full()
	c.Scheduler.EnableTableAcrossNodes = true
	for uri, cut := range map[SinkURI]bool{"kafka+ssl://h/t": true, "blackhole://": true, "mysql://h/": false, "s3://b/p": false} {
		require.Equal(t, cut, c.FitTo(uri).Scheduler.EnableTableAcrossNodes, uri)
	}
	require.True(t, c.Scheduler.EnableTableAcrossNodes, "it is left as it is")
}

func TestFitTo(t *testing.T) {
	mqOnly := func(s *SinkConfig) []bool {
		return []bool{
			s.DispatchRules == nil, s.EncoderConcurrency == nil, s.EnableKafkaSinkV2 == nil,
			s.OnlyOutputUpdatedColumns == nil, s.DeleteOnlyOutputHandleKeyColumns == nil,
			s.ContentCompatible == nil, s.KafkaConfig == nil,
		}
	}
	storageOnly := func(s *SinkConfig) []bool {
		return []bool{
			s.CSVConfig == nil, s.DateSeparator == nil, s.EnablePartitionSeparator == nil,
			s.FileIndexWidth == nil, s.CloudStorageConfig == nil,
		}
	}
	all := func(dropped []bool, want bool) bool {
		for _, d := range dropped {
			if d != want {
				return false
			}
		}
		return true
	}
	tests := []struct {
		uri                                SinkURI
		mq, registry, storage, mysql, self bool // which classes are dropped; self: protocol and terminator
	}{
		{uri: "blackhole://"},
		{uri: "mysql://h/", mq: true, registry: true, storage: true, self: true},
		{uri: "tidb+ssl://h/", mq: true, registry: true, storage: true, self: true},
		{uri: "kafka://h/t", registry: true, storage: true, mysql: true},
		{uri: "pulsar+http://h/t", registry: true, storage: true, mysql: true},
		{uri: "s3://b/p", mq: true, registry: true, mysql: true},
	}
	for _, tt := range tests {
		t.Run(string(tt.uri), func(t *testing.T) {
			c := full()
			before, err := json.Marshal(c)
			require.NoError(t, err)
			f := c.FitTo(tt.uri)
			require.True(t, all(mqOnly(f.Sink), tt.mq))
			require.Equal(t, tt.registry, f.Sink.SchemaRegistry == nil)
			require.True(t, all(storageOnly(f.Sink), tt.storage))
			require.True(t, all([]bool{
				f.EnableSyncPoint == nil, f.BDRMode == nil, f.SyncPointInterval == nil, f.SyncPointRetention == nil,
				f.Consistent == nil, f.Sink.SafeMode == nil, f.Sink.MySQLConfig == nil,
			}, tt.mysql))
			require.True(t, all([]bool{f.Sink.Protocol == nil, f.Sink.Terminator == nil}, tt.self))
			after, err := json.Marshal(c)
			require.NoError(t, err)
			require.Equal(t, string(before), string(after), "the original is left alone")
			require.Equal(t, f, f.FitTo(tt.uri).withoutRefilled(tt.mysql), "fitting twice changes nothing more")
		})
	}
	avro := full()
	avro.Sink.Protocol = ptr("flat-avro")
	require.NotNil(t, avro.FitTo("kafka://h/t").Sink.SchemaRegistry)
}

// withoutRefilled takes out what a second fitting completes and drops again.
func (c *ReplicaConfig) withoutRefilled(dropped bool) *ReplicaConfig {
	if dropped {
		c.Consistent = nil
	}
	return c
}

// TestOldConfigs: what older versions stored can be used.
func TestOldConfigs(t *testing.T) {
	var c ReplicaConfig
	require.NoError(t, json.Unmarshal([]byte(`{"enable-old-value":true,"mounter":{"worker-num":4},
		"sink":{"dispatchers":[null,{"matcher":["a.*"],"dispatcher":"ts"}]},"scheduler":{"region-per-span":7},
		"consistent":{"level":"none","memory-usage":{"memory-quota-percentage":50,"event-cache-percentage":0}}}`), &c))
	c.Complete()
	require.Equal(t, DefaultMemoryQuota, c.MemoryQuota)
	require.Equal(t, 4, c.Mounter.WorkerNum)
	require.Len(t, c.Sink.DispatchRules, 1)
	require.Equal(t, []string{"*.*"}, c.Filter.Rules)
	require.Equal(t, 30*time.Minute, *c.ChangefeedErrorStuckDuration)
	require.NotNil(t, c.SyncedStatus)
	require.NotNil(t, c.Integrity)
}

// TestStoredForm: keys that the metadata always holds, and those that it omits.
func TestStoredForm(t *testing.T) {
	text, err := json.Marshal(DefaultReplicaConfig())
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(text, &m))
	for _, key := range []string{"enable-table-monitor", "sql-mode", "scheduler", "filter"} {
		require.Contains(t, m, key)
	}
	require.Contains(t, m["scheduler"], "region-per-span")
	filter := m["filter"].(map[string]any)
	require.Contains(t, filter, "ignore-txn-start-ts")
	require.Nil(t, filter["event-filters"])
	require.NotContains(t, filter, "do-dbs")
	require.NotContains(t, m["sink"], "protocol")

	var back ReplicaConfig
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, DefaultReplicaConfig(), &back)
}

func TestCloneSharesNothing(t *testing.T) {
	c := full()
	clone := c.Clone()
	require.Equal(t, c, clone)
	*clone.Sink.Protocol = "other"
	clone.Sink.DispatchRules[0].Matcher[0] = "b.*"
	clone.Filter.Rules[0] = "c.*"
	require.Equal(t, full(), c)
}
