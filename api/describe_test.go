package api

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	swaggerfiles "github.com/swaggo/files/v2"

	"github.com/tidemark/tidemark/api/openapi"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

// TestEveryRouteIsDescribed: what gin answers and what the description says
// are the same, in both directions.
func TestEveryRouteIsDescribed(t *testing.T) {
	o := optionsFor(servicetest.New())
	var routed []string
	parameter := regexp.MustCompile(`[:*]([a-z_]+)`)
	for _, r := range NewHandler(o).(*gin.Engine).Routes() {
		if r.Path == "/metrics" && r.Method != http.MethodGet {
			continue // it takes every method and is described once
		}
		routed = append(routed, r.Method+" "+parameter.ReplaceAllString(r.Path, "{$1}"))
	}
	slices.Sort(routed)
	require.Equal(t, routed, describe(describedGroups(o)).Operations())
}

// document is the description as a client gets it.
func document(t *testing.T) *openapi.Document {
	t.Helper()
	w := call(handlerFor(servicetest.New()), "GET", "/api/openapi.json", "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	doc := &openapi.Document{}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), doc))
	return doc
}

func TestDescriptionIsSound(t *testing.T) {
	doc := document(t)
	require.Equal(t, "3.0.3", doc.OpenAPI)
	ids := map[string]bool{}
	for path, ops := range doc.Paths {
		for method, op := range ops {
			require.False(t, ids[op.OperationID], op.OperationID)
			ids[op.OperationID] = true
			require.NotEmpty(t, op.Summary, "%s %s", method, path)
			require.Len(t, op.Responses, 2, "%s %s: a success and the errors", method, path)
			for _, p := range op.Parameters {
				if p.In == "path" {
					require.Contains(t, path, "{"+p.Name+"}")
				}
			}
		}
	}
	text, err := doc.JSON()
	require.NoError(t, err)
	for _, ref := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
		require.Contains(t, doc.Components.Schemas, ref[1])
	}
	for _, name := range []string{"v2.ChangefeedInfo", "v2.ReplicaConfig", "v2.ListOfSummary", "v1.ChangefeedDetail", "middleware.HTTPError", "config.ServerConfig"} {
		require.Contains(t, doc.Schemas(), name)
	}
}

func TestSwaggerUI(t *testing.T) {
	h := handlerFor(servicetest.New())
	for _, tt := range []struct {
		path, contentType, contains string
		status                      int
	}{
		{"/swagger/index.html", "text/html; charset=utf-8", `<div id="swagger-ui">`, 200},
		{"/swagger/swagger-initializer.js", "text/javascript; charset=utf-8", `url: "doc.json"`, 200},
		{"/swagger/swagger-ui.css", "text/css; charset=utf-8", ".swagger-ui", 200},
		{"/swagger/favicon-32x32.png", "image/png", "PNG", 200},
		{"/swagger/doc.json", "application/json; charset=utf-8", `"openapi": "3.0.3"`, 200},
		{"/swagger/", "text/plain", "404 page not found", 404},
		{"/swagger/nope.html", "text/plain", "404 page not found", 404},
		{"/swagger/../index.html", "text/plain", "404 page not found", 404},
	} {
		w := call(h, "GET", tt.path, "")
		require.Equal(t, tt.status, w.Code, tt.path)
		require.Equal(t, tt.contentType, w.Header().Get("Content-Type"), tt.path)
		require.Contains(t, w.Body.String(), tt.contains, tt.path)
	}
	// What the page loads is here and not somewhere in the internet.
	page, err := fs.ReadFile(swaggerfiles.FS, "index.html")
	require.NoError(t, err)
	for _, link := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(string(page), -1) {
		require.NotContains(t, link[1], "//")
		require.Equal(t, 200, call(h, "GET", "/swagger/"+strings.TrimPrefix(link[1], "./"), "").Code, link[1])
	}
	require.NotContains(t, call(h, "GET", "/swagger/swagger-initializer.js", "").Body.String(), "http")
}

// requireDescribed makes sure that an answer is one that the description
// knows: of a described route, with a described status, type and shape.
func requireDescribed(t *testing.T, doc *openapi.Document, method, url string, w *httptest.ResponseRecorder) {
	t.Helper()
	switch w.Code {
	case http.StatusNotFound, http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		return // no route has answered
	}
	url, _, _ = strings.Cut(url, "?")
	for path, ops := range doc.Paths {
		op := ops[strings.ToLower(method)]
		if op == nil || !matches(path, url) {
			continue
		}
		answer := op.Responses[strconv.Itoa(w.Code)]
		if answer == nil {
			require.GreaterOrEqual(t, w.Code, 400, "%s %s", method, path)
			answer = op.Responses["default"]
		}
		if w.Body.Len() == 0 {
			require.Empty(t, answer.Content)
			return
		}
		for contentType, content := range answer.Content {
			if contentType == "application/json" {
				requireShape(t, doc, content.Schema, w.Body.Bytes())
			} else {
				require.True(t, strings.HasPrefix(w.Header().Get("Content-Type"), contentType))
			}
		}
		return
	}
	t.Fatalf("%s %s is not described", method, url)
}

func matches(template, url string) bool {
	want, got := strings.Split(template, "/"), strings.Split(url, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

// requireShape checks JSON against a schema; a key that the schema does not
// know is an error.
func requireShape(t *testing.T, doc *openapi.Document, s *openapi.Schema, text json.RawMessage) {
	t.Helper()
	if len(s.AllOf) > 0 {
		if string(text) == "null" {
			require.True(t, s.Nullable)
			return
		}
		s = s.AllOf[0]
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = doc.Components.Schemas[name]
	}
	var v any
	require.NoError(t, json.Unmarshal(text, &v))
	switch v := v.(type) {
	case map[string]any:
		require.Equal(t, "object", s.Type, string(text))
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &fields))
		for key, field := range fields {
			property := s.Properties[key]
			if property == nil {
				property = s.AdditionalProperties
			}
			require.NotNil(t, property, "%s is not described", key)
			requireShape(t, doc, property, field)
		}
	case []any:
		require.Equal(t, "array", s.Type, string(text))
		var items []json.RawMessage
		require.NoError(t, json.Unmarshal(text, &items))
		for _, item := range items {
			requireShape(t, doc, s.Items, item)
		}
	case nil:
		require.True(t, s.Nullable || s.Type == "array")
	case string:
		require.True(t, s.Type == "string" || s.OneOf != nil)
	case bool:
		require.Equal(t, "boolean", s.Type)
	case float64:
		require.True(t, s.Type == "integer" || s.Type == "number" || s.OneOf != nil, "%v: %v", v, s)
	}
}

// TestDocsListEveryRoute: docs/api.md has a row for each route, with the
// mark of those that can ask for credentials, and no others.
func TestDocsListEveryRoute(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	require.NoError(t, err)
	var documented, routed []string
	for _, row := range regexp.MustCompile("(?m)^\\| ([A-Z]+) \\| `([^`]+)`( 🔑)? \\| (node|owner) \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, strings.Join(row[1:], " "))
	}
	for _, g := range describedGroups(optionsFor(servicetest.New())) {
		for _, r := range g.routes {
			method, mark, by := r.Method, "", "node"
			if method == "" {
				method = "ANY"
			}
			if r.NeedsUser {
				mark = " 🔑"
			}
			if r.ToOwner {
				by = "owner"
			}
			routed = append(routed, strings.Join([]string{method, g.prefix + r.Path, mark, by}, " "))
		}
	}
	require.ElementsMatch(t, routed, documented)
}
