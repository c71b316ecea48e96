// Package playground runs a whole TiDB cluster for change data capture in one process: PD, a TiKV-compatible store,
// a TiDB server and captures. The parts speak to each other as in production, by gRPC, HTTP and the MySQL protocol.
package playground

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/freeport"
	"github.com/tidemark/tidemark/pkg/playground/kv"
	"github.com/tidemark/tidemark/pkg/playground/pd"
	"github.com/tidemark/tidemark/pkg/playground/tidb"
)

// Version is what PD and TiKV claim to be; TiDB adds a "v".
const Version = "8.5.3"

// Options say what to start. A port of 0 is chosen freely.
type Options struct {
	Host         string // to listen on
	PDPort       int
	KVPort       int
	DBPort       int
	DBStatusPort int
	CDCPort      int // of the first capture; the others count up
	Captures     int
	// DataDir keeps everything across restarts. It must exist; only one playground at a time may use it.
	DataDir string
	Logger  *zap.Logger
	// RunCapture runs the captures. It may be nil when there are none.
	RunCapture CaptureFunc
	// Downstream is a command that runs a playground without captures, see Child. Its TiDB becomes the downstream.
	// Nil starts none.
	Downstream *exec.Cmd
}

// Addrs are where the parts answer.
type Addrs struct {
	PD         string   `json:"pd"`         // http://host:port
	TiDB       string   `json:"tidb"`       // host:port
	Downstream string   `json:"downstream"` // host:port, "" when there is none
	CDC        []string `json:"cdc"`        // host:port
	// DownstreamPD is the downstream's own PD: http://host:port, "" when there is none.
	DownstreamPD string `json:"downstream_pd"`
}

// Playground is a running cluster.
type Playground struct {
	opts  Options
	host  string // by which the parts are reached
	addrs Addrs
	log   *zap.Logger

	lock       *dirLock
	pd         *pd.Server
	store      *kv.Store
	tidb       *tidb.Server
	captures   []*capture
	downstream *Child

	// life ends with Close, and with it what runs in the background.
	life     context.Context
	stop     context.CancelFunc
	mu       sync.Mutex // no goroutine starts once life has ended
	wg       sync.WaitGroup
	restart  sync.Mutex // one restart of PD at a time
	failures chan error // of parts that end by themselves; the first is kept
}

// Start starts all parts and returns when they answer. The context bounds the start only.
func Start(ctx context.Context, o Options) (*Playground, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	p := &Playground{
		opts: o, host: advertisedHost(o.Host), log: o.Logger, addrs: Addrs{CDC: []string{}},
		failures: make(chan error, 1),
	}
	p.life, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Playground) start(ctx context.Context) (err error) {
	if p.lock, err = lockDir(p.opts.DataDir); err != nil {
		return err
	}
	// The downstream is a process of its own and takes as long as the rest.
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.startDownstream(ctx) })
	group.Go(func() error {
		for _, start := range []func(context.Context) error{p.startPD, p.startStore, p.startTiDB, p.startCaptures} {
			if err := start(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

func (p *Playground) startPD(ctx context.Context) error {
	var err error
	p.pd, err = pd.Open(ctx, pd.Options{
		Addr:          address(p.opts.Host, p.opts.PDPort),
		AdvertiseHost: p.host,
		DataDir:       filepath.Join(p.opts.DataDir, "pd"),
		Version:       Version,
		NoSync:        true,
		Handlers:      map[string]http.Handler{controlPath: p.controlHandler()},
		Logger:        p.log,
	})
	if err != nil {
		return err
	}
	p.addrs.PD = p.pd.URL()
	return nil
}

func (p *Playground) startStore(ctx context.Context) error {
	var err error
	p.store, err = kv.Open(ctx, kv.Options{
		Addr:      address(p.host, p.opts.KVPort),
		DataDir:   filepath.Join(p.opts.DataDir, "kv"),
		ClusterID: p.pd.ClusterID(),
		TSO:       p.pd.TSO,
		AllocID:   p.pd.AllocID,
		Version:   Version,
		Logger:    p.log,
	})
	if err != nil {
		return err
	}
	view := storeView{p.store}
	p.pd.Attach(view, view)
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
	// A TiDB that was killed would hold the ownership of DDL for another minute.
	if err := p.pd.EndLeases(ctx, "/tidb/", "/tidb/cdc/"); err != nil {
		return err
	}
	p.tidb, err = tidb.Start(ctx, tidb.Options{
		PDAddr:     strings.TrimPrefix(p.pd.URL(), "http://"),
		Host:       p.opts.Host,
		Advertise:  p.host,
		Port:       port,
		StatusPort: statusPort,
		DataDir:    filepath.Join(p.opts.DataDir, "tidb"),
		Version:    "v" + Version,
		Logger:     p.log,
	})
	if err != nil {
		return err
	}
	p.addrs.TiDB = p.tidb.Addr()
	p.watch("TiDB", p.tidb.Done(), func() error { return errors.New("the server ended") })
	return nil
}

func (p *Playground) startDownstream(ctx context.Context) error {
	if p.opts.Downstream == nil {
		return nil
	}
	var err error
	if p.downstream, err = StartChild(ctx, p.opts.Downstream); err != nil {
		return fmt.Errorf("playground: downstream: %w", err)
	}
	down := p.downstream.Addrs()
	p.addrs.Downstream, p.addrs.DownstreamPD = down.TiDB, down.PD
	p.watch("downstream", p.downstream.Done(), p.downstream.Err)
	return nil
}

// watch reports the end of a part that nobody asked to end.
func (p *Playground) watch(name string, done <-chan struct{}, why func() error) {
	p.background(func() {
		select {
		case <-p.life.Done():
		case <-done:
			p.fail(name, why())
		}
	})
}

// background runs something that Close waits for.
func (p *Playground) background(run func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() == nil {
		p.wg.Go(run)
	}
}

func (p *Playground) fail(name string, err error) {
	select {
	case p.failures <- fmt.Errorf("playground: %s: %w", name, err):
	default:
	}
}

// Addrs returns where the parts answer.
func (p *Playground) Addrs() Addrs { return p.addrs }

// Wait returns nil when the context ends, and an error when a part has ended by itself.
func (p *Playground) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failures:
		return err
	}
}

// Close ends all parts, each before those that it needs. It may be called for a playground that is half started.
func (p *Playground) Close() error {
	p.mu.Lock()
	p.stop()
	p.mu.Unlock()
	for _, c := range p.captures {
		c.stop()
	}
	p.wg.Wait()
	var errs []error
	if p.downstream != nil {
		errs = append(errs, p.downstream.Close())
	}
	if p.tidb != nil {
		errs = append(errs, p.tidb.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.pd != nil {
		p.pd.Close()
	}
	if p.lock != nil {
		errs = append(errs, p.lock.release())
	}
	return errors.Join(errs...)
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

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
	port, err := freeport.Find(host)
	if err != nil {
		return 0, fmt.Errorf("playground: %w", err)
	}
	return port, nil
}
