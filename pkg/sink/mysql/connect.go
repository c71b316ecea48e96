package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	stderrors "errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	gomysql "github.com/go-sql-driver/mysql"

	"github.com/tidemark/tidemark/pkg/errors"
)

// The sql_mode of the sessions. It is strict, so that no value is cut
// silently, but accepts everything that the upstream may hold: zero and
// invalid dates, and 0 in an auto-increment column.
const sqlModeStrict = "'STRICT_TRANS_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'"

// sqlModeLax is for the rare rows that strict mode refuses although the
// upstream holds them, such as the empty value of an enum.
const sqlModeLax = "'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'"

var tidbRelease = regexp.MustCompile(`(?:Release Version: |TiDB-)v(\d+)\.(\d+)`)

// server is what was learned of the downstream when it was first connected.
type server struct {
	isTiDB        bool
	jsonType      bool // JSON is a type of its own, not text as in MariaDB
	major, minor  int  // of TiDB; 0 if unknown
	maxPacket     int  // bytes, max_allowed_packet
	maxPrepared   int  // max_prepared_stmt_count, -1 if unknown
	vars          map[string]string
	writeSource   bool // knows tidb_cdc_write_source
	hasGBK        bool
	zoneSupported bool // the server knows the configured zone by name
}

// supportsVector tells TiDB servers that have the VECTOR type.
func (s *server) supportsVector() bool {
	return s.isTiDB && (s.major > 8 || s.major == 8 && s.minor >= 4)
}

// optionalVars are session variables that are set where they exist.
func (s *settings) optionalVars() map[string]string {
	return map[string]string{
		"allow_auto_random_explicit_insert": "1",
		"tidb_txn_mode":                     "'" + s.txnMode + "'",
		"tidb_placement_mode":               "'ignore'",
		"tidb_enable_external_ts_read":      "OFF",
		"tidb_cdc_write_source":             strconv.FormatUint(s.sourceID, 10),
	}
}

// baseConfig has what every connection needs, before the server is known.
func (s *settings) baseConfig() *gomysql.Config {
	c := gomysql.NewConfig()
	c.User, c.Passwd = s.user, s.password
	c.Net, c.Addr = "tcp", s.address()
	c.Collation = "utf8mb4_bin"
	c.TLS = s.tls
	c.Timeout, c.ReadTimeout, c.WriteTimeout = s.dialTimeout, s.readTimeout, s.writeTimeout
	c.MultiStatements = true
	c.InterpolateParams = true
	return c
}

// sessionVars are set on every connection. A variable given with its value
// here reaches the server in the one SET statement that opens a session.
func (s *settings) sessionVars(sv *server) map[string]string {
	vars := map[string]string{"autocommit": "1", "foreign_key_checks": "0", "sql_mode": sqlModeStrict}
	for _, name := range []string{"transaction_isolation", "tx_isolation"} {
		if _, ok := sv.vars[name]; ok {
			vars[name] = "'READ-COMMITTED'"
			break
		}
	}
	for name, value := range s.optionalVars() {
		if _, ok := sv.vars[name]; ok {
			vars[name] = value
		}
	}
	return vars
}

// rowConnector makes the connections of the workers. Timestamps travel in
// UTC, which has no ambiguous hours, unless the user wants them read in the
// downstream's own zone.
func (s *settings) rowConnector(sv *server) (driver.Connector, error) {
	c := s.baseConfig()
	c.MaxAllowedPacket = sv.maxPacket
	c.Params = s.sessionVars(sv)
	if !s.downstreamZone {
		c.Params["time_zone"] = "'+00:00'"
	}
	return gomysql.NewConnector(c)
}

// rowZone is the zone in which the workers render timestamps.
func (s *settings) rowZone() *time.Location {
	if s.downstreamZone {
		return s.zone
	}
	return time.UTC
}

// ddlConnector makes the connections for DDL. They wait for as long as a
// statement takes: the context bounds it, not the read timeout. New databases
// get TiDB's default collation where the statement names none.
func (s *settings) ddlConnector(sv *server) (driver.Connector, error) {
	c := s.baseConfig()
	c.MaxAllowedPacket = sv.maxPacket
	c.ReadTimeout = 0
	c.Params = maps.Clone(s.sessionVars(sv))
	if !sv.isTiDB {
		c.Params["collation_server"] = "'utf8mb4_bin'"
	}
	if !s.downstreamZone {
		c.Params["time_zone"] = "'" + s.zoneParam(sv) + "'"
	}
	return gomysql.NewConnector(c)
}

// zoneParam is the time_zone value for DDL: the zone's name where the server
// knows it, else its present offset.
func (s *settings) zoneParam(sv *server) string {
	if s.zone == time.UTC {
		return "+00:00"
	}
	if sv.zoneSupported {
		return zoneName(s.zone)
	}
	_, offset := time.Now().In(s.zone).Zone()
	sign := '+'
	if offset < 0 {
		sign, offset = '-', -offset
	}
	return fmt.Sprintf("%c%02d:%02d", sign, offset/3600, offset/60%60)
}

// connect logs in, learns what the downstream is and checks that it can do what
// it is needed for.
func connect(ctx context.Context, s *settings) (*server, error) {
	sv, err := login(ctx, s)
	if err != nil {
		return nil, err
	}
	return sv, s.suits(sv)
}

// suits refuses a downstream that lacks what the changefeed cannot do without.
func (s *settings) suits(sv *server) error {
	switch {
	case s.syncPoints.on && !sv.isTiDB:
		return errors.ErrSinkURIInvalid.Msg("sync points need TiDB downstream, which %s is not", s.address())
	case s.bdr && !sv.writeSource:
		return errors.ErrSinkURIInvalid.Msg(
			"BDR mode needs TiDB v6.5 or later downstream: %s has no variable tidb_cdc_write_source", s.address())
	}
	return nil
}

func (s *settings) address() string { return net.JoinHostPort(s.host, s.port) }

// login connects and looks around. A password that is refused and is valid
// base64 is tried decoded, and then kept so.
func login(ctx context.Context, s *settings) (*server, error) {
	sv, err := s.inspect(ctx)
	var denied *gomysql.MySQLError
	if stderrors.As(err, &denied) && denied.Number == errAccessDenied {
		plain, decErr := base64.StdEncoding.DecodeString(s.password)
		if decErr == nil && len(plain) > 0 && utf8.Valid(plain) {
			refused := s.password
			s.password = string(plain)
			if sv, again := s.inspect(ctx); again == nil {
				return sv, nil
			}
			s.password = refused
		}
	}
	if err != nil {
		return nil, connectionError(err)
	}
	return sv, nil
}

func connectionError(err error) error { return errors.ErrMySQLConnectionError.Wrap(err) }

func (s *settings) inspect(ctx context.Context) (*server, error) {
	connector, err := gomysql.NewConnector(s.baseConfig())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()

	sv := &server{vars: map[string]string{}}
	if err := sv.readRelease(ctx, conn); err != nil {
		return nil, err
	}
	if err := sv.readVariables(ctx, conn, s); err != nil {
		return nil, err
	}
	if err := sv.readCharsets(ctx, conn); err != nil {
		return nil, err
	}
	if s.zone != time.UTC && !s.downstreamZone {
		_, err := conn.ExecContext(ctx, "SET time_zone = '"+strings.ReplaceAll(zoneName(s.zone), "'", "")+"'")
		if isConnectionError(err) {
			return nil, err
		}
		sv.zoneSupported = err == nil
	}
	return sv, nil
}

// readRelease finds out what the server is: TiDB by a function that only TiDB has.
func (sv *server) readRelease(ctx context.Context, conn *sql.Conn) error {
	var text string
	err := conn.QueryRowContext(ctx, "SELECT tidb_version()").Scan(&text)
	switch {
	case err == nil:
		sv.isTiDB = true
	case isConnectionError(err):
		return err
	}
	var version string
	if err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return err
	}
	sv.jsonType = !strings.Contains(version, "MariaDB")
	if m := tidbRelease.FindStringSubmatch(text); m != nil {
		sv.major, _ = strconv.Atoi(m[1])
		sv.minor, _ = strconv.Atoi(m[2])
	}
	return nil
}

func (sv *server) readVariables(ctx context.Context, conn *sql.Conn, s *settings) error {
	names := []string{"transaction_isolation", "tx_isolation", "max_prepared_stmt_count"}
	for name := range s.optionalVars() {
		names = append(names, name)
	}
	rows, err := conn.QueryContext(ctx, "SHOW VARIABLES WHERE Variable_name IN ('"+strings.Join(names, "','")+"')")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		sv.vars[strings.ToLower(name)] = value
	}
	if err := rows.Err(); err != nil {
		return err
	}
	_, sv.writeSource = sv.vars["tidb_cdc_write_source"]
	sv.maxPrepared = -1
	if n, err := strconv.Atoi(sv.vars["max_prepared_stmt_count"]); err == nil {
		sv.maxPrepared = n
	}
	return conn.QueryRowContext(ctx, "SELECT @@global.max_allowed_packet").Scan(&sv.maxPacket)
}

func (sv *server) readCharsets(ctx context.Context, conn *sql.Conn) error {
	var name string
	err := conn.QueryRowContext(ctx,
		"SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = 'gbk'").Scan(&name)
	if err != nil && isConnectionError(err) {
		return err
	}
	sv.hasGBK = err == nil
	return nil
}
