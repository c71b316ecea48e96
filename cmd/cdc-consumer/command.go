package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
)

// flags are what the command line says.
type flags struct {
	brokers       []string
	topics        []string
	pattern       string
	group         string
	protocol      string
	timeZone      string
	downstream    string
	upstream      string
	registry      string
	compression   string
	format        string
	extension     bool
	avroWatermark bool
	claimCheck    string
	rawValue      bool
	logLevel      string
}

// newCommand is the whole command; run does the work.
func newCommand(run func(ctx context.Context, f *flags) error) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "cdc-consumer",
		Short: "read the topics of a Kafka changefeed; print the changes or apply them to a database",
		Example: `  cdc-consumer --kafka 127.0.0.1:9092 --topic orders --protocol canal-json --enable-tidb-extension
  cdc-consumer --kafka 127.0.0.1:9092 --topic orders --protocol open-protocol --downstream mysql://root@127.0.0.1:3306/`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(c *cobra.Command, _ []string) error { return run(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringSliceVar(&f.brokers, "kafka", []string{"127.0.0.1:9092"}, "addresses of Kafka brokers")
	fs.StringSliceVar(&f.topics, "topic", nil, "topics to read")
	fs.StringVar(&f.pattern, "topic-pattern", "", "regular expression of topics to read, also those that are created later")
	fs.StringVar(&f.group, "group", "", "keep the positions in Kafka under this name; without it everything is read from the start")
	fs.StringVar(&f.protocol, "protocol", config.ProtocolCanalJSON, "protocol of the changefeed")
	fs.StringVar(&f.timeZone, "tz", "System", "time zone of the cdc server, in which timestamps are written")
	fs.StringVar(&f.downstream, "downstream", "", "mysql://user:password@host:port/ to apply the changes to; without it they are printed")
	fs.StringVar(&f.upstream, "upstream", "", "mysql://user:password@host:port/ of the upstream TiDB, for rows of which messages have the key only")
	fs.StringVar(&f.registry, "schema-registry", "", "address of the schema registry (protocol avro)")
	fs.StringVar(&f.compression, "large-message-compression", "none", "large-message-handle-compression of the changefeed")
	fs.StringVar(&f.claimCheck, "claim-check-storage-uri", "", "claim-check-storage-uri of the changefeed, for rows that lie in files")
	fs.BoolVar(&f.rawValue, "claim-check-raw-value", false, "claim-check-raw-value of the changefeed")
	fs.StringVar(&f.format, "encoding-format", "json", "encoding-format of the changefeed (protocol simple)")
	fs.BoolVar(&f.extension, "enable-tidb-extension", false, "enable-tidb-extension of the changefeed")
	fs.BoolVar(&f.avroWatermark, "avro-enable-watermark", false, "avro-enable-watermark of the changefeed")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// codecOptions are those of the changefeed, as far as a reader needs them.
func (f *flags) codecOptions() (codec.Options, error) {
	protocol, ok := config.CanonicalProtocol(f.protocol)
	if !ok {
		return codec.Options{}, fmt.Errorf("no such protocol: %s", f.protocol)
	}
	zone, err := f.zone()
	if err != nil {
		return codec.Options{}, err
	}
	o := codec.Options{
		Protocol:            protocol,
		TimeZone:            zone,
		EnableTiDBExtension: f.extension,
		SimpleFormat:        f.format,
	}
	o.LargeMessage.Compression = f.compression
	o.LargeMessage.RawValue = f.rawValue
	o.Avro.Registry = config.SinkURI(f.registry)
	o.Avro.EnableWatermark = f.avroWatermark
	return o, nil
}

func (f *flags) zone() (*time.Location, error) {
	if strings.EqualFold(f.timeZone, "system") {
		return time.Local, nil
	}
	return time.LoadLocation(f.timeZone)
}

// topicPattern is nil without one.
func (f *flags) topicPattern() (*regexp.Regexp, error) {
	if f.pattern == "" {
		if len(f.topics) == 0 {
			return nil, fmt.Errorf("--topic or --topic-pattern is required")
		}
		return nil, nil
	}
	return regexp.Compile("^(?:" + f.pattern + ")$")
}
