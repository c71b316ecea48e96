package config

import (
	"encoding/json"
	"time"
)

// ServerConfig is what one capture is told by flags and its TOML file. Keys
// that this server has no use for are kept, because files of other versions
// carry them and GET /config shows them.
type ServerConfig struct {
	Addr          string `toml:"addr" json:"addr"`
	AdvertiseAddr string `toml:"advertise-addr" json:"advertise-addr"`

	LogFile  string     `toml:"log-file" json:"log-file"`
	LogLevel string     `toml:"log-level" json:"log-level"`
	Log      *LogConfig `toml:"log" json:"log"`

	DataDir string `toml:"data-dir" json:"data-dir"`

	GCTTL int64  `toml:"gc-ttl" json:"gc-ttl"` // seconds
	TZ    string `toml:"tz" json:"tz"`

	CaptureSessionTTL int `toml:"capture-session-ttl" json:"capture-session-ttl"` // seconds

	OwnerFlushInterval     time.Duration `toml:"owner-flush-interval" json:"owner-flush-interval"`
	ProcessorFlushInterval time.Duration `toml:"processor-flush-interval" json:"processor-flush-interval"`

	Sorter              *SorterConfig   `toml:"sorter" json:"sorter"`
	Security            *SecurityConfig `toml:"security" json:"security"`
	PerTableMemoryQuota uint64          `toml:"per-table-memory-quota" json:"per-table-memory-quota"`
	KVClient            *KVClientConfig `toml:"kv-client" json:"kv-client"`
	Debug               *DebugConfig    `toml:"debug" json:"debug"`
	ClusterID           string          `toml:"cluster-id" json:"cluster-id"`
	// GCTunerMemory is what the memory of the process should stay below, in
	// bytes; 0: MemoryLimitPercentage decides.
	GCTunerMemory uint64 `toml:"gc-tuner-memory-threshold" json:"gc-tuner-memory-threshold"`
	// MemoryLimitPercentage is the share, up to 1, of the memory of the machine
	// or container that the process should stay below; 0 means the default.
	MemoryLimitPercentage float64 `toml:"memory-limit-percentage" json:"memory-limit-percentage,omitempty"`

	MaxMemoryPercentage  int  `toml:"max-memory-percentage" json:"max-memory-percentage,omitempty"`
	DeprecatedSortDirSet bool `toml:"-" json:"-"` // somebody still sets sort-dir; it is ignored
}

// LogConfig tunes logging beyond file and level.
type LogConfig struct {
	File *LogFileConfig `toml:"file" json:"file"`
	// InternalErrOutput is where the logger reports its own failures.
	InternalErrOutput string `toml:"error-output" json:"error-output"`
}

// LogFileConfig says when log files rotate and how long they stay.
type LogFileConfig struct {
	MaxSize    int `toml:"max-size" json:"max-size"`       // MB
	MaxDays    int `toml:"max-days" json:"max-days"`       // 0 keeps for ever
	MaxBackups int `toml:"max-backups" json:"max-backups"` // 0 keeps all
}

// SorterConfig sizes the on-disk sorter; only CacheSizeInMB is used.
type SorterConfig struct {
	SortDir                string `toml:"sort-dir" json:"sort-dir"`
	CacheSizeInMB          uint64 `toml:"cache-size-in-mb" json:"cache-size-in-mb"`
	MaxMemoryPercentage    int    `toml:"max-memory-percentage" json:"max-memory-percentage"`
	MaxMemoryConsumption   uint64 `toml:"max-memory-consumption" json:"max-memory-consumption"`
	NumWorkerPoolGoroutine int    `toml:"num-workerpool-goroutine" json:"num-workerpool-goroutine"`
	NumConcurrentWorker    int    `toml:"num-concurrent-worker" json:"num-concurrent-worker"`
	ChunkSizeLimit         uint64 `toml:"chunk-size-limit" json:"chunk-size-limit"`
}

// KVClientConfig tunes the change streams from the stores.
type KVClientConfig struct {
	EnableMultiplexing   bool          `toml:"enable-multiplexing" json:"enable-multiplexing"`
	WorkerConcurrent     uint          `toml:"worker-concurrent" json:"worker-concurrent"`
	GrpcStreamConcurrent uint          `toml:"grpc-stream-concurrent" json:"grpc-stream-concurrent"`
	AdvanceIntervalInMs  uint          `toml:"advance-interval-in-ms" json:"advance-interval-in-ms"`
	FrontierConcurrent   uint          `toml:"frontier-concurrent" json:"frontier-concurrent"`
	WorkerPoolSize       int           `toml:"worker-pool-size" json:"worker-pool-size"`
	RegionScanLimit      int           `toml:"region-scan-limit" json:"region-scan-limit"`
	RegionRetryDuration  time.Duration `toml:"region-retry-duration" json:"region-retry-duration"`
}

// DebugConfig holds switches without a promise of stability. Its unknown keys
// are ignored.
type DebugConfig struct {
	DB        *DBConfig         `toml:"db" json:"db"`
	Messages  *MessagesConfig   `toml:"messages" json:"messages"`
	Scheduler *CaptureScheduler `toml:"scheduler" json:"scheduler"`
	CDCV2     *CDCV2Config      `toml:"cdc-v2" json:"cdc-v2"`
	Puller    *PullerConfig     `toml:"puller" json:"puller"`
	Backoff   *bool             `toml:"enable-kv-connect-backoff" json:"enable-kv-connect-backoff,omitempty"`
}

// DBConfig tunes the sorter's databases.
type DBConfig struct {
	Count               int    `toml:"count" json:"count"`
	MaxOpenFiles        int    `toml:"max-open-files" json:"max-open-files"`
	BlockSize           int    `toml:"block-size" json:"block-size"`
	WriterBufferSize    int    `toml:"writer-buffer-size" json:"writer-buffer-size"`
	Compression         string `toml:"compression" json:"compression"`
	WriteL0PauseTrigger int    `toml:"write-l0-pause-trigger" json:"write-l0-pause-trigger"`
	CompactionL0Trigger int    `toml:"compaction-l0-trigger" json:"compaction-l0-trigger"`
}

// MessagesConfig tunes the messages between captures.
type MessagesConfig struct {
	ClientMaxBatchInterval       time.Duration `toml:"client-max-batch-interval" json:"client-max-batch-interval"`
	ClientMaxBatchSize           int           `toml:"client-max-batch-size" json:"client-max-batch-size"`
	ClientMaxBatchCount          int           `toml:"client-max-batch-count" json:"client-max-batch-count"`
	ClientRetryRateLimit         float64       `toml:"client-retry-rate-limit" json:"client-retry-rate-limit"`
	ServerMaxPendingMessageCount int           `toml:"server-max-pending-message-count" json:"server-max-pending-message-count"`
	ServerAckInterval            time.Duration `toml:"server-ack-interval" json:"server-ack-interval"`
	ServerWorkerPoolSize         int           `toml:"server-worker-pool-size" json:"server-worker-pool-size"`
	MaxRecvMsgSize               int           `toml:"max-recv-msg-size" json:"max-recv-msg-size"`
	KeepAliveTime                time.Duration `toml:"keep-alive-time" json:"keep-alive-time"`
	KeepAliveTimeout             time.Duration `toml:"keep-alive-timeout" json:"keep-alive-timeout"`
}

// CaptureScheduler tunes the placement of tables.
type CaptureScheduler struct {
	HeartbeatTick        int           `toml:"heartbeat-tick" json:"heartbeat-tick"`
	CollectStatsTick     int           `toml:"collect-stats-tick" json:"collect-stats-tick"`
	MaxTaskConcurrency   int           `toml:"max-task-concurrency" json:"max-task-concurrency"`
	CheckBalanceInterval time.Duration `toml:"check-balance-interval" json:"check-balance-interval"`
	AddTableBatchSize    int           `toml:"add-table-batch-size" json:"add-table-batch-size"`
}

// CDCV2Config is accepted for files of other versions and unused.
type CDCV2Config struct {
	Enable          bool             `toml:"enable" json:"enable"`
	MetaStoreConfig *MetaStoreConfig `toml:"meta-store" json:"meta-store"`
}

// MetaStoreConfig names a metadata database.
type MetaStoreConfig struct {
	URI     string `toml:"uri" json:"uri"`
	SSLCa   string `toml:"ssl-ca" json:"ssl-ca"`
	SSLCert string `toml:"ssl-cert" json:"ssl-cert"`
	SSLKey  string `toml:"ssl-key" json:"ssl-key"`
}

// MarshalJSON hides the password of the URI: GET /config shows it to everybody.
func (m MetaStoreConfig) MarshalJSON() ([]byte, error) {
	type plain MetaStoreConfig
	masked := plain(m)
	if masked.URI != "" {
		masked.URI = MaskSinkURI(masked.URI)
	}
	return json.Marshal(masked)
}

// PullerConfig switches detection of stuck regions.
type PullerConfig struct {
	EnableResolvedTsStuckDetection bool          `toml:"enable-resolved-ts-stuck-detection" json:"enable-resolved-ts-stuck-detection"`
	ResolvedTsStuckInterval        time.Duration `toml:"resolved-ts-stuck-interval" json:"resolved-ts-stuck-interval"`
	LogRegionDetails               bool          `toml:"log-region-details" json:"log-region-details"`
}

// DefaultServerConfig returns a fresh configuration with every default.
func DefaultServerConfig() *ServerConfig {
	return &ServerConfig{
		Addr:     "127.0.0.1:8300",
		LogLevel: "info",
		Log: &LogConfig{
			File:              &LogFileConfig{MaxSize: defaultLogMaxSize},
			InternalErrOutput: "stderr",
		},
		GCTTL:                  24 * 60 * 60,
		TZ:                     "System",
		CaptureSessionTTL:      defaultSessionTTL,
		OwnerFlushInterval:     50 * time.Millisecond,
		ProcessorFlushInterval: 50 * time.Millisecond,
		Sorter:                 &SorterConfig{CacheSizeInMB: 128},
		Security:               &SecurityConfig{},
		KVClient: &KVClientConfig{
			EnableMultiplexing: true, WorkerConcurrent: 8, GrpcStreamConcurrent: 1, AdvanceIntervalInMs: 300,
			FrontierConcurrent: 8, RegionScanLimit: 40, RegionRetryDuration: time.Minute,
		},
		Debug:     defaultDebugConfig(),
		ClusterID: "default",
	}
}

func defaultDebugConfig() *DebugConfig {
	return &DebugConfig{
		DB: &DBConfig{
			Count: 8, MaxOpenFiles: 10000, BlockSize: 65536, WriterBufferSize: 8 << 20,
			Compression: compressionSnappy, WriteL0PauseTrigger: 1<<31 - 1, CompactionL0Trigger: 16,
		},
		Messages: &MessagesConfig{
			ClientMaxBatchInterval: 10 * time.Millisecond, ClientMaxBatchSize: 64 << 20, ClientMaxBatchCount: 1024,
			ClientRetryRateLimit: 1, ServerMaxPendingMessageCount: 102400, ServerAckInterval: 100 * time.Millisecond,
			ServerWorkerPoolSize: 8, MaxRecvMsgSize: 256 << 20,
			KeepAliveTime: 30 * time.Second, KeepAliveTimeout: 10 * time.Second,
		},
		Scheduler: &CaptureScheduler{
			HeartbeatTick: 2, CollectStatsTick: 200, MaxTaskConcurrency: 10,
			CheckBalanceInterval: time.Minute, AddTableBatchSize: 50,
		},
		CDCV2:  &CDCV2Config{MetaStoreConfig: &MetaStoreConfig{}},
		Puller: &PullerConfig{ResolvedTsStuckInterval: 5 * time.Minute},
	}
}
