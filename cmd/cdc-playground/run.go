package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/logger"
	"github.com/tidemark/tidemark/pkg/playground"
	"github.com/tidemark/tidemark/pkg/playground/demo"
)

// freePort chosen by the user asks for a second TiDB on any port: 0 is taken, it means none.
const freePort = -1

// flags are the command line.
type flags struct {
	playground.Options
	downstreamPort int
	logFile        string
	demo           bool
	child          bool
}

func newCommand() *cobra.Command { return commandFor(&flags{}) }

// commandFor fills in the flags when it is executed.
func commandFor(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cdc-playground",
		Short: "A whole TiDB cluster with change data capture in one process",
		Long: "cdc-playground runs PD, a TiKV-compatible store, TiDB and captures in one process.\n" +
			"When all parts answer it prints \"playground ready\" and a JSON line with their addresses.",
		Args:         cobra.NoArgs,
		Version:      releaseVersion,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), cmd.OutOrStdout(), f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.Host, "host", "127.0.0.1", "host to listen on")
	fs.IntVar(&f.PDPort, "pd-port", 2379, "port of PD, 0 picks a free one")
	fs.IntVar(&f.KVPort, "kv-port", 20160, "port of the store, 0 picks a free one")
	fs.IntVar(&f.DBPort, "db-port", 4000, "MySQL port of TiDB, 0 picks a free one")
	fs.IntVar(&f.DBStatusPort, "db-status-port", 10080, "status port of TiDB, 0 picks a free one")
	fs.IntVar(&f.CDCPort, "cdc-port", 8300, "port of the first capture, the others count up; 0 picks free ones")
	fs.IntVar(&f.Captures, "captures", 1, "number of captures, 0 runs the upstream alone")
	fs.IntVar(&f.downstreamPort, "downstream-port", 0, "MySQL port of a second, separate TiDB; 0 runs none, -1 picks a free port")
	fs.StringVar(&f.DataDir, "data-dir", "", "folder that keeps everything across restarts (default: a temporary one)")
	fs.StringVar(&f.logFile, "log-file", "", "log of all parts (default: playground.log in the data folder)")
	fs.BoolVar(&f.demo, "demo", false, "replicate a small workload to the second TiDB and show how it arrives")
	fs.BoolVar(&f.child, "child", false, "end when the standard input ends")
	// Only this command itself passes it.
	_ = fs.MarkHidden("child")
	return cmd
}

// check repairs and refuses combinations of flags.
func (f *flags) check() error {
	if f.demo {
		if f.Captures == 0 {
			return errors.New("--demo needs a capture")
		}
		if f.downstreamPort == 0 {
			f.downstreamPort = freePort
		}
	}
	for name, port := range map[string]int{
		"pd-port": f.PDPort, "kv-port": f.KVPort, "db-port": f.DBPort, "db-status-port": f.DBStatusPort,
		"cdc-port": f.CDCPort, "downstream-port": max(f.downstreamPort, 0),
	} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("--%s: %d is no port", name, port)
		}
	}
	if f.Captures < 0 {
		return fmt.Errorf("--captures: %d", f.Captures)
	}
	return nil
}

// run starts everything and works until a signal comes, which is no error.
func run(ctx context.Context, out io.Writer, f *flags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on a second one ends the process at once.
	defer context.AfterFunc(ctx, stop)()
	if f.child {
		ctx = untilEOF(ctx, os.Stdin)
	}
	removeData, err := f.prepareData()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeData()) }()
	log, err := logger.New(logger.Options{File: f.logFile, Level: "info", MaxSizeMB: 300})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	log.TakeOverGlobal()
	f.Logger, f.RunCapture = log.Logger, runCapture(log.Level)
	if f.downstreamPort != 0 {
		if f.Downstream, err = f.downstreamCommand(); err != nil {
			return err
		}
	}
	p, err := playground.Start(ctx, f.Options)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // stopped while it started
		}
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := playground.Announce(out, p.Addrs()); err != nil {
		return err
	}
	return f.work(ctx, out, p)
}

// work waits for the end, with the demo meanwhile if that is wanted.
func (f *flags) work(ctx context.Context, out io.Writer, p *playground.Playground) error {
	if !f.demo {
		return p.Wait(ctx)
	}
	a := p.Addrs()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.Wait(ctx) })
	group.Go(func() error {
		return demo.Run(ctx, demo.Options{
			Upstream: a.TiDB, Downstream: a.Downstream, CDC: a.CDC[0],
			Out: out, Terminal: isTerminal(out), Logger: f.Logger,
		})
	})
	return group.Wait()
}

// prepareData makes the data folder. The function that it returns removes a temporary one.
func (f *flags) prepareData() (remove func() error, err error) {
	remove = func() error { return nil }
	if f.DataDir == "" {
		if f.DataDir, err = os.MkdirTemp("", "cdc-playground-"); err != nil {
			return nil, err
		}
		remove = func() error { return os.RemoveAll(f.DataDir) }
	} else if f.DataDir, err = filepath.Abs(f.DataDir); err != nil {
		return nil, err
	}
	if f.logFile == "" {
		f.logFile = filepath.Join(f.DataDir, "playground.log")
	}
	return remove, os.MkdirAll(f.DataDir, 0o700)
}

// downstreamCommand is this program as a playground without captures, in a folder below ours.
func (f *flags) downstreamCommand() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self,
		"--child", "--host", f.Host, "--captures", "0",
		"--pd-port", "0", "--kv-port", "0", "--db-status-port", "0",
		"--db-port", strconv.Itoa(max(f.downstreamPort, 0)),
		"--data-dir", filepath.Join(f.DataDir, "downstream"),
	)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// untilEOF returns a context that ends with the reader.
func untilEOF(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	return ctx
}

// isTerminal is also true for /dev/null, which does not mind.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
