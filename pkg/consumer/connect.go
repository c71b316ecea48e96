package consumer

import (
	"database/sql"
	"errors"
	"net/url"
	"strings"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
)

// OpenMySQL connects to the server of an address like
// mysql://user:password@host:port/, in sessions with the time zone of the
// messages and a sql_mode that takes whatever values the upstream has.
func OpenMySQL(address string, zone *time.Location) (*sql.DB, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address of a database is no URL") // the text may hold a password
	}
	c := gomysql.NewConfig()
	c.Net, c.Addr = "tcp", u.Host
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Collation = "utf8mb4_bin"
	c.InterpolateParams = true
	c.MaxAllowedPacket = 0 // as the server says
	c.Params = map[string]string{
		"time_zone":          "'" + ZoneOf(zone) + "'",
		"sql_mode":           "'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
		"foreign_key_checks": "0",
	}
	connector, err := gomysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// ZoneOf is the value of the session variable time_zone.
func ZoneOf(zone *time.Location) string {
	if zone == nil || zone == time.UTC {
		return "+00:00"
	}
	if zone == time.Local {
		return time.Now().Format("-07:00")
	}
	return strings.ReplaceAll(zone.String(), "'", "")
}
