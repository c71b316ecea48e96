// Package playground runs a whole TiDB cluster for change data capture in one process: PD, a TiKV-compatible store,
// a TiDB server and captures. The parts speak to each other as in production, by gRPC, HTTP and the MySQL protocol.
package playground

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/tidemark/tidemark/pkg/playground/pd"
	"github.com/tidemark/tidemark/pkg/playground/tidb"
	"go.uber.org/zap"
)

// Version is what PD and TiKV claim to be; TiDB adds a "v".
const Version = "8.5.3"

// Options say what to start. Ports of 0 are chosen freely.
type Options struct {
	Host         string // to listen on
	PDPort       int
	KVPort       int
	DBPort       int
	DBStatusPort int
	CDCPort      int // of the first capture; the others count up
	Captures     int
	// DataDir keeps everything across restarts. It must exist and belong to one playground at a time.
	DataDir string
	Logger  *zap.Logger
	// RunCapture runs a capture until the context ends. Nil if there are none.
	RunCapture CaptureFunc
}

// Addrs are where the parts answer.
type Addrs struct {
	PD         string   `json:"pd"`   // http://host:port
	TiDB       string   `json:"tidb"` // host:port
	Downstream string   `json:"downstream"`
	CDC        []string `json:"cdc"`
}

// CaptureConfig is what a capture needs to know.
type CaptureConfig struct {
	PD      string // http://host:port
	Addr    string // host:port to listen on and to be reached by
	DataDir string
	Logger  *zap.Logger
}

// CaptureFunc runs one capture until the context ends. It returns nil then, or why it ended before.
type CaptureFunc func(ctx context.Context, c CaptureConfig) error

// Playground is a running cluster.
type Playground struct {
	opts  Options
	host  string // by which the parts are reached
	addrs Addrs
	log   *zap.Logger

	pd    *pd.Server
	store *plainStore
	tidb  *tidb.Server
	wg    sync.WaitGroup
}

// Start starts all parts and returns when they answer. The context bounds the start only.
func Start(ctx context.Context, o Options) (*Playground, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	p := &Playground{opts: o, host: advertisedHost(o.Host), log: o.Logger, addrs: Addrs{CDC: []string{}}}
	for _, start := range []func(context.Context) error{p.startPD, p.startStore, p.startTiDB} {
		if err := start(ctx); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

func (p *Playground) startPD(ctx context.Context) error {
	var err error
	p.pd, err = pd.Open(ctx, pd.Options{
		Addr: net.JoinHostPort(p.opts.Host, strconv.Itoa(p.opts.PDPort)), AdvertiseHost: p.host,
		DataDir: filepath.Join(p.opts.DataDir, "pd"), Version: Version, NoSync: true, Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.addrs.PD = p.pd.URL()
	return nil
}

func (p *Playground) startStore(ctx context.Context) error {
	port, err := portOrFree(p.opts.Host, p.opts.KVPort)
	if err != nil {
		return err
	}
	p.store, err = openPlain(net.JoinHostPort(p.host, strconv.Itoa(port)), filepath.Join(p.opts.DataDir, "kv"), p.pd)
	if err != nil {
		return err
	}
	p.pd.Attach(p.store, p.store)
	return nil
}

func (p *Playground) startTiDB(ctx context.Context) error {
	port, err := portOrFree(p.opts.Host, p.opts.DBPort)
	if err != nil {
		return err
	}
	statusPort, err := portOrFree(p.opts.Host, p.opts.DBStatusPort)
	if err != nil {
		return err
	}
	p.tidb, err = tidb.Start(ctx, tidb.Options{
		PDAddr: p.pd.URL()[len("http://"):], Host: p.opts.Host, Advertise: p.host, Port: port, StatusPort: statusPort,
		DataDir: filepath.Join(p.opts.DataDir, "tidb"), Version: "v" + Version, Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.addrs.TiDB = p.tidb.Addr()
	return nil
}

// Addrs returns where the parts answer.
func (p *Playground) Addrs() Addrs { return p.addrs }

// Close ends all parts in the reverse order of their start.
func (p *Playground) Close() error {
	var errs []error
	if p.tidb != nil {
		errs = append(errs, p.tidb.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.stop())
	}
	if p.pd != nil {
		p.pd.Close()
	}
	return errors.Join(errs...)
}

// advertisedHost returns a host that clients can dial when the parts listen on all of them.
func advertisedHost(host string) string {
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return host
	}
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
				return n.IP.String()
			}
		}
	}
	return "127.0.0.1"
}

// portOrFree returns the port, or one that nobody listens on when it is 0.
func portOrFree(host string, port int) (int, error) {
	if port != 0 {
		return port, nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
