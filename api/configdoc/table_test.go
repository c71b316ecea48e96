package configdoc

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

const page = "../../docs/configuration.md"

// TestPageIsCurrent: the page says what the structs say.
func TestPageIsCurrent(t *testing.T) {
	want, err := Page()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "run go test ./api/configdoc -update")
}

func TestFields(t *testing.T) {
	fields := map[string]Field{}
	for _, f := range Fields() {
		require.NotContains(t, fields, f.TOML)
		require.NotContains(t, f.TOML, "..")
		require.NotEmpty(t, f.Type)
		fields[f.TOML] = f
	}
	for _, want := range []Field{
		{"memory-quota", "memory_quota", "uint64", "`1073741824`"},
		{"sync-point-interval", "sync_point_interval", "duration", "`10m`"},
		{"sync-point-retention", "sync_point_retention", "duration", "`24h`"},
		{"filter.rules", "filter.rules", "list of string", "`['*.*']`"},
		{"filter.event-filters[].ignore-sql", "filter.event_filters[].ignore_sql", "list of string", ""},
		{"filter.do-tables[].tbl-name", "filter.do_tables[].table_name", "string", ""},
		{"sink.file-index-digit", "sink.file_index_width", "int", "unset"},
		{"sink.terminator", "sink.terminator", "string", "`\\r\\n`"},
		{"sink.kafka-config.partition-num", "sink.kafka_config.partition_num", "int32", "unset"},
		{"sink.pulsar-config.tls-key-file-path", "sink.pulsar_config.tls-certificate-path", "string", "unset"},
		{"scheduler.region-per-span", "", "int", "`0`"},
	} {
		require.Equal(t, want, fields[want.TOML])
	}
}
