package v2

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
)

// fill sets every field below v to something that is not its zero value.
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
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	}
}

// TestNoSettingIsLost: what is stored comes through the API and back whole.
func TestNoSettingIsLost(t *testing.T) {
	full := &config.ReplicaConfig{}
	fill(reflect.ValueOf(full).Elem())

	text, err := json.Marshal(fromConfig(full))
	require.NoError(t, err)
	var read ReplicaConfig
	require.NoError(t, json.Unmarshal(text, &read))
	got := read.toConfig()

	// The three that the API does not have.
	full.SQLMode, full.Scheduler.RegionPerSpan = "", 0
	for _, r := range full.Sink.DispatchRules {
		r.DispatcherRule = ""
	}
	require.Equal(t, full, got)
}

// TestDroppedKeys: what the API takes and does not keep, and what a file has
// and the API does not.
func TestDroppedKeys(t *testing.T) {
	for key, text := range map[string]string{
		"sql-mode":                  `{"sql_mode":"ANSI_QUOTES"}`,
		"scheduler.region-per-span": `{"scheduler":{"region_per_span":7,"region_threshold":100000}}`,
		"dispatcher":                `{"sink":{"dispatchers":[{"matcher":["a.*"],"dispatcher":"ts"}]}}`,
	} {
		t.Run(key, func(t *testing.T) {
			c := defaults()
			require.NoError(t, json.Unmarshal([]byte(text), &c))
			want := config.DefaultReplicaConfig()
			if key == "dispatcher" {
				want.Sink.DispatchRules = []*config.DispatchRule{{Matcher: []string{"a.*"}}}
			}
			require.Equal(t, want, c.merged())
		})
	}
}

// TestKeyStyle: keys are snake_case but for the ones that are not.
func TestKeyStyle(t *testing.T) {
	full := &config.ReplicaConfig{}
	fill(reflect.ValueOf(full).Elem())
	text, err := json.Marshal(fromConfig(full))
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(text, &m))
	sink := m["sink"].(map[string]any)
	pulsar := sink["pulsar_config"].(map[string]any)
	require.Contains(t, pulsar, "tls-certificate-path")
	delete(sink, "pulsar_config")
	require.Contains(t, sink, "send-all-bootstrap-at-start")
	delete(sink, "send-all-bootstrap-at-start")
	for _, key := range []string{"file_index_width", "advance_timeout", "open", "debezium"} {
		require.Contains(t, sink, key)
	}
	require.Contains(t, sink["mysql_config"], "max_multi_update_row_count")
	rest, err := json.Marshal(m)
	require.NoError(t, err)
	require.NotContains(t, string(rest), "-")
}

// TestPulsarKeysAreCrosswise: the API's certificate is the file's key.
func TestPulsarKeysAreCrosswise(t *testing.T) {
	var p PulsarConfig
	require.NoError(t, json.Unmarshal([]byte(`{"tls-certificate-path":"a","tls-private-key-path":"b"}`), &p))
	c := (*config.PulsarConfig)(&p)
	require.Equal(t, "a", *c.TLSKeyFilePath)
	require.Equal(t, "b", *c.TLSCertificateFile)
}

func TestUpdateTakesWhatIsGiven(t *testing.T) {
	var c ReplicaConfig
	require.NoError(t, json.Unmarshal([]byte(`{"filter":{},"sink":{"safe_mode":true},"mounter":null}`), &c))
	got := c.toConfig()
	require.False(t, got.CheckGCSafePoint, "a scalar that is left out is zero")
	require.Nil(t, got.EnableSyncPoint)
	require.Zero(t, got.MemoryQuota)
	require.Empty(t, got.Filter.Rules)
	require.Nil(t, got.Sink.CSVConfig, "a given part is taken as it is")
	require.Equal(t, 16, got.Mounter.WorkerNum, "a part that is left out is the default")
	require.Equal(t, 10*time.Minute, *got.SyncPointInterval)
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`"10m"`: 10 * time.Minute, `"1h30m"`: 90 * time.Minute, `500000000`: 500 * time.Millisecond,
		`9007199254740993`: 9007199254740993, `1e9`: time.Second, `"0"`: 0, `-5`: -5,
	} {
		var d Duration
		require.NoError(t, json.Unmarshal([]byte(text), &d), text)
		require.Equal(t, want, time.Duration(d), text)
	}
	for _, text := range []string{`"x"`, `true`, `{}`, `[]`, `"10"`} {
		var d Duration
		require.Error(t, json.Unmarshal([]byte(text), &d), text)
	}
	text, err := json.Marshal(struct{ D Duration }{Duration(time.Second)})
	require.NoError(t, err)
	require.Equal(t, `{"D":1000000000}`, string(text))
}

func FuzzReplicaConfig(f *testing.F) {
	text, err := json.Marshal(defaults())
	require.NoError(f, err)
	f.Add(string(text))
	f.Add(`{"sink":{"dispatchers":[null],"kafka_config":{"sasl_oauth_scopes":null}},"filter":{"do_tables":[null]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c := defaults()
		if json.NewDecoder(strings.NewReader(text)).Decode(&c) != nil || c == nil {
			return
		}
		cfg := c.toConfig()
		for _, uri := range []config.SinkURI{"blackhole://", "mysql://h", "kafka://h/t?protocol=simple", "file:///x?protocol=csv"} {
			clone := cfg.Clone()
			if clone.ValidateAndAdjust(uri) == nil {
				_, err := json.Marshal(fromConfig(clone.FitTo(uri)))
				require.NoError(t, err)
			}
		}
	})
}
