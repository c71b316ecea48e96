package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	stderrors "errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/diagnosticspb"
	"github.com/pingcap/sysutil"
	"github.com/soheilhy/cmux"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/tidemark/tidemark/api"
)

// sniffTimeout is how long it is waited for the first bytes of a connection,
// which tell what it speaks; HTTP is assumed after that.
const sniffTimeout = 3 * time.Second

// keepaliveTime and keepaliveTimeout find streams between captures whose
// other end is gone without a word.
const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
)

// front is the one port: HTTP and gRPC, told apart by how a connection begins.
type front struct {
	logger *zap.Logger
	mux    cmux.CMux
	http   *http.Server
	grpc   *grpc.Server
	tasks  sync.WaitGroup
	failed chan error
}

// serve starts to answer on the listener.
func (s *Server) serve(listener net.Listener) (*front, error) {
	if s.tls != nil {
		listener = tls.NewListener(listener, s.tls)
	}
	f := &front{
		logger: s.logger, mux: cmux.New(listener),
		http: api.NewServer(api.NewHandler(s.apiOptions())),
		grpc: grpc.NewServer(
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
			grpc.MaxRecvMsgSize(s.o.Config.Debug.Messages.MaxRecvMsgSize),
		),
		failed: make(chan error, 3),
	}
	// A client may connect ahead of need and send nothing. Without a limit such
	// a connection would hold up an orderly stop for ever.
	f.mux.SetReadTimeout(sniffTimeout)
	s.hub.Register(f.grpc)
	// TiDB shows the log and the machine of every capture in its cluster tables.
	diagnosticspb.RegisterDiagnosticsServer(f.grpc, sysutil.NewDiagnosticsServer(s.o.Config.LogFile))
	grpcListener := f.mux.MatchWithWriters(cmux.HTTP2MatchHeaderFieldSendSettings("content-type", "application/grpc"))
	httpListener := api.LimitListener(f.mux.Match(cmux.Any()))
	f.start(func() error { return f.grpc.Serve(grpcListener) })
	f.start(func() error { return f.http.Serve(httpListener) })
	f.start(f.mux.Serve)
	s.logger.Info("http server is running", zap.String("addr", s.Addr()), zap.String("advertise-addr", s.advertiseAddr()))
	return f, nil
}

func (f *front) start(serve func() error) {
	f.tasks.Go(func() { f.failed <- serve() })
}

// wait returns when ctx ends, or with the error of a part that failed.
func (f *front) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-f.failed:
		return err
	}
}

// stop lets running requests end for a while and closes everything.
func (f *front) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), httpStopTimeout)
	defer cancel()
	if err := f.http.Shutdown(ctx); err != nil && !stderrors.Is(err, cmux.ErrListenerClosed) {
		f.logger.Info("requests were cut off by the stop", zap.Error(err))
	}
	_ = f.http.Close()
	f.grpc.Stop()
	f.mux.Close()
	f.tasks.Wait()
}

// dialPeer makes a connection to another capture's port. TLS is done by the
// dialer, because the listener offers no protocol negotiation, on which the
// gRPC client's own TLS insists.
func (s *Server) dialPeer(addr string) (*grpc.ClientConn, error) {
	size := s.o.Config.Debug.Messages.MaxRecvMsgSize
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(s.dialTLS),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(size)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		reconnectQuickly(),
	)
}

// reconnectQuickly keeps the pauses between attempts to connect short: a peer
// or a PD that comes back within the session's TTL has to be found before
// that is over.
func reconnectQuickly() grpc.DialOption {
	return grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: 3 * time.Second,
	})
}

func (s *Server) dialTLS(ctx context.Context, addr string) (net.Conn, error) {
	if s.client == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	cfg := s.client
	if addr == loopback(s.Addr()) {
		cfg = anyName(cfg)
	}
	return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
}

// anyName is for a capture's calls to itself: its certificate is for the name
// that it advertises, not for the address under which it reaches itself.
func anyName(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.InsecureSkipVerify = true // VerifyConnection does it, but for the name
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		others := x509.NewCertPool()
		for _, cert := range cs.PeerCertificates[1:] {
			others.AddCert(cert)
		}
		_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: c.RootCAs, Intermediates: others})
		return err
	}
	return c
}
