package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/playground/pd"
)

// bench is a PD without a store, and servers on it.
type bench struct {
	t    *testing.T
	pd   *pd.Server
	etcd *clientv3.Client
	meta *etcdmeta.Client
}

func newBench(t *testing.T) *bench {
	p, err := pd.Open(t.Context(), pd.Options{Addr: "127.0.0.1:0", DataDir: t.TempDir(), NoSync: true})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	etcd, err := newEtcdClient([]string{p.URL()}, nil, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { _ = etcd.Close() })
	return &bench{t: t, pd: p, etcd: etcd, meta: etcdmeta.NewClient(etcd, "default")}
}

// running is a server and how to end it.
type running struct {
	*Server
	t      *testing.T
	cancel context.CancelFunc
	result chan error
}

func (b *bench) config() *config.ServerConfig {
	cfg := config.DefaultServerConfig()
	cfg.Addr, cfg.DataDir = "127.0.0.1:0", b.t.TempDir()
	return cfg
}

func (b *bench) start(adjust ...func(*config.ServerConfig)) *running {
	cfg := b.config()
	for _, f := range adjust {
		f(cfg)
	}
	s := New(Options{
		Config: cfg, PDEndpoints: []string{b.pd.URL()}, Version: "v8.5.3", GitHash: "abc",
		Logger: zap.NewNop(), LogLevel: zap.NewAtomicLevel(), Registry: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Server: s, t: b.t, cancel: cancel, result: make(chan error, 1)}
	go func() { r.result <- s.Run(ctx) }()
	b.t.Cleanup(r.stop)
	eventually(b.t, "healthy", func() bool { return r.get("/api/v2/health") == http.StatusOK })
	return r
}

func (r *running) stop() {
	if r.cancel == nil {
		return
	}
	r.PrepareStop(r.t.Context())
	r.cancel()
	r.cancel = nil
	require.NoError(r.t, <-r.result)
}

// get returns the status of an answer, 0 when there is none.
func (r *running) get(path string) int {
	status, _ := r.fetch(path)
	return status
}

func (r *running) fetch(path string) (int, []byte) {
	if r.Addr() == "" {
		return 0, nil
	}
	resp, err := http.Get("http://" + r.Addr() + path)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, body
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 30*time.Second, 10*time.Millisecond, what)
}

func (b *bench) captures() map[model.CaptureID]*model.CaptureInfo {
	captures, err := b.meta.ListCaptures(b.t.Context())
	require.NoError(b.t, err)
	return captures
}

func TestOneServer(t *testing.T) {
	b := newBench(t)
	begun := time.Now()
	s := b.start()
	t.Logf("healthy after %s", time.Since(begun))
	captures := b.captures()
	require.Len(t, captures, 1)
	var status struct {
		Version string `json:"version"`
		ID      string `json:"id"`
		IsOwner bool   `json:"is_owner"`
	}
	code, body := s.fetch("/status")
	require.Equal(t, http.StatusOK, code)
	require.NoError(t, json.Unmarshal(body, &status))
	require.True(t, status.IsOwner)
	require.Equal(t, "v8.5.3", status.Version)
	require.Equal(t, s.Addr(), captures[status.ID].AdvertiseAddr)
	_, body = s.fetch("/metrics")
	for _, name := range []string{"owner_ownership_counter", "server_go_gc", "server_go_max_procs"} {
		require.Regexp(t, `(?m)^ticdc_`+name+` [0-9.]+$`, string(body))
	}
	resp, err := b.etcd.Get(t.Context(), "/topology/ticdc/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)

	s.stop()
	require.Empty(t, b.captures(), "an orderly stop leaves no registration")
	_, err = b.meta.GetOwner(t.Context())
	require.ErrorIs(t, err, errors.ErrOwnerNotFound)
}

// The second capture follows the first as owner, at once when that stops in order.
func TestOwnerHandover(t *testing.T) {
	b := newBench(t)
	first := b.start()
	second := b.start()
	_, isOwner := node{second.Server}.Owner()
	require.False(t, isOwner)
	eventually(t, "both are connected to the owner", func() bool {
		connected := 0
		for _, c := range first.term.Load().View().Captures {
			if c.Connected {
				connected++
			}
		}
		return connected == 2
	})
	// Owner-only calls are answered by any capture.
	code, body := second.fetch("/api/v2/captures")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, string(body), `"total":2`)

	id := first.current.Load().info.ID
	first.stop()
	require.NotContains(t, b.captures(), id, "its keys need not expire")
	if owner, err := b.meta.GetOwner(t.Context()); err == nil {
		require.NotEqual(t, id, owner.Capture)
	}
	eventually(t, "the second is the owner", func() bool {
		term := second.term.Load()
		return term != nil && term.View().Ready
	})
	require.Len(t, b.captures(), 1)
	require.Equal(t, http.StatusOK, second.get("/api/v2/health"))
}

func TestResignOfLoneOwner(t *testing.T) {
	b := newBench(t)
	s := b.start()
	before := s.term.Load()
	before.Resign()
	eventually(t, "a new term", func() bool {
		term := s.term.Load()
		return term != nil && term != before && term.View().Ready
	})
}

// A capture whose session is gone comes back under a new id.
func TestSessionLost(t *testing.T) {
	b := newBench(t)
	s := b.start()
	var id model.CaptureID
	for id = range b.captures() {
	}
	leases, err := b.etcd.Leases(t.Context())
	require.NoError(t, err)
	for _, l := range leases.Leases {
		_, err = b.etcd.Revoke(t.Context(), l.ID)
		require.NoError(t, err)
	}
	eventually(t, "a new registration", func() bool {
		captures := b.captures()
		return len(captures) == 1 && captures[id] == nil
	})
	eventually(t, "healthy again", func() bool { return s.get("/api/v2/health") == http.StatusOK })
}

// A capture whose key is gone writes no more, although its lease lives on:
// others get its tables.
func TestKeyDeletedByHand(t *testing.T) {
	b := newBench(t)
	s := b.start()
	old := s.current.Load()
	require.NoError(t, old.fence())
	var id model.CaptureID
	for id = range b.captures() {
	}
	_, err := b.etcd.Delete(t.Context(), b.meta.Keys().Capture(id))
	require.NoError(t, err)
	eventually(t, "a new registration", func() bool {
		captures := b.captures()
		return len(captures) == 1 && captures[id] == nil
	})
	require.ErrorIs(t, old.fence(), errors.ErrCaptureSuicide)
	eventually(t, "healthy again", func() bool { return s.get("/api/v2/health") == http.StatusOK })
}

// PD goes away and comes back: the server outlives it.
func TestPDRestart(t *testing.T) {
	b := newBench(t)
	s := b.start()
	b.pd.Kill()
	require.Equal(t, http.StatusOK, s.get("/status"), "it answers meanwhile")
	require.NoError(t, b.pd.Start(t.Context()))
	eventually(t, "owner again or still", func() bool {
		_, err := s.meta.GetOwner(t.Context())
		return err == nil && s.get("/api/v2/health") == http.StatusOK
	})
	// It works: a changefeed that is created is seen.
	info := &etcdmeta.ChangefeedInfo{
		Namespace: "default", ID: "f", SinkURI: "blackhole://", StartTs: model.TSOFromTime(time.Now()),
		Config: config.DefaultReplicaConfig(), State: model.StateStopped, AdminJobType: model.AdminStop,
	}
	require.NoError(t, b.meta.CreateFeed(t.Context(), info, nil))
	eventually(t, "seen", func() bool { return s.get("/api/v2/changefeeds/f") == http.StatusOK })
}

func TestNewerMetadataStops(t *testing.T) {
	b := newBench(t)
	_, err := b.etcd.Put(t.Context(), b.meta.Keys().MetaVersion(), "2")
	require.NoError(t, err)
	s := New(Options{
		Config: b.config(), PDEndpoints: []string{b.pd.URL()}, Version: "v8.5.3",
		Logger: zap.NewNop(), Registry: prometheus.NewRegistry(),
	})
	require.ErrorIs(t, s.Run(t.Context()), errors.ErrVersionIncompatible)
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8300": "127.0.0.1:8300",
		"0.0.0.0:8300":   "127.0.0.1:8300",
		"[::]:8300":      "[::1]:8300",
		"10.0.0.1:1":     "10.0.0.1:1",
		"nonsense":       "nonsense",
	} {
		require.Equal(t, want, loopback(addr), fmt.Sprint(addr))
	}
}

// A connection over which nothing ever comes does not hold up the stop.
func TestStopWithSilentConnection(t *testing.T) {
	s := newBench(t).start()
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, http.StatusOK, s.get("/status"), "it is accepted by now")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	eventually(t, "stopped", func() bool {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	})
}
