package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/mariadb"
)

// stack is an upstream with a second TiDB, a server and a MariaDB.
type stack struct {
	dir    string
	up     *cluster.Upstream
	server *cluster.Server
	maria  *mariadb.Server

	upDB, tidbDB, mariaDB *sql.DB
}

// startStack starts everything; on an error nothing stays behind but logs.
func startStack(ctx context.Context, name string) (s *stack, err error) {
	s = &stack{}
	if s.dir, err = os.MkdirTemp("", "tidemark-bench-"+name+"-"); err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			s.close(false)
		}
	}()
	if s.maria, err = mariadb.Start(ctx, s.dir+"/mariadb"); err != nil {
		return s, err
	}
	if s.up, err = cluster.StartUpstream(ctx, cluster.UpstreamOptions{Dir: s.dir, Downstream: true}); err != nil {
		return s, err
	}
	if s.server, err = cluster.StartServer(ctx, cluster.ServerOptions{PD: s.up.PD, Dir: s.dir}); err != nil {
		return s, err
	}
	if s.upDB, err = s.up.OpenUp(); err != nil {
		return s, err
	}
	if s.tidbDB, err = s.up.OpenDown(); err != nil {
		return s, err
	}
	s.mariaDB, err = cluster.OpenMySQL(s.maria.Addr(), "root", "")
	return s, err
}

// close ends all processes; clean removes the folder with the logs as well.
func (s *stack) close(clean bool) {
	if s.server != nil {
		s.server.Kill()
	}
	if s.up != nil {
		s.up.Close()
	}
	if s.maria != nil {
		s.maria.Close()
	}
	if clean {
		_ = os.RemoveAll(s.dir)
	} else {
		fmt.Fprintln(os.Stderr, "bench: logs are in", s.dir)
	}
}

// uri returns where a sink writes to, and the database behind it, if any.
func (s *stack) uri(sink string) (string, *sql.DB) {
	switch sink {
	case "tidb":
		return "tidb://root@" + s.up.Downstream + "/", s.tidbDB
	case "mariadb":
		return "mysql://root@" + s.maria.Addr() + "/", s.mariaDB
	default:
		return "blackhole://", nil
	}
}

// waitCheckpoint waits until a changefeed's checkpoint has reached ts. It asks
// seldom, since the asking is measured too.
func waitCheckpoint(ctx context.Context, api *cluster.API, id string, ts uint64) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := api.Status(ctx, id)
		if err != nil {
			return err
		}
		if s.CheckpointTs >= ts {
			return nil
		}
		if s.State != "normal" && s.State != "warning" {
			return fmt.Errorf("%s is %s: %+v", id, s.State, s.LastError)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// cpuShare returns how much of a core a server uses while the context's clock
// runs for the duration, in percent.
func cpuShare(ctx context.Context, server *cluster.Server, d time.Duration) (float64, error) {
	before, err := server.Usage()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(d):
	}
	after, err := server.Usage()
	return 100 * float64(after.CPU-before.CPU) / float64(time.Since(begin)), err
}

// quantile returns the q-quantile of durations, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

// machine says where the figures come from.
func machine() string {
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%d cores (%s), %s %s, load average at the end %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version(),
		strings.TrimSpace(string(load)))
}
