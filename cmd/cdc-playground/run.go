package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/tidemark/tidemark/pkg/logger"
	"github.com/tidemark/tidemark/pkg/playground"
)

// flags are the command line.
type flags struct {
	playground.Options
	downstreamPort int
	dataDir        string
	logFile        string
	demo           bool
}

func newCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:          "cdc-playground",
		Short:        "A whole TiDB cluster with change data capture in one process",
		Args:         cobra.NoArgs,
		Version:      releaseVersion,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, cmd.OutOrStdout(), f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.Host, "host", "127.0.0.1", "host to listen on")
	fs.IntVar(&f.PDPort, "pd-port", 2379, "port of PD, 0 for a free one")
	fs.IntVar(&f.KVPort, "kv-port", 20160, "port of the store, 0 for a free one")
	fs.IntVar(&f.DBPort, "db-port", 4000, "MySQL port of TiDB, 0 for a free one")
	fs.IntVar(&f.DBStatusPort, "db-status-port", 10080, "status port of TiDB, 0 for a free one")
	fs.IntVar(&f.CDCPort, "cdc-port", 8300, "port of the first capture, 0 for free ones")
	fs.IntVar(&f.Captures, "captures", 1, "number of captures, 0 for the upstream alone")
	fs.IntVar(&f.downstreamPort, "downstream-port", 0, "MySQL port of a second TiDB, -1 for a free one, 0 for none")
	fs.StringVar(&f.dataDir, "data-dir", "", "folder that keeps the data, default a temporary one")
	fs.StringVar(&f.logFile, "log-file", "", "log of all parts, default playground.log in the data folder")
	fs.BoolVar(&f.demo, "demo", false, "replicate a small workload to the second TiDB and show it")
	return cmd
}

func run(ctx context.Context, out io.Writer, f flags) (err error) {
	if f.dataDir == "" {
		if f.dataDir, err = os.MkdirTemp("", "cdc-playground-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.dataDir)) }()
	}
	if err := os.MkdirAll(f.dataDir, 0o700); err != nil {
		return err
	}
	if f.logFile == "" {
		f.logFile = filepath.Join(f.dataDir, "playground.log")
	}
	lg, err := logger.New(logger.Options{File: f.logFile, Level: "info"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lg.Close()) }()
	lg.TakeOverGlobal()
	f.DataDir, f.Logger = f.dataDir, lg.Logger
	p, err := playground.Start(ctx, f.Options)
	if err != nil {
		return err
	}
	addrs, err := json.Marshal(p.Addrs())
	if err == nil {
		_, err = fmt.Fprintf(out, "playground ready\n%s\n", addrs)
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, p.Close())
}
