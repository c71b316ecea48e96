package main

import (
	"context"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/logger"
	"github.com/tidemark/tidemark/pkg/server"
)

// prepareTimeout bounds what is done between the first signal and the stop.
const prepareTimeout = 5 * time.Second

// gcPercent is how much garbage may come on what is in use. Most memory holds
// rows without pointers, which cost the collector next to nothing, so it can
// well run more often than by default.
const gcPercent = 50

// runServer wires the process around the server: log, metrics, signals.
func runServer(cmd *cobra.Command, o *serverOptions) (err error) {
	log, err := logger.New(logger.Options{
		File:        o.config.LogFile,
		Output:      cmd.OutOrStdout(),
		Level:       o.config.LogLevel,
		MaxSizeMB:   o.config.Log.File.MaxSize,
		MaxDays:     o.config.Log.File.MaxDays,
		MaxBackups:  o.config.Log.File.MaxBackups,
		ErrorOutput: o.config.Log.InternalErrOutput,
	})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := log.Close(); err == nil {
			err = closeErr
		}
	}()
	log.TakeOverGlobal()
	log.Info("Welcome to Change Data Capture (CDC)", zap.String("release-version", releaseVersion),
		zap.String("git-hash", gitHash), zap.String("git-branch", gitBranch), zap.String("utc-build-time", buildTime))
	for _, w := range o.warnings {
		log.Warn(w)
	}

	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	memory := limitMemory(o.config, server.AvailableMemory(os.DirFS("/")))
	log.Info("memory of the process is limited", zap.Int64("bytes", memory))
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	srv := server.New(server.Options{
		Config:      o.config,
		PDEndpoints: o.pd,
		Version:     releaseVersion,
		GitHash:     gitHash,
		Logger:      log.Logger,
		LogLevel:    log.Level,
		Registry:    registry,
		MemoryLimit: memory,
	})

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	err = runUntilSignal(cmd.Context(), srv, signals, log.Logger)
	if err != nil {
		log.Error("cdc server exits with error", zap.Error(err))
		return err
	}
	log.Info("cdc server exits normally")
	return nil
}

// limitMemory makes the collector work harder when the process comes near to
// what it should stay below, in bytes, and returns that; 0 is no limit. One
// that the environment gives to the Go runtime stays.
func limitMemory(c *config.ServerConfig, available uint64) int64 {
	given := debug.SetMemoryLimit(-1) // which only asks
	limit := int64(min(c.MemoryLimit(available), math.MaxInt64))
	switch {
	case given == math.MaxInt64 && limit == 0:
		return 0
	case given == math.MaxInt64:
		debug.SetMemoryLimit(limit)
		return limit
	case limit == 0:
		return given
	}
	return min(given, limit)
}

// capture is a server that can be stopped.
type capture interface {
	// Run works until ctx ends, which is no error.
	Run(ctx context.Context) error
	// PrepareStop takes no more work and gives the ownership up.
	PrepareStop(ctx context.Context)
}

// runUntilSignal runs the capture. The first signal stops it in order, a
// second one cuts the preparation short.
func runUntilSignal(ctx context.Context, c capture, signals <-chan os.Signal, log *zap.Logger) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		defer cancel()
		select {
		case s := <-signals:
			log.Info("got signal, stopping", zap.Stringer("signal", s))
		case <-ctx.Done():
			return
		}
		prepare(ctx, c, signals, log)
	}()
	err := c.Run(ctx)
	cancel()
	<-stopped
	return err
}

// prepare lets the capture get ready for its stop, until a further signal.
func prepare(ctx context.Context, c capture, signals <-chan os.Signal, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.PrepareStop(ctx)
	}()
	select {
	case <-done:
	case s := <-signals:
		log.Warn("got another signal, stopping at once", zap.Stringer("signal", s))
	case <-ctx.Done():
	}
	cancel()
	<-done
}
