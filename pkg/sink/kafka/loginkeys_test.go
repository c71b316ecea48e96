package kafka

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

// noting keeps what is written to a connection.
type noting struct {
	net.Conn
	mu   *sync.Mutex
	into *[]byte
}

func (c noting) Write(b []byte) (int, error) {
	c.mu.Lock()
	*c.into = append(*c.into, b...)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// TestClientID: requests carry the configured name.
func TestClientID(t *testing.T) {
	c := newCluster(t, 1, 1)
	for file, want := range map[string]string{
		"": "TiCDC_producer_127.0.0.1_8300_default_test",
		"[sink.kafka-config]\nkafka-client-id = 'somebody'\n": "somebody",
	} {
		o, err := parseOptions(fileOptions(t, c, "protocol=canal-json", file))
		require.NoError(t, err)
		var mu sync.Mutex
		var sent []byte
		o.wrapConn = func(conn net.Conn) net.Conn { return noting{conn, &mu, &sent} }
		cluster, err := connect(t.Context(), o, zap.NewNop())
		require.NoError(t, err)
		require.NoError(t, cluster.Close())
		// Size, request, version, number, then the name with its length.
		mu.Lock()
		at := 4 + 2 + 2 + 4
		length := int(binary.BigEndian.Uint16(sent[at:]))
		require.Equal(t, want, string(sent[at+2:at+2+length]))
		mu.Unlock()
	}
}

// TestTimeouts: a connection ends with the first step that takes too long.
func TestTimeouts(t *testing.T) {
	c := newCluster(t, 1, 1)
	for _, key := range []string{"dial-timeout", "read-timeout", "write-timeout"} {
		t.Run(key, func(t *testing.T) {
			for value, ok := range map[string]bool{"1ns": false, "1h": true} {
				file := fmt.Sprintf("[sink.kafka-config]\n%s = '%s'\n", key, value)
				err := Probe(t.Context(), fileOptions(t, c, "protocol=canal-json", file))
				require.Equal(t, ok, err == nil, "%s: %v", value, err)
			}
		})
	}
}

// TestLoginKeys: a broker lets in whom the file names, and nobody else.
func TestLoginKeys(t *testing.T) {
	c := newCluster(t, 1, 1, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "me", "secret"))
	good := map[string]string{"sasl-user": "me", "sasl-password": "secret", "sasl-mechanism": "scram-sha-256"}
	login := func(change, value string) error {
		file := "[sink.kafka-config]\nread-timeout = '5s'\n"
		for key, v := range good {
			if key == change {
				v = value
			}
			file += fmt.Sprintf("%s = '%s'\n", key, v)
		}
		return Probe(t.Context(), fileOptions(t, c, "protocol=canal-json", file))
	}
	require.NoError(t, login("", ""))
	for key, other := range map[string]string{"sasl-user": "you", "sasl-password": "guess", "sasl-mechanism": "scram-sha-512"} {
		t.Run(key, func(t *testing.T) {
			err := login(key, other)
			require.Equal(t, errors.ErrKafkaNewProducer.Text(), errors.CodeOf(err))
			require.NotContains(t, err.Error(), "guess")
		})
	}
}

// TestKerberosKeys: every key reaches the client that speaks with Kerberos.
func TestKerberosKeys(t *testing.T) {
	gssapi := func(more string) sarama.GSSAPIConfig {
		file := "[sink.kafka-config]\nsasl-mechanism = 'GSSAPI'\n"
		if !strings.HasPrefix(more, "sasl-gssapi-auth-type") {
			file += "sasl-gssapi-auth-type = 'USER'\n"
		}
		for _, key := range []string{"kerberos-config-path", "service-name", "user", "password", "realm", "keytab-path"} {
			if !strings.HasPrefix(more, "sasl-gssapi-"+key) {
				file += "sasl-gssapi-" + key + " = 'unchanged'\n"
			}
		}
		o, err := parseOptions(fileOptions(t, newCluster(t, 1, 1), "protocol=canal-json", file+more))
		require.NoError(t, err)
		client, err := o.client()
		require.NoError(t, err)
		return client.Net.SASL.GSSAPI
	}
	for key, tc := range map[string]struct {
		value string
		want  func(*sarama.GSSAPIConfig)
	}{
		"sasl-gssapi-auth-type":            {"'keytab'", func(c *sarama.GSSAPIConfig) { c.AuthType = sarama.KRB5_KEYTAB_AUTH }},
		"sasl-gssapi-keytab-path":          {"'x'", func(c *sarama.GSSAPIConfig) { c.KeyTabPath = "x" }},
		"sasl-gssapi-kerberos-config-path": {"'x'", func(c *sarama.GSSAPIConfig) { c.KerberosConfigPath = "x" }},
		"sasl-gssapi-service-name":         {"'x'", func(c *sarama.GSSAPIConfig) { c.ServiceName = "x" }},
		"sasl-gssapi-user":                 {"'x'", func(c *sarama.GSSAPIConfig) { c.Username = "x" }},
		"sasl-gssapi-password":             {"'x'", func(c *sarama.GSSAPIConfig) { c.Password = "x" }},
		"sasl-gssapi-realm":                {"'x'", func(c *sarama.GSSAPIConfig) { c.Realm = "x" }},
		"sasl-gssapi-disable-pafxfast":     {"true", func(c *sarama.GSSAPIConfig) { c.DisablePAFXFAST = true }},
	} {
		t.Run(key, func(t *testing.T) {
			want := gssapi("")
			tc.want(&want)
			require.Equal(t, want, gssapi(key+" = "+tc.value))
		})
	}
}

// TestOAuthKeys: every key changes what the server of tokens is asked.
func TestOAuthKeys(t *testing.T) {
	ask := func(t *testing.T, key, value string) string {
		asked := make(chan string, 8)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			_ = r.ParseForm()
			asked <- fmt.Sprint(r.URL.Path, " ", user, " ", password, " ", r.Form.Encode())
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "token", "expires_in": 3600})
		}))
		defer server.Close()
		defer http.DefaultClient.CloseIdleConnections()
		file := "[sink.kafka-config]\nsasl-mechanism = 'OAUTHBEARER'\n"
		for k, v := range map[string]string{
			"sasl-oauth-client-id": "'id'", "sasl-oauth-client-secret": "'" + base64.StdEncoding.EncodeToString([]byte("secret")) + "'",
			"sasl-oauth-token-url": "'" + server.URL + "/token'", "sasl-oauth-scopes": "['a', 'b']",
			"sasl-oauth-grant-type": "''", "sasl-oauth-audience": "''",
		} {
			if k == key {
				v = strings.ReplaceAll(value, "{server}", server.URL)
			}
			file += k + " = " + v + "\n"
		}
		o, err := parseOptions(fileOptions(t, newCluster(t, 1, 1), "protocol=canal-json", file))
		require.NoError(t, err)
		client, err := o.client()
		require.NoError(t, err)
		_, err = client.Net.SASL.TokenProvider.Token()
		require.NoError(t, err)
		return <-asked
	}
	require.Equal(t, "/token id secret grant_type=client_credentials&scope=a+b", ask(t, "", ""))
	for key, tc := range map[string]struct{ value, want string }{
		"sasl-oauth-client-id":     {"'you'", "/token you secret grant_type=client_credentials&scope=a+b"},
		"sasl-oauth-client-secret": {"'" + base64.StdEncoding.EncodeToString([]byte("x")) + "'", "/token id x grant_type=client_credentials&scope=a+b"},
		"sasl-oauth-token-url":     {"'{server}/other'", "/other id secret grant_type=client_credentials&scope=a+b"},
		"sasl-oauth-scopes":        {"['c']", "/token id secret grant_type=client_credentials&scope=c"},
		"sasl-oauth-grant-type":    {"'password'", "/token id secret grant_type=password&scope=a+b"},
		"sasl-oauth-audience":      {"'kafka'", "/token id secret audience=kafka&grant_type=client_credentials&scope=a+b"},
	} {
		t.Run(key, func(t *testing.T) { require.Equal(t, tc.want, ask(t, key, tc.value)) })
	}
}

// TestEncryptionKeys: which authority a broker must have its certificate from,
// and which certificate it is shown.
func TestEncryptionKeys(t *testing.T) {
	cert, key := selfSigned(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	otherCert, otherKey := selfSigned(t)
	shown := make(chan []byte, 100)
	c := newCluster(t, 1, 1, kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 {
				select {
				case shown <- s.PeerCertificates[0].Raw:
				default:
				}
			}
			return nil
		},
	}))
	open := func(lines ...string) error {
		file := "[sink.kafka-config]\nread-timeout = '5s'\n" + strings.Join(lines, "\n")
		return Probe(t.Context(), fileOptions(t, c, "protocol=canal-json", file))
	}
	const on = "enable-tls = true"
	set := func(name, path string) string { return fmt.Sprintf("%s = '%s'", name, path) }
	t.Run("enable-tls", func(t *testing.T) {
		require.Error(t, open("enable-tls = false"), "the broker speaks TLS only")
		require.NoError(t, open(on, "insecure-skip-verify = true"))
	})
	t.Run("insecure-skip-verify", func(t *testing.T) {
		require.ErrorContains(t, open(on, "insecure-skip-verify = false"), "certificate")
	})
	t.Run("ca", func(t *testing.T) {
		require.NoError(t, open(set("ca", cert), set("cert", cert), set("key", key)))
		require.Equal(t, pair.Certificate[0], <-shown)
		require.ErrorContains(t, open(set("ca", otherCert), set("cert", cert), set("key", key)), "certificate")
	})
	t.Run("cert and key", func(t *testing.T) {
		other, err := tls.LoadX509KeyPair(otherCert, otherKey)
		require.NoError(t, err)
		for len(shown) > 0 {
			<-shown
		}
		require.NoError(t, open(set("ca", cert), set("cert", otherCert), set("key", otherKey)))
		require.Equal(t, other.Certificate[0], <-shown)
		require.Error(t, open(set("ca", cert), set("cert", otherCert), set("key", key)), "not of one pair")
	})
}

// TestBootstrapKeys: schemas are sent again after the time, and after the rows,
// that the file says.
func TestBootstrapKeys(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	again := func(file string, later time.Duration) bool {
		c := newCluster(t, 1, 1)
		s := openSink(t, fileOptions(t, c, "protocol=simple", file))
		require.NoError(t, acked(t, write(t, s, u.Model, u.Change(5, 0, nil, []any{1}), u.Change(6, 0, nil, []any{2}))))
		s.bootstrap.mu.Lock()
		before := s.bootstrap.tables[7].sent
		s.bootstrap.mu.Unlock()
		s.bootstrap.again(before.Add(later))
		s.bootstrap.mu.Lock()
		defer s.bootstrap.mu.Unlock()
		return s.bootstrap.tables[7].sent.After(before)
	}
	for file, want := range map[string]bool{"": false, "[sink]\nsend-bootstrap-interval-in-sec = 60": true} {
		require.Equal(t, want, again(file, time.Minute), file)
	}
	for file, want := range map[string]bool{"": false, "[sink]\nsend-bootstrap-in-msg-count = 2": true} {
		require.Equal(t, want, again(file, time.Second), file)
	}
}

// TestCorruptedRows: a row whose checksum does not fit stops the changefeed
// only where the file says so, and is not even looked at unless it says so.
func TestCorruptedRows(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, a INT)")
	plain := u.Change(5, 0, nil, []any{1, 2})
	value := sinktest.Checksummed(plain.Value(), plain.Key())
	value[len(value)-1]++
	for file, code := range map[string]string{
		"": "",
		"[integrity]\nintegrity-check-level = 'correctness'":                                      "",
		"[integrity]\nintegrity-check-level = 'correctness'\ncorruption-handle-level = 'error'\n": errors.ErrCorruptedDataMutation.Text(),
		"[integrity]\nintegrity-check-level = 'none'\ncorruption-handle-level = 'error'\n":        "",
	} {
		s, err := New(t.Context(), fileOptions(t, newCluster(t, 1, 1), "protocol=canal-json", file))
		require.NoError(t, err)
		err = acked(t, write(t, s, u.Model, model.NewRawChange(4, 5, plain.Key(), value, nil)))
		require.Equal(t, code, errors.CodeOf(err), file)
		s.Close()
	}
}
