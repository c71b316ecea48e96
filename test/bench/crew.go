package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/test/cluster"
)

// crew is three captures with one changefeed.
type crew struct {
	bench   *bench
	servers []*cluster.Server
	watch   *lagWatch
	since   time.Time // when the present event began
	moved   string    // what else is to be told of it
}

func startCrew(ctx context.Context, b *bench) (*crew, error) {
	c := &crew{bench: b, servers: []*cluster.Server{b.stack.server}}
	for i := 1; i < crewSize; i++ {
		server, err := cluster.StartServer(ctx, cluster.ServerOptions{PD: b.stack.up.PD, Dir: b.stack.dir, Name: fmt.Sprintf("cdc%d", i)})
		if err != nil {
			return c, err
		}
		c.servers = append(c.servers, server)
	}
	return c, nil
}

func (c *crew) close() {
	if c.watch != nil {
		c.watch.stop()
	}
	for _, server := range c.servers[1:] { // the first is the stack's
		server.Kill()
	}
}

func crewTable(i int) string { return fmt.Sprintf("t%03d", i) }

// begin makes the tables and the changefeed and writes until the function that
// it returns is called.
func (c *crew) begin(ctx context.Context) (end func() error, err error) {
	up := c.bench.stack.upDB
	startTs, err := cluster.TSO(ctx, up)
	if err != nil {
		return nil, err
	}
	if _, err := up.ExecContext(ctx, "CREATE DATABASE "+crewSchema); err != nil {
		return nil, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(tableCreators)
	for i := range crewTables {
		group.Go(func() error {
			_, err := up.ExecContext(groupCtx, fmt.Sprintf("CREATE TABLE %s.%s (id BIGINT PRIMARY KEY AUTO_INCREMENT, s VARCHAR(200) NOT NULL)", crewSchema, crewTable(i)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	uri, _ := c.bench.stack.uri("mariadb")
	if err := c.servers[0].API.Create(ctx, cluster.Feed{ID: crewFeed, SinkURI: uri, StartTs: startTs}); err != nil {
		return nil, err
	}
	created, err := cluster.TSO(ctx, up)
	if err != nil {
		return nil, err
	}
	if err := c.servers[0].API.WaitCheckpoint(ctx, crewFeed, created); err != nil {
		return nil, err
	}
	c.watch = watchLag(ctx, c.servers)
	loadCtx, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		_, err := steadyLoad(loadCtx, up, func(n int) string { return steadyInsert(crewSchema + "." + crewTable(n%crewTables)) })
		failed <- err
	}()
	return func() error { stop(); return <-failed }, nil
}

// assemble starts the captures that are down and has the tables spread.
func (c *crew) assemble(ctx context.Context) error {
	for _, server := range c.servers {
		if server.Running() {
			continue
		}
		if err := server.Start(ctx); err != nil {
			return err
		}
	}
	asked := time.Time{}
	return cluster.Until(ctx, "three captures with about as many tables each", func() (bool, error) {
		list, err := c.list(ctx)
		if err != nil || len(list) != crewSize {
			return false, errors.Join(err, fmt.Errorf("%d captures", len(list)))
		}
		counts := map[string]int{}
		placed, err := c.servers[0].API.Placement(ctx, crewFeed)
		for _, capture := range placed {
			counts[capture]++
		}
		least := crewTables
		for _, each := range list {
			least = min(least, counts[each.ID])
		}
		if err == nil && len(placed) == crewTables && least == crewTables/crewSize {
			return true, nil
		}
		if time.Since(asked) > time.Second {
			asked = time.Now()
			err = errors.Join(err, c.servers[0].API.Do(ctx, http.MethodPost, "/api/v1/changefeeds/"+crewFeed+"/tables/rebalance_table", nil, nil))
		}
		return false, errors.Join(err, fmt.Errorf("tables by capture: %v", counts))
	})
}

// capture is what GET /captures says of one.
type capture struct {
	ID      string `json:"id"`
	IsOwner bool   `json:"is_owner"`
	Address string `json:"address"`
}

// answerLimit is how long a capture may take to answer before another is asked.
const answerLimit = time.Second

// list reads the captures from the first server that knows of an owner.
func (c *crew) list(ctx context.Context) (list []capture, err error) {
	for _, server := range c.servers {
		var answer struct{ Items []capture }
		callCtx, cancel := context.WithTimeout(ctx, answerLimit)
		err = server.API.Do(callCtx, http.MethodGet, "/api/v2/captures", nil, &answer)
		cancel()
		if err == nil {
			return answer.Items, nil
		}
	}
	return nil, err
}

// role finds the owner's server and its id, or one that is not the owner's.
func (c *crew) role(ctx context.Context, owner bool) (*cluster.Server, string, error) {
	list, err := c.list(ctx)
	for _, each := range list {
		for _, server := range c.servers {
			if each.IsOwner == owner && server.Advertised == each.Address {
				return server, each.ID, nil
			}
		}
	}
	return nil, "", errors.Join(err, fmt.Errorf("no capture of that role among %v", list))
}

// lagWatch follows a checkpoint through all servers at once: one that is
// frozen or dead holds up nothing.
type lagWatch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	worst time.Duration
	steps []lagStep // since the last take
	last  time.Time // the checkpoint
	moved chan struct{}
}

// lagStep is a checkpoint that was new when it was seen.
type lagStep struct{ checkpoint, seen time.Time }

func watchLag(ctx context.Context, servers []*cluster.Server) *lagWatch {
	ctx, cancel := context.WithCancel(ctx)
	w := &lagWatch{cancel: cancel, moved: make(chan struct{})}
	for _, server := range servers {
		w.done.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				callCtx, cancelCall := context.WithTimeout(ctx, answerLimit)
				if s, err := server.API.Status(callCtx, crewFeed); err == nil {
					w.see(model.TimeOf(s.CheckpointTs))
				}
				cancelCall()
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return w
}

// see takes one answer over. How far it is behind shows only when it moves.
func (w *lagWatch) see(checkpoint time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.last.IsZero() {
		w.worst = max(w.worst, time.Since(w.last))
	}
	if checkpoint.After(w.last) {
		w.last = checkpoint
		w.steps = append(w.steps, lagStep{checkpoint, time.Now()})
		close(w.moved)
		w.moved = make(chan struct{})
	}
}

// take returns the worst lag since the last call, and begins anew.
func (w *lagWatch) take() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	worst := w.worst
	w.worst, w.steps = 0, nil
	return worst
}

// pass waits until the checkpoint is later than a moment and returns how long
// that took, counted from the moment.
func (w *lagWatch) pass(ctx context.Context, moment time.Time) (time.Duration, error) {
	for {
		w.mu.Lock()
		last, moved := w.last, w.moved
		for _, step := range w.steps {
			if step.checkpoint.After(moment) {
				w.mu.Unlock()
				return step.seen.Sub(moment), nil
			}
		}
		w.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return 0, fmt.Errorf("the checkpoint is still at %s: %w", last.Format(time.TimeOnly), ctx.Err())
		}
	}
}

func (w *lagWatch) stop() {
	w.cancel()
	w.done.Wait()
}
