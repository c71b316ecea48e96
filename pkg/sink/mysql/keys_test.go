package mysql

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// configOf reads the text of a changefeed's file.
func configOf(t testing.TB, text string) *config.ReplicaConfig {
	t.Helper()
	path := filepath.Join(t.TempDir(), "changefeed.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	c := config.DefaultReplicaConfig()
	require.NoError(t, c.LoadFile(path))
	return c
}

// keySink is a sink to a fake server, as the query of its URI and a
// changefeed's file make it.
func keySink(t testing.TB, query, text string, tidb bool) (*Sink, *fakeServer) {
	t.Helper()
	set, err := parseSettings(sink.Options{
		URI: config.SinkURI("mysql://h/?" + query), Config: configOf(t, text), TimeZone: time.FixedZone("Asia/Shanghai", 8*3600),
	})
	require.NoError(t, err)
	f := &fakeServer{tellPrepares: true}
	sv := &server{isTiDB: tidb, jsonType: tidb, maxPacket: 64 << 20, maxPrepared: -1, hasGBK: true}
	s := newSink(t.Context(), set, sv, f, f, sink.Options{Changefeed: model.DefaultChangefeedID("fake")})
	t.Cleanup(s.Close)
	return s, f
}

// TestKeys: every key of the file, and its parameter of the URI, changes what
// the downstream is sent.
func TestKeys(t *testing.T) {
	const (
		single    = "[sink.mysql-config]\nworker-count = 1\n"
		oneByOne  = single + "enable-batch-dml = false\nenable-multi-statement = false\n"
		timestamp = "CREATE TABLE d.t (id INT PRIMARY KEY, s TIMESTAMP)"
	)
	inserts := []step{{nil, row(1, "a")}, {nil, row(2, "b")}}
	updates := []step{{row(1, "a"), row(1, "b")}, {row(2, "a"), row(2, "b")}}
	together := []string{"UPDATE $ SET $id$=CASE WHEN $id$=1 THEN 1 WHEN $id$=2 THEN 2 END," +
		"$s$=CASE WHEN $id$=1 THEN 'b' WHEN $id$=2 THEN 'b' END WHERE ($id$=1) OR ($id$=2)"}
	apart := []string{"BEGIN;UPDATE $ SET $id$=1,$s$='b' WHERE $id$=1 LIMIT 1;UPDATE $ SET $id$=2,$s$='b' WHERE $id$=2 LIMIT 1;COMMIT"}
	for _, tc := range []struct {
		key, base, set string // the file, and what is added to it
		parameter      string // of the URI, in its place
		table          string
		tidb           bool
		rows           []step
		without, with  []string
	}{
		{key: "force-replicate", base: "", set: "force-replicate = true", table: keyless, rows: []step{{nil, row(1, 1.5)}},
			with: []string{"INSERT INTO $ ($id$,$f$) VALUES (1,1.5e+00)"}},
		{key: "safe-mode", base: "[sink]\n", set: "safe-mode = true", parameter: "safe-mode=true", table: simple, rows: inserts[:1],
			without: []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'a')"},
			with:    []string{"REPLACE INTO $ ($id$,$s$) VALUES (1,'a')"}},
		{key: "max-txn-row", base: single, set: "max-txn-row = 1", parameter: "max-txn-row=1", table: simple, rows: inserts,
			without: []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'a'),(2,'b')"},
			with:    []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'a')", "INSERT INTO $ ($id$,$s$) VALUES (2,'b')"}},
		{key: "max-multi-update-row-size", base: single, set: "max-multi-update-row-size = 1", parameter: "max-multi-update-row-size=1", table: simple, tidb: true, rows: updates,
			without: together, with: apart},
		{key: "max-multi-update-row", base: single, set: "max-multi-update-row = 1", parameter: "max-multi-update-row=1", table: simple, tidb: true, rows: updates,
			without: together, with: apart},
		{key: "enable-batch-dml", base: single, set: "enable-batch-dml = false", parameter: "batch-dml-enable=false", table: simple, rows: inserts,
			without: []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'a'),(2,'b')"},
			with:    []string{"BEGIN;INSERT INTO $ ($id$,$s$) VALUES (1,'a');INSERT INTO $ ($id$,$s$) VALUES (2,'b');COMMIT"}},
		{key: "enable-multi-statement", base: single, set: "enable-multi-statement = false", parameter: "multi-stmt-enable=false", table: simple, rows: inserts[:1],
			without: []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'a')"},
			with:    []string{"BEGIN", "INSERT INTO $ ($id$,$s$) VALUES (1,'a')", "COMMIT"}},
		{key: "enable-cache-prepared-statement", base: oneByOne, set: "enable-cache-prepared-statement = false", parameter: "cache-prep-stmts=false", table: simple, rows: inserts,
			without: []string{"BEGIN", "prepare", "INSERT INTO $ ($id$,$s$) VALUES (?,?) [1 a]",
				"INSERT INTO $ ($id$,$s$) VALUES (?,?) [2 b]", "COMMIT"},
			with: []string{"BEGIN", "INSERT INTO $ ($id$,$s$) VALUES (1,'a')", "INSERT INTO $ ($id$,$s$) VALUES (2,'b')", "COMMIT"}},
		{key: "time-zone", base: single, set: "time-zone = ''", parameter: "time-zone=", table: timestamp, rows: []step{{nil, row(1, "2024-01-02 03:04:05")}},
			without: []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'2024-01-02 03:04:05')"},
			with:    []string{"INSERT INTO $ ($id$,$s$) VALUES (1,'2024-01-02 11:04:05')"}},
	} {
		t.Run(tc.key, func(t *testing.T) {
			type variant struct {
				query, text string
				want        []string
			}
			variants := []variant{{"", tc.base, tc.without}, {"", tc.base + tc.set, tc.with}}
			if tc.parameter != "" {
				variants = append(variants, variant{tc.parameter, tc.base, tc.with})
			}
			for _, given := range variants {
				want := slices.Clone(given.want)
				s, f := keySink(t, given.query, given.text, tc.tidb)
				u := newTable(t, 100, tc.table)
				var rows []model.RawChange
				for _, c := range tc.rows {
					rows = append(rows, u.change(10, 1, c.old, c.new))
				}
				require.NoError(t, acked(t, u.write(s, 0, rows...)))
				for i, w := range want {
					want[i] = strings.ReplaceAll(strings.ReplaceAll(w, " $ ", " `d`.`t` "), "$", "`")
				}
				require.Equal(t, want, f.sent(), given)
			}
		})
	}
}

// TestWorkerCount: as many transactions are under way as there are workers.
func TestWorkerCount(t *testing.T) {
	for _, given := range []struct {
		query, text string
		workers     int
	}{
		{"", "[sink.mysql-config]\nworker-count = 1\nmax-txn-row = 1", 1},
		{"", "[sink.mysql-config]\nworker-count = 3\nmax-txn-row = 1", 3},
		{"worker-count=2", "[sink.mysql-config]\nworker-count = 3\nmax-txn-row = 1", 2},
	} {
		s, f := keySink(t, given.query, given.text, false)
		gate := make(chan struct{})
		release := sync.OnceFunc(func() { close(gate) })
		t.Cleanup(release) // the sink's end waits for what is under way
		var mu sync.Mutex
		active, most := 0, 0
		f.answer = func(string) error {
			mu.Lock()
			active++
			most = max(most, active)
			mu.Unlock()
			<-gate
			mu.Lock()
			active--
			mu.Unlock()
			return nil
		}
		u := newTable(t, 100, simple)
		var all []<-chan error
		for i := range 2 * given.workers { // a worker has one under way and may let one wait
			all = append(all, u.write(s, 0, u.change(uint64(10+i), 1, nil, row(i, "a"))))
		}
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return active == given.workers
		}, eventually, tick)
		release()
		for _, done := range all {
			require.NoError(t, acked(t, done))
		}
		require.Equal(t, given.workers, most)
	}
}

// TestSessionKeys: what sessions are opened with.
func TestSessionKeys(t *testing.T) {
	sv := &server{vars: map[string]string{"tidb_txn_mode": ""}}
	for _, given := range []struct{ query, text, want string }{
		{"", "", "'optimistic'"},
		{"", "[sink.mysql-config]\ntidb-txn-mode = 'pessimistic'", "'pessimistic'"},
		{"tidb-txn-mode=pessimistic", "", "'pessimistic'"},
	} {
		s, _ := keySink(t, given.query, given.text, true)
		require.Equal(t, given.want, s.settings.sessionVars(sv)["tidb_txn_mode"])
	}
}

// TestTimeouts: a connection ends with the first step that takes too long.
func TestTimeouts(t *testing.T) {
	addr, _ := downstream(t, "d")
	open := func(query, text string) error {
		return Probe(t.Context(), sink.Options{URI: config.SinkURI("mysql://root@" + addr + "/?" + query), Config: configOf(t, text), TimeZone: time.UTC})
	}
	require.NoError(t, open("", ""))
	for _, key := range []string{"timeout", "read-timeout", "write-timeout"} {
		t.Run(key, func(t *testing.T) {
			require.Error(t, open("", "[sink.mysql-config]\n"+key+" = '1ns'"))
			require.NoError(t, open("", "[sink.mysql-config]\n"+key+" = '1h'"))
			require.Error(t, open(key+"=1ns", "[sink.mysql-config]\n"+key+" = '1h'"))
		})
	}
}

// TestCertificates: which authority a server must have its certificate from,
// and which certificate it is shown.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	ca, key := selfSigned(t, dir, "ours")
	_, _ = selfSigned(t, dir, "theirs")
	pair, err := tls.LoadX509KeyPair(ca, key)
	require.NoError(t, err)
	connect := func(t *testing.T, query, text string) (shown []*x509.Certificate, err error) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		result := make(chan tls.ConnectionState, 1)
		go func() {
			defer close(result)
			if conn, err := listener.Accept(); err == nil {
				greetTLS(conn, pair, result)
			}
		}()
		_ = Probe(t.Context(), sink.Options{
			URI: config.SinkURI("mysql://root@" + listener.Addr().String() + "/?" + query), Config: configOf(t, text), TimeZone: time.UTC,
		})
		require.NoError(t, listener.Close())
		state, ok := <-result
		if !ok {
			return nil, fmt.Errorf("no encrypted connection")
		}
		return state.PeerCertificates, nil
	}
	// given names files by keys, in the URI and in the file of the changefeed.
	given := func(name string, keys ...string) (query, text string) {
		text = "[sink.mysql-config]\n"
		for _, key := range keys {
			path := filepath.Join(dir, name+map[string]string{"ssl-ca": ".pem", "ssl-cert": ".pem", "ssl-key": ".key"}[key])
			query += "&" + key + "=" + path
			text += fmt.Sprintf("%s = %q\n", key, path)
		}
		return query, text
	}
	for _, where := range []string{"file", "uri"} {
		open := func(t *testing.T, name string, keys ...string) ([]*x509.Certificate, error) {
			query, text := given(name, keys...)
			if where == "file" {
				return connect(t, "", text)
			}
			return connect(t, query, "")
		}
		t.Run("ssl-ca", func(t *testing.T) {
			_, err := open(t, "")
			require.Error(t, err, "not encrypted")
			_, err = open(t, "theirs", "ssl-ca")
			require.Error(t, err, "another authority")
			shown, err := open(t, "ours", "ssl-ca")
			require.NoError(t, err)
			require.Empty(t, shown)
		})
		t.Run("ssl-cert and ssl-key", func(t *testing.T) {
			shown, err := open(t, "ours", "ssl-ca", "ssl-cert", "ssl-key")
			require.NoError(t, err)
			require.Equal(t, "ours", shown[0].Subject.CommonName)
			for _, alone := range []string{"ssl-cert", "ssl-key"} {
				_, err = open(t, "ours", "ssl-ca", alone)
				require.Error(t, err, "one without the other")
			}
		})
	}
}

// greetTLS begins as a MySQL server that knows TLS and reports the handshake.
func greetTLS(conn net.Conn, pair tls.Certificate, result chan<- tls.ConnectionState) {
	defer func() { _ = conn.Close() }()
	greeting := append([]byte{10}, "8.0.11\x00"...)
	greeting = append(greeting, "\x01\x00\x00\x00saltsalt\x00"...)
	// Protocol 4.1, TLS, secure connection, authentication by plug-ins.
	greeting = append(greeting, 0x00, 0x8a, 46, 2, 0, 0x08, 0, 21)
	greeting = append(greeting, make([]byte, 10)...)
	greeting = append(greeting, "saltsaltsalt\x00mysql_native_password\x00"...)
	if _, err := conn.Write(append([]byte{byte(len(greeting)), 0, 0, 0}, greeting...)); err != nil {
		return
	}
	if _, err := conn.Read(make([]byte, 36)); err != nil { // the request for TLS
		return
	}
	c := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert})
	if err := c.Handshake(); err != nil {
		return
	}
	// The client has verified the certificate when it goes on.
	if _, err := c.Read(make([]byte, 1)); err == nil {
		result <- c.ConnectionState()
	}
}

// selfSigned writes a certificate for 127.0.0.1 that is its own authority.
func selfSigned(t *testing.T, dir, name string) (certPath, keyPath string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	certPath, keyPath = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	require.NoError(t, os.WriteFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certPath, keyPath
}
