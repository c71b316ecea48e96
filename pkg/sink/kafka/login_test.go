package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// The logins of the options are taken by a broker, which refuses others.
func TestLoginAtBroker(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			c := newCluster(t, 1, 1, kfake.EnableSASL(), kfake.Superuser(mechanism, "me", "se@cret"))
			query := "protocol=open-protocol&sasl-mechanism=" + mechanism + "&sasl-user=me&sasl-password="
			s := openSink(t, sinkOptions(t, c, query+"se%40cret"))
			require.NoError(t, s.WriteDDL(t.Context(), &model.DDLEvent{Schema: "db", Query: "create database db"}))

			err := Probe(t.Context(), sinkOptions(t, c, query+"guessed"))
			require.Equal(t, errors.ErrKafkaNewProducer.Text(), errors.CodeOf(err))
			require.NotContains(t, err.Error(), "guessed")
		})
	}
}

func TestEncryptedConnection(t *testing.T) {
	cert, key := selfSigned(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	c := newCluster(t, 1, 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
	s := openSink(t, sinkOptions(t, c, "protocol=open-protocol&ca="+cert+"&cert="+cert+"&key="+key))
	require.NoError(t, s.WriteDDL(t.Context(), &model.DDLEvent{Schema: "db", Query: "create database db"}))
	require.NoError(t, Probe(t.Context(), sinkOptions(t, c, "protocol=open-protocol&enable-tls=true&insecure-skip-verify=true")))

	err = Probe(t.Context(), sinkOptions(t, c, "protocol=open-protocol&enable-tls=true"))
	require.ErrorContains(t, err, "certificate", "not signed by an authority of the system")

	o := sinkOptions(t, c, "protocol=open-protocol")
	o.URI = config.SinkURI("kafka+ssl" + o.URI.Reveal()[len("kafka"):] + "&read-timeout=1s&dial-timeout=1s")
	require.Error(t, Probe(t.Context(), o), "the scheme alone does not turn TLS on")
}

// selfSigned writes a certificate for 127.0.0.1 and its key to files.
func selfSigned(t testing.TB) (cert, key string) {
	der, keyDER := certificate(t)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NotEmpty(t, parsed.IPAddresses)
	dir := t.TempDir()
	return writePEM(t, dir, "cert", pem.Block{Type: "CERTIFICATE", Bytes: der}),
		writePEM(t, dir, "key", pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}
