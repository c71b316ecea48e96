package main

import (
	"context"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/playground"
	"github.com/tidemark/tidemark/pkg/server"
)

// runCapture runs the same server as `cdc server`.
func runCapture(level zap.AtomicLevel) playground.CaptureFunc {
	return func(ctx context.Context, c playground.CaptureConfig) error {
		cfg := config.DefaultServerConfig()
		cfg.Addr, cfg.AdvertiseAddr, cfg.DataDir = c.Addr, c.Addr, c.DataDir
		if _, err := cfg.ValidateAndAdjust(); err != nil {
			return err
		}
		return server.New(server.Options{
			Config:      cfg,
			PDEndpoints: []string{c.PD},
			Version:     releaseVersion,
			GitHash:     "None",
			Logger:      c.Logger,
			LogLevel:    level,
			Registry:    prometheus.NewRegistry(),
			MemoryLimit: int64(cfg.MemoryLimit(server.AvailableMemory(os.DirFS("/")))),
		}).Run(ctx)
	}
}
