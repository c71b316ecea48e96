// Command cdc-consumer reads the topics of a Kafka changefeed and prints the
// changes, or applies them to a MySQL-compatible database.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := newCommand(run).ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}
