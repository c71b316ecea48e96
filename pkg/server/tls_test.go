package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/diagnosticspb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/upstream"
)

// certified returns files of a certificate, signed by itself, for a name.
func certified(t *testing.T, name string) *config.SecurityConfig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return &config.SecurityConfig{CAPath: cert, CertPath: cert, KeyPath: keyFile}
}

// TestTLS: HTTP and gRPC on a port with certificates that are for the
// advertised name alone. The capture reaches itself under another address.
func TestTLS(t *testing.T) {
	cfg := config.DefaultServerConfig()
	cfg.Addr, cfg.AdvertiseAddr = "127.0.0.1:0", "capture.example:8300"
	cfg.Security = certified(t, "capture.example")
	cfg.Security.MTLS, cfg.Security.CertAllowedCN = true, []string{"somebody"}
	cfg.LogFile = filepath.Join(t.TempDir(), "cdc.log")
	require.NoError(t, os.WriteFile(cfg.LogFile, []byte("[2026/01/02 03:04:05.678 +00:00] [INFO] [a.go:1] [hello]\n"), 0o600))
	s := New(Options{Config: cfg, Logger: zap.NewNop(), LogLevel: zap.NewAtomicLevel(), Registry: prometheus.NewRegistry()})
	listener, err := s.listen()
	require.NoError(t, err)
	s.upstream = &upstream.Upstream{} // nobody asks it anything
	front, err := s.serve(listener)
	require.NoError(t, err)
	defer front.stop()

	status := func(cfg *tls.Config) (int, string) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		resp, err := client.Get("https://" + s.Addr() + "/status")
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}
	peer := s.peers.Clone()
	_, text := status(peer)
	require.Contains(t, text, "x509", "the name is checked")
	peer.ServerName = "capture.example"
	code, text := status(peer)
	require.Equal(t, http.StatusInternalServerError, code)
	require.Equal(t, "[CDC:ErrCaptureNotInitialized]capture has not been initialized yet", text)
	nobody := peer.Clone()
	nobody.GetClientCertificate = nil
	code, _ = status(nobody)
	require.Zero(t, code, "without a certificate")

	conn, err := s.dialPeer(loopback(s.Addr()))
	require.NoError(t, err)
	defer conn.Close()
	stream, err := diagnosticspb.NewDiagnosticsClient(conn).SearchLog(t.Context(), &diagnosticspb.SearchLogRequest{})
	require.NoError(t, err)
	answer, err := stream.Recv()
	require.NoError(t, err)
	require.Len(t, answer.Messages, 1)

	s.client, err = certified(t, "capture.example").ClientTLS()
	require.NoError(t, err)
	_, err = s.dialTLS(t.Context(), s.Addr())
	require.ErrorContains(t, err, "signed by unknown authority")
}
