package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/test/cluster"
)

// The tables of the scale part: groups of fifty, of which the first twenty
// belong to a small changefeed.
const (
	scaleGroups   = 200
	scalePerGroup = 50
	scaleSmall    = 20
	scaleCreators = 16
)

// scale measures one changefeed with 10,000 tables and then 200 changefeeds
// with 20 tables each: when they have their first checkpoints, and what they
// cost while nothing is written.
func scale(ctx context.Context, b *bench) error {
	s := b.stack
	groups := min(scaleGroups, max(1, b.tables/scalePerGroup))
	if err := createTables(ctx, s.upDB, "scale", groups, scalePerGroup); err != nil {
		return err
	}
	if err := b.restart(ctx); err != nil { // what the server saw of the DDLs does not count
		return err
	}
	what := fmt.Sprintf("1 changefeed × %d tables", groups*scalePerGroup)
	took, call, err := b.firstCheckpoint(ctx, "scale.*")
	if err != nil {
		return err
	}
	b.add(what+": create to first checkpoint; the call itself", "%s; %s", ms(took), ms(call))
	if err := b.atRest(ctx, what); err != nil {
		return err
	}
	if err := s.server.API.Delete(ctx, "all"); err != nil {
		return err
	}
	if err := b.restart(ctx); err != nil {
		return err
	}
	what = fmt.Sprintf("%d changefeeds × %d tables", groups, scaleSmall)
	if took, err = b.smallFeeds(ctx, groups); err != nil {
		return err
	}
	b.add(fmt.Sprintf("%s: first create to the last first checkpoint, %d clients", what, scaleCreators), "%s", ms(took))
	return b.atRest(ctx, what)
}

// smallFeeds creates the small changefeeds and waits until each has a
// checkpoint from after the last call.
func (b *bench) smallFeeds(ctx context.Context, n int) (time.Duration, error) {
	begin := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(scaleCreators)
	for i := range n {
		group.Go(func() error {
			return createFeed(groupCtx, b.stack, smallFeed(i), fmt.Sprintf("scale.g%03d_[01]?", i))
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	ts, err := cluster.TSO(ctx, b.stack.upDB)
	if err != nil {
		return 0, err
	}
	for i := range n {
		if err := b.stack.server.API.WaitCheckpoint(ctx, smallFeed(i), ts); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

func smallFeed(i int) string { return fmt.Sprintf("small-%03d", i) }

// restart gives the measurement a server that was just started.
func (b *bench) restart(ctx context.Context) error {
	if err := b.stack.server.Stop(); err != nil {
		return err
	}
	return b.stack.server.Start(ctx)
}

// atRest measures CPU and memory while nothing is written.
func (b *bench) atRest(ctx context.Context, what string) error {
	if err := b.idle(ctx, "idle CPU, "+what); err != nil {
		return err
	}
	u, err := b.stack.server.Usage()
	if err != nil {
		return err
	}
	b.add("memory then, and at most", "%s; %s", mib(u.RSS), mib(u.PeakRSS))
	return b.takeProfile(ctx, b.part)
}
