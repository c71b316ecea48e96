package kv

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/pingcap/log"
	"github.com/tikv/client-go/v2/txnkv/transaction"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// TestMain keeps unistore, badger and client-go, which log through one global logger, quiet.
func TestMain(m *testing.M) {
	level := zap.NewAtomicLevelAt(zapcore.FatalLevel)
	if os.Getenv("KV_TEST_LOG") != "" {
		level.SetLevel(zapcore.InfoLevel)
	}
	logger, props, err := log.InitLogger(&log.Config{Level: level.String()})
	if err != nil {
		panic(err)
	}
	log.ReplaceGlobals(logger, props)
	// Locks that are left behind are in the way of readers until they expire.
	atomic.StoreUint64(&transaction.ManagedLockTTL, 500)
	if dir := os.Getenv(childEnv); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m,
		// Started by imports, for as long as the process lives.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}
