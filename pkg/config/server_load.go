package config

import (
	"fmt"
	"net"
	"strings"
	"time"
)

const (
	defaultLogMaxSize = 300 // MB
	defaultSessionTTL = 10  // seconds
	minSessionTTL     = 5   // seconds
	minSorterCacheMB  = 8
	maxGCTunerMemory  = 512 << 30
	minGCTunerMemory  = 64 << 20
	defaultMemory     = 0.75 // of the machine's
	maxBatchInterval  = 10 * time.Second
	maxWorkerPool     = 32
	maxClusterIDLen   = 128
)

// LoadFile decodes a TOML file over the configuration. A key that is no
// setting is an error, except below [debug].
func (c *ServerConfig) LoadFile(path string) error {
	meta, err := decodeFile(path, "TiCDC server", c, "debug")
	if err != nil {
		return err
	}
	if meta.IsDefined("sorter", "sort-dir") {
		c.DeprecatedSortDirSet = true
	}
	return nil
}

// ValidateAndAdjust checks the configuration and fills what may be left out.
// The warnings are for the log: settings that were reset.
func (c *ServerConfig) ValidateAndAdjust() (warnings []string, err error) {
	if err := c.validateAddresses(); err != nil {
		return nil, err
	}
	if c.GCTTL == 0 {
		return nil, fmt.Errorf("empty GC TTL is not allowed")
	}
	if err := validateClusterID(c.ClusterID); err != nil {
		return nil, err
	}
	if _, err := c.Location(); err != nil {
		return nil, err
	}
	if c.CaptureSessionTTL < minSessionTTL {
		warnings = append(warnings, fmt.Sprintf("capture-session-ttl %d is too small, %d is used", c.CaptureSessionTTL, defaultSessionTTL))
		c.CaptureSessionTTL = defaultSessionTTL
	}
	c.completeSections()
	if c.Log.File.MaxSize == 0 {
		c.Log.File.MaxSize = defaultLogMaxSize
	}
	if c.GCTunerMemory > maxGCTunerMemory {
		warnings = append(warnings, "gc-tuner-memory-threshold is too large, it is ignored")
		c.GCTunerMemory = 0
	}
	if c.GCTunerMemory > 0 && c.GCTunerMemory < minGCTunerMemory {
		warnings = append(warnings, fmt.Sprintf("gc-tuner-memory-threshold %d is too small, %d is used", c.GCTunerMemory, minGCTunerMemory))
		c.GCTunerMemory = minGCTunerMemory
	}
	if !(c.MemoryLimitPercentage >= 0 && c.MemoryLimitPercentage <= 1) { // not a number is neither
		return nil, fmt.Errorf("memory-limit-percentage should be between 0 and 1")
	}
	if c.Sorter.CacheSizeInMB < minSorterCacheMB {
		return nil, fmt.Errorf("cache-size-in-mb should be greater than or equal to %d", minSorterCacheMB)
	}
	if err := c.Security.validate(); err != nil {
		return nil, err
	}
	if c.Security.ClientUserRequired && !c.Security.TLSEnabled() {
		warnings = append(warnings, "client-user-required is set but TLS is not, passwords of clients can be read on the network")
	}
	if c.KVClient.RegionScanLimit <= 0 {
		return nil, fmt.Errorf("region-scan-limit should be at least 1")
	}
	if c.KVClient.RegionRetryDuration <= 0 {
		return nil, fmt.Errorf("region-retry-duration should be positive")
	}
	return warnings, c.Debug.validateAndAdjust()
}

// MemoryLimit is what the process should stay below, in bytes, on a machine or
// in a container with so much memory; 0 means that there is no bound because
// available is 0, not known.
func (c *ServerConfig) MemoryLimit(available uint64) uint64 {
	if c.GCTunerMemory > 0 {
		return c.GCTunerMemory
	}
	share := c.MemoryLimitPercentage
	if share == 0 {
		share = defaultMemory
	}
	return uint64(float64(available) * share)
}

func (c *ServerConfig) validateAddresses() error {
	if c.Addr == "" {
		return fmt.Errorf("empty address")
	}
	if c.AdvertiseAddr == "" {
		c.AdvertiseAddr = c.Addr
	}
	host, port, err := net.SplitHostPort(c.AdvertiseAddr)
	if err != nil || port == "" {
		return fmt.Errorf("advertise-addr or addr does not contain a port: %s", c.AdvertiseAddr)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("advertise-addr must be specified and may not be an unspecified IP: %s", c.AdvertiseAddr)
	}
	return nil
}

func validateClusterID(id string) error {
	for _, word := range []string{"owner", "capture", "task", "changefeed", "job", "meta"} {
		if id == word {
			return fmt.Errorf("invalid cluster-id: %s is a reserved word", id)
		}
	}
	if len(id) > maxClusterIDLen || !clusterIDPattern.MatchString(id) {
		return fmt.Errorf("invalid cluster-id %q, it must match %s and have at most %d characters",
			id, clusterIDPattern, maxClusterIDLen)
	}
	return nil
}

// Location is the time zone in which the server shows and compares times.
func (c *ServerConfig) Location() (*time.Location, error) {
	loc, err := LoadLocation(c.TZ)
	if err != nil {
		return nil, fmt.Errorf("can not load timezone, please specify the timezone through --tz: %w", err)
	}
	return loc, nil
}

// LoadLocation finds a zone by name; "", system and local are the machine's.
func LoadLocation(name string) (*time.Location, error) {
	switch strings.ToLower(name) {
	case "", "system", "local":
		return time.Local, nil
	default:
		return time.LoadLocation(name)
	}
}

// completeSections replaces sections that a file cannot remove but a caller may.
func (c *ServerConfig) completeSections() {
	d := DefaultServerConfig()
	setDefault(&c.Log, func() *LogConfig { return d.Log })
	setDefault(&c.Log.File, func() *LogFileConfig { return d.Log.File })
	setDefault(&c.Sorter, func() *SorterConfig { return d.Sorter })
	setDefault(&c.Security, func() *SecurityConfig { return d.Security })
	setDefault(&c.KVClient, func() *KVClientConfig { return d.KVClient })
	setDefault(&c.Debug, func() *DebugConfig { return d.Debug })
}

func (d *DebugConfig) validateAndAdjust() error {
	def := defaultDebugConfig()
	setDefault(&d.DB, func() *DBConfig { return def.DB })
	setDefault(&d.Messages, func() *MessagesConfig { return def.Messages })
	setDefault(&d.Scheduler, func() *CaptureScheduler { return def.Scheduler })
	setDefault(&d.CDCV2, func() *CDCV2Config { return def.CDCV2 })
	setDefault(&d.Puller, func() *PullerConfig { return def.Puller })
	if d.DB.Compression != compressionNone && d.DB.Compression != compressionSnappy {
		return fmt.Errorf("sorter.leveldb.compression must be \"none\" or \"snappy\"")
	}
	if err := d.Messages.validateAndAdjust(def.Messages); err != nil {
		return err
	}
	if err := d.Scheduler.validate(); err != nil {
		return err
	}
	if d.CDCV2.Enable && (d.CDCV2.MetaStoreConfig == nil || !strings.HasPrefix(d.CDCV2.MetaStoreConfig.URI, "mysql://")) {
		return fmt.Errorf("debug.cdc-v2.meta-store.uri must be set with the scheme mysql when debug.cdc-v2 is enabled")
	}
	return nil
}

func (m *MessagesConfig) validateAndAdjust(def *MessagesConfig) error {
	if m.ClientMaxBatchInterval > maxBatchInterval || m.ServerAckInterval > maxBatchInterval {
		return fmt.Errorf("debug.messages intervals must be at most %s", maxBatchInterval)
	}
	if m.ServerWorkerPoolSize > maxWorkerPool {
		return fmt.Errorf("debug.messages.server-worker-pool-size must be at most %d", maxWorkerPool)
	}
	if m.MaxRecvMsgSize < 0 {
		return fmt.Errorf("debug.messages.max-recv-msg-size must not be negative")
	}
	replaceZero(&m.ClientMaxBatchInterval, def.ClientMaxBatchInterval)
	replaceZero(&m.ClientMaxBatchSize, def.ClientMaxBatchSize)
	replaceZero(&m.ClientMaxBatchCount, def.ClientMaxBatchCount)
	replaceZero(&m.ClientRetryRateLimit, def.ClientRetryRateLimit)
	replaceZero(&m.ServerMaxPendingMessageCount, def.ServerMaxPendingMessageCount)
	replaceZero(&m.ServerAckInterval, def.ServerAckInterval)
	replaceZero(&m.ServerWorkerPoolSize, def.ServerWorkerPoolSize)
	replaceZero(&m.MaxRecvMsgSize, def.MaxRecvMsgSize)
	replaceZero(&m.KeepAliveTime, def.KeepAliveTime)
	replaceZero(&m.KeepAliveTimeout, def.KeepAliveTimeout)
	return nil
}

func (s *CaptureScheduler) validate() error {
	for name, v := range map[string]int{
		"heartbeat-tick": s.HeartbeatTick, "collect-stats-tick": s.CollectStatsTick,
		"max-task-concurrency": s.MaxTaskConcurrency, "add-table-batch-size": s.AddTableBatchSize,
	} {
		if v <= 0 {
			return fmt.Errorf("debug.scheduler.%s must be larger than 0", name)
		}
	}
	if s.CheckBalanceInterval <= time.Second {
		return fmt.Errorf("debug.scheduler.check-balance-interval must be larger than 1s")
	}
	return nil
}
