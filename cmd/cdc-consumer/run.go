package main

import (
	"context"
	"os"
	"regexp"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/consumer"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/objstore"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/factory"
	"github.com/tidemark/tidemark/pkg/sink/kafka"
)

// run reads until ctx ends.
func run(ctx context.Context, f *flags) error {
	log, err := newLogger(f.logLevel)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	feed, err := f.changefeed(log)
	if err != nil {
		return err
	}
	o, claimCheck, err := f.consumerOptions(feed)
	if err != nil {
		return err
	}
	if claimCheck != "" {
		files, err := objstore.OpenClaimCheck(ctx, claimCheck)
		if err != nil {
			return err
		}
		defer files.Close()
		o.Files = files
	}
	if f.upstream != "" {
		db, err := consumer.OpenMySQL(f.upstream, feed.TimeZone)
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		o.Snapshots = consumer.NewTiDB(db)
	}
	if f.downstream == "" {
		o.Target = consumer.NewPrint(os.Stdout)
		return consumer.Run(ctx, o)
	}
	return f.apply(ctx, feed, o)
}

// changefeed is the sink as the changefeed has it.
func (f *flags) changefeed(log *zap.Logger) (sink.Options, error) {
	cfg := config.DefaultReplicaConfig()
	if f.config != "" {
		if err := cfg.LoadFile(f.config); err != nil {
			return sink.Options{}, err
		}
	}
	zone, err := f.zone()
	return sink.Options{
		Changefeed: model.DefaultChangefeedID("cdc-consumer"),
		URI:        config.SinkURI(f.sinkURI),
		Config:     cfg,
		TimeZone:   zone,
		Logger:     log,
	}, err
}

// consumerOptions has everything but the target and what is to be opened.
func (f *flags) consumerOptions(feed sink.Options) (consumer.Options, config.SinkURI, error) {
	r, err := kafka.ForReader(feed)
	if err != nil {
		return consumer.Options{}, "", err
	}
	r.Client.ClientID = "cdc-consumer"
	o := consumer.Options{
		Brokers: r.Brokers, Kafka: r.Client, Topics: f.topics, Group: f.group,
		Codec: r.Codec, Logger: feed.Logger,
	}
	if f.pattern != "" {
		if o.Pattern, err = regexp.Compile("^(?:" + f.pattern + ")$"); err != nil {
			return consumer.Options{}, "", err
		}
	} else if len(o.Topics) == 0 {
		o.Topics = []string{r.Topic}
	}
	return o, r.ClaimCheck, nil
}

// apply brings the changes to a database. Schema changes go through the MySQL
// sink, which knows how to repeat them.
func (f *flags) apply(ctx context.Context, feed sink.Options, o consumer.Options) error {
	db, err := consumer.OpenMySQL(f.downstream, feed.TimeZone)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	feed.URI, feed.Config = config.SinkURI(f.downstream), config.DefaultReplicaConfig()
	ddl, err := factory.New(ctx, feed)
	if err != nil {
		return err
	}
	defer ddl.Close()
	o.Target = consumer.NewMySQL(db, ddl, o.Codec.Protocol, func(ts uint64) {
		feed.Logger.Debug("applied", zap.Uint64("resolvedTs", ts), zap.Time("time", model.TimeOf(ts)))
	})
	return consumer.Run(ctx, o)
}

// newLogger writes to standard error: standard output belongs to the changes.
func newLogger(level string) (*zap.Logger, error) {
	c := zap.NewProductionConfig()
	c.Encoding = "console"
	c.EncoderConfig = zap.NewDevelopmentEncoderConfig()
	c.DisableCaller, c.DisableStacktrace = true, true
	c.Sampling = nil
	at, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, err
	}
	c.Level = at
	return c.Build()
}
