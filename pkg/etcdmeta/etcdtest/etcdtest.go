// Package etcdtest starts an etcd inside a test.
package etcdtest

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/freeport"
)

// Start runs an etcd until the test ends and returns a client of it.
func Start(t testing.TB) *clientv3.Client {
	t.Helper()
	client, stop, err := Run(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(stop)
	return client
}

// Run starts an etcd that keeps its data in dir, and a client of it. stop
// ends both.
func Run(dir string) (client *clientv3.Client, stop func(), err error) {
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.LogLevel = "fatal"
	cfg.UnsafeNoFsync = true
	peerURL, err := freeURL()
	if err != nil {
		return nil, nil, err
	}
	clientURL, err := freeURL()
	if err != nil {
		return nil, nil, err
	}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peerURL}, []url.URL{peerURL}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{clientURL}, []url.URL{clientURL}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		server.Close()
		return nil, nil, errors.New("etcd does not get ready")
	}
	client, err = clientv3.New(clientv3.Config{
		Endpoints: []string{clientURL.String()}, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		server.Close()
		return nil, nil, err
	}
	return client, func() { _ = client.Close(); server.Close() }, nil
}

// freeURL finds a port that is free at this moment.
func freeURL() (url.URL, error) {
	port, err := freeport.Find("127.0.0.1")
	return url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, err
}
