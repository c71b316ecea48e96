package config

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func load(t *testing.T, text string) (*ServerConfig, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cdc.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	c := DefaultServerConfig()
	return c, c.LoadFile(path)
}

func TestServerFile(t *testing.T) {
	c, err := load(t, `
addr = "127.0.0.1:8301"
gc-ttl = 500
capture-session-ttl = 12
owner-flush-interval = "600ms"
per-table-memory-quota = 1
[log.file]
max-size = 200
[sorter]
cache-size-in-mb = 8
max-memory-percentage = 3
[security]
cert-allowed-cn = ["a", "b"]
[kv-client]
region-retry-duration = "2m"
[debug]
no-such-key = 1
[debug.db]
count = 5
also-unknown = true
[debug.scheduler]
check-balance-interval = "10s"
`)
	require.NoError(t, err)
	_, err = c.ValidateAndAdjust()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8301", c.AdvertiseAddr)
	require.Equal(t, int64(500), c.GCTTL)
	require.Equal(t, 600*time.Millisecond, c.OwnerFlushInterval)
	require.Equal(t, 200, c.Log.File.MaxSize)
	require.Equal(t, []string{"a", "b"}, c.Security.CertAllowedCN)
	require.Equal(t, 2*time.Minute, c.KVClient.RegionRetryDuration)
	require.Equal(t, 5, c.Debug.DB.Count)
	require.Equal(t, 16, c.Debug.DB.CompactionL0Trigger, "defaults stay beside given keys")
	require.Equal(t, 10*time.Second, c.Debug.Scheduler.CheckBalanceInterval)
}

func TestServerFileIsStrict(t *testing.T) {
	c, err := load(t, "")
	require.NoError(t, err, "an empty file is accepted")
	require.Equal(t, DefaultServerConfig(), c)

	_, err = load(t, "nope = 1\n[security]\nnop = 2\n[debug]\nx = 1\n")
	require.ErrorContains(t, err, "component TiCDC server's config file ")
	require.ErrorContains(t, err, "contained unknown configuration options: nope, security.nop")
	_, err = load(t, "addr = ")
	require.ErrorContains(t, err, "not valid TOML")
	require.Error(t, DefaultServerConfig().LoadFile(filepath.Join(t.TempDir(), "none")))
}

func TestServerValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*ServerConfig)
		err    string // empty: fine
	}{
		{"defaults", func(*ServerConfig) {}, ""},
		{"no addr", func(c *ServerConfig) { c.Addr = "" }, "empty address"},
		{"no port", func(c *ServerConfig) { c.AdvertiseAddr = "host" }, "port"},
		{"empty port", func(c *ServerConfig) { c.AdvertiseAddr = "host:" }, "port"},
		{"domain", func(c *ServerConfig) { c.AdvertiseAddr = "cdc-0.cdc:8301" }, ""},
		{"unspecified", func(c *ServerConfig) { c.Addr = "0.0.0.0:8300" }, "unspecified"},
		{"unspecified v6", func(c *ServerConfig) { c.AdvertiseAddr = "[::]:8300" }, "unspecified"},
		{"listening everywhere", func(c *ServerConfig) { c.Addr, c.AdvertiseAddr = "0.0.0.0:8300", "10.0.0.1:8300" }, ""},
		{"gc ttl", func(c *ServerConfig) { c.GCTTL = 0 }, "GC TTL"},
		{"cluster id", func(c *ServerConfig) { c.ClusterID = "a_b" }, "cluster-id"},
		{"reserved cluster id", func(c *ServerConfig) { c.ClusterID = "owner" }, "reserved"},
		{"long cluster id", func(c *ServerConfig) { c.ClusterID = strings.Repeat("a", 129) }, "cluster-id"},
		{"zone", func(c *ServerConfig) { c.TZ = "Moon/Base" }, "timezone"},
		{"utc", func(c *ServerConfig) { c.TZ = "UTC" }, ""},
		{"cache", func(c *ServerConfig) { c.Sorter.CacheSizeInMB = 7 }, "cache-size-in-mb"},
		{"memory", func(c *ServerConfig) { c.MemoryLimitPercentage = 1.5 }, "memory-limit-percentage"},
		{"less than nothing", func(c *ServerConfig) { c.MemoryLimitPercentage = -1 }, "memory-limit-percentage"},
		{"no number", func(c *ServerConfig) { c.MemoryLimitPercentage = math.NaN() }, "memory-limit-percentage"},
		{"users", func(c *ServerConfig) { c.Security.ClientUserRequired = true }, "client-allowed-user"},
		{"scan limit", func(c *ServerConfig) { c.KVClient.RegionScanLimit = 0 }, "region-scan-limit"},
		{"retry", func(c *ServerConfig) { c.KVClient.RegionRetryDuration = 0 }, "region-retry-duration"},
		{"compression", func(c *ServerConfig) { c.Debug.DB.Compression = "zip" }, "compression"},
		{"batch interval", func(c *ServerConfig) { c.Debug.Messages.ClientMaxBatchInterval = 11 * time.Second }, "intervals"},
		{"ack interval", func(c *ServerConfig) { c.Debug.Messages.ServerAckInterval = 11 * time.Second }, "intervals"},
		{"pool", func(c *ServerConfig) { c.Debug.Messages.ServerWorkerPoolSize = 33 }, "server-worker-pool-size"},
		{"message size", func(c *ServerConfig) { c.Debug.Messages.MaxRecvMsgSize = -1 }, "max-recv-msg-size"},
		{"tick", func(c *ServerConfig) { c.Debug.Scheduler.HeartbeatTick = 0 }, "heartbeat-tick"},
		{"balance", func(c *ServerConfig) { c.Debug.Scheduler.CheckBalanceInterval = time.Second }, "check-balance-interval"},
		{"cdc-v2", func(c *ServerConfig) { c.Debug.CDCV2.Enable = true }, "cdc-v2"},
		{"sections missing", func(c *ServerConfig) { c.Log, c.Sorter, c.Security, c.KVClient, c.Debug = nil, nil, nil, nil, nil }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultServerConfig()
			tt.change(c)
			_, err := c.ValidateAndAdjust()
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.err)
		})
	}
}

func TestServerAdjusts(t *testing.T) {
	c := DefaultServerConfig()
	c.CaptureSessionTTL, c.Log.File.MaxSize, c.GCTunerMemory = 4, 0, 1<<40
	c.Debug.Messages = &MessagesConfig{}
	warnings, err := c.ValidateAndAdjust()
	require.NoError(t, err)
	require.Len(t, warnings, 2)
	require.Equal(t, 10, c.CaptureSessionTTL)
	require.Equal(t, 300, c.Log.File.MaxSize)
	require.Zero(t, c.GCTunerMemory)
	require.Equal(t, defaultDebugConfig().Messages, c.Debug.Messages)
}

// TestMemoryLimit: a size in the file wins over a share of what there is.
func TestMemoryLimit(t *testing.T) {
	for _, test := range []struct {
		name, file string
		available  uint64
		want       uint64
	}{
		{"three quarters", "", 4000, 3000},
		{"share", "memory-limit-percentage = 0.5", 4000, 2000},
		{"size", "gc-tuner-memory-threshold = 1000000000\nmemory-limit-percentage = 0.5", 4000, 1_000_000_000},
		{"tiny size", "gc-tuner-memory-threshold = 1", 4000, 64 << 20},
		{"size beyond all bounds", "gc-tuner-memory-threshold = 1000000000000", 4000, 3000},
		{"nothing is known", "", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := load(t, test.file)
			require.NoError(t, err)
			_, err = c.ValidateAndAdjust()
			require.NoError(t, err)
			require.Equal(t, test.want, c.MemoryLimit(test.available))
		})
	}
}

func FuzzServerFile(f *testing.F) {
	f.Add("addr = \"h:1\"\n[debug]\nx=1")
	f.Add("[sorter]\ncache-size-in-mb = -1")
	path := filepath.Join(f.TempDir(), "cdc.toml")
	f.Fuzz(func(t *testing.T, text string) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		c := DefaultServerConfig()
		if c.LoadFile(path) == nil {
			_, _ = c.ValidateAndAdjust()
		}
	})
}

func TestConfigShowsNoPassword(t *testing.T) {
	c := DefaultServerConfig()
	c.Debug.CDCV2.MetaStoreConfig.URI = "mysql://root:secret@127.0.0.1:3306/meta"
	text, err := json.Marshal(c)
	require.NoError(t, err)
	require.NotContains(t, string(text), "secret")
	require.Contains(t, string(text), `"uri":"mysql://root:xxxxx@127.0.0.1:3306/meta"`)
}
