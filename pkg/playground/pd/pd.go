// Package pd is a PD-compatible server in one process: an embedded etcd whose client port also serves PD's gRPC
// services and HTTP paths. It places nothing; where the regions are it asks the one store that is attached to it.
package pd

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"go.uber.org/zap"
)

// DefaultVersion is the PD version that the server claims to be.
const DefaultVersion = "8.5.3"

// ErrStopped is what the in-process calls return while the server is stopped.
var ErrStopped = errors.New("pd: not running")

// Region is what the server tells its clients of one region. Its key bounds are in the memcomparable form.
type Region struct {
	Meta   *metapb.Region
	Leader *metapb.Peer
	Bytes  int64 // approximate, all versions
	Keys   int64 // approximate, all versions
}

// Regions finds regions, which always cover the whole key space. Returned values are the caller's.
type Regions interface {
	// Scan returns the regions that overlap [start, end), in key order, at most limit of them (all when limit <= 0).
	// An empty end is the end of the key space.
	Scan(start, end []byte, limit int) []Region
	// ByKey returns the region that holds the key.
	ByKey(key []byte) Region
	// Prev returns the region before the one that holds the key, false when that is the first.
	Prev(key []byte) (Region, bool)
	// ByID returns false when there is no such region.
	ByID(id uint64) (Region, bool)
}

// Store is the one TiKV store of the cluster.
type Store interface {
	// Meta returns the store's metadata.
	Meta() *metapb.Store
	// Split splits regions at the encoded keys and returns the IDs of the regions that came into being.
	// Keys that are already a boundary are skipped. An error may come after some of the splits.
	Split(ctx context.Context, keys [][]byte) ([]uint64, error)
	// Merge merges the region source into its neighbour target. An error means that nothing changed.
	Merge(ctx context.Context, source, target uint64) error
}

// Options say how to run a Server. The zero value of a field means its default unless noted.
type Options struct {
	// Addr is the host:port to listen on; port 0 picks a free one, which then stays. Required.
	Addr string
	// AdvertiseHost is the host by which clients reach the server; the default is that of Addr.
	AdvertiseHost string
	// DataDir keeps everything across restarts. Required.
	DataDir string
	// Version is the PD version to claim, semver without "v".
	Version string
	// NoSync leaves it to the operating system when writes reach the disk. Data then survives a kill of the process
	// but not a crash of the machine.
	NoSync bool
	// Handlers are further HTTP paths to serve on the client port.
	Handlers map[string]http.Handler
	// Now tells the time; tests set it.
	Now    func() time.Time
	Logger *zap.Logger
}

// Server is a PD that can be stopped and started again on the same port and data, as when an operator restarts a PD
// while the rest of the cluster goes on.
type Server struct {
	opts Options
	port int

	mu      sync.RWMutex
	cluster cluster
	inst    *instance // nil while stopped
}

// cluster is what is attached.
type cluster struct {
	store   Store
	regions Regions
}

// Open starts a server. The context bounds the start only.
func Open(ctx context.Context, o Options) (*Server, error) {
	switch {
	case o.Addr == "":
		return nil, errors.New("pd: no address")
	case o.DataDir == "":
		return nil, errors.New("pd: no data directory")
	}
	if o.Version == "" {
		o.Version = DefaultVersion
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	s := &Server{opts: o}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Start starts the server again after Stop, on the same port.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inst != nil {
		return nil
	}
	inst, err := startInstance(ctx, s.opts, s.port)
	if err != nil {
		return err
	}
	inst.attach(s.cluster)
	s.port = inst.port
	s.inst = inst
	return nil
}

// Stop ends the server and cuts every connection to it.
func (s *Server) Stop() { s.stop(true) }

// Kill ends the server as a kill of its process would: nothing more is written.
func (s *Server) Kill() { s.stop(false) }

func (s *Server) stop(farewell bool) {
	s.mu.Lock()
	inst := s.inst
	s.inst = nil
	s.mu.Unlock()
	if inst != nil {
		inst.stop(farewell)
	}
}

// Close ends the server for good.
func (s *Server) Close() { s.Stop() }

// Attach tells the server of its store. Before, calls about stores and regions answer "not bootstrapped".
func (s *Server) Attach(store Store, regions Regions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = cluster{store: store, regions: regions}
	if s.inst != nil {
		s.inst.attach(s.cluster)
	}
}

// URL returns http://host:port of the client port.
func (s *Server) URL() string { return clientURL(s.opts, s.port) }

// ClusterID returns the cluster's ID, 0 while the server is stopped.
func (s *Server) ClusterID() uint64 {
	inst, err := s.running()
	if err != nil {
		return 0
	}
	return inst.clusterID
}

// TSO returns a new timestamp, greater than every one that was handed out before.
func (s *Server) TSO(ctx context.Context) (uint64, error) {
	inst, err := s.running()
	if err != nil {
		return 0, err
	}
	ts, err := inst.tso.next(ctx, 1)
	if err != nil {
		return 0, err
	}
	return compose(ts), nil
}

// AllocID returns an ID that is unique in the cluster.
func (s *Server) AllocID(ctx context.Context) (uint64, error) {
	inst, err := s.running()
	if err != nil {
		return 0, err
	}
	return inst.ids.next(ctx, 1)
}

// EndLeases ends the leases of all keys below a prefix but those below the exceptions, as etcd does by itself some
// time after their holders died.
func (s *Server) EndLeases(ctx context.Context, prefix string, except ...string) error {
	inst, err := s.running()
	if err != nil {
		return err
	}
	return inst.endLeases(ctx, prefix, except)
}

func (s *Server) running() (*instance, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.inst == nil {
		return nil, ErrStopped
	}
	return s.inst, nil
}
