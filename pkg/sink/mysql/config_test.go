package mysql

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

func settingsOf(uri string, adjust ...func(*config.SinkConfig)) (*settings, error) {
	c := config.DefaultReplicaConfig()
	if c.Sink == nil {
		c.Sink = &config.SinkConfig{}
	}
	for _, f := range adjust {
		f(c.Sink)
	}
	return parseSettings(sink.Options{Changefeed: model.DefaultChangefeedID("test"), URI: config.SinkURI(uri), Config: c, TimeZone: time.UTC})
}

func TestDefaults(t *testing.T) {
	s, err := settingsOf("mysql://127.0.0.1/")
	require.NoError(t, err)
	require.Equal(t, &settings{
		host: "127.0.0.1", port: "4000", user: "root",
		workerCount: 16, maxTxnRow: 256, maxMultiUpdateRow: 40, maxMultiUpdateRowSize: 1024, txnMode: "optimistic",
		batchDML: true, multiStmt: true, cachePrepStmts: true, splitTxn: true,
		readTimeout: 2 * time.Minute, writeTimeout: 2 * time.Minute, dialTimeout: 2 * time.Minute, zone: time.UTC,
		changefeed: "default/test",
	}, s)
}

func TestParameters(t *testing.T) {
	for query, check := range map[string]func(*settings) any{
		"worker-count=5000":                func(s *settings) any { return s.workerCount == 1024 },
		"worker-count=":                    func(s *settings) any { return s.workerCount == 16 },
		"max-txn-row=99999":                func(s *settings) any { return s.maxTxnRow == 2048 },
		"max-multi-update-row=1000":        func(s *settings) any { return s.maxMultiUpdateRow == 256 },
		"max-multi-update-row-size=0":      func(s *settings) any { return s.maxMultiUpdateRowSize == 0 },
		"max-multi-update-row-size=100000": func(s *settings) any { return s.maxMultiUpdateRowSize == 8192 },
		"tidb-txn-mode=pessimistic":        func(s *settings) any { return s.txnMode == "pessimistic" },
		"tidb-txn-mode=other":              func(s *settings) any { return s.txnMode == "optimistic" && len(s.warnings) == 1 },
		"safe-mode=t":                      func(s *settings) any { return s.safeMode },
		"batch-dml-enable=0":               func(s *settings) any { return !s.batchDML },
		"multi-stmt-enable=false":          func(s *settings) any { return !s.multiStmt },
		"cache-prep-stmts=F":               func(s *settings) any { return !s.cachePrepStmts },
		"has-vector-type=true":             func(s *settings) any { return s.hasVectorType },
		"timeout=1s&read-timeout=3s":       func(s *settings) any { return s.dialTimeout == time.Second && s.readTimeout == 3*time.Second },
		"write-timeout=10s":                func(s *settings) any { return s.statementTimeout() == 15*time.Second },
		"time-zone=":                       func(s *settings) any { return s.downstreamZone },
		"time-zone=UTC":                    func(s *settings) any { return !s.downstreamZone },
		"transaction-atomicity=table":      func(s *settings) any { return !s.splitTxn },
		"transaction-atomicity=none":       func(s *settings) any { return s.splitTxn },
		"something-else=1":                 func(s *settings) any { return true },
	} {
		t.Run(query, func(t *testing.T) {
			s, err := settingsOf("tidb://u:p@h:1/?" + query)
			require.NoError(t, err)
			require.Equal(t, true, check(s))
		})
	}
}

func TestBadParameters(t *testing.T) {
	const secret = "s3cret"
	for uri, code := range map[string]*errors.Code{
		"":                              errors.ErrSinkURIInvalid,
		"mysql://u:s3cret@h:%zz/":       errors.ErrSinkURIInvalid,
		"mysql://u:s3cret@a:b:c:1/":     errors.ErrSinkURIInvalid,
		"kafka://u:s3cret@h/":           errors.ErrSinkURIInvalid,
		"?worker-count=0":               errors.ErrMySQLInvalidConfig,
		"?worker-count=x":               errors.ErrMySQLInvalidConfig,
		"?max-txn-row=-1":               errors.ErrMySQLInvalidConfig,
		"?max-multi-update-row=0":       errors.ErrMySQLInvalidConfig,
		"?max-multi-update-row-size=-1": errors.ErrMySQLInvalidConfig,
		"?safe-mode=maybe":              errors.ErrMySQLInvalidConfig,
		"?timeout=soon":                 errors.ErrMySQLInvalidConfig,
		"?time-zone=Mars/Phobos":        errors.ErrMySQLInvalidConfig,
		"?time-zone=Asia/Shanghai":      errors.ErrMySQLInvalidConfig,
		"?transaction-atomicity=global": errors.ErrSinkURIInvalid,
		"?ssl-ca=/nowhere":              errors.ErrMySQLInvalidConfig,
		"?has-vector-type=s3cret%":      errors.ErrMySQLInvalidConfig,
	} {
		t.Run(uri, func(t *testing.T) {
			if uri != "" && uri[0] == '?' {
				uri = "mysql://root:" + secret + "@127.0.0.1:3306/" + uri
			}
			_, err := settingsOf(uri)
			require.Error(t, err)
			require.Equal(t, code.Text(), errors.CodeOf(err), err)
			require.NotContains(t, err.Error(), secret)
		})
	}
}

func TestPrecedence(t *testing.T) {
	workers, safe := 7, true
	adjust := func(c *config.SinkConfig) {
		c.SafeMode = &safe
		c.MySQLConfig = &config.MySQLConfig{WorkerCount: &workers}
	}
	s, err := settingsOf("mysql://h/", adjust)
	require.NoError(t, err)
	require.Equal(t, 7, s.workerCount)
	require.True(t, s.safeMode)
	s, err = settingsOf("mysql://h/?worker-count=3&safe-mode=false", adjust)
	require.NoError(t, err)
	require.Equal(t, 3, s.workerCount)
	require.False(t, s.safeMode)
}

func TestTLS(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(bad, []byte("no certificate"), 0o600))
	_, err := settingsOf("mysql+ssl://h/?ssl-ca=" + bad)
	require.ErrorContains(t, err, "no certificate in")
	s, err := settingsOf("mysql+ssl://h/") // without a CA there is no TLS
	require.NoError(t, err)
	require.Nil(t, s.tls)
}

func FuzzURI(f *testing.F) {
	for _, s := range []string{"mysql://root:p@h:4000/?worker-count=1", "tidb+ssl://[::1]:4000/?time-zone=", "mysql://::1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		s, err := settingsOf(uri)
		if err == nil {
			require.Positive(t, s.workerCount)
			require.NotEmpty(t, s.port)
		} else {
			require.NotEmpty(t, errors.CodeOf(err))
		}
	})
}
