package tidb

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pingcap/log"
	"github.com/pingcap/tidb/pkg/bindinfo"
	"github.com/pingcap/tidb/pkg/config"
	"github.com/pingcap/tidb/pkg/ddl"
	"github.com/pingcap/tidb/pkg/kv"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/sessionctx/vardef"
	"github.com/pingcap/tidb/pkg/sessionctx/variable"
	"github.com/pingcap/tidb/pkg/util/logutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// Nothing here needs fresh statistics or bindings, and polling for them costs CPU for ever.
	statsLease   = time.Hour
	bindingLease = 10 * time.Minute
	schemaLease  = 45 * time.Second
)

// configure sets TiDB's global configuration for a small machine that runs the whole cluster.
func configure(o Options, level zapcore.LevelEnabler) error {
	cfg := config.NewConfig()
	cfg.Host = o.Host
	cfg.AdvertiseAddress = o.Advertise
	cfg.Port = uint(o.Port)
	cfg.Socket = ""
	cfg.Status.StatusHost = o.Host
	cfg.Status.StatusPort = uint(o.StatusPort)
	cfg.Store = config.StoreTypeTiKV
	cfg.Path = o.PDAddr
	cfg.TempDir = filepath.Join(o.DataDir, "tmp")
	cfg.TempStoragePath = filepath.Join(o.DataDir, "tmp")
	cfg.Log.SlowQueryFile = filepath.Join(o.DataDir, "slow.log")
	cfg.Instance.EnableSlowLog.Store(false)
	cfg.Performance.RunAutoAnalyze = false
	cfg.Performance.StatsLease = statsLease.String()
	cfg.Performance.BindInfoLease = bindingLease.String()
	cfg.Performance.ForceInitStats = false
	cfg.EnableTelemetry = false
	config.StoreGlobalConfig(cfg)

	vardef.SetSchemaLease(schemaLease)
	vardef.SetStatsLease(statsLease)
	bindinfo.Lease = bindingLease
	atomic.StoreUint32(&ddl.EnableSplitTableRegion, 1)
	kv.TxnTotalSizeLimit.Store(config.SuperLargeTxnSize)
	kv.TxnEntrySizeLimit.Store(config.DefTxnEntrySizeLimit)
	if err := configureLog(o.Logger, level); err != nil {
		return err
	}
	mysql.TiDBReleaseVersion = o.Version
	mysql.ServerVersion = "8.0.11" + mysql.VersionSeparator + o.Version
	for name, value := range map[string]string{
		vardef.Version: mysql.ServerVersion,
		vardef.Port:    strconv.Itoa(o.Port),
		vardef.DataDir: cfg.Path,
		// Defaults that a new cluster starts with; SET GLOBAL changes them as usual.
		vardef.TiDBEnableAutoAnalyze:          vardef.Off,
		vardef.TiDBDDLEnableFastReorg:         vardef.Off,
		vardef.TiDBEnableDistTask:             vardef.Off,
		vardef.TiDBEnableGOGCTuner:            vardef.Off,
		vardef.TiDBEnableHistoricalStats:      vardef.Off,
		vardef.TiDBEnableStmtSummary:          vardef.Off,
		vardef.TiDBEnableCollectExecutionInfo: vardef.Off,
		vardef.TiDBTTLJobEnable:               vardef.Off,
	} {
		variable.SetSysVar(name, value)
	}
	return nil
}

// configureLog sends what TiDB and the client libraries of PD and TiKV log to our log, from the level up.
func configureLog(logger *zap.Logger, level zapcore.LevelEnabler) error {
	core, err := textCore(logger, level)
	if err != nil {
		return fmt.Errorf("tidb: log: %w", err)
	}
	ours := zap.WrapCore(func(zapcore.Core) zapcore.Core { return core })
	cfg := logutil.NewLogConfig("warn", "text", "", "", logutil.FileLogConfig{}, false)
	if err := logutil.InitLogger(cfg, ours); err != nil {
		return fmt.Errorf("tidb: log: %w", err)
	}
	// These do not go through the options.
	logutil.SlowQueryLogger = zap.NewNop()
	logutil.GeneralLogger = zap.NewNop()
	return nil
}

// textCore returns the logger's core for what the level lets pass. TiDB takes no core but this kind; with a logger of
// another kind it logs nothing.
func textCore(logger *zap.Logger, level zapcore.LevelEnabler) (*log.TextIOCore, error) {
	if core, ok := logger.Core().(*log.TextIOCore); ok {
		core = core.Clone()
		core.LevelEnabler = level
		return core, nil
	}
	encoder, err := log.NewTextEncoder(&log.Config{})
	if err != nil {
		return nil, err
	}
	return log.NewTextCore(encoder, zapcore.AddSync(io.Discard), zapcore.FatalLevel).(*log.TextIOCore), nil
}
