package pd

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/pingcap/kvproto/pkg/metapb"
)

const (
	bytesPerMiB = 1 << 20
	// regionsLimit is PD's own default of how many regions one call lists.
	regionsLimit = 16
)

// regionInfo is a region in PD's HTTP answers.
type regionInfo struct {
	ID              uint64     `json:"id"`
	StartKey        string     `json:"start_key"`
	EndKey          string     `json:"end_key"`
	Epoch           epochInfo  `json:"epoch"`
	Peers           []peerInfo `json:"peers"`
	Leader          peerInfo   `json:"leader"`
	CPUUsage        uint64     `json:"cpu_usage"`
	WrittenBytes    uint64     `json:"written_bytes"`
	ReadBytes       uint64     `json:"read_bytes"`
	WrittenKeys     uint64     `json:"written_keys"`
	ReadKeys        uint64     `json:"read_keys"`
	ApproximateSize int64      `json:"approximate_size"` // MiB, at least 1
	ApproximateKeys int64      `json:"approximate_keys"`
}

type epochInfo struct {
	ConfVer uint64 `json:"conf_ver"`
	Version uint64 `json:"version"`
}

type peerInfo struct {
	ID       uint64 `json:"id"`
	StoreID  uint64 `json:"store_id"`
	RoleName string `json:"role_name"`
}

func describe(r Region) regionInfo {
	info := regionInfo{
		ID:       r.Meta.GetId(),
		StartKey: strings.ToUpper(hex.EncodeToString(r.Meta.GetStartKey())),
		EndKey:   strings.ToUpper(hex.EncodeToString(r.Meta.GetEndKey())),
		Epoch: epochInfo{
			ConfVer: r.Meta.GetRegionEpoch().GetConfVer(), Version: r.Meta.GetRegionEpoch().GetVersion(),
		},
		Leader: describePeer(r.Leader),
		// All keys of a region count as written: callers use it to weigh regions against each other.
		WrittenKeys:     uint64(max(r.Keys, 0)),
		WrittenBytes:    uint64(max(r.Bytes, 0)),
		ApproximateSize: max(r.Bytes/bytesPerMiB, 1),
		ApproximateKeys: r.Keys,
	}
	for _, p := range r.Meta.GetPeers() {
		info.Peers = append(info.Peers, describePeer(p))
	}
	return info
}

func describePeer(p *metapb.Peer) peerInfo {
	return peerInfo{ID: p.GetId(), StoreID: p.GetStoreId(), RoleName: p.GetRole().String()}
}

func describeAll(regions []Region) any {
	infos := make([]regionInfo, 0, len(regions))
	for _, r := range regions {
		infos = append(infos, describe(r))
	}
	return map[string]any{"count": len(infos), "regions": infos}
}

func (in *instance) routeRegions(mux *http.ServeMux) {
	in.regionRoute(mux, "GET /pd/api/v1/region/id/{id}", func(w http.ResponseWriter, r *http.Request, c cluster) {
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		region, ok := c.regions.ByID(id)
		if !ok {
			answer(w, nil)
			return
		}
		answer(w, describe(region))
	})
	in.regionRoute(mux, "GET /pd/api/v1/region/key/{key}", func(w http.ResponseWriter, r *http.Request, c cluster) {
		answer(w, describe(c.regions.ByKey([]byte(r.PathValue("key")))))
	})
	in.regionRoute(mux, "GET /pd/api/v1/regions", func(w http.ResponseWriter, _ *http.Request, c cluster) {
		answer(w, describeAll(c.regions.Scan(nil, nil, 0)))
	})
	in.regionRoute(mux, "GET /pd/api/v1/regions/key", func(w http.ResponseWriter, r *http.Request, c cluster) {
		q := r.URL.Query()
		limit, err := strconv.Atoi(q.Get("limit"))
		if err != nil {
			limit = regionsLimit
		}
		answer(w, describeAll(c.regions.Scan([]byte(q.Get("key")), []byte(q.Get("end_key")), limit)))
	})
	in.regionRoute(mux, "GET /pd/api/v1/regions/store/{id}", func(w http.ResponseWriter, _ *http.Request, c cluster) {
		answer(w, describeAll(c.regions.Scan(nil, nil, 0)))
	})
	in.regionRoute(mux, "GET /pd/api/v1/stats/region", regionStats)
	mux.HandleFunc("GET /pd/api/v1/regions/replicated", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "REPLICATED")
	})
	noHotSpot := func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"as_peer": map[string]any{}, "as_leader": map[string]any{}})
	}
	mux.HandleFunc("GET /pd/api/v1/hotspot/regions/read", noHotSpot)
	mux.HandleFunc("GET /pd/api/v1/hotspot/regions/write", noHotSpot)
	mux.HandleFunc("GET /pd/api/v1/hotspot/regions/history", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"history_hot_region": []any{}})
	})
	accelerated := func(w http.ResponseWriter, _ *http.Request) { answer(w, "Accelerate regions scheduling") }
	mux.HandleFunc("POST /pd/api/v1/regions/accelerate-schedule", accelerated)
	mux.HandleFunc("POST /pd/api/v1/regions/accelerate-schedule/batch", accelerated)
	in.routeOperators(mux)
}

func (in *instance) regionRoute(mux *http.ServeMux, pattern string, h func(http.ResponseWriter, *http.Request, cluster)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		c, ok := in.attached()
		if !ok {
			notBootstrapped(w)
			return
		}
		h(w, r, c)
	})
}

func regionStats(w http.ResponseWriter, r *http.Request, c cluster) {
	q := r.URL.Query()
	regions := c.regions.Scan([]byte(q.Get("start_key")), []byte(q.Get("end_key")), 0)
	var size, keys int64
	for _, region := range regions {
		size += max(region.Bytes/bytesPerMiB, 1)
		keys += region.Keys
	}
	store := c.store.Meta().GetId()
	answer(w, map[string]any{
		"count": len(regions), "empty_count": 0, "storage_size": size, "storage_keys": keys,
		"store_leader_count": map[uint64]int{store: len(regions)},
		"store_peer_count":   map[uint64]int{store: len(regions)},
		"store_leader_size":  map[uint64]int64{store: size},
		"store_leader_keys":  map[uint64]int64{store: keys},
		"store_peer_size":    map[uint64]int64{store: size},
		"store_peer_keys":    map[uint64]int64{store: keys},
	})
}

// operatorRequest is the body by which a client asks for a change of regions. Keys are encoded and in hex.
type operatorRequest struct {
	Name     string   `json:"name"`
	RegionID uint64   `json:"region_id"`
	Keys     []string `json:"keys"`
	Source   uint64   `json:"source_region_id"`
	Target   uint64   `json:"target_region_id"`
}

// routeOperators lets clients split and merge regions as pd-ctl does. Operators are done when the answer comes.
func (in *instance) routeOperators(mux *http.ServeMux) {
	mux.HandleFunc("GET /pd/api/v1/operators", func(w http.ResponseWriter, _ *http.Request) { answer(w, []any{}) })
	mux.HandleFunc("DELETE /pd/api/v1/operators", func(w http.ResponseWriter, _ *http.Request) { answer(w, "success") })
	in.regionRoute(mux, "POST /pd/api/v1/operators", func(w http.ResponseWriter, r *http.Request, c cluster) {
		var req operatorRequest
		if !read(w, r, &req) {
			return
		}
		var err error
		switch req.Name {
		case "merge-region":
			err = c.store.Merge(r.Context(), req.Source, req.Target)
		case "split-region":
			var keys [][]byte
			for _, text := range req.Keys {
				key, err := hex.DecodeString(text)
				if err != nil {
					http.Error(w, err.Error(), http.StatusBadRequest)
					return
				}
				keys = append(keys, key)
			}
			_, err = c.store.Split(r.Context(), keys)
		default:
			http.Error(w, "unknown operator", http.StatusBadRequest)
			return
		}
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, "The operator is created.")
	})
}
