package pd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// httpHandler serves PD's HTTP paths. What is not here answers 404.
func (in *instance) httpHandler() http.Handler {
	mux := http.NewServeMux()
	in.routeMembers(mux)
	in.routeCluster(mux)
	in.routeRegions(mux)
	in.routeRules(mux)
	in.routeConfig(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := in.wait(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (in *instance) routeMembers(mux *http.ServeMux) {
	mux.HandleFunc("GET /pd/api/v1/version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"version": "v" + in.opts.Version})
	})
	mux.HandleFunc("GET /pd/api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"build_ts": "None", "version": "v" + in.opts.Version, "git_hash": "None",
			"start_timestamp": in.started.Unix(), "kernel_type": "Classic",
		})
	})
	health := func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []map[string]any{{
			"name": memberName, "member_id": in.memberID, "client_urls": []string{in.clientURL()}, "health": true,
		}})
	}
	mux.HandleFunc("GET /pd/api/v1/health", health)
	mux.HandleFunc("GET /pd/api/v1/health/", health)
	mux.HandleFunc("GET /pd/api/v1/ping", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /pd/api/v1/members", func(w http.ResponseWriter, _ *http.Request) {
		m := in.member()
		answer(w, map[string]any{
			"header": map[string]any{"cluster_id": in.clusterID}, "members": []any{m}, "leader": m, "etcd_leader": m,
		})
	})
	mux.HandleFunc("GET /pd/api/v1/leader", func(w http.ResponseWriter, _ *http.Request) { answer(w, in.member()) })
}

func (in *instance) routeCluster(mux *http.ServeMux) {
	mux.HandleFunc("GET /pd/api/v1/cluster", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"id": in.clusterID, "max_peer_count": 1})
	})
	mux.HandleFunc("GET /pd/api/v1/cluster/status", func(w http.ResponseWriter, _ *http.Request) {
		_, ok := in.attached()
		answer(w, map[string]any{
			"raft_bootstrap_time": in.started.Format(time.RFC3339Nano), "is_initialized": ok, "replication_status": "",
		})
	})
	mux.HandleFunc("GET /pd/api/v1/min-resolved-ts", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"min_resolved_ts": 0, "is_real_time": false, "persist_interval": "0s"})
	})
	mux.HandleFunc("GET /pd/api/v1/gc/safepoint", func(w http.ResponseWriter, _ *http.Request) {
		all, least := in.gc.services()
		answer(w, map[string]any{
			"service_gc_safe_points": all, "min_service_gc_safe_point": least.SafePoint,
			"gc_safe_point": in.gc.state().gcSafePoint,
		})
	})
	mux.HandleFunc("DELETE /pd/api/v1/gc/safepoint/{service}", func(w http.ResponseWriter, r *http.Request) {
		if _, err := in.gc.updateService(r.Context(), r.PathValue("service"), 0, 0); err != nil {
			fail(w, err)
			return
		}
		answer(w, "Delete service GC safepoint successfully.")
	})
	mux.HandleFunc("GET /pd/api/v1/stores", func(w http.ResponseWriter, _ *http.Request) {
		c, ok := in.attached()
		if !ok {
			notBootstrapped(w)
			return
		}
		answer(w, map[string]any{"count": 1, "stores": []any{in.storeInfo(c)}})
	})
	mux.HandleFunc("GET /pd/api/v1/store/{id}", func(w http.ResponseWriter, r *http.Request) {
		c, ok := in.attached()
		if !ok || r.PathValue("id") != fmt.Sprint(c.store.Meta().GetId()) {
			http.Error(w, "store not found", http.StatusNotFound)
			return
		}
		answer(w, in.storeInfo(c))
	})
	mux.HandleFunc("GET /pd/api/v2/keyspaces", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"keyspaces": []any{in.keyspaceInfo()}})
	})
	mux.HandleFunc("GET /pd/api/v2/keyspaces/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != defaultKeyspace {
			http.Error(w, "keyspace does not exist", http.StatusNotFound)
			return
		}
		answer(w, in.keyspaceInfo())
	})
}

func (in *instance) storeInfo(c cluster) any {
	m := in.storeMeta(c)
	now := in.opts.Now()
	regions := len(c.regions.Scan(nil, nil, 0))
	return map[string]any{
		"store": map[string]any{
			"id": m.Id, "address": m.Address, "version": m.Version, "status_address": m.StatusAddress,
			"git_hash": m.GitHash, "start_timestamp": m.StartTimestamp, "last_heartbeat": m.LastHeartbeat,
			"state": m.State, "state_name": "Up", "node_state_name": "Serving", "labels": []any{},
		},
		"status": map[string]any{
			"capacity": "100GiB", "available": "100GiB", "used_size": "0B",
			"leader_count": regions, "leader_weight": 1, "leader_score": regions, "leader_size": regions,
			"region_count": regions, "region_weight": 1, "region_score": regions, "region_size": regions,
			"start_ts":          in.started.Format(time.RFC3339),
			"last_heartbeat_ts": now.Format(time.RFC3339Nano),
			"uptime":            now.Sub(in.started).String(),
		},
	}
}

func (in *instance) keyspaceInfo() any {
	m := in.defaultKeyspaceMeta()
	return map[string]any{
		"id": m.Id, "name": m.Name, "state": m.State.String(), "config": map[string]string{},
		"created_at": m.CreatedAt, "state_changed_at": m.StateChangedAt,
	}
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	// A client that has left needs no answer.
	_, _ = w.Write(body)
}

func fail(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

func notBootstrapped(w http.ResponseWriter) {
	http.Error(w, "TiKV cluster not bootstrapped, please start TiKV first", http.StatusInternalServerError)
}

// read decodes the body of a request; false means that the answer has been given.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	const limit = 16 << 20
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// do runs a change that has no result of its own.
func do(w http.ResponseWriter, r *http.Request, change func(context.Context) error) {
	if err := change(r.Context()); err != nil {
		fail(w, err)
		return
	}
	answer(w, "success")
}
