package pd

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/log"
	"github.com/stretchr/testify/require"
	pdclient "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/pkg/caller"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	// PD's client logs to a global logger.
	log.ReplaceGlobals(zap.NewNop(), &log.ZapProperties{})
	goleak.VerifyTestMain(m,
		// Started by packages when they are loaded, and by clients whose Close does not wait.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("go.etcd.io/etcd/client/pkg/v3/logutil.(*MergeLogger).outputLoop"),
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	)
}

// fakeStore is a store with regions and nothing in them.
type fakeStore struct {
	mu      sync.Mutex
	nextID  uint64
	regions []*metapb.Region // in key order
}

// newFakeStore splits the key space at the keys.
func newFakeStore(keys ...string) *fakeStore {
	s := &fakeStore{nextID: 10}
	s.regions = []*metapb.Region{s.region(nil, nil)}
	for _, key := range keys {
		_, _ = s.Split(context.Background(), [][]byte{[]byte(key)})
	}
	return s
}

func (s *fakeStore) region(start, end []byte) *metapb.Region {
	s.nextID += 2
	return &metapb.Region{
		Id: s.nextID, StartKey: start, EndKey: end,
		RegionEpoch: &metapb.RegionEpoch{ConfVer: 1, Version: 1},
		Peers:       []*metapb.Peer{{Id: s.nextID + 1, StoreId: 1}},
	}
}

func (s *fakeStore) Meta() *metapb.Store {
	return &metapb.Store{Id: 1, Address: "127.0.0.1:20160", Version: DefaultVersion}
}

func (s *fakeStore) Split(_ context.Context, keys [][]byte) ([]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []uint64
	for _, key := range keys {
		i := s.at(key)
		if bytes.Equal(s.regions[i].StartKey, key) {
			continue
		}
		right := s.region(key, s.regions[i].EndKey)
		s.regions[i].EndKey = key
		s.regions = slices.Insert(s.regions, i+1, right)
		ids = append(ids, right.Id)
	}
	return ids, nil
}

func (s *fakeStore) Merge(_ context.Context, source, target uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 1; i < len(s.regions); i++ {
		if left := s.regions[i-1]; s.regions[i].Id == source && left.Id == target {
			left.EndKey = s.regions[i].EndKey
			s.regions = slices.Delete(s.regions, i, i+1)
			return nil
		}
	}
	return fmt.Errorf("regions %d and %d are no neighbours", source, target)
}

// at returns the index of the region that holds the key.
func (s *fakeStore) at(key []byte) int {
	i, found := slices.BinarySearchFunc(s.regions, key, func(r *metapb.Region, k []byte) int {
		return bytes.Compare(r.StartKey, k)
	})
	if !found {
		i--
	}
	return i
}

func show(r *metapb.Region) Region {
	return Region{Meta: r, Leader: r.Peers[0], Bytes: 3 << 20, Keys: 7}
}

func (s *fakeStore) Scan(start, end []byte, limit int) []Region {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Region
	for _, r := range s.regions[s.at(start):] {
		if len(end) > 0 && bytes.Compare(r.StartKey, end) >= 0 || limit > 0 && len(out) == limit {
			break
		}
		out = append(out, show(r))
	}
	return out
}

func (s *fakeStore) ByKey(key []byte) Region { return s.Scan(key, nil, 1)[0] }

func (s *fakeStore) Prev(key []byte) (Region, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.at(key); i > 0 {
		return show(s.regions[i-1]), true
	}
	return Region{}, false
}

func (s *fakeStore) ByID(id uint64) (Region, bool) {
	for _, r := range s.Scan(nil, nil, 0) {
		if r.Meta.Id == id {
			return r, true
		}
	}
	return Region{}, false
}

// open starts a server that ends with the test.
func open(t *testing.T, change func(*Options)) *Server {
	t.Helper()
	o := Options{Addr: "127.0.0.1:0", DataDir: t.TempDir(), NoSync: true}
	if change != nil {
		change(&o)
	}
	s, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// openAttached starts a server with a store of three regions: up to "h", up to "p", and the rest.
func openAttached(t *testing.T) (*Server, *fakeStore) {
	t.Helper()
	s := open(t, nil)
	store := newFakeStore("h", "p")
	s.Attach(store, store)
	return s, store
}

// dial connects PD's own client.
func dial(t *testing.T, s *Server) pdclient.Client {
	t.Helper()
	c, err := pdclient.NewClientWithContext(t.Context(), caller.TestComponent, []string{s.URL()}, pdclient.SecurityOption{})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	// The client opens its stream of timestamps twice at first and cuts one of them, whoever may wait on it.
	var last uint64
	require.Eventually(t, func() bool {
		physical, logical, err := c.GetTS(t.Context())
		ok := err == nil && last != 0
		last = uint64(physical)<<logicalBits | uint64(logical)
		return ok
	}, 10*time.Second, 10*time.Millisecond)
	return c
}

func TestOpenNeedsAddressAndFolder(t *testing.T) {
	for name, o := range map[string]Options{
		"no address": {DataDir: t.TempDir()},
		"no folder":  {Addr: "127.0.0.1:0"},
		"no port":    {Addr: "127.0.0.1", DataDir: t.TempDir()},
		"bad port":   {Addr: "127.0.0.1:x", DataDir: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), o)
			require.Error(t, err)
		})
	}
}

func TestRestartKeepsIdentityAndPort(t *testing.T) {
	s := open(t, nil)
	id, url := s.ClusterID(), s.URL()
	require.NotZero(t, id)

	s.Stop()
	require.Zero(t, s.ClusterID())
	_, err := s.TSO(t.Context())
	require.ErrorIs(t, err, ErrStopped)
	s.Stop() // once more changes nothing

	require.NoError(t, s.Start(t.Context()))
	require.NoError(t, s.Start(t.Context()))
	require.Equal(t, id, s.ClusterID())
	require.Equal(t, url, s.URL())
}

func TestTwoClustersDiffer(t *testing.T) {
	require.NotEqual(t, open(t, nil).ClusterID(), open(t, nil).ClusterID())
}

func TestClientGoesOnAfterRestart(t *testing.T) {
	for name, end := range map[string]func(*Server){"stop": (*Server).Stop, "kill": (*Server).Kill} {
		t.Run(name, func(t *testing.T) {
			s, _ := openAttached(t)
			c := dial(t, s)
			before, beforeLogical, err := c.GetTS(t.Context())
			require.NoError(t, err)

			end(s)
			require.NoError(t, s.Start(t.Context()))
			require.Eventually(t, func() bool {
				physical, logical, err := c.GetTS(t.Context())
				if err != nil {
					return false
				}
				require.True(t, physical > before || physical == before && logical > beforeLogical)
				return true
			}, 10*time.Second, 10*time.Millisecond)
			require.Eventually(t, func() bool {
				r, err := c.GetRegion(t.Context(), []byte("k"))
				return err == nil && string(r.Meta.StartKey) == "h"
			}, 10*time.Second, 10*time.Millisecond)
		})
	}
}

func TestEtcdOnTheSamePort(t *testing.T) {
	s := open(t, nil)
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.URL()}, DialTimeout: 5 * time.Second, Context: t.Context(), Logger: zap.NewNop(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })

	members, err := c.MemberList(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{s.URL()}, members.Members[0].ClientURLs, "clients dial what the list says")

	watch := c.Watch(t.Context(), "/tidb/cdc/x")
	_, err = c.Put(t.Context(), "/tidb/cdc/x", "1")
	require.NoError(t, err)
	require.Equal(t, "1", string((<-watch).Events[0].Kv.Value))

	s.Kill()
	require.NoError(t, s.Start(t.Context()))
	got, err := c.Get(t.Context(), "/tidb/cdc/x")
	require.NoError(t, err)
	require.Equal(t, "1", string(got.Kvs[0].Value))
}

func TestEndLeases(t *testing.T) {
	s := open(t, nil)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL()}, Context: t.Context(), Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	for _, key := range []string{"/tidb/ddl/owner", "/tidb/cdc/owner", "/other"} {
		lease, err := c.Grant(t.Context(), 600)
		require.NoError(t, err)
		_, err = c.Put(t.Context(), key, "me", clientv3.WithLease(lease.ID))
		require.NoError(t, err)
	}
	_, err = c.Put(t.Context(), "/tidb/stays", "no lease")
	require.NoError(t, err)

	require.NoError(t, s.EndLeases(t.Context(), "/tidb/", "/tidb/cdc/"))

	got, err := c.Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.NoError(t, err)
	var left []string
	for _, item := range got.Kvs {
		if key := string(item.Key); !strings.HasPrefix(key, "/pd/") {
			left = append(left, key)
		}
	}
	require.Equal(t, []string{"/other", "/tidb/cdc/owner", "/tidb/stays"}, left)
}
