package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

var clusterIDPattern = regexp.MustCompile(`^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$`)

// SecurityConfig names the certificates of a capture and says whom it trusts.
type SecurityConfig struct {
	CAPath        string   `toml:"ca-path" json:"ca-path"`
	CertPath      string   `toml:"cert-path" json:"cert-path"`
	KeyPath       string   `toml:"key-path" json:"key-path"`
	CertAllowedCN []string `toml:"cert-allowed-cn" json:"cert-allowed-cn"`
	MTLS          bool     `toml:"mtls" json:"mtls"`
	// ClientUserRequired makes changing calls need HTTP Basic credentials of
	// one of ClientAllowedUser.
	ClientUserRequired bool     `toml:"client-user-required" json:"client-user-required"`
	ClientAllowedUser  []string `toml:"client-allowed-user" json:"client-allowed-user"`
}

// TLSEnabled tells whether ca, cert and key are all set.
func (s *SecurityConfig) TLSEnabled() bool {
	return s != nil && s.CAPath != "" && s.CertPath != "" && s.KeyPath != ""
}

func (s *SecurityConfig) validate() error {
	if s.ClientUserRequired && len(s.ClientAllowedUser) == 0 {
		return fmt.Errorf("client-allowed-user is empty when client-user-required is true")
	}
	return nil
}

// ServerTLS returns the listener's TLS configuration, nil when TLS is off.
// Certificate and key are read anew on each handshake, so that they can be
// rotated; the CA is read here.
func (s *SecurityConfig) ServerTLS() (*tls.Config, error) {
	cfg, roots, err := s.baseTLS()
	if cfg == nil || err != nil {
		return nil, err
	}
	cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() }
	cfg.ClientCAs = roots
	if s.MTLS || len(s.CertAllowedCN) > 0 {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if len(s.CertAllowedCN) > 0 {
		cfg.VerifyPeerCertificate, err = s.verifyCN()
	}
	return cfg, err
}

// PeerTLS returns the configuration for HTTP calls to other captures, nil when
// TLS is off: whoever answers has to have an allowed common name too.
func (s *SecurityConfig) PeerTLS() (*tls.Config, error) {
	cfg, err := s.ClientTLS()
	if cfg != nil && len(s.CertAllowedCN) > 0 {
		cfg.VerifyPeerCertificate, err = s.verifyCN()
	}
	return cfg, err
}

// ClientTLS returns the configuration for calls to PD, the stores and, over
// gRPC, other captures, nil when TLS is off.
func (s *SecurityConfig) ClientTLS() (*tls.Config, error) {
	cfg, roots, err := s.baseTLS()
	if cfg == nil || err != nil {
		return nil, err
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.certificate() }
	cfg.RootCAs = roots
	return cfg, nil
}

func (s *SecurityConfig) baseTLS() (*tls.Config, *x509.CertPool, error) {
	if !s.TLSEnabled() {
		return nil, nil, nil
	}
	ca, err := os.ReadFile(s.CAPath)
	if err != nil {
		return nil, nil, fmt.Errorf("read ca certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, nil, fmt.Errorf("ca certificate file %s holds no certificate", s.CAPath)
	}
	if _, err := s.certificate(); err != nil {
		return nil, nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12}, roots, nil
}

func (s *SecurityConfig) certificate() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(s.CertPath, s.KeyPath)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	return &cert, nil
}

// verifyCN accepts a verified chain that holds an allowed common name. The
// capture's own name is allowed too, so that captures trust each other.
func (s *SecurityConfig) verifyCN() (func([][]byte, [][]*x509.Certificate) error, error) {
	allowed := make([]string, 0, len(s.CertAllowedCN)+1)
	for _, cn := range s.CertAllowedCN {
		allowed = append(allowed, strings.TrimSpace(cn))
	}
	own, err := commonNameOf(s.CertPath)
	if err != nil {
		return nil, err
	}
	allowed = append(allowed, own)
	return func(_ [][]byte, chains [][]*x509.Certificate) error {
		for _, chain := range chains {
			for _, cert := range chain {
				if slices.Contains(allowed, cert.Subject.CommonName) {
					return nil
				}
			}
		}
		return fmt.Errorf("certificate authentication failed: the common name is not in cert-allowed-cn")
	}, nil
}

func commonNameOf(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("certificate file %s holds no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	return cert.Subject.CommonName, nil
}
