package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// flags are what the command line says.
type flags struct {
	sinkURI    string
	config     string
	timeZone   string
	topics     []string
	pattern    string
	group      string
	downstream string
	upstream   string
	logLevel   string
}

// newCommand is the whole command; run does the work.
func newCommand(run func(ctx context.Context, f *flags) error) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "cdc-consumer",
		Short: "read the topics of a Kafka changefeed; print the changes or apply them to a database",
		Example: `  cdc-consumer --sink-uri "kafka://127.0.0.1:9092/orders?protocol=canal-json&enable-tidb-extension=true"
  cdc-consumer --sink-uri "kafka://127.0.0.1:9092/orders?protocol=open-protocol" --config changefeed.toml \
    --downstream mysql://root@127.0.0.1:3306/ --group warehouse`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(c *cobra.Command, _ []string) error { return run(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.sinkURI, "sink-uri", "", "sink URI of the changefeed: brokers, topic, protocol and the protocol's parameters")
	fs.StringVar(&f.config, "config", "", "configuration file of the changefeed, if it has one")
	fs.StringVar(&f.timeZone, "tz", "System", "time zone of the cdc server (its --tz), in which timestamps are written")
	fs.StringSliceVar(&f.topics, "topic", nil, "topics to read instead of the sink URI's")
	fs.StringVar(&f.pattern, "topic-pattern", "", "regular expression of more topics to read, also of those that are created later")
	fs.StringVar(&f.group, "group", "", "keep the positions in Kafka under this name; without it everything is read from the start")
	fs.StringVar(&f.downstream, "downstream", "", "mysql://user:password@host:port/ to apply the changes to; without it they are printed")
	fs.StringVar(&f.upstream, "upstream", "", "mysql://user:password@host:port/ of the upstream TiDB, for rows of which messages have the key only")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	_ = c.MarkFlagRequired("sink-uri")
	return c
}

func (f *flags) zone() (*time.Location, error) {
	if strings.EqualFold(f.timeZone, "system") {
		return time.Local, nil
	}
	return time.LoadLocation(f.timeZone)
}
