package logger

import (
	"bytes"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// fixedClock makes lines reproducible.
type fixedClock struct{ at time.Time }

func (c fixedClock) Now() time.Time                         { return c.at }
func (c fixedClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func newTestLogger(t *testing.T, out *bytes.Buffer) *Logger {
	t.Helper()
	l, err := New(Options{Output: out, Level: "debug"})
	require.NoError(t, err)
	zone := time.FixedZone("", 8*3600)
	l.Logger = l.WithOptions(zap.WithCaller(false),
		zap.WithClock(fixedClock{time.Date(2026, 1, 2, 3, 4, 5, 678e6, zone)}))
	return l
}

func TestLineFormat(t *testing.T) {
	const head = "[2026/01/02 03:04:05.678 +08:00] "
	tests := []struct {
		name  string
		write func(*Logger)
		want  string
	}{
		{"bare words", func(l *Logger) { l.Info("ready", zap.String("addr", "127.0.0.1:8300")) },
			`[INFO] [ready] [addr=127.0.0.1:8300]`},
		{"quoted message", func(l *Logger) { l.Warn("http server is running") },
			`[WARN] ["http server is running"]`},
		{"escapes", func(l *Logger) { l.Debug("m", zap.String("k", "a\"b\\c\nd\te=f[g]\x01")) },
			`[DEBUG] [m] [k="a\"b\\c\nd\te=f[g]\u0001"]`},
		{"invalid utf-8", func(l *Logger) { l.Info("m", zap.String("k", "a b\xff")) },
			`[INFO] [m] [k="a b\ufffd"]`},
		{"key in need of quotes", func(l *Logger) { l.Info("m", zap.Int("a b", 1)) },
			`[INFO] [m] ["a b"=1]`},
		{"error", func(l *Logger) { l.Error("m", zap.Error(errors.New("no way"))) },
			`[ERROR] [m] [error="no way"]`},
		{"duration and list", func(l *Logger) {
			l.Info("m", zap.Duration("d", 1500*time.Millisecond), zap.Strings("l", []string{"a", "b"}))
		}, `[INFO] [m] [d=1.5s] [l="[a,b]"]`},
		{"structured value", func(l *Logger) { l.Info("m", zap.Any("v", map[string]int{"a": 1})) },
			`[INFO] [m] [v="{\"a\":1}"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tt.write(newTestLogger(t, &out))
			require.Equal(t, head+tt.want+"\n", out.String())
		})
	}
}

func TestCallerIsFileAndLine(t *testing.T) {
	var out bytes.Buffer
	l, err := New(Options{Output: &out, Level: "info"})
	require.NoError(t, err)
	l.Info("x")
	require.Regexp(t, regexp.MustCompile(`\] \[INFO\] \[logger_test\.go:\d+\] \[x\]\n$`), out.String())
}

func TestLevelChangesAtRunTime(t *testing.T) {
	var out bytes.Buffer
	l, err := New(Options{Output: &out, Level: "warn"})
	require.NoError(t, err)
	l.Info("hidden")
	require.Empty(t, out.String())
	l.Level.SetLevel(zapcore.InfoLevel)
	l.Info("shown")
	require.Contains(t, out.String(), "[shown]")
}

// TestDriverLogsHere: what the MySQL driver has to say of a connection that
// ends before the greeting.
func TestDriverLogsHere(t *testing.T) {
	var out bytes.Buffer
	l := newTestLogger(t, &out)
	l.TakeOverGlobal()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	db, err := sql.Open("mysql", "root:secret@tcp("+server.Addr().String()+")/")
	require.NoError(t, err)
	require.Error(t, db.Ping())
	require.NoError(t, db.Close())
	require.NoError(t, server.Close())
	<-ended
	require.Regexp(t, `\[WARN\] .*\[component="mysql driver"\]`, out.String())
	require.NotContains(t, out.String(), "secret")
}

func TestStackOnlyFromDPanicUp(t *testing.T) {
	var out bytes.Buffer
	l, err := New(Options{Output: &out, Level: "info"})
	require.NoError(t, err)
	l.Error("plain")
	require.NotContains(t, out.String(), "stack=")
	l.DPanic("bad")
	require.Contains(t, out.String(), "stack=")
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "cdc.log")
	l, err := New(Options{File: path, Level: "info", MaxSizeMB: 1, MaxBackups: 1})
	require.NoError(t, err)
	require.FileExists(t, path, "the file exists before the first line")
	line := strings.Repeat("x", 100<<10)
	for range 12 { // more than 1 MB
		l.Info(line)
	}
	require.NoError(t, l.Close())
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 2)
	rotated := regexp.MustCompile(`^cdc-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log$`)
	require.True(t, rotated.MatchString(files[0].Name()) || rotated.MatchString(files[1].Name()))
}

func TestWrongOptions(t *testing.T) {
	dir := t.TempDir()
	_, err := New(Options{File: dir, Level: "info"})
	require.ErrorContains(t, err, "directory")
	_, err = New(Options{Level: "loud"})
	require.ErrorContains(t, err, "level")
	_, err = New(Options{File: filepath.Join(dir, "f", "g"), Level: "info"})
	require.NoError(t, err)
	_, err = New(Options{File: filepath.Join(dir, "f", "g", "h"), Level: "info"})
	require.ErrorContains(t, err, "open log file")
}

// FuzzLine: whatever is logged stays one line, and quotes balance.
func FuzzLine(f *testing.F) {
	f.Add("message", "key", "value")
	f.Add("a b", "k=", "\x00\"\\\n\xff")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, msg, key, value string) {
		var out bytes.Buffer
		l, err := New(Options{Output: &out, Level: "info"})
		require.NoError(t, err)
		l.Info(msg, zap.String(key, value))
		line := out.String()
		require.Equal(t, 1, strings.Count(line, "\n"))
		require.True(t, strings.HasSuffix(line, "]\n"))
		unescaped := strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\"`, "")
		require.Zero(t, strings.Count(unescaped, `"`)%2)
	})
}
