package kafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

func optionsOf(query string, adjust ...func(*config.ReplicaConfig)) (*options, error) {
	o := sink.Options{
		Changefeed: model.ChangefeedID{Namespace: "ns", ID: "feed"}, Capture: "10.0.0.1:8300",
		URI: config.SinkURI("kafka://b1:9092,b2:9093/topic?" + query), Config: config.DefaultReplicaConfig(),
	}
	o.Config.Sink.KafkaConfig = &config.KafkaConfig{}
	for _, f := range adjust {
		f(o.Config)
	}
	return parseOptions(o)
}

func TestDefaults(t *testing.T) {
	o, err := optionsOf("protocol=default")
	require.NoError(t, err)
	require.Equal(t, []string{"b1:9092", "b2:9093"}, o.brokers)
	require.Equal(t, "topic", o.topic)
	require.Equal(t, config.ProtocolOpen, o.codec.Protocol)
	require.Equal(t, "TiCDC_producer_10.0.0.1_8300_ns_feed", o.clientID)
	require.Zero(t, o.partitions)
	require.Equal(t, int16(1), o.replication)
	require.True(t, o.autoCreate)
	require.False(t, o.versionGiven)
	require.Equal(t, 10485760, o.codec.MaxMessageBytes)
	require.Equal(t, 16, o.codec.MaxBatchSize)
	require.True(t, o.codec.OutputOldValue)
	require.Equal(t, sarama.WaitForAll, o.acks)
	require.Equal(t, sarama.CompressionNone, o.compression)
	require.Equal(t, 10*time.Second, o.dialTimeout)
	require.Equal(t, 32, o.encoders)
	require.Nil(t, o.tls)
	require.Empty(t, o.warnings)
	require.False(t, o.bootstrap.on)
	c, err := o.client()
	require.NoError(t, err)
	require.False(t, c.Net.SASL.Enable || c.Net.TLS.Enable)
}

func TestURIWinsOverConfiguration(t *testing.T) {
	ptr := func(s string) *string { return &s }
	partitions, replication, bytes, acks, auto := int32(5), int16(2), 2000, 0, false
	section := func(c *config.ReplicaConfig) {
		k := c.Sink.KafkaConfig
		k.PartitionNum, k.ReplicationFactor, k.MaxMessageBytes, k.RequiredAcks, k.AutoCreateTopic = &partitions, &replication, &bytes, &acks, &auto
		k.KafkaVersion, k.Compression, k.KafkaClientID = ptr("2.4.0"), ptr("gzip"), ptr("one")
		k.DialTimeout, k.ReadTimeout, k.WriteTimeout = ptr("1s"), ptr("2s"), ptr("3s")
		workers := 4
		c.Sink.EncoderConcurrency = &workers
	}
	o, err := optionsOf("protocol=canal-json", section)
	require.NoError(t, err)
	require.Equal(t, partitions, o.partitions)
	require.Equal(t, replication, o.replication)
	require.Equal(t, bytes, o.codec.MaxMessageBytes)
	require.Equal(t, sarama.NoResponse, o.acks)
	require.False(t, o.autoCreate)
	require.Equal(t, sarama.V2_4_0_0, o.version)
	require.Equal(t, sarama.CompressionGZIP, o.compression)
	require.Equal(t, "one", o.clientID)
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, []time.Duration{o.dialTimeout, o.readTimeout, o.writeTimeout})
	require.Equal(t, 4, o.encoders)

	o, err = optionsOf("protocol=canal-json&partition-num=7&replication-factor=3&max-message-bytes=9&required-acks=1&auto-create-topic=true"+
		"&kafka-version=2.8.0&compression=ZSTD&kafka-client-id=two&dial-timeout=4s&read-timeout=5s&write-timeout=6s"+
		"&enable-tidb-extension=true&max-batch-size=7&content-compatible=true&delete-only-output-handle-key-columns=1", section)
	require.NoError(t, err)
	require.Equal(t, int32(7), o.partitions)
	require.Equal(t, int16(3), o.replication)
	require.Equal(t, 9, o.codec.MaxMessageBytes)
	require.Equal(t, sarama.WaitForLocal, o.acks)
	require.True(t, o.autoCreate)
	require.Equal(t, sarama.V2_8_0_0, o.version)
	require.Equal(t, sarama.CompressionZSTD, o.compression)
	require.Equal(t, "two", o.clientID)
	require.Equal(t, 4*time.Second, o.dialTimeout)
	require.True(t, o.codec.EnableTiDBExtension && o.codec.ContentCompatible && o.codec.OnlyOutputUpdatedColumns)
	require.False(t, o.codec.DeleteOnlyHandleKey, "the URI does not have this one")
	require.Equal(t, 7, o.codec.MaxBatchSize)
}

func TestWarnings(t *testing.T) {
	o, err := optionsOf("protocol=open-protocol&compression=best&enable-tidb-extension=true")
	require.NoError(t, err)
	require.Len(t, o.warnings, 2)
	require.Equal(t, sarama.CompressionNone, o.compression)
	require.False(t, o.codec.EnableTiDBExtension)
}

func TestRefusedOptions(t *testing.T) {
	const avro = "protocol=avro&schema-registry=http://r:8081&"
	tests := []struct {
		query string
		outer *errors.Code
		text  string
	}{
		{"protocol=canal-json&partition-num=0", errors.ErrKafkaInvalidConfig, "[CDC:ErrKafkaInvalidPartitionNum]invalid partition num 0"},
		{"protocol=canal-json&partition-num=x", errors.ErrKafkaInvalidConfig, "[CDC:ErrMySQLInvalidConfig]"},
		{"protocol=canal-json&replication-factor=70000", errors.ErrKafkaInvalidConfig, "[CDC:ErrMySQLInvalidConfig]"},
		{"protocol=canal-json&auto-create-topic=maybe", errors.ErrKafkaInvalidConfig, "[CDC:ErrMySQLInvalidConfig]"},
		{"protocol=canal-json&read-timeout=10", errors.ErrKafkaInvalidConfig, "read-timeout"},
		{"protocol=canal-json&kafka-version=3", errors.ErrKafkaInvalidConfig, "[CDC:ErrKafkaInvalidVersion]"},
		{"protocol=canal-json&kafka-client-id=a%20b", errors.ErrKafkaInvalidConfig, "[CDC:ErrKafkaInvalidClientID]invalid kafka client ID 'a b'"},
		{"protocol=canal-json&max-message-bytes=0", errors.ErrKafkaInvalidConfig, "max-message-bytes"},
		{"protocol=canal-json&required-acks=2", errors.ErrKafkaInvalidConfig, "[CDC:ErrKafkaInvalidRequiredAcks]"},
		{"protocol=canal-json&ca=/x", errors.ErrKafkaInvalidConfig, "ca, cert and key files should all be supplied"},
		{"protocol=canal-json&ca=/x&cert=/y&key=/z&enable-tls=false", errors.ErrKafkaInvalidConfig, "credential files are supplied"},
		{"protocol=canal-json&ca=/x&cert=/y&key=/z", errors.ErrKafkaInvalidConfig, "no such file"},
		{"protocol=canal-json&sasl-mechanism=magic", errors.ErrKafkaInvalidConfig, "unknown magic SASL mechanism"},
		{"protocol=canal-json&sasl-mechanism=gssapi", errors.ErrKafkaInvalidConfig, "auth type"},
		{"protocol=canal-json&sasl-mechanism=oauthbearer", errors.ErrKafkaInvalidConfig, "OAuth2"},
		{"", errors.ErrSinkUnknownProtocol, ""},
		{"protocol=xml", errors.ErrSinkUnknownProtocol, ""},
		{"protocol=canal-json&max-batch-size=0", errors.ErrSinkInvalidConfig, "[CDC:ErrCodecInvalidConfig]"},
		{"protocol=simple&encoding-format=xml", errors.ErrSinkInvalidConfig, "encoding-format"},
		{"protocol=avro", errors.ErrSinkInvalidConfig, "[CDC:ErrCodecInvalidConfig]"},
		{avro + "avro-decimal-handling-mode=x", errors.ErrSinkInvalidConfig, "avro-decimal-handling-mode"},
		{avro + "avro-bigint-unsigned-handling-mode=x", errors.ErrSinkInvalidConfig, "avro-bigint"},
		{avro + "avro-enable-watermark=true", errors.ErrSinkInvalidConfig, "enable-tidb-extension"},
	}
	for _, test := range tests {
		t.Run(test.query, func(t *testing.T) {
			_, err := optionsOf(test.query)
			require.Equal(t, test.outer.Text(), errors.CodeOf(err))
			require.ErrorContains(t, err, test.text)
		})
	}
	for uri, code := range map[string]*errors.Code{
		"": errors.ErrSinkURIInvalid, "kafka://h": errors.ErrKafkaInvalidConfig, "kafka://h/": errors.ErrKafkaInvalidConfig,
		"kafka:///t": errors.ErrKafkaInvalidConfig, "mysql://h/t": errors.ErrSinkURIInvalid, "kafka://u:secret@h\x7f/t": errors.ErrSinkURIInvalid,
		"kafka://h/t?a=%zz": errors.ErrSinkURIInvalid,
	} {
		_, err := parseOptions(sink.Options{URI: config.SinkURI(uri)})
		require.Equal(t, code.Text(), errors.CodeOf(err), uri)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestSettingsThatExcludeEachOther(t *testing.T) {
	force := func(c *config.ReplicaConfig) { c.ForceReplicate = true }
	checksum := func(c *config.ReplicaConfig) { c.Integrity.IntegrityCheckLevel = config.IntegrityCorrectness }
	large := func(c *config.ReplicaConfig) {
		c.ForceReplicate = true
		c.Sink.KafkaConfig.LargeMessageHandle = &config.LargeMessageHandleConfig{LargeMessageHandleOption: config.LargeMessageHandleKeyOnly}
	}
	const avro = "protocol=avro&schema-registry=http://r:8081"
	for _, test := range []struct {
		query  string
		adjust func(*config.ReplicaConfig)
	}{
		{avro, force},
		{"protocol=open-protocol", func(c *config.ReplicaConfig) {
			force(c)
			c.Sink.DeleteOnlyOutputHandleKeyColumns = &c.ForceReplicate
		}},
		{"protocol=open-protocol", large},
		{avro, checksum},
		{avro + "&enable-tidb-extension=true&avro-decimal-handling-mode=string", checksum},
	} {
		_, err := optionsOf(test.query, test.adjust)
		require.ErrorContains(t, err, "[CDC:ErrCodecInvalidConfig]")
	}
	_, err := optionsOf(avro+"&enable-tidb-extension=true&avro-decimal-handling-mode=string&avro-bigint-unsigned-handling-mode=string", checksum)
	require.NoError(t, err)
}

func TestLogins(t *testing.T) {
	for _, test := range []struct {
		query     string
		mechanism sarama.SASLMechanism
	}{
		{"sasl-mechanism=plain&sasl-user=u&sasl-password=p", sarama.SASLTypePlaintext},
		{"sasl-mechanism=SCRAM-SHA-256&sasl-user=u&sasl-password=p", sarama.SASLTypeSCRAMSHA256},
		{"sasl-mechanism=scram-sha-512&sasl-user=u&sasl-password=p", sarama.SASLTypeSCRAMSHA512},
		{"sasl-mechanism=GSSAPI&sasl-gssapi-auth-type=user&sasl-gssapi-kerberos-config-path=/k&sasl-gssapi-service-name=s" +
			"&sasl-gssapi-user=u&sasl-gssapi-password=p&sasl-gssapi-realm=r&sasl-gssapi-disable-pafxfast=true", sarama.SASLTypeGSSAPI},
		{"sasl-mechanism=GSSAPI&sasl-gssapi-auth-type=KEYTAB&sasl-gssapi-kerberos-config-path=/k&sasl-gssapi-service-name=s" +
			"&sasl-gssapi-user=u&sasl-gssapi-keytab-path=/t&sasl-gssapi-realm=r", sarama.SASLTypeGSSAPI},
	} {
		o, err := optionsOf("protocol=canal-json&" + test.query)
		require.NoError(t, err)
		c, err := o.client()
		require.NoError(t, err, test.query)
		require.True(t, c.Net.SASL.Enable)
		require.Equal(t, test.mechanism, c.Net.SASL.Mechanism)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", o.sasl, o.sasl, o.sasl), "password:")
		if test.mechanism == sarama.SASLTypeGSSAPI {
			require.Equal(t, "r", c.Net.SASL.GSSAPI.Realm)
		}
	}
	o, err := optionsOf("protocol=canal-json&sasl-user=u&sasl-password=p")
	require.NoError(t, err)
	c, err := o.client()
	require.NoError(t, err)
	require.False(t, c.Net.SASL.Enable, "no mechanism, no login")
}

func TestOAuth(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if r.ParseForm() != nil || user != "id" || password != "secret" || r.Form.Get("grant_type") != "client_credentials" ||
			r.Form.Get("scope") != "a b" || r.Form.Get("audience") != "kafka" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "token-1", "token_type": "bearer", "expires_in": 3600})
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	ptr := func(s string) *string { return &s }
	oauth := func(secret string) func(*config.ReplicaConfig) {
		return func(c *config.ReplicaConfig) {
			k := c.Sink.KafkaConfig
			k.SASLOAuthClientID, k.SASLOAuthClientSecret, k.SASLOAuthTokenURL = ptr("id"), ptr(secret), ptr(server.URL)
			k.SASLOAuthScopes, k.SASLOAuthAudience = []string{"a", "b"}, ptr("kafka")
		}
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("secret"))
	o, err := optionsOf("protocol=canal-json&sasl-mechanism=OAuthBearer", oauth(encoded))
	require.NoError(t, err)
	c, err := o.client()
	require.NoError(t, err)
	token, err := c.Net.SASL.TokenProvider.Token()
	require.NoError(t, err)
	require.Equal(t, "token-1", token.Token)

	_, err = optionsOf("protocol=canal-json&sasl-mechanism=plain", oauth(encoded))
	require.ErrorContains(t, err, "OAUTHBEARER")
	_, err = optionsOf("protocol=canal-json&sasl-mechanism=oauthbearer", oauth("not base64!"))
	require.ErrorContains(t, err, "base64")
	require.NotContains(t, err.Error(), "not base64!")
	_, err = optionsOf("protocol=canal-json&sasl-mechanism=oauthbearer", oauth(""))
	require.ErrorContains(t, err, "all required")
}

func TestTLS(t *testing.T) {
	o, err := optionsOf("protocol=canal-json&enable-tls=true&insecure-skip-verify=true")
	require.NoError(t, err)
	require.True(t, o.tls.InsecureSkipVerify)
	require.Nil(t, o.tls.RootCAs, "the system's authorities")

	cert, private := selfSigned(t)
	o, err = optionsOf("protocol=canal-json&ca=" + cert + "&cert=" + cert + "&key=" + private)
	require.NoError(t, err)
	require.Len(t, o.tls.Certificates, 1)
	require.NotNil(t, o.tls.RootCAs)
	_, err = optionsOf("protocol=canal-json&ca=" + private + "&cert=" + cert + "&key=" + private)
	require.ErrorContains(t, err, "no certificate")
}

// certificate makes a certificate for 127.0.0.1 that is its own authority.
func certificate(t testing.TB) (der, keyDER []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err = x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return der, keyDER
}

func writePEM(t testing.TB, dir, name string, block pem.Block) string {
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&block), 0o600))
	return path
}

func TestBootstrapOptions(t *testing.T) {
	o, err := optionsOf("protocol=simple")
	require.NoError(t, err)
	require.Equal(t, bootstrapOptions{on: true, interval: 2 * time.Minute, rows: 10000, allPartitions: true}, o.bootstrap)
	off := int64(0)
	o, err = optionsOf("protocol=simple", func(c *config.ReplicaConfig) { c.Sink.SendBootstrapIntervalInSec = &off })
	require.NoError(t, err)
	require.False(t, o.bootstrap.on)
}

func TestVersionOfMetadata(t *testing.T) {
	for form, version := range map[int16]sarama.KafkaVersion{
		-1: sarama.V0_8_2_0, 0: sarama.V0_8_2_0, 4: sarama.V0_11_0_0, 5: sarama.V1_0_0_0, 9: sarama.V2_4_0_0, 13: sarama.V2_8_0_0,
	} {
		require.Equal(t, version, versionOfMetadata(form))
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("kafka://h:9092/t?protocol=avro&partition-num=3")
	f.Add("kafka+ssl://h,i/a/b?protocol=simple&required-acks=-1&compression=x")
	f.Fuzz(func(t *testing.T, uri string) {
		o, err := parseOptions(sink.Options{URI: config.SinkURI(uri)})
		if err != nil {
			require.NotEmpty(t, errors.CodeOf(err))
			return
		}
		require.NotEmpty(t, o.topic)
		require.Positive(t, o.codec.MaxMessageBytes)
	})
}
