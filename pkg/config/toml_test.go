package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "changefeed.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoadReplicaFile(t *testing.T) {
	c := DefaultReplicaConfig()
	require.NoError(t, c.LoadFile(writeFile(t, `
memory-quota = 1000
case-sensitive = true
sync-point-interval = "5m"
[filter]
rules = ['a.*', '!a.b']
ignore-txn-start-ts = [1, 2]
[[filter.event-filters]]
matcher = ["a.t"]
ignore-event = ["insert"]
ignore-insert-value-expr = "id > 1"
[[filter.event-filters]]
matcher = ["a.u"]
ignore-sql = ["^drop"]
[sink]
protocol = "csv"
dispatchers = [{matcher = ['a.*'], partition = "ts"}, {matcher = ['b.*'], dispatcher = "table"}]
[sink.csv]
delimiter = ";"
[sink.kafka-config]
partition-num = 3
[sink.kafka-config.codec-config]
enable-tidb-extension = true
[scheduler]
enable-table-across-nodes = true
[consistent.memory-usage]
memory-quota-percentage = 20
`)))
	want := DefaultReplicaConfig()
	want.MemoryQuota, want.CaseSensitive, want.SyncPointInterval = 1000, true, ptr(5*time.Minute)
	want.Filter = &FilterConfig{Rules: []string{"a.*", "!a.b"}, IgnoreTxnStartTs: []uint64{1, 2}, EventFilters: []*EventFilterConfig{
		{Matcher: []string{"a.t"}, IgnoreEvent: []string{"insert"}, IgnoreInsertValueExpr: "id > 1"},
		{Matcher: []string{"a.u"}, IgnoreSQL: []string{"^drop"}},
	}}
	want.Sink.Protocol = ptr("csv")
	want.Sink.DispatchRules = []*DispatchRule{{Matcher: []string{"a.*"}, PartitionRule: "ts"}, {Matcher: []string{"b.*"}, DispatcherRule: "table"}}
	want.Sink.CSVConfig.Delimiter = ";"
	want.Sink.KafkaConfig = &KafkaConfig{KafkaOptions: KafkaOptions{PartitionNum: ptr(int32(3))}, CodecConfig: &CodecConfig{EnableTiDBExtension: ptr(true)}}
	want.Scheduler.EnableTableAcrossNodes = true
	want.Consistent.MemoryUsage.MemoryQuotaPercentage = 20
	require.Equal(t, want, c, "what the file does not say is the default")
}

func TestLoadReplicaFileLists(t *testing.T) {
	for text, rules := range map[string][]string{
		"[filter]\ndo-dbs = ['a']":                                                   nil,
		"[[filter.ignore-tables]]\ndb-name = 'a'\ntbl-name = 'b'":                    nil,
		"[filter]\nrules = ['a.*']\ndo-dbs = ['b']":                                  {"a.*"},
		"[filter]\nignore-txn-start-ts = [1]":                                        {"*.*"},
		"[[filter.event-filters]]\nmatcher = ['a.b']\nignore-event = ['drop table']": {"*.*"},
	} {
		c := DefaultReplicaConfig()
		require.NoError(t, c.LoadFile(writeFile(t, text)))
		require.Equal(t, rules, c.Filter.Rules, text)
		require.Equal(t, rules == nil, c.Filter.HasLists(), text)
	}
}

func TestLoadReplicaFileRefuses(t *testing.T) {
	path := writeFile(t, "no-such-key = 1\nenable-old-value = true\n[sink]\nx.y = 1\nprotocol = 'csv'")
	require.EqualError(t, DefaultReplicaConfig().LoadFile(path), "component TiCDC changefeed's config file "+path+
		" contained unknown configuration options: no-such-key, enable-old-value, sink.x.y")
	require.ErrorContains(t, DefaultReplicaConfig().LoadFile(writeFile(t, "a = ")), "is not valid TOML")
	require.ErrorContains(t, DefaultReplicaConfig().LoadFile(writeFile(t, "sync-point-interval = 'soon'")), "sync-point-interval")
	require.ErrorIs(t, DefaultReplicaConfig().LoadFile(filepath.Join(t.TempDir(), "none")), os.ErrNotExist)
}

// fill sets every field to something that is not its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	default:
		v.SetUint(7)
	}
}

// TestEveryKeyLoads: all that a configuration can hold comes back from a file.
func TestEveryKeyLoads(t *testing.T) {
	full := &ReplicaConfig{}
	fill(reflect.ValueOf(full).Elem())
	var text bytes.Buffer
	require.NoError(t, toml.NewEncoder(&text).Encode(full))
	got := DefaultReplicaConfig()
	require.NoError(t, got.LoadFile(writeFile(t, text.String())))
	require.Equal(t, full, got)
}

func FuzzLoadReplicaFile(f *testing.F) {
	f.Add("[filter]\nrules = ['a.*']\n")
	f.Add("memory-quota = 1\n[sink.csv]\nquote = ''\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := DefaultReplicaConfig()
		if err := c.LoadFile(writeFile(t, text)); err == nil {
			c.Complete()
			require.Equal(t, c, c.Clone())
		}
	})
}
