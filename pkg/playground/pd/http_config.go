package pd

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// routeConfig keeps settings that clients change and read back; none has an effect.
func (in *instance) routeConfig(mux *http.ServeMux) {
	mux.HandleFunc("GET /pd/api/v1/config", func(w http.ResponseWriter, r *http.Request) {
		if cfg, ok := in.config(w, r); ok {
			answer(w, cfg)
		}
	})
	mux.HandleFunc("POST /pd/api/v1/config", func(w http.ResponseWriter, r *http.Request) { in.changeConfig(w, r, "") })
	for _, section := range []string{"schedule", "replication"} {
		path := "/pd/api/v1/config/" + section
		if section == "replication" {
			path = "/pd/api/v1/config/replicate"
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if cfg, ok := in.config(w, r); ok {
				answer(w, cfg[section])
			}
		})
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { in.changeConfig(w, r, section) })
	}
	mux.HandleFunc("GET /pd/api/v1/config/cluster-version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, in.opts.Version)
	})
	in.routeSchedulers(mux)
}

func (in *instance) routeSchedulers(mux *http.ServeMux) {
	mux.HandleFunc("GET /pd/api/v1/schedulers", func(w http.ResponseWriter, r *http.Request) {
		docs, err := in.docs.list(r.Context(), kindScheduler)
		if err != nil {
			fail(w, err)
			return
		}
		names := make([]string, 0, len(docs))
		for _, doc := range docs {
			names = append(names, field(doc, "name"))
		}
		answer(w, names)
	})
	mux.HandleFunc("POST /pd/api/v1/schedulers", func(w http.ResponseWriter, r *http.Request) {
		in.keep(w, r, kindScheduler, func(doc json.RawMessage) string { return field(doc, "name") })
	})
	// Pausing a scheduler that does nothing is done at once.
	mux.HandleFunc("POST /pd/api/v1/schedulers/{name}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "Pause or resume the scheduler successfully.")
	})
	mux.HandleFunc("DELETE /pd/api/v1/schedulers/{name}", func(w http.ResponseWriter, r *http.Request) {
		do(w, r, func(ctx context.Context) error { return in.docs.remove(ctx, kindScheduler, r.PathValue("name")) })
	})
}

func defaultConfig() map[string]map[string]any {
	return map[string]map[string]any{
		"schedule": {
			"leader-schedule-limit": 0, "region-schedule-limit": 0, "replica-schedule-limit": 0, "merge-schedule-limit": 0,
			"max-merge-region-size": 0, "max-merge-region-keys": 0, "enable-location-replacement": "true",
		},
		"replication": {
			"max-replicas": 1, "location-labels": "", "isolation-level": "",
			"strictly-match-label": "false", "enable-placement-rules": "true",
		},
		"pd-server": {"use-region-storage": "true", "key-type": "table"},
	}
}

// config returns the defaults with the changes on top; false means that the answer has been given.
func (in *instance) config(w http.ResponseWriter, r *http.Request) (map[string]map[string]any, bool) {
	cfg := defaultConfig()
	for section := range cfg {
		doc, err := in.docs.get(r.Context(), kindConfig, section)
		if err == nil && doc != nil {
			var changes map[string]any
			err = json.Unmarshal(doc, &changes)
			maps.Copy(cfg[section], changes)
		}
		if err != nil {
			fail(w, err)
			return nil, false
		}
	}
	return cfg, true
}

// changeConfig takes settings of one section, or with "section.name" of any. Those of unknown sections are accepted
// and forgotten.
func (in *instance) changeConfig(w http.ResponseWriter, r *http.Request, section string) {
	var changes map[string]any
	if !read(w, r, &changes) {
		return
	}
	cfg, ok := in.config(w, r)
	if !ok {
		return
	}
	for name, value := range changes {
		target, key := section, name
		if prefix, rest, dotted := strings.Cut(name, "."); section == "" && dotted {
			target, key = prefix, rest
		} else if section == "" {
			target = "schedule"
		}
		if cfg[target] != nil {
			cfg[target][key] = value
		}
	}
	do(w, r, func(ctx context.Context) error {
		for name, values := range cfg {
			doc, err := json.Marshal(values)
			if err != nil {
				return err
			}
			if err := in.docs.put(ctx, kindConfig, name, doc); err != nil {
				return err
			}
		}
		return nil
	})
}
