package pd

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
)

// Kinds of documents that clients keep in PD.
const (
	kindLabelRule  = "label-rule"
	kindRuleGroup  = "rule-group"
	kindRuleBundle = "rule-bundle"
	kindRule       = "rule"
	kindConfig     = "config"
	kindScheduler  = "scheduler"
)

// routeRules keeps placement and label rules. With one store there is nothing to place by them.
func (in *instance) routeRules(mux *http.ServeMux) {
	in.routeLabelRules(mux)
	in.routeRuleGroups(mux)
	in.routeRuleBundles(mux)
	mux.HandleFunc("POST /pd/api/v1/config/rule", func(w http.ResponseWriter, r *http.Request) {
		in.keep(w, r, kindRule, ruleID)
	})
	mux.HandleFunc("POST /pd/api/v1/config/rules/batch", func(w http.ResponseWriter, r *http.Request) {
		var ops []json.RawMessage
		if !read(w, r, &ops) {
			return
		}
		do(w, r, func(ctx context.Context) error { return in.applyRules(ctx, ops) })
	})
	mux.HandleFunc("GET /pd/api/v1/config/rules", func(w http.ResponseWriter, r *http.Request) {
		in.list(w, r, kindRule, nil)
	})
	mux.HandleFunc("GET /pd/api/v1/config/rules/group/{group}", func(w http.ResponseWriter, r *http.Request) {
		in.list(w, r, kindRule, func(doc json.RawMessage) bool {
			return field(doc, "group_id") == r.PathValue("group")
		})
	})
	mux.HandleFunc("GET /pd/api/v1/config/rule/{group}/{id}", func(w http.ResponseWriter, r *http.Request) {
		in.show(w, r, kindRule, r.PathValue("group")+"/"+r.PathValue("id"))
	})
	mux.HandleFunc("DELETE /pd/api/v1/config/rule/{group}/{id}", func(w http.ResponseWriter, r *http.Request) {
		do(w, r, func(ctx context.Context) error {
			return in.docs.remove(ctx, kindRule, r.PathValue("group")+"/"+r.PathValue("id"))
		})
	})
}

func (in *instance) routeLabelRules(mux *http.ServeMux) {
	const rules, rule = "/pd/api/v1/config/region-label/rules", "/pd/api/v1/config/region-label/rule"
	mux.HandleFunc("GET "+rules, func(w http.ResponseWriter, r *http.Request) { in.list(w, r, kindLabelRule, nil) })
	mux.HandleFunc("GET "+rules+"/ids", func(w http.ResponseWriter, r *http.Request) {
		var ids []string
		if !read(w, r, &ids) {
			return
		}
		in.list(w, r, kindLabelRule, func(doc json.RawMessage) bool { return slices.Contains(ids, field(doc, "id")) })
	})
	mux.HandleFunc("PATCH "+rules, func(w http.ResponseWriter, r *http.Request) {
		var patch struct {
			Sets    []json.RawMessage `json:"sets"`
			Deletes []string          `json:"deletes"`
		}
		if !read(w, r, &patch) {
			return
		}
		do(w, r, func(ctx context.Context) error {
			for _, id := range patch.Deletes {
				if err := in.docs.remove(ctx, kindLabelRule, id); err != nil {
					return err
				}
			}
			for _, doc := range patch.Sets {
				if err := in.docs.put(ctx, kindLabelRule, field(doc, "id"), doc); err != nil {
					return err
				}
			}
			return nil
		})
	})
	mux.HandleFunc("POST "+rule, func(w http.ResponseWriter, r *http.Request) {
		in.keep(w, r, kindLabelRule, func(doc json.RawMessage) string { return field(doc, "id") })
	})
	mux.HandleFunc("GET "+rule+"/{id...}", func(w http.ResponseWriter, r *http.Request) {
		in.show(w, r, kindLabelRule, r.PathValue("id"))
	})
	mux.HandleFunc("DELETE "+rule+"/{id...}", func(w http.ResponseWriter, r *http.Request) {
		do(w, r, func(ctx context.Context) error { return in.docs.remove(ctx, kindLabelRule, r.PathValue("id")) })
	})
}

func (in *instance) routeRuleGroups(mux *http.ServeMux) {
	mux.HandleFunc("GET /pd/api/v1/config/rule_groups", func(w http.ResponseWriter, r *http.Request) {
		in.list(w, r, kindRuleGroup, nil)
	})
	mux.HandleFunc("POST /pd/api/v1/config/rule_group", func(w http.ResponseWriter, r *http.Request) {
		in.keep(w, r, kindRuleGroup, func(doc json.RawMessage) string { return field(doc, "id") })
	})
	mux.HandleFunc("GET /pd/api/v1/config/rule_group/{id}", func(w http.ResponseWriter, r *http.Request) {
		in.show(w, r, kindRuleGroup, r.PathValue("id"))
	})
	mux.HandleFunc("DELETE /pd/api/v1/config/rule_group/{id}", func(w http.ResponseWriter, r *http.Request) {
		do(w, r, func(ctx context.Context) error { return in.docs.remove(ctx, kindRuleGroup, r.PathValue("id")) })
	})
}

func (in *instance) routeRuleBundles(mux *http.ServeMux) {
	const bundles = "/pd/api/v1/config/placement-rule"
	mux.HandleFunc("GET "+bundles, func(w http.ResponseWriter, r *http.Request) { in.list(w, r, kindRuleBundle, nil) })
	mux.HandleFunc("GET "+bundles+"/{group}", func(w http.ResponseWriter, r *http.Request) {
		doc, err := in.docs.get(r.Context(), kindRuleBundle, r.PathValue("group"))
		switch {
		case err != nil:
			fail(w, err)
		case doc == nil:
			// PD knows every group, as one without rules.
			answer(w, map[string]any{
				"group_id": r.PathValue("group"), "group_index": 0, "group_override": false, "rules": []any{},
			})
		default:
			answer(w, doc)
		}
	})
	mux.HandleFunc("POST "+bundles, func(w http.ResponseWriter, r *http.Request) {
		var docs []json.RawMessage
		if !read(w, r, &docs) {
			return
		}
		partial := r.URL.Query().Get("partial") == "true"
		do(w, r, func(ctx context.Context) error { return in.putBundles(ctx, docs, partial) })
	})
	mux.HandleFunc("DELETE "+bundles+"/{group}", func(w http.ResponseWriter, r *http.Request) {
		do(w, r, func(ctx context.Context) error { return in.docs.remove(ctx, kindRuleBundle, r.PathValue("group")) })
	})
}

// putBundles replaces bundles, all of them unless the change is partial. One without rules is thereby removed.
func (in *instance) putBundles(ctx context.Context, docs []json.RawMessage, partial bool) error {
	if !partial {
		if err := in.docs.clear(ctx, kindRuleBundle); err != nil {
			return err
		}
	}
	for _, doc := range docs {
		var b struct {
			GroupID string            `json:"group_id"`
			Rules   []json.RawMessage `json:"rules"`
		}
		if err := json.Unmarshal(doc, &b); err != nil {
			return err
		}
		change := in.docs.put(ctx, kindRuleBundle, b.GroupID, doc)
		if len(b.Rules) == 0 {
			change = in.docs.remove(ctx, kindRuleBundle, b.GroupID)
		}
		if change != nil {
			return change
		}
	}
	return nil
}

func (in *instance) applyRules(ctx context.Context, ops []json.RawMessage) error {
	for _, op := range ops {
		change := in.docs.put
		if field(op, "action") == "del" {
			change = func(ctx context.Context, kind, id string, _ json.RawMessage) error {
				return in.docs.remove(ctx, kind, id)
			}
		}
		if err := change(ctx, kindRule, ruleID(op), op); err != nil {
			return err
		}
	}
	return nil
}

func ruleID(doc json.RawMessage) string { return field(doc, "group_id") + "/" + field(doc, "id") }

// field returns one text of a JSON object, "" when it has none.
func field(doc json.RawMessage, name string) string {
	var fields map[string]json.RawMessage
	var text string
	if json.Unmarshal(doc, &fields) != nil || json.Unmarshal(fields[name], &text) != nil {
		return ""
	}
	return text
}

// keep stores the body.
func (in *instance) keep(w http.ResponseWriter, r *http.Request, kind string, id func(json.RawMessage) string) {
	var doc json.RawMessage
	if !read(w, r, &doc) {
		return
	}
	do(w, r, func(ctx context.Context) error { return in.docs.put(ctx, kind, id(doc), doc) })
}

// show answers 404 when there is no such document.
func (in *instance) show(w http.ResponseWriter, r *http.Request, kind, id string) {
	doc, err := in.docs.get(r.Context(), kind, id)
	switch {
	case err != nil:
		fail(w, err)
	case doc == nil:
		http.Error(w, "not found", http.StatusNotFound)
	default:
		answer(w, doc)
	}
}

// list answers with the documents that pick accepts, all when it is nil.
func (in *instance) list(w http.ResponseWriter, r *http.Request, kind string, pick func(json.RawMessage) bool) {
	docs, err := in.docs.list(r.Context(), kind)
	if err != nil {
		fail(w, err)
		return
	}
	if pick != nil {
		docs = slices.DeleteFunc(docs, func(doc json.RawMessage) bool { return !pick(doc) })
	}
	answer(w, docs)
}
