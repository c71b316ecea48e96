package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tidemark/tidemark/pkg/config"
)

// serverOptions is a checked command line.
type serverOptions struct {
	pd       []string
	config   *config.ServerConfig
	warnings []string
}

// serverRunner runs the server until a signal or an error ends it.
type serverRunner func(cmd *cobra.Command, o *serverOptions) error

// serverFlags are the values of the command line before they are merged with
// the configuration file.
type serverFlags struct {
	pd            string
	configFile    string
	certAllowedCN string
	sortDir       string
	config        *config.ServerConfig
}

func newServerCommand(run serverRunner) *cobra.Command {
	f := &serverFlags{config: config.DefaultServerConfig()}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Start a TiCDC capture server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := f.complete(cmd.Flags())
			if err != nil {
				return err
			}
			// From here on an error is none of usage.
			cmd.SilenceUsage = true
			for _, w := range o.warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "\x1b[93m[WARN] %s\x1b[0m\n", w)
			}
			return run(cmd, o)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *serverFlags) register(flags *pflag.FlagSet) {
	c := f.config
	flags.StringVar(&f.pd, "pd", "http://127.0.0.1:2379", "Set the PD endpoints to use. Use ',' to separate multiple PDs")
	flags.StringVar(&c.Addr, "addr", c.Addr, "Set the listening address")
	flags.StringVar(&c.AdvertiseAddr, "advertise-addr", c.AdvertiseAddr, "Set the advertise listening address for client communication")
	flags.StringVar(&f.configFile, "config", "", "Path of the configuration file")
	flags.StringVar(&c.DataDir, "data-dir", c.DataDir, "the path to the directory used to store TiCDC-generated data")
	flags.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "Set cdc cluster id")
	flags.Int64Var(&c.GCTTL, "gc-ttl", c.GCTTL, "CDC GC safepoint TTL duration, specified in seconds")
	flags.StringVar(&c.TZ, "tz", c.TZ, "Specify time zone of TiCDC cluster")
	flags.StringVar(&c.LogFile, "log-file", c.LogFile, "log file path")
	flags.StringVar(&c.LogLevel, "log-level", c.LogLevel, "log level (etc: debug|info|warn|error)")
	flags.StringVar(&c.Security.CAPath, "ca", "", "CA certificate path for TLS connection")
	flags.StringVar(&c.Security.CertPath, "cert", "", "Certificate path for TLS connection")
	flags.StringVar(&c.Security.KeyPath, "key", "", "Private key path for TLS connection")
	flags.StringVar(&f.certAllowedCN, "cert-allowed-cn", "", "Verify caller's identity (cert Common Name). Use ',' to separate multiple CN")

	flags.DurationVar(&c.OwnerFlushInterval, "owner-flush-interval", c.OwnerFlushInterval, "owner flushes changefeed status interval")
	flags.DurationVar(&c.ProcessorFlushInterval, "processor-flush-interval", c.ProcessorFlushInterval, "processor flushes task status interval")
	flags.StringVar(&f.sortDir, "sort-dir", "", "sorter's temporary file directory (ignored, use --data-dir)")
	for _, hidden := range []string{"owner-flush-interval", "processor-flush-interval", "sort-dir"} {
		if flag := flags.Lookup(hidden); flag != nil {
			flag.Hidden = true
		}
	}
}

// complete merges defaults, file and the flags that were given, in this
// order, and checks the result.
func (f *serverFlags) complete(flags *pflag.FlagSet) (*serverOptions, error) {
	c := config.DefaultServerConfig()
	if f.configFile != "" {
		if err := c.LoadFile(f.configFile); err != nil {
			return nil, err
		}
	}
	flags.Visit(func(flag *pflag.Flag) { f.override(c, flag.Name) })
	warnings, err := c.ValidateAndAdjust()
	if err != nil {
		return nil, err
	}
	if c.DeprecatedSortDirSet {
		warnings = append(warnings, "sort-dir is deprecated and ignored, please use `cdc server --data-dir` instead.")
	}
	if c.DataDir == "" {
		warnings = append(warnings, "TiCDC server data-dir is not set. Please use `cdc server --data-dir` to start the cdc server if possible.")
	} else {
		c.Sorter.SortDir = filepath.Join(c.DataDir, "tmp", "sorter")
	}
	pd, err := parsePD(f.pd, c.Security.TLSEnabled())
	if err != nil {
		return nil, err
	}
	return &serverOptions{pd: pd, config: c, warnings: warnings}, nil
}

// override takes one given flag over.
func (f *serverFlags) override(c *config.ServerConfig, name string) {
	from := f.config
	switch name {
	case "addr":
		c.Addr = from.Addr
	case "advertise-addr":
		c.AdvertiseAddr = from.AdvertiseAddr
	case "data-dir":
		c.DataDir = from.DataDir
	case "cluster-id":
		c.ClusterID = from.ClusterID
	case "gc-ttl":
		c.GCTTL = from.GCTTL
	case "tz":
		c.TZ = from.TZ
	case "log-file":
		c.LogFile = from.LogFile
	case "log-level":
		c.LogLevel = from.LogLevel
	case "ca":
		c.Security.CAPath = from.Security.CAPath
	case "cert":
		c.Security.CertPath = from.Security.CertPath
	case "key":
		c.Security.KeyPath = from.Security.KeyPath
	case "cert-allowed-cn":
		c.Security.CertAllowedCN = splitList(f.certAllowedCN)
	case "owner-flush-interval":
		c.OwnerFlushInterval = from.OwnerFlushInterval
	case "processor-flush-interval":
		c.ProcessorFlushInterval = from.ProcessorFlushInterval
	case "sort-dir":
		c.DeprecatedSortDirSet = true
	}
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// parsePD checks the PD endpoints: absolute URLs, https exactly with TLS.
func parsePD(text string, tls bool) ([]string, error) {
	if text == "" {
		return nil, fmt.Errorf("empty PD address")
	}
	scheme, other := "http", "https"
	if tls {
		scheme, other = other, scheme
	}
	var endpoints []string
	for _, ep := range splitList(text) {
		u, err := url.Parse(ep)
		switch {
		case err != nil || u.Host == "":
			return nil, fmt.Errorf("PD endpoint should be a valid http or https URL: %q", ep)
		case u.Scheme == other && tls:
			return nil, fmt.Errorf("PD endpoint scheme should be https, with certificates given: %q", ep)
		case u.Scheme == other:
			return nil, fmt.Errorf("PD endpoint scheme is https, please provide certificate: %q", ep)
		case u.Scheme != scheme:
			return nil, fmt.Errorf("PD endpoint scheme should be http or https: %q", ep)
		}
		endpoints = append(endpoints, ep)
	}
	return endpoints, nil
}
