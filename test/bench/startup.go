package main

import (
	"context"
	"time"
)

// startUp measures how long a server needs from its start until it is
// healthy, an elected owner included, and the memory that it then has.
func startUp(ctx context.Context, b *bench) error {
	const runs = 5
	server := b.stack.server
	var times []time.Duration
	var rss int64
	for range runs {
		if err := server.Stop(); err != nil {
			return err
		}
		begin := time.Now()
		if err := server.Start(ctx); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
		u, err := server.Usage()
		if err != nil {
			return err
		}
		rss = max(rss, u.RSS)
	}
	b.add("start to healthy, median of 5; memory then", "%s; %s", ms(quantile(times, 0.5)), mib(rss))
	return nil
}
