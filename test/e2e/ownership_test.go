package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tenure is a time in which one process had a table of a changefeed, or a piece
// of it.
type tenure struct {
	server     string
	start, end string    // hex keys of a piece
	from, to   time.Time // to is zero while it lasts
}

// meets tells whether both have a key in common.
func (t tenure) meets(o tenure) bool {
	return (t.end == "" || o.start < t.end) && (o.end == "" || t.start < o.end)
}

func (t tenure) String() string {
	const clock = "15:04:05.000"
	to := "the end"
	if !t.to.IsZero() {
		to = t.to.Format(clock)
	}
	return fmt.Sprintf("%s from %s to %s", t.server, t.from.Format(clock), to)
}

// freeze is a stop of a process by a signal. It has nothing any more when its
// lease is over, though it cannot say so before it wakes.
type freeze struct {
	server string
	at     time.Time
}

// tenures reads from servers' logs who had which table when.
type tenures struct {
	freezes []freeze
	tables  map[string][]tenure // by changefeed and table
}

// The lines that begin and end a tenure, and the first one of a process: what
// a killed process had is over at the latest when it is started again.
var (
	logTime   = regexp.MustCompile(`^\[(\S+ \S+) \S+\]`)
	logFeed   = regexp.MustCompile(`\[changefeed=(\S+?)\] \[epoch=(\d+)\]`)
	logTable  = regexp.MustCompile(`\[tableID=(\d+)\](?: \[startKey=(\w+)\] \[endKey=(\w+)\])?`)
	logEvents = regexp.MustCompile(`\["?(span is added|span is removed|processor has ended|Welcome to Change Data Capture \(CDC\))"?\]`)
)

const logLayout = "2006/01/02 15:04:05.000"

// read takes one server's log.
func (h *tenures) read(server string, log *bufio.Scanner) error {
	type key struct{ feed, epoch, table, start, end string }
	open := map[key]time.Time{}
	end := func(k key, to time.Time) {
		from, ok := open[k]
		if !ok {
			return // it was only prepared here
		}
		delete(open, k)
		name := k.feed + " table " + k.table
		h.tables[name] = append(h.tables[name], h.shorten(tenure{server, k.start, k.end, from, to}))
	}
	endAll := func(which func(key) bool, to time.Time) {
		for k := range open {
			if which(k) {
				end(k, to)
			}
		}
	}
	log.Buffer(nil, 16<<20)
	for log.Scan() {
		event := logEvents.FindStringSubmatch(log.Text())
		clock := logTime.FindStringSubmatch(log.Text())
		if event == nil || clock == nil {
			continue
		}
		at, err := time.Parse(logLayout, clock[1])
		if err != nil {
			return err
		}
		var k key
		if m := logFeed.FindStringSubmatch(log.Text()); m != nil {
			k.feed, k.epoch = m[1], m[2]
		}
		if m := logTable.FindStringSubmatch(log.Text()); m != nil {
			k.table, k.start, k.end = m[1], m[2], m[3]
		}
		switch event[1] {
		case "span is added":
			open[k] = at
		case "span is removed":
			end(k, at)
		case "processor has ended":
			endAll(func(o key) bool { return o.feed == k.feed && o.epoch == k.epoch }, at)
		default:
			endAll(func(key) bool { return true }, at)
		}
	}
	endAll(func(key) bool { return true }, time.Time{})
	return log.Err()
}

// leaseTime is how long a process that froze has its lease at least: the
// session TTL of 10 s without a third, which may have passed since the lease
// was renewed. When etcd drops the lease a new owner may place tables at once:
// the frozen process writes nothing, and its sinks are fenced when it wakes.
const leaseTime = 6 * time.Second

// shorten ends a tenure with the lease of a process that froze in it.
func (h *tenures) shorten(t tenure) tenure {
	for _, f := range h.freezes {
		over := f.at.Add(leaseTime)
		if f.server == t.server && !t.from.After(f.at) && (t.to.IsZero() || t.to.After(over)) {
			t.to = over
		}
	}
	return t
}

// overlaps tells the tables that two had at a time.
func (h *tenures) overlaps() (found []string) {
	for table, list := range h.tables {
		slices.SortFunc(list, func(a, b tenure) int {
			return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to))
		})
		for i, t := range list {
			for _, before := range list[:i] {
				if before.meets(t) && (before.to.IsZero() || before.to.After(t.from)) {
					found = append(found, fmt.Sprintf("%s: %s, and %s", table, before, t))
				}
			}
		}
	}
	return found
}

// requireOneOwnerPerTable reads the servers' logs: no table may have been with
// two captures at a time.
func (c *captures) requireOneOwnerPerTable() {
	c.t.Helper()
	h := &tenures{freezes: c.freezes, tables: map[string][]tenure{}}
	count := 0
	for _, server := range c.servers {
		file, err := os.Open(server.LogPath())
		require.NoError(c.t, err)
		err = h.read(server.Addr, bufio.NewScanner(file))
		require.NoError(c.t, file.Close())
		require.NoError(c.t, err)
	}
	for _, list := range h.tables {
		count += len(list)
	}
	require.NotZero(c.t, count, "the logs tell nothing")
	c.t.Logf("the logs tell of %d tables that were %d times with a capture", len(h.tables), count)
	require.Empty(c.t, h.overlaps())
}

func TestTenures(t *testing.T) {
	line := func(second int, event, table string) string {
		text := fmt.Sprintf("[2026/11/21 09:00:%02d.000 +00:00] [INFO] [run.go:1] [%q] [changefeed=default/f] [epoch=7]", second, event)
		if table != "" {
			text += " [tableID=" + table + "]"
		}
		return text + "\n"
	}
	piece := func(table, start, end string) string {
		return fmt.Sprintf("%s] [startKey=%s] [endKey=%s", table, start, end)
	}
	const welcome = "Welcome to Change Data Capture (CDC)"
	for _, c := range []struct {
		name          string
		first, second string
		frozen        bool
		overlap       bool
	}{
		{"handed over", line(1, "span is added", "5") + line(3, "span is removed", "5"), line(3, "span is added", "5"), false, false},
		{"still there", line(1, "span is added", "5") + line(4, "span is removed", "5"), line(3, "span is added", "5"), false, true},
		{"never let go", line(1, "span is added", "5"), line(3, "span is added", "5"), false, true},
		{"another piece", line(1, "span is added", piece("5", "10", "20")), line(3, "span is added", piece("5", "20", "30")), false, false},
		{"pieces overlap", line(1, "span is added", piece("5", "10", "21")), line(3, "span is added", piece("5", "20", "30")), false, true},
		{"a piece of a whole table", line(1, "span is added", "5"), line(3, "span is added", piece("5", "20", "30")), false, true},
		{"another table", line(1, "span is added", "5"), line(3, "span is added", "6"), false, false},
		{"the run ended", line(1, "span is added", "5") + line(2, "processor has ended", ""), line(3, "span is added", "5"), false, false},
		{"the process was killed", line(1, "span is added", "5") + line(2, welcome, ""), line(3, "span is added", "5"), false, false},
		{"it froze", line(1, "span is added", "5") + line(20, "processor has ended", ""), line(13, "span is added", "5"), true, false},
		{"it froze and the lease was not over", line(1, "span is added", "5") + line(20, "processor has ended", ""), line(7, "span is added", "5"), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &tenures{tables: map[string][]tenure{}}
			if c.frozen {
				h.freezes = []freeze{{"a", time.Date(2026, 11, 21, 9, 0, 2, 0, time.UTC)}}
			}
			require.NoError(t, h.read("a", bufio.NewScanner(strings.NewReader(c.first))))
			require.NoError(t, h.read("b", bufio.NewScanner(strings.NewReader(c.second))))
			require.Equal(t, c.overlap, len(h.overlaps()) > 0, h.tables)
		})
	}
}
