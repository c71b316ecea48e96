// Package conformance holds a running server against the documented API: each
// route, status, header and byte of the answers, the documents' own curl
// lines, hostile input and concurrent writers.
package conformance

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidemark/tidemark/test/cluster"
)

// stack is an upstream, a second TiDB and a Kafka broker as downstreams, and a
// server.
type stack struct {
	dir    string
	up     *cluster.Upstream
	upDB   *sql.DB
	server *cluster.Server
	etcd   *clientv3.Client
	kafka  *kfake.Cluster
	// closed is an address of this machine where nobody listens.
	closed string
}

var shared *stack

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "tidemark-conformance-")
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	shared, err = startStack(ctx, dir)
	if err != nil {
		return 1, fmt.Errorf("%w (logs in %s)", err, dir)
	}
	code := m.Run()
	_ = shared.etcd.Close()
	shared.kafka.Close()
	if err := shared.server.Stop(); err != nil {
		return 1, err
	}
	shared.up.Close()
	if code == 0 {
		_ = os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "conformance: logs are in", dir)
	}
	return code, nil
}

func startStack(ctx context.Context, dir string) (*stack, error) {
	s := &stack{dir: dir}
	var err error
	if s.up, err = cluster.StartUpstream(ctx, cluster.UpstreamOptions{Dir: dir, Downstream: true}); err != nil {
		return nil, err
	}
	if s.server, err = cluster.StartServer(ctx, cluster.ServerOptions{PD: s.up.PD, Dir: dir}); err != nil {
		return nil, err
	}
	if s.upDB, err = s.up.OpenUp(); err != nil {
		return nil, err
	}
	// A table to replicate; scripts make and drop others.
	if _, err := s.upDB.ExecContext(ctx, "CREATE DATABASE conf; CREATE TABLE conf.pk (id INT PRIMARY KEY, name VARCHAR(20))"); err != nil {
		return nil, err
	}
	if s.etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{s.up.PD}, DialTimeout: 5 * time.Second}); err != nil {
		return nil, err
	}
	if s.kafka, err = kfake.NewCluster(kfake.NumBrokers(1)); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.closed = l.Addr().String()
	return s, l.Close()
}

// testContext ends with the test or after limit, whichever comes first.
func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// removeFeeds deletes every changefeed, so that the next test starts clean.
func removeFeeds(ctx context.Context, t *testing.T) {
	t.Helper()
	var feeds []struct {
		Namespace string `json:"namespace"`
		ID        string `json:"id"`
	}
	require.NoError(t, shared.server.API.Do(ctx, "GET", "/api/v1/changefeeds?state=all", nil, &feeds))
	for _, f := range feeds {
		require.NoError(t, shared.server.API.Do(ctx, "DELETE", "/api/v2/changefeeds/"+f.ID+"?namespace="+f.Namespace, nil, nil))
	}
}
