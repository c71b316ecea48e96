package upstream

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// loginTimeout bounds the attempt to log in to one TiDB.
const loginTimeout = 2 * time.Second

// topologyPrefix is where each TiDB announces its address in PD's etcd.
const topologyPrefix = "/topology/tidb/"

var errNoTiDB = stderrors.New("no living TiDB server was found in the topology of the upstream")

// Logins checks the credentials of an upstream's users.
type Logins struct {
	etcd *clientv3.Client
	// dial logs in and out again. It fails with a mysql.MySQLError where the
	// server refuses.
	dial func(ctx context.Context, addr, user, password string) error
}

// NewLogins makes the check from a client of PD's etcd and the TLS
// configuration towards the upstream, nil for none. TiDB servers that speak no
// TLS are logged in to in plain; their protocol does not send the password.
func NewLogins(etcd *clientv3.Client, security *tls.Config) *Logins {
	return &Logins{etcd: etcd, dial: func(ctx context.Context, addr, user, password string) error {
		return logIn(ctx, addr, user, password, security)
	}}
}

// Check logs in to any TiDB that is alive. It fails with the server's reason
// when that refuses, and when no server answers.
func (l *Logins) Check(ctx context.Context, user, password string) error {
	addrs, err := l.servers(ctx)
	if err != nil {
		return err
	}
	last := errNoTiDB
	for _, addr := range addrs {
		last = l.try(ctx, addr, user, password)
		var refusal *mysql.MySQLError
		if last == nil || stderrors.As(last, &refusal) {
			return last
		}
	}
	return last
}

func (l *Logins) try(ctx context.Context, addr, user, password string) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	return l.dial(ctx, addr, user, password)
}

// servers lists the addresses of the TiDB servers that are alive: those whose
// lease keeps the key of their last heartbeat.
func (l *Logins) servers(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	resp, err := l.etcd.Get(ctx, topologyPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, kv := range resp.Kvs {
		addr, alive := strings.CutSuffix(strings.TrimPrefix(string(kv.Key), topologyPrefix), "/ttl")
		if alive {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

func logIn(ctx context.Context, addr, user, password string, security *tls.Config) error {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "tcp", addr, user, password
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = loginTimeout, loginTimeout, loginTimeout
	if security != nil {
		cfg.TLS, cfg.AllowFallbackToPlaintext = security.Clone(), true
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}
