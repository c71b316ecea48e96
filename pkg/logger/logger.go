// Package logger builds the server's logger, in TiDB's unified log format.
package logger

import (
	"fmt"
	"io"
	"os"

	"github.com/go-sql-driver/mysql"
	"github.com/pingcap/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Options says where logs go.
type Options struct {
	// File is the log file; empty logs to Output.
	File string
	// Output is used without a file; nil is stdout.
	Output io.Writer
	// Level is debug, info, warn, error, dpanic, panic or fatal.
	Level      string
	MaxSizeMB  int // a larger file is rotated
	MaxDays    int // 0 keeps rotated files for ever
	MaxBackups int // 0 keeps all rotated files
	// ErrorOutput is where the logger reports its own failures: "stdout",
	// "stderr" or a file; empty is stderr.
	ErrorOutput string
}

// Logger writes the log. Its level may be changed while it is in use.
type Logger struct {
	*zap.Logger
	Level zap.AtomicLevel

	props  *log.ZapProperties
	closer func() error
}

// New opens the log. It fails for an unknown level and when a file cannot be
// written.
func New(o Options) (*Logger, error) {
	level, err := zap.ParseAtomicLevel(o.Level)
	if err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	out, closeOut, err := openOutput(o)
	if err != nil {
		return nil, err
	}
	if o.ErrorOutput == "" {
		o.ErrorOutput = "stderr"
	}
	errOut, closeErr, err := zap.Open(o.ErrorOutput)
	if err != nil {
		_ = closeOut()
		return nil, fmt.Errorf("error output of the log: %w", err)
	}
	encoder, err := log.NewTextEncoder(&log.Config{})
	if err != nil {
		return nil, err
	}
	core := log.NewTextCore(encoder, out, level)
	return &Logger{
		Logger: zap.New(core, zap.AddCaller(), zap.AddStacktrace(zapcore.DPanicLevel), zap.ErrorOutput(errOut)),
		Level:  level,
		props:  &log.ZapProperties{Core: core, Syncer: out, ErrSyncer: errOut, Level: level},
		closer: func() error {
			closeErr()
			return closeOut()
		},
	}, nil
}

// openOutput opens the log file, or locks the writer that takes its place.
func openOutput(o Options) (out zapcore.WriteSyncer, closeOut func() error, err error) {
	if o.File == "" {
		if o.Output == nil {
			o.Output = os.Stdout
		}
		return zapcore.Lock(zapcore.AddSync(o.Output)), func() error { return nil }, nil
	}
	if st, err := os.Stat(o.File); err == nil {
		if st.IsDir() {
			return nil, nil, fmt.Errorf("can't use directory as log file name: %s", o.File)
		}
		if !st.Mode().IsRegular() {
			// A device such as /dev/stderr cannot be rotated.
			f, err := os.OpenFile(o.File, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return nil, nil, fmt.Errorf("open log file: %w", err)
			}
			return zapcore.Lock(f), f.Close, nil
		}
	}
	rotating := &lumberjack.Logger{
		Filename: o.File, MaxSize: o.MaxSizeMB, MaxAge: o.MaxDays, MaxBackups: o.MaxBackups, LocalTime: true,
	}
	// Opening it now makes a wrong path an error of the start.
	if _, err := rotating.Write(nil); err != nil {
		return nil, nil, fmt.Errorf("open log file: %w", err)
	}
	return zapcore.AddSync(rotating), rotating.Close, nil
}

// TakeOverGlobal sends what the client libraries of PD, TiKV and MySQL log
// through their global loggers to this log. Only a main function should call it.
func (l *Logger) TakeOverGlobal() {
	log.ReplaceGlobals(l.Logger, l.props)
	// The driver tells why it gives a connection up here and nowhere else: its
	// errors only say that it did.
	if driver, err := zap.NewStdLogAt(l.With(zap.String("component", "mysql driver")), zap.WarnLevel); err == nil {
		_ = mysql.SetLogger(driver) // refuses nil only
	}
}

// Close writes out what is buffered and closes the file.
func (l *Logger) Close() error {
	// Syncing a terminal fails on some systems; there is nothing to lose then.
	_ = l.Sync()
	return l.closer()
}
