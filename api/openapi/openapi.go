// Package openapi writes the OpenAPI 3 description of the HTTP API from the
// list of its routes and the Go types of their bodies.
package openapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemark/tidemark/api/route"
)

// Document is an OpenAPI 3.0 document, as far as it is needed here.
type Document struct {
	OpenAPI    string                           `json:"openapi"`
	Info       info                             `json:"info"`
	Tags       []tag                            `json:"tags"`
	Paths      map[string]map[string]*operation `json:"paths"`
	Components components                       `json:"components"`
}

type info struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Version     string `json:"version"`
}

type tag struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

type operation struct {
	Tags        []string              `json:"tags"`
	Summary     string                `json:"summary"`
	OperationID string                `json:"operationId"`
	Parameters  []parameter           `json:"parameters,omitempty"`
	RequestBody *body                 `json:"requestBody,omitempty"`
	Responses   map[string]*response  `json:"responses"`
	Security    []map[string][]string `json:"security,omitempty"`
}

type parameter struct {
	Name        string  `json:"name"`
	In          string  `json:"in"`
	Description string  `json:"description,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Schema      *Schema `json:"schema"`
}

type body struct {
	Required bool               `json:"required,omitempty"`
	Content  map[string]content `json:"content"`
}

type content struct {
	Schema *Schema `json:"schema"`
}

type response struct {
	Description string             `json:"description"`
	Content     map[string]content `json:"content,omitempty"`
}

type components struct {
	Schemas         map[string]*Schema        `json:"schemas"`
	SecuritySchemes map[string]securityScheme `json:"securitySchemes"`
}

type securityScheme struct {
	Type   string `json:"type"`
	Scheme string `json:"scheme"`
}

// The types of bodies.
const (
	jsonType = "application/json"
	textType = "text/plain"
	formType = "application/x-www-form-urlencoded"
)

// New begins a description.
func New(title, description, version string) *Document {
	return &Document{
		OpenAPI: "3.0.3",
		Info:    info{Title: title, Description: description, Version: version},
		Paths:   map[string]map[string]*operation{},
		Components: components{
			Schemas:         map[string]*Schema{},
			SecuritySchemes: map[string]securityScheme{"basic": {Type: "http", Scheme: "basic"}},
		},
	}
}

// Add describes the routes of a group. Where they fail, they answer with a
// value of the failure's type, or with text if that is nil.
func (d *Document) Add(name, about, prefix string, routes []route.Route, failure any) {
	d.Tags = append(d.Tags, tag{Name: name, Description: about})
	for _, r := range routes {
		path := templated(prefix + r.Path)
		if d.Paths[path] == nil {
			d.Paths[path] = map[string]*operation{}
		}
		d.Paths[path][strings.ToLower(methodOf(r))] = d.operation(name, path, r, failure)
	}
}

// methodOf is the method under which a route is described: one that takes
// every method is meant to be read.
func methodOf(r route.Route) string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

// templated writes parameters as {name}.
func templated(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if p != "" && (p[0] == ':' || p[0] == '*') {
			parts[i] = "{" + p[1:] + "}"
		}
	}
	return strings.Join(parts, "/")
}

func (d *Document) operation(tag, path string, r route.Route, failure any) *operation {
	op := &operation{Tags: []string{tag}, Summary: r.Summary, OperationID: operationID(methodOf(r), path), Responses: map[string]*response{}}
	for _, part := range strings.Split(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			op.Parameters = append(op.Parameters, parameter{
				Name: strings.TrimSuffix(name, "}"), In: "path", Required: true, Schema: &Schema{Type: "string"}})
		}
	}
	for _, q := range r.Query {
		op.Parameters = append(op.Parameters, parameter{Name: q.Name, In: "query", Description: q.About, Schema: &Schema{Type: "string"}})
	}
	op.RequestBody = d.requestBody(r)
	op.Responses[strconv.Itoa(r.Success())] = d.success(r)
	op.Responses["default"] = d.failure(failure)
	if r.NeedsUser {
		// Only where the server's configuration asks for it.
		op.Security = []map[string][]string{{}, {"basic": {}}}
	}
	return op
}

// operationID is made of the path, in camel case.
func operationID(method, path string) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(method))
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/{}_.", r) }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

func (d *Document) requestBody(r route.Route) *body {
	switch {
	case r.Form != nil:
		form := &Schema{Type: "object", Properties: map[string]*Schema{}}
		for _, p := range r.Form {
			form.Properties[p.Name] = &Schema{Type: "string", Description: p.About}
		}
		return &body{Content: map[string]content{formType: {Schema: form}}}
	case r.Body != nil:
		return &body{Required: !r.OptionalBody, Content: map[string]content{jsonType: {Schema: d.schemaOf(r.Body)}}}
	default:
		return nil
	}
}

func (d *Document) success(r route.Route) *response {
	out := &response{Description: http.StatusText(r.Success())}
	switch {
	case r.Text != "":
		out.Content = map[string]content{r.Text: {Schema: &Schema{Type: "string"}}}
	case r.Answer != nil:
		out.Content = map[string]content{jsonType: {Schema: d.schemaOf(r.Answer)}}
	}
	return out
}

func (d *Document) failure(failure any) *response {
	if failure == nil {
		return &response{Description: "An error", Content: map[string]content{textType: {Schema: &Schema{Type: "string"}}}}
	}
	return &response{Description: "An error", Content: map[string]content{jsonType: {Schema: d.schemaOf(failure)}}}
}

// Operations lists what is described, as "METHOD /path/{parameter}", sorted.
func (d *Document) Operations() []string {
	var all []string
	for path, ops := range d.Paths {
		for method := range ops {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// Schemas lists the names of the described types, sorted.
func (d *Document) Schemas() []string { return slices.Sorted(maps.Keys(d.Components.Schemas)) }

// JSON writes the document.
func (d *Document) JSON() ([]byte, error) { return json.MarshalIndent(d, "", "  ") }
