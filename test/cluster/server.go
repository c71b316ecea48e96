package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/tidemark/tidemark/pkg/freeport"
)

// Server is one `cdc server` process.
type Server struct {
	Addr string // host:port, where it listens
	// Advertised is the host:port by which the cluster knows it.
	Advertised string
	API        *API

	proc *process
	args []string
	log  string
}

// ServerOptions shape a server.
type ServerOptions struct {
	PD   string // http://host:port
	Dir  string // for data and logs
	Name string // distinguishes servers that share Dir; default "cdc"
	Via  *Proxy // if set, other captures reach the server through it
	Args []string
}

// StartServer starts a server and waits until it is healthy, which takes an
// elected owner.
func StartServer(ctx context.Context, o ServerOptions) (*Server, error) {
	if o.Name == "" {
		o.Name = "cdc"
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Addr: addr, Advertised: addr,
		API: NewAPI(addr),
		log: filepath.Join(o.Dir, o.Name+".log"),
		args: append([]string{
			"server", "--pd", o.PD, "--addr", addr,
			"--data-dir", filepath.Join(o.Dir, o.Name+"-data"),
		}, o.Args...),
	}
	if o.Via != nil {
		o.Via.To(addr)
		s.Advertised = o.Via.Addr()
		s.args = append(s.args, "--advertise-addr", s.Advertised)
	}
	return s, s.Start(ctx)
}

// Start starts the process, again after Kill or Stop.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Launch(); err != nil {
		return err
	}
	return s.WaitHealthy(ctx)
}

// Launch starts the process and does not wait for it to be healthy.
func (s *Server) Launch() error {
	bin, err := Binary("cdc")
	if err != nil {
		return err
	}
	s.proc, err = start("cdc server", s.log, nil, bin, s.args...)
	return err
}

// WaitHealthy waits until the health call succeeds; the error comes at once
// when the process ends.
func (s *Server) WaitHealthy(ctx context.Context) error {
	var ended error
	err := until(ctx, "healthy server", func() (bool, error) {
		if s.proc.exited() {
			ended = fmt.Errorf("cdc server ended: %v\n%s", s.proc.err, s.proc.tail())
			return true, nil
		}
		err := s.API.Health(ctx)
		return err == nil, err
	})
	return errors.Join(err, ended)
}

// Kill ends the process the hard way.
func (s *Server) Kill() { _ = s.proc.signal(syscall.SIGKILL, 10*time.Second) }

// Stop ends the process gracefully; the error tells that it did not obey.
func (s *Server) Stop() error { return s.proc.signal(syscall.SIGTERM, 20*time.Second) }

// Running tells whether the process runs; one that was stopped by SIGSTOP does.
func (s *Server) Running() bool { return !s.proc.exited() }

// ExitCode returns how the process ended, -1 while it runs or after a signal.
func (s *Server) ExitCode() int {
	if !s.proc.exited() {
		return -1
	}
	return s.proc.cmd.ProcessState.ExitCode()
}

// Signal sends a signal and does not wait.
func (s *Server) Signal(sig syscall.Signal) error { return s.proc.cmd.Process.Signal(sig) }

// LogPath is where the server's log lies.
func (s *Server) LogPath() string { return s.log }

// Usage returns what the process has used.
func (s *Server) Usage() (Usage, error) { return usage(s.proc.cmd.Process.Pid) }

// ResetPeak starts a new count of peak memory.
func (s *Server) ResetPeak() error { return resetPeak(s.proc.cmd.Process.Pid) }

func freeAddr() (string, error) {
	port, err := freeport.Find("127.0.0.1")
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
