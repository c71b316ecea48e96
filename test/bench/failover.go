package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tidemark/tidemark/test/cluster"
)

const (
	crewSize    = 3
	crewTables  = 300
	crewFeed    = "crew"
	crewSchema  = "crew"
	frozenFor   = 16 * time.Second
	quietBefore = 3 * time.Second // of trouble
	moveClients = 16
	resigns     = 5
)

// failover measures what three captures make of trouble, while 1,000 rows per
// second go to 300 tables and from there to MariaDB.
func failover(ctx context.Context, b *bench) error {
	c, err := startCrew(ctx, b)
	defer c.close()
	if err != nil {
		return err
	}
	endLoad, err := c.begin(ctx)
	if err != nil {
		return err
	}
	for _, event := range []struct {
		name string
		run  func(context.Context, *crew) error
	}{
		{"nothing happens", func(ctx context.Context, _ *crew) error { return wait(ctx, quietBefore) }},
		{"move_table, one after the other by each of 16 clients", moveAll},
		{"POST /api/v2/owner/resign, five times", resignOwner},
		{"SIGTERM of the owner", stopOwner},
		{"drain of a worker", drainWorker},
		{"SIGTERM of a worker", stopWorker},
		{"kill -9 of a worker", killWorker},
		{"freeze of a worker for 16 s", freezeWorker},
		{"kill -9 of the owner", killOwner},
		{"freeze of the owner for 16 s", freezeOwner},
	} {
		if err := c.measure(ctx, event.name, event.run); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", event.name, err), endLoad())
		}
	}
	if err := endLoad(); err != nil {
		return err
	}
	return c.compare(ctx)
}

// measure lets something happen to a crew that is complete and whose tables
// are spread.
func (c *crew) measure(ctx context.Context, name string, event func(context.Context, *crew) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := c.assemble(ctx); err != nil {
		return err
	}
	if err := wait(ctx, quietBefore); err != nil {
		return err
	}
	c.watch.take()
	c.moved = ""
	c.now()
	if err := event(ctx, c); err != nil {
		return err
	}
	recovered, err := c.watch.pass(ctx, c.since)
	if err != nil {
		return err
	}
	// The checkpoint may stand still again when what was lost is placed.
	if err := wait(ctx, quietBefore); err != nil {
		return err
	}
	c.bench.add(name, "%scheckpoint goes on after %s; worst lag %s", c.moved, ms(recovered), ms(c.watch.take()))
	return nil
}

// now notes the moment of an event.
func (c *crew) now() { c.since = time.Now() }

func moveAll(ctx context.Context, c *crew) error {
	placed, err := c.servers[0].API.Placement(ctx, crewFeed)
	if err != nil {
		return err
	}
	list, err := c.list(ctx)
	if err != nil {
		return err
	}
	next := map[string]string{}
	for i, each := range list {
		next[each.ID] = list[(i+1)%len(list)].ID
	}
	jobs := make(chan int64, len(placed))
	for table := range placed {
		jobs <- table
	}
	close(jobs)
	c.now()
	var clients sync.WaitGroup
	var failed [moveClients]error
	api := c.servers[0].API
	for n := range moveClients {
		clients.Go(func() {
			for table := range jobs {
				body := map[string]any{"capture_id": next[placed[table]], "table_id": table}
				if err := api.Do(ctx, http.MethodPost, "/api/v1/changefeeds/"+crewFeed+"/tables/move_table", body, nil); err != nil {
					failed[n] = err
					return
				}
			}
		})
	}
	clients.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return err
	}
	asked := time.Since(c.since)
	err = cluster.Until(ctx, "all tables to be elsewhere", func() (bool, error) {
		now, err := c.servers[0].API.Placement(ctx, crewFeed)
		left := 0
		for table, capture := range placed {
			if now[table] != next[capture] {
				left++
			}
		}
		return err == nil && left == 0, errors.Join(err, fmt.Errorf("%d tables are not there yet", left))
	})
	took := time.Since(c.since)
	c.moved = fmt.Sprintf("%d moves in %s, %.0f per second (asked for in %s); ", len(placed), ms(took), float64(len(placed))/took.Seconds(), ms(asked))
	c.now()
	return err
}

// resignOwner lets one owner after the other resign.
func resignOwner(ctx context.Context, c *crew) error {
	var gaps []time.Duration
	for range resigns {
		if err := wait(ctx, quietBefore); err != nil {
			return err
		}
		owner, id, err := c.role(ctx, true)
		if err != nil {
			return err
		}
		c.now()
		if err := owner.API.Do(ctx, http.MethodPost, "/api/v2/owner/resign", nil, nil); err != nil {
			return err
		}
		gap, err := c.anotherOwner(ctx, id)
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
	}
	c.moved = fmt.Sprintf("another owner after %s (median of %d; slowest %s); ", ms(quantile(gaps, 0.5)), resigns, ms(quantile(gaps, 1)))
	return nil
}

// anotherOwner measures how long there was none.
func (c *crew) anotherOwner(ctx context.Context, old string) (time.Duration, error) {
	err := cluster.Until(ctx, "another owner", func() (bool, error) {
		list, err := c.list(ctx)
		for _, each := range list {
			if each.IsOwner && each.ID != old {
				return true, nil
			}
		}
		return false, err
	})
	return time.Since(c.since), err
}

func stopOwner(ctx context.Context, c *crew) error {
	owner, id, err := c.role(ctx, true)
	if err != nil {
		return err
	}
	c.now()
	if err := owner.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	gap, err := c.anotherOwner(ctx, id)
	c.moved = fmt.Sprintf("another owner after %s; ", ms(gap))
	return err
}

func drainWorker(ctx context.Context, c *crew) error {
	worker, id, err := c.role(ctx, false)
	if err != nil {
		return err
	}
	c.now()
	err = cluster.Until(ctx, "an empty capture", func() (bool, error) {
		var answer struct {
			Left int `json:"current_table_count"`
		}
		err := c.servers[0].API.Do(ctx, http.MethodPut, "/api/v1/captures/drain", map[string]string{"capture_id": id}, &answer)
		return err == nil && answer.Left == 0, errors.Join(err, fmt.Errorf("%d tables left", answer.Left))
	})
	c.moved = fmt.Sprintf("%d tables gone after %s; ", crewTables/crewSize, ms(time.Since(c.since)))
	if err != nil {
		return err
	}
	return worker.Stop()
}

func stopWorker(ctx context.Context, c *crew) error { return c.signal(ctx, false, syscall.SIGTERM) }
func killWorker(ctx context.Context, c *crew) error { return c.signal(ctx, false, syscall.SIGKILL) }
func killOwner(ctx context.Context, c *crew) error  { return c.signal(ctx, true, syscall.SIGKILL) }

func freezeWorker(ctx context.Context, c *crew) error { return c.freeze(ctx, false) }
func freezeOwner(ctx context.Context, c *crew) error  { return c.freeze(ctx, true) }

func (c *crew) signal(ctx context.Context, owner bool, sig syscall.Signal) error {
	server, _, err := c.role(ctx, owner)
	if err != nil {
		return err
	}
	c.now()
	return server.Signal(sig)
}

func (c *crew) freeze(ctx context.Context, owner bool) error {
	server, _, err := c.role(ctx, owner)
	if err != nil {
		return err
	}
	c.now()
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err = wait(ctx, frozenFor)
	return errors.Join(err, server.Signal(syscall.SIGCONT))
}

// compare holds the numbers of rows downstream against those upstream.
func (c *crew) compare(ctx context.Context) error {
	ts, err := cluster.TSO(ctx, c.bench.stack.upDB)
	if err != nil {
		return err
	}
	if err := c.servers[0].API.WaitCheckpoint(ctx, crewFeed, ts); err != nil {
		return err
	}
	var count strings.Builder
	for i := range crewTables {
		if i > 0 {
			count.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&count, "SELECT COUNT(*) AS n, SUM(CRC32(CONCAT(id, s))) AS c FROM %s.%s", crewSchema, crewTable(i))
	}
	query := "SELECT SUM(n), SUM(c) FROM (" + count.String() + ") x"
	var up, down [2]uint64
	if err := c.bench.stack.upDB.QueryRowContext(ctx, query).Scan(&up[0], &up[1]); err != nil {
		return err
	}
	if err := c.bench.stack.mariaDB.QueryRowContext(ctx, query).Scan(&down[0], &down[1]); err != nil {
		return err
	}
	if up != down {
		return fmt.Errorf("rows and checksums differ: %v upstream, %v downstream", up, down)
	}
	c.bench.add("rows downstream, as many and the same as upstream", "%d", down[0])
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
