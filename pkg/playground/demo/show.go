package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	clearLine  = "\x1b[2K"
	width      = 79 // of the narrowest terminal, one less than its columns
	tsoLogical = 18
	unknown    = int64(-1)
)

// snapshot is what one look at the cluster shows.
type snapshot struct {
	up, down map[string]int64 // rows by table, unknown when it cannot be told
	state    string
	lag      time.Duration // of the checkpoint, negative when unknown
	stalled  string        // why the checkpoint stands still
	written  int64
	perSec   float64
	trouble  string // of the workload
}

// show tells what to try, then draws a snapshot every second until the context ends.
func (d *demo) show(ctx context.Context) error {
	if _, err := fmt.Fprint(d.Out, d.hints()); err != nil {
		return err
	}
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	drawn, last := 0, int64(0)
	for {
		s := d.look(ctx)
		if ctx.Err() != nil {
			return nil // what it saw is the end of the parts
		}
		s.perSec = float64(s.written-last) / refresh.Seconds()
		last = s.written
		text := s.line()
		if d.Terminal {
			text, drawn = redraw(s.table(), drawn)
		}
		if _, err := fmt.Fprint(d.Out, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// redraw puts the text over what was drawn before, which had so many lines.
func redraw(text string, drawn int) (out string, lines int) {
	var b strings.Builder
	if drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", drawn)
	}
	for line := range strings.Lines(text) {
		// A line that wraps would count twice.
		if runes := []rune(line); len(runes) > width {
			line = string(runes[:width-1]) + "\n"
		}
		b.WriteString(clearLine + line)
		lines++
	}
	// A shorter text than before leaves old lines below.
	b.WriteString("\x1b[J")
	return b.String(), lines
}

func (d *demo) look(ctx context.Context) snapshot {
	s := snapshot{
		up: count(ctx, d.up), down: count(ctx, d.down), written: d.work.written.Load(), state: "unknown", lag: -1,
	}
	if err := d.work.failed.Load(); err != nil {
		s.trouble = (*err).Error()
	}
	answer, err := d.call(ctx, http.MethodGet, "/api/v2/changefeeds/"+Changefeed+"/status", nil)
	if err != nil {
		return s
	}
	var status struct {
		State      string `json:"state"`
		Checkpoint uint64 `json:"checkpoint_ts"`
		Stalled    *struct {
			Reason string `json:"reason"`
			Detail string `json:"detail"`
		} `json:"stalled"`
	}
	if json.Unmarshal(answer, &status) != nil {
		return s
	}
	s.state = status.State
	if status.Checkpoint > 0 {
		s.lag = max(time.Since(time.UnixMilli(int64(status.Checkpoint>>tsoLogical))), 0)
	}
	if status.Stalled != nil {
		s.stalled = strings.TrimSpace(status.Stalled.Reason + " " + status.Stalled.Detail)
	}
	return s
}

func count(ctx context.Context, db *sql.DB) map[string]int64 {
	rows := make(map[string]int64, len(tables))
	for _, t := range tables {
		var n int64
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+Database+"."+t).Scan(&n); err != nil {
			n = unknown // not there yet, or a fault
		}
		rows[t] = n
	}
	return rows
}

// table is the picture of a terminal.
func (s snapshot) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %-16s %12s %12s\n", "table", "rows up", "rows down")
	for _, t := range tables {
		fmt.Fprintf(&b, "  %-16s %12s %12s\n", Database+"."+t, number(s.up[t]), number(s.down[t]))
	}
	fmt.Fprintf(&b, "\n  changefeed %s: %s, checkpoint lag %s, %s rows written (%.0f/s)\n",
		Changefeed, s.state, s.lagText(), number(s.written), s.perSec)
	if s.stalled != "" {
		fmt.Fprintf(&b, "  the checkpoint waits: %s\n", s.stalled)
	}
	if s.trouble != "" {
		fmt.Fprintf(&b, "  the workload failed: %s\n", s.trouble)
	}
	return b.String()
}

// line is the same for a file or a pipe.
func (s snapshot) line() string {
	return fmt.Sprintf("rows up %s, rows down %s, checkpoint lag %s, state %s\n",
		number(total(s.up)), number(total(s.down)), s.lagText(), s.state)
}

func (s snapshot) lagText() string {
	if s.lag < 0 {
		return "?"
	}
	return fmt.Sprintf("%.2fs", s.lag.Seconds())
}

// total is unknown when any part is.
func total(rows map[string]int64) int64 {
	var sum int64
	for _, n := range rows {
		if n == unknown {
			return unknown
		}
		sum += n
	}
	return sum
}

// number groups thousands.
func number(n int64) string {
	if n == unknown {
		return "-"
	}
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// hints are what to try next.
func (d *demo) hints() string {
	return fmt.Sprintf(`
  Try in another terminal:
    %s -e "CREATE TABLE test.mine (id INT PRIMARY KEY, v TEXT); INSERT INTO test.mine VALUES (1, 'hello')"
    %s -e "SELECT * FROM test.mine"
    curl http://%s/api/v2/changefeeds
    curl -X POST http://%s/api/v2/changefeeds/%s/pause
    curl -X POST http://%s/api/v2/changefeeds/%s/resume -d '{}'
  Ctrl-C stops everything.
`, mysqlCommand(d.Upstream), mysqlCommand(d.Downstream), d.CDC, d.CDC, Changefeed, d.CDC, Changefeed)
}

func mysqlCommand(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "mysql"
	}
	return fmt.Sprintf("mysql -h %s -P %s -u root", host, port)
}
