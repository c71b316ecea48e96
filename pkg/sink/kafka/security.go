package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tidemark/tidemark/pkg/config"
)

// saslOptions say how the client logs in. They hold secrets and print none.
type saslOptions struct {
	mechanism      sarama.SASLMechanism // "" is no login
	user, password string
	gssapi         sarama.GSSAPIConfig
	oauth          *clientcredentials.Config
	timeout        time.Duration // of asking for a token
}

// String keeps the secrets out of logs.
func (s saslOptions) String() string { return string(s.mechanism) }

// GoString keeps %#v from printing secrets.
func (s saslOptions) GoString() string { return s.String() }

func (o *options) readSecurity(p *params, kc *config.KafkaConfig) {
	if err := o.readTLS(p, kc); err != nil {
		p.fail(err)
	}
	if err := o.readSASL(p, kc); err != nil {
		p.fail(err)
	}
}

// readTLS loads the certificates. The scheme does not matter: TLS is on when
// it is asked for, or when certificates are given.
func (o *options) readTLS(p *params, kc *config.KafkaConfig) error {
	ca, cert, key := p.text("ca", kc.CA, ""), p.text("cert", kc.Cert, ""), p.text("key", kc.Key, "")
	all := ca != "" && cert != "" && key != ""
	if !all && ca+cert+key != "" {
		return fmt.Errorf("ca, cert and key files should all be supplied")
	}
	given := p.values.Get("enable-tls") != "" || kc.EnableTLS != nil
	on := p.boolean("enable-tls", kc.EnableTLS, false)
	if all && given && !on {
		return fmt.Errorf("credential files are supplied, but 'enable-tls' is set to false")
	}
	if !on && !all {
		return nil
	}
	o.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	o.tls.InsecureSkipVerify = p.boolean("insecure-skip-verify", kc.InsecureSkipVerify, false)
	if !all {
		return nil // the system's authorities
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	o.tls.RootCAs = x509.NewCertPool()
	if !o.tls.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: no certificate in %s", ca)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("cert and key: %w", err)
	}
	o.tls.Certificates = []tls.Certificate{pair}
	return nil
}

func (o *options) readSASL(p *params, kc *config.KafkaConfig) error {
	s := &o.sasl
	s.timeout = o.readTimeout
	s.user, s.password = p.text("sasl-user", kc.SASLUser, ""), p.text("sasl-password", kc.SASLPassword, "")
	word := p.text("sasl-mechanism", kc.SASLMechanism, "")
	switch m := sarama.SASLMechanism(strings.ToUpper(word)); m {
	case "", sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512,
		sarama.SASLTypeGSSAPI, sarama.SASLTypeOAuth:
		s.mechanism = m
	default:
		return fmt.Errorf("unknown %s SASL mechanism", word)
	}
	if s.mechanism == sarama.SASLTypeGSSAPI {
		return s.readGSSAPI(p, kc)
	}
	return s.readOAuth(kc)
}

func (s *saslOptions) readGSSAPI(p *params, kc *config.KafkaConfig) error {
	g := &s.gssapi
	switch word := p.text("sasl-gssapi-auth-type", kc.SASLGssAPIAuthType, ""); strings.ToUpper(word) {
	case "USER":
		g.AuthType = sarama.KRB5_USER_AUTH
	case "KEYTAB":
		g.AuthType = sarama.KRB5_KEYTAB_AUTH
	default:
		return fmt.Errorf("unknown %q auth type of GSSAPI", word)
	}
	g.KeyTabPath = p.text("sasl-gssapi-keytab-path", kc.SASLGssAPIKeytabPath, "")
	g.KerberosConfigPath = p.text("sasl-gssapi-kerberos-config-path", kc.SASLGssAPIKerberosConfigPath, "")
	g.ServiceName = p.text("sasl-gssapi-service-name", kc.SASLGssAPIServiceName, "")
	g.Username = p.text("sasl-gssapi-user", kc.SASLGssAPIUser, "")
	g.Password = p.text("sasl-gssapi-password", kc.SASLGssAPIPassword, "")
	g.Realm = p.text("sasl-gssapi-realm", kc.SASLGssAPIRealm, "")
	g.DisablePAFXFAST = p.boolean("sasl-gssapi-disable-pafxfast", kc.SASLGssAPIDisablePafxfast, false)
	return nil
}

// readOAuth is on as soon as one of its three main settings is there. They are
// in the configuration only, never in the URI.
func (s *saslOptions) readOAuth(kc *config.KafkaConfig) error {
	id, secret, tokenURL := textOf(kc.SASLOAuthClientID), textOf(kc.SASLOAuthClientSecret), textOf(kc.SASLOAuthTokenURL)
	if id+secret+tokenURL == "" {
		if s.mechanism == sarama.SASLTypeOAuth {
			return fmt.Errorf("OAuth2 client id, client secret and token url are required for OAUTHBEARER")
		}
		return nil
	}
	switch {
	case s.mechanism != sarama.SASLTypeOAuth:
		return fmt.Errorf("OAuth2 is only supported with SASL mechanism type OAUTHBEARER, but got %s", s.mechanism)
	case id == "" || secret == "" || tokenURL == "":
		return fmt.Errorf("OAuth2 client id, client secret and token url are all required")
	}
	plain, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return fmt.Errorf("OAuth2 client secret is not base64 encoded")
	}
	grant := textOf(kc.SASLOAuthGrantType)
	if grant == "" {
		grant = "client_credentials"
	}
	s.oauth = &clientcredentials.Config{
		ClientID: id, ClientSecret: string(plain), TokenURL: tokenURL, Scopes: kc.SASLOAuthScopes,
		EndpointParams: url.Values{"grant_type": {grant}},
	}
	if audience := textOf(kc.SASLOAuthAudience); audience != "" {
		s.oauth.EndpointParams.Set("audience", audience)
	}
	return nil
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// apply sets the login of a client up.
func (s *saslOptions) apply(c *sarama.Config) {
	if s.mechanism == "" {
		return
	}
	sasl := &c.Net.SASL
	sasl.Enable, sasl.Mechanism = true, s.mechanism
	sasl.User, sasl.Password = s.user, s.password
	switch s.mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
	case sarama.SASLTypeSCRAMSHA512:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }
	case sarama.SASLTypeGSSAPI:
		sasl.GSSAPI = s.gssapi
	case sarama.SASLTypeOAuth:
		// The source keeps a token until it expires, and the context its client.
		ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Timeout: s.timeout})
		sasl.TokenProvider = &tokenProvider{source: s.oauth.TokenSource(ctx)}
	}
}

// scramClient is one login by SCRAM.
type scramClient struct {
	hash scram.HashGeneratorFcn
	conv *scram.ClientConversation
}

// Begin starts a login.
func (c *scramClient) Begin(user, password, authzID string) error {
	client, err := c.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	c.conv = client.NewConversation()
	return nil
}

// Step answers a challenge of the broker.
func (c *scramClient) Step(challenge string) (string, error) { return c.conv.Step(challenge) }

// Done tells whether the login has come to its end.
func (c *scramClient) Done() bool { return c.conv.Done() }

// tokenProvider gives out bearer tokens.
type tokenProvider struct{ source oauth2.TokenSource }

// Token returns a token that is valid now; it fails when the token's server does.
func (t *tokenProvider) Token() (*sarama.AccessToken, error) {
	token, err := t.source.Token()
	if err != nil {
		return nil, fmt.Errorf("OAuth2 token: %w", err)
	}
	return &sarama.AccessToken{Token: token.AccessToken}, nil
}
