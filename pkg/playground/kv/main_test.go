package kv

import (
	"fmt"
	"os"
	"testing"

	"github.com/pingcap/log"
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
	if dir := os.Getenv(childEnv); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
