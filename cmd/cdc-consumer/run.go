package main

import (
	"context"
	"os"

	"github.com/IBM/sarama"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/consumer"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/objstore"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/factory"
)

// run reads until ctx ends.
func run(ctx context.Context, f *flags) error {
	pattern, err := f.topicPattern()
	if err != nil {
		return err
	}
	options, err := f.codecOptions()
	if err != nil {
		return err
	}
	log, err := newLogger(f.logLevel)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	kafka := sarama.NewConfig()
	kafka.ClientID = "cdc-consumer"
	kafka.Version = sarama.V2_4_0_0
	o := consumer.Options{
		Brokers: f.brokers, Topics: f.topics, Pattern: pattern, Group: f.group,
		Kafka: kafka, Codec: options, Logger: log,
	}
	if f.upstream != "" {
		db, err := consumer.OpenMySQL(f.upstream, options.TimeZone)
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		o.Snapshots = consumer.NewTiDB(db)
	}
	if f.claimCheck != "" {
		files, err := objstore.OpenClaimCheck(ctx, config.SinkURI(f.claimCheck))
		if err != nil {
			return err
		}
		defer files.Close()
		o.Files = files
	}
	if f.downstream == "" {
		o.Target = consumer.NewPrint(os.Stdout)
		return consumer.Run(ctx, o)
	}
	db, err := consumer.OpenMySQL(f.downstream, options.TimeZone)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	ddl, err := openDDL(ctx, f.downstream, options, log)
	if err != nil {
		return err
	}
	defer ddl.Close()
	o.Target = consumer.NewMySQL(db, ddl, options.Protocol, func(ts uint64) {
		log.Debug("applied", zap.Uint64("resolvedTs", ts), zap.Time("time", model.TimeOf(ts)))
	})
	return consumer.Run(ctx, o)
}

// openDDL makes the MySQL sink, which knows how to repeat schema changes.
func openDDL(ctx context.Context, downstream string, o codec.Options, log *zap.Logger) (sink.Sink, error) {
	return factory.New(ctx, sink.Options{
		Changefeed: model.DefaultChangefeedID("cdc-consumer"),
		URI:        config.SinkURI(downstream),
		Config:     config.DefaultReplicaConfig(),
		TimeZone:   o.TimeZone,
		Logger:     log,
	})
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
