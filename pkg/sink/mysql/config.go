package mysql

import (
	"crypto/tls"
	"crypto/x509"
	stderrors "errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
)

// Defaults and upper bounds of the sink's parameters.
const (
	defaultUser                  = "root"
	defaultPort                  = "4000"
	defaultWorkerCount           = 16
	maxWorkerCount               = 1024
	defaultMaxTxnRow             = 256
	upperMaxTxnRow               = 2048
	defaultMaxMultiUpdateRow     = 40
	upperMaxMultiUpdateRow       = 256
	defaultMaxMultiUpdateRowSize = 1024
	upperMaxMultiUpdateRowSize   = 8192
	defaultTimeout               = 2 * time.Minute

	txnModeOptimistic  = "optimistic"
	txnModePessimistic = "pessimistic"
)

// settings is the sink's configuration: URI parameters over the changefeed's
// mysql-config over defaults, checked and clamped.
type settings struct {
	host, port     string
	user, password string
	tls            *tls.Config // nil without TLS

	workerCount           int
	maxTxnRow             int // rows per downstream transaction and per statement
	maxMultiUpdateRow     int // rows per combined UPDATE
	maxMultiUpdateRowSize int // bytes; rows larger on average are not combined
	txnMode               string
	safeMode              bool
	batchDML              bool
	multiStmt             bool
	cachePrepStmts        bool
	hasVectorType         bool
	forceReplicate        bool
	splitTxn              bool // transaction-atomicity none

	readTimeout, writeTimeout, dialTimeout time.Duration

	// zone is the server's time zone, in which DDL is executed. With
	// downstreamZone the sessions keep the downstream's own zone instead.
	zone           *time.Location
	downstreamZone bool

	sourceID   uint64
	bdr        bool
	syncPoints syncPointSettings
	changefeed string // namespace/id
	fence      func() error

	warnings []string // about values that are replaced by others
}

// mayWrite is sink.Options.Fence.
func (s *settings) mayWrite() error {
	if s.fence == nil {
		return nil
	}
	return s.fence()
}

// parseSettings reads and checks everything that needs no connection. Errors
// are ErrSinkURIInvalid or ErrMySQLInvalidConfig and never hold secrets.
func parseSettings(o sink.Options) (*settings, error) {
	u, err := parseURI(o.URI)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.ErrMySQLInvalidConfig.Wrap(stderrors.New("the query of the sink uri does not parse"))
	}
	s := &settings{
		host: u.Hostname(), port: u.Port(), user: u.User.Username(),
		zone: o.TimeZone, sourceID: o.SourceID, changefeed: o.Changefeed.String(), fence: o.Fence,
	}
	s.password, _ = u.User.Password()
	if s.user == "" {
		s.user = defaultUser
	}
	if s.port == "" {
		s.port = defaultPort
	}
	if s.zone == nil {
		s.zone = time.UTC
	}
	var sc config.SinkConfig
	if o.Config != nil {
		s.forceReplicate = o.Config.ForceReplicate
		s.bdr = o.Config.BDRMode != nil && *o.Config.BDRMode
		s.readSyncPoints(o)
		if o.Config.Sink != nil {
			sc = *o.Config.Sink
		}
	}
	if err := s.read(&params{values: values}, &sc); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *settings) readSyncPoints(o sink.Options) {
	c := o.Config
	if c.EnableSyncPoint == nil || !*c.EnableSyncPoint {
		return
	}
	s.syncPoints = syncPointSettings{on: true, cluster: o.ClusterID, changefeed: o.Changefeed.ID}
	if c.SyncPointRetention != nil {
		s.syncPoints.retention = *c.SyncPointRetention
	}
}

// parseURI checks the URI as a whole. The parser's own error texts quote
// pieces of the URI, which may be of the password, so they are dropped.
func parseURI(uri config.SinkURI) (*url.URL, error) {
	if uri.Reveal() == "" {
		return nil, errors.ErrSinkURIInvalid.Msg("sink uri is empty")
	}
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return nil, errors.ErrSinkURIInvalid.Msg("sink uri does not parse: special characters in it must be percent-encoded")
	}
	if config.KindOfScheme(u.Scheme) != config.SinkMySQL {
		return nil, errors.ErrSinkURIInvalid.Msg("the sink scheme (%s) is not supported", u.Scheme)
	}
	if strings.Contains(u.Hostname(), ":") && (!strings.HasPrefix(u.Host, "[") || net.ParseIP(u.Hostname()) == nil) {
		return nil, errors.ErrSinkURIInvalid.Msg(
			"sink uri host is not valid IPv6 address, when using IPv6 address in URI, please use [ipv6-address]:port")
	}
	return u, nil
}

// statementTimeout bounds one statement of rows, and a DDL that should be quick.
func (s *settings) statementTimeout() time.Duration { return s.writeTimeout + 5*time.Second }

func (s *settings) read(p *params, sc *config.SinkConfig) error {
	mc := sc.MySQLConfig
	if mc == nil {
		mc = &config.MySQLConfig{}
	}
	s.workerCount = p.count("worker-count", mc.WorkerCount, defaultWorkerCount, 1, maxWorkerCount)
	s.maxTxnRow = p.count("max-txn-row", mc.MaxTxnRow, defaultMaxTxnRow, 1, upperMaxTxnRow)
	s.maxMultiUpdateRow = p.count("max-multi-update-row", mc.MaxMultiUpdateRowCount, defaultMaxMultiUpdateRow, 1, upperMaxMultiUpdateRow)
	s.maxMultiUpdateRowSize = p.count("max-multi-update-row-size", mc.MaxMultiUpdateRowSize, defaultMaxMultiUpdateRowSize, 0, upperMaxMultiUpdateRowSize)
	s.safeMode = p.boolean("safe-mode", sc.SafeMode, false)
	s.batchDML = p.boolean("batch-dml-enable", mc.EnableBatchDML, true)
	s.multiStmt = p.boolean("multi-stmt-enable", mc.EnableMultiStatement, true)
	s.cachePrepStmts = p.boolean("cache-prep-stmts", mc.EnableCachePreparedStatement, true)
	s.hasVectorType = p.boolean("has-vector-type", nil, false)
	s.readTimeout = p.duration("read-timeout", mc.ReadTimeout)
	s.writeTimeout = p.duration("write-timeout", mc.WriteTimeout)
	s.dialTimeout = p.duration("timeout", mc.Timeout)

	s.txnMode = p.text("tidb-txn-mode", mc.TiDBTxnMode, txnModeOptimistic)
	if s.txnMode != txnModePessimistic && s.txnMode != txnModeOptimistic {
		s.warnings = append(s.warnings, fmt.Sprintf("unknown tidb-txn-mode %q, %s is used", s.txnMode, txnModeOptimistic))
		s.txnMode = txnModeOptimistic
	}
	if p.err != nil {
		return errors.ErrMySQLInvalidConfig.Wrap(p.err)
	}
	if err := s.readAtomicity(p.text("transaction-atomicity", sc.TxnAtomicity, "")); err != nil {
		return err
	}
	if err := s.readZone(p, mc.TimeZone); err != nil {
		return err
	}
	return s.readTLS(p.text("ssl-ca", mc.SSLCa, ""), p.text("ssl-cert", mc.SSLCert, ""), p.text("ssl-key", mc.SSLKey, ""))
}

func (s *settings) readAtomicity(level string) error {
	switch level {
	case "", config.AtomicityNone:
		s.splitTxn = true
	case config.AtomicityTable:
	default:
		return errors.ErrSinkURIInvalid.Msg("%s level atomicity is not supported by mysql scheme", level)
	}
	return nil
}

// readZone applies the rule of time-zone: absent means the server's zone,
// empty the downstream's own; any other must be the server's, because a
// zone that differs from the one rows are rendered in would shift timestamps.
func (s *settings) readZone(p *params, fromConfig *string) error {
	name, given := p.lookup("time-zone", fromConfig)
	switch {
	case !given:
		return nil
	case name == "":
		s.downstreamZone = true
		return nil
	}
	loc, err := time.LoadLocation(name)
	if strings.EqualFold(name, "system") || strings.EqualFold(name, "local") {
		loc, err = time.Local, nil
	}
	if err != nil {
		return errors.ErrMySQLInvalidConfig.Wrap(fmt.Errorf("unknown time zone %q", name))
	}
	if zoneName(loc) != zoneName(s.zone) {
		return errors.ErrMySQLInvalidConfig.Wrap(fmt.Errorf(
			"the timezone of the TiCDC server and the sink-uri are inconsistent. TiCDC server timezone: %s, sink-uri timezone: %s. "+
				"Please make sure that the timezone of the TiCDC server, sink-uri and the downstream database are consistent",
			zoneName(s.zone), zoneName(loc)))
	}
	return nil
}

// zoneName is the IANA name of a zone, also of the system's zone, which Go
// calls "Local".
func zoneName(loc *time.Location) string {
	if loc != time.Local {
		return loc.String()
	}
	if tz := os.Getenv("TZ"); tz != "" {
		return strings.TrimPrefix(tz, ":")
	}
	if target, err := filepath.EvalSymlinks("/etc/localtime"); err == nil {
		if _, name, ok := strings.Cut(target, "zoneinfo/"); ok {
			switch name {
			case "Etc/UTC", "Etc/UCT", "UCT", "Universal", "Zulu", "Etc/Universal", "Etc/Zulu":
				return "UTC"
			}
			return name
		}
	}
	return "UTC"
}

// readTLS loads the certificates; TLS is on when a CA is given, whatever the
// scheme says.
func (s *settings) readTLS(ca, cert, key string) error {
	if ca == "" {
		return nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return errors.ErrMySQLInvalidConfig.Wrap(fmt.Errorf("ssl-ca: %w", err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return errors.ErrMySQLInvalidConfig.Wrap(fmt.Errorf("ssl-ca: no certificate in %s", ca))
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: s.host}
	if cert == "" && key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return errors.ErrMySQLInvalidConfig.Wrap(fmt.Errorf("ssl-cert and ssl-key: %w", err))
	}
	s.tls.Certificates = []tls.Certificate{pair}
	return nil
}

// params reads typed values of one URI query with a fallback from the
// configuration file. The first error is kept.
type params struct {
	values url.Values
	err    error
}

func (p *params) lookup(name string, fromConfig *string) (string, bool) {
	if p.values.Has(name) {
		return p.values.Get(name), true
	}
	if fromConfig != nil {
		return *fromConfig, true
	}
	return "", false
}

// text takes an empty parameter as absent.
func (p *params) text(name string, fromConfig *string, def string) string {
	if v := p.values.Get(name); v != "" {
		return v
	}
	if fromConfig != nil && *fromConfig != "" {
		return *fromConfig
	}
	return def
}

// count reads a number that must be at least low and is clamped to high.
func (p *params) count(name string, fromConfig *int, def, low, high int) int {
	n := def
	if fromConfig != nil {
		n = *fromConfig
	}
	if s := p.values.Get(name); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			p.fail("invalid %s %q, which must be an integer", name, s)
			return def
		}
	}
	if n < low {
		p.fail("invalid %s %d, which must be greater than %d", name, n, low-1)
		return def
	}
	return min(n, high)
}

func (p *params) boolean(name string, fromConfig *bool, def bool) bool {
	if s := p.values.Get(name); s != "" {
		b, err := strconv.ParseBool(s)
		if err != nil {
			p.fail("invalid %s %q, which must be true or false", name, s)
		}
		return b
	}
	if fromConfig != nil {
		return *fromConfig
	}
	return def
}

func (p *params) duration(name string, fromConfig *string) time.Duration {
	s := p.text(name, fromConfig, "")
	if s == "" {
		return defaultTimeout
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		p.fail("invalid %s %q, which must be a duration such as 2m", name, s)
		return defaultTimeout
	}
	return d
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}
