package cluster

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy passes TCP connections on to one address, until a test cuts it.
type Proxy struct {
	listener net.Listener
	target   atomic.Pointer[string]
	tasks    sync.WaitGroup

	mu    sync.Mutex
	cut   Cut
	conns map[net.Conn]struct{}
	// healed is closed when a silent cut ends.
	healed chan struct{}
}

// Cut is what is wrong with a network.
type Cut int

// The kinds of cuts: none; every byte is lost and nobody is told; connections
// are closed and new ones refused.
const (
	CutNone Cut = iota
	CutSilent
	CutRefuse
)

// NewProxy listens on a port of its own.
func NewProxy() (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, conns: map[net.Conn]struct{}{}}
	p.tasks.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// To says where connections go.
func (p *Proxy) To(addr string) { p.target.Store(&addr) }

// Set changes what is wrong. Connections of a time before a cut do not outlive
// its end: their bytes are lost.
func (p *Proxy) Set(cut Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == CutSilent {
		close(p.healed)
	}
	p.cut = cut
	if cut == CutSilent {
		p.healed = make(chan struct{})
		return
	}
	p.closeConns()
}

// Close ends the proxy and waits.
func (p *Proxy) Close() {
	p.Set(CutRefuse)
	_ = p.listener.Close()
	p.tasks.Wait()
}

func (p *Proxy) closeConns() {
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.track(c) {
			p.tasks.Go(func() { p.serve(c) })
		}
	}
}

// track notes a connection, which is closed when it must not be.
func (p *Proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == CutRefuse {
		_ = c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

const proxyDialTimeout = 5 * time.Second

func (p *Proxy) serve(c net.Conn) {
	defer p.drop(c)
	if !p.pass() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), proxyDialTimeout)
	defer cancel()
	out, err := (&net.Dialer{}).DialContext(ctx, "tcp", *p.target.Load())
	if err != nil || !p.track(out) {
		return
	}
	defer p.drop(out)
	var back sync.WaitGroup
	back.Go(func() { p.copy(c, out) })
	p.copy(out, c)
	back.Wait()
}

// copy moves bytes until one side ends, and then ends both.
func (p *Proxy) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !p.pass() {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// pass tells whether bytes may go through. In a silent cut it holds them until
// the cut ends, and then tells that they are lost.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	cut, healed := p.cut, p.healed
	p.mu.Unlock()
	if cut == CutSilent {
		<-healed
		return false
	}
	return cut == CutNone
}
