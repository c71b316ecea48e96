package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority issues certificates into a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, name), block, 0o600))
}

// issue makes a certificate for a common name.
func (a *authority) issue(t *testing.T, cn string) *SecurityConfig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	a.write(t, cn+".pem", "CERTIFICATE", der)
	a.write(t, cn+".key", "EC PRIVATE KEY", keyDER)
	return &SecurityConfig{
		CAPath:   filepath.Join(a.dir, "ca.pem"),
		CertPath: filepath.Join(a.dir, cn+".pem"),
		KeyPath:  filepath.Join(a.dir, cn+".key"),
	}
}

// handshake connects a client to a server and returns what the server says.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	b, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	a, err := listener.Accept()
	require.NoError(t, err)
	defer a.Close()
	done := make(chan error, 1)
	go func() {
		defer b.Close()
		c := tls.Client(b, client)
		if err := c.Handshake(); err == nil {
			_, _ = c.Read(make([]byte, 1))
		}
	}()
	go func() { done <- tls.Server(a, server).Handshake() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("no handshake")
		return nil
	}
}

func TestTLSIsOffWithoutAllThree(t *testing.T) {
	for _, s := range []*SecurityConfig{nil, {}, {CAPath: "a", CertPath: "b"}} {
		require.False(t, s.TLSEnabled())
	}
	cfg, err := (&SecurityConfig{CAPath: "a"}).ServerTLS()
	require.NoError(t, err)
	require.Nil(t, cfg)
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	server, client := ca.issue(t, "server"), ca.issue(t, "client")
	clientTLS, err := client.ClientTLS()
	require.NoError(t, err)
	clientTLS.ServerName = "localhost"
	nameless := clientTLS.Clone()
	nameless.GetClientCertificate = nil

	tests := []struct {
		name   string
		change func(*SecurityConfig)
		client *tls.Config
		ok     bool
	}{
		{"server side only", func(*SecurityConfig) {}, nameless, true},
		{"mutual", func(s *SecurityConfig) { s.MTLS = true }, clientTLS, true},
		{"mutual without certificate", func(s *SecurityConfig) { s.MTLS = true }, nameless, false},
		{"allowed name", func(s *SecurityConfig) { s.CertAllowedCN = []string{" client "} }, clientTLS, true},
		{"other name", func(s *SecurityConfig) { s.CertAllowedCN = []string{"somebody"} }, clientTLS, false},
		{"old version", func(*SecurityConfig) {}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := *server
			tt.change(&s)
			cfg, err := s.ServerTLS()
			require.NoError(t, err)
			err = handshake(t, cfg, tt.client)
			require.Equal(t, tt.ok, err == nil, "%v", err)
		})
	}

	own := *server
	own.CertAllowedCN = []string{"somebody"}
	cfg, err := own.ServerTLS()
	require.NoError(t, err)
	peer, err := server.ClientTLS()
	require.NoError(t, err)
	peer.ServerName = "localhost"
	require.NoError(t, handshake(t, cfg, peer), "captures trust each other")

	caller := *client
	for _, tt := range []struct {
		allowed []string
		ok      bool
	}{{nil, true}, {[]string{" server"}, true}, {[]string{"somebody"}, false}} {
		caller.CertAllowedCN = tt.allowed
		cfg, err := caller.PeerTLS()
		require.NoError(t, err)
		cfg.ServerName = "localhost"
		answering, err := server.ServerTLS()
		require.NoError(t, err)
		answering.MaxVersion = tls.VersionTLS12 // there the server's handshake waits for the client's verdict
		err = handshake(t, answering, cfg)
		require.Equal(t, tt.ok, err == nil, "%v: %v", tt.allowed, err)
	}

	require.NoError(t, os.Remove(server.CertPath))
	_, err = server.ServerTLS()
	require.Error(t, err)
	require.NoError(t, os.WriteFile(server.CAPath, []byte("nothing"), 0o600))
	_, err = server.ServerTLS()
	require.ErrorContains(t, err, "holds no certificate")
}
