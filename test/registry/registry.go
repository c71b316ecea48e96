// Package registry is a schema registry for tests, in the test's own process. It
// has the REST interface of Confluent's that Avro producers and consumers use,
// and takes nothing but valid Avro schemas.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"

	"github.com/hamba/avro/v2"
)

// The levels of compatibility that are checked; other levels count as NONE.
const (
	CompatibilityNone     = "NONE"
	CompatibilityBackward = "BACKWARD"
)

const contentType = "application/vnd.schemaregistry.v1+json"

// Options configure a registry. The zero value asks for no password and takes
// any valid schema.
type Options struct {
	User, Password string // basic authentication, unless empty
	Compatibility  string // the global level; "" is NONE
}

// Server is a running registry. It implements http.Handler as well.
type Server struct {
	URL string // with user and password where they are asked for

	o    Options
	http *httptest.Server
	mux  *http.ServeMux

	mu       sync.Mutex
	schemas  []string // by id - 1
	subjects map[string][]int
	levels   map[string]string // by subject, "" is the global one
	failures int
	requests int
}

// Start listens on a free port of the loop-back interface.
func Start(o Options) *Server {
	s := &Server{o: o, subjects: make(map[string][]int), levels: map[string]string{"": o.Compatibility}}
	if o.Compatibility == "" {
		s.levels[""] = CompatibilityNone
	}
	s.mux = s.routes()
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	if o.User != "" {
		s.URL = "http://" + o.User + ":" + o.Password + "@" + s.http.Listener.Addr().String()
	}
	return s
}

// Close stops the registry and forgets everything.
func (s *Server) Close() { s.http.Close() }

// FailNext answers the next n requests with status 503.
func (s *Server) FailNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = n
}

// Requests is the number of requests so far.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Schema is the text of a schema, "" when there is no such id.
func (s *Server) Schema(id int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < 1 || id > len(s.schemas) {
		return ""
	}
	return s.schemas[id-1]
}

// Versions are the ids of a subject's schemas, oldest first.
func (s *Server) Versions(subject string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.subjects[subject])
}

// Subjects are the names of all subjects, sorted.
func (s *Server) Subjects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.subjects))
	for name := range s.subjects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	fail := s.failures > 0
	if fail {
		s.failures--
	}
	s.mu.Unlock()
	if fail {
		answer(w, http.StatusServiceUnavailable, problem{50003, "out of order for the test"})
		return
	}
	if user, password, _ := r.BasicAuth(); s.o.User != "" && (user != s.o.User || password != s.o.Password) {
		answer(w, http.StatusUnauthorized, problem{401, "Unauthorized"})
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, struct{}{}) })
	mux.HandleFunc("GET /schemas/types", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, []string{"AVRO"}) })
	mux.HandleFunc("GET /schemas/ids/{id}", s.getSchema)
	mux.HandleFunc("GET /subjects", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Subjects()) })
	mux.HandleFunc("POST /subjects/{subject}", s.findSchema)
	mux.HandleFunc("DELETE /subjects/{subject}", s.deleteSubject)
	mux.HandleFunc("GET /subjects/{subject}/versions", s.listVersions)
	mux.HandleFunc("POST /subjects/{subject}/versions", s.register)
	mux.HandleFunc("GET /subjects/{subject}/versions/{version}", s.getVersion)
	mux.HandleFunc("POST /compatibility/subjects/{subject}/versions/{version}", s.tryCompatibility)
	mux.HandleFunc("GET /config", s.getLevel)
	mux.HandleFunc("PUT /config", s.putLevel)
	mux.HandleFunc("GET /config/{subject}", s.getLevel)
	mux.HandleFunc("PUT /config/{subject}", s.putLevel)
	return mux
}

// problem is the body of an error.
type problem struct {
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

func (p problem) Error() string { return p.Message }

var (
	errNoSubject = problem{40401, "Subject not found."}
	errNoVersion = problem{40402, "Version not found."}
	errNoSchema  = problem{40403, "Schema not found"}
)

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", contentType)
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error_code":500}`)
	}
	w.WriteHeader(status)
	// A client that went away needs no answer.
	_, _ = w.Write(b)
}

func refuse(w http.ResponseWriter, err error) {
	var p problem
	if !errors.As(err, &p) {
		p = problem{42201, err.Error()}
	}
	status := p.Code
	if status > 999 {
		status /= 100
	}
	answer(w, status, p)
}

// posted reads the schema of a request's body.
func posted(r *http.Request) (string, avro.Schema, error) {
	var body struct {
		Schema string `json:"schema"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return "", nil, problem{42201, "Invalid request: " + err.Error()}
	}
	parsed, err := parse(body.Schema)
	if err != nil {
		return "", nil, problem{42201, "Invalid schema: " + err.Error()}
	}
	return body.Schema, parsed, nil
}

// parse takes each schema on its own: names may come again with other fields.
func parse(schema string) (avro.Schema, error) {
	return avro.ParseBytesWithCache([]byte(schema), "", &avro.SchemaCache{})
}

func (s *Server) getSchema(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	schema := s.Schema(id)
	if err != nil || schema == "" {
		refuse(w, errNoSchema)
		return
	}
	answer(w, http.StatusOK, map[string]string{"schema": schema})
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	schema, parsed, err := posted(r)
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	subject := r.PathValue("subject")
	ids := s.subjects[subject]
	if id := slices.Index(s.schemas, schema) + 1; id > 0 && slices.Contains(ids, id) {
		answer(w, http.StatusOK, map[string]int{"id": id})
		return
	}
	if err := s.compatible(subject, parsed); err != nil {
		refuse(w, problem{409, err.Error()})
		return
	}
	id := slices.Index(s.schemas, schema) + 1
	if id == 0 {
		s.schemas = append(s.schemas, schema)
		id = len(s.schemas)
	}
	s.subjects[subject] = append(ids, id)
	answer(w, http.StatusOK, map[string]int{"id": id})
}

// compatible tells whether a new schema may follow the newest of its subject.
func (s *Server) compatible(subject string, schema avro.Schema) error {
	level, ok := s.levels[subject]
	if !ok {
		level = s.levels[""]
	}
	ids := s.subjects[subject]
	if level != CompatibilityBackward || len(ids) == 0 {
		return nil
	}
	last, err := parse(s.schemas[ids[len(ids)-1]-1])
	if err != nil {
		return err
	}
	if err := avro.NewSchemaCompatibility().Compatible(schema, last); err != nil {
		return fmt.Errorf("Schema being registered is incompatible with an earlier schema: %w", err)
	}
	return nil
}

func (s *Server) tryCompatibility(w http.ResponseWriter, r *http.Request) {
	_, parsed, err := posted(r)
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, map[string]bool{"is_compatible": s.compatible(r.PathValue("subject"), parsed) == nil})
}

// version describes one schema of a subject; versions count from 1.
type version struct {
	Subject string `json:"subject"`
	ID      int    `json:"id"`
	Version int    `json:"version"`
	Schema  string `json:"schema"`
}

func (s *Server) versionOf(subject string, at int) version {
	id := s.subjects[subject][at]
	return version{Subject: subject, ID: id, Version: at + 1, Schema: s.schemas[id-1]}
}

func (s *Server) findSchema(w http.ResponseWriter, r *http.Request) {
	schema, _, err := posted(r)
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	subject := r.PathValue("subject")
	ids, ok := s.subjects[subject]
	if !ok {
		refuse(w, errNoSubject)
		return
	}
	at := slices.IndexFunc(ids, func(id int) bool { return s.schemas[id-1] == schema })
	if at < 0 {
		refuse(w, errNoSchema)
		return
	}
	answer(w, http.StatusOK, s.versionOf(subject, at))
}

func (s *Server) deleteSubject(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	subject := r.PathValue("subject")
	ids, ok := s.subjects[subject]
	if !ok {
		refuse(w, errNoSubject)
		return
	}
	delete(s.subjects, subject)
	answer(w, http.StatusOK, numbers(len(ids)))
}

func (s *Server) listVersions(w http.ResponseWriter, r *http.Request) {
	ids := s.Versions(r.PathValue("subject"))
	if ids == nil {
		refuse(w, errNoSubject)
		return
	}
	answer(w, http.StatusOK, numbers(len(ids)))
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i + 1
	}
	return out
}

func (s *Server) getVersion(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	subject := r.PathValue("subject")
	ids, ok := s.subjects[subject]
	if !ok {
		refuse(w, errNoSubject)
		return
	}
	at := len(ids)
	if text := r.PathValue("version"); text != "latest" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > len(ids) {
			refuse(w, errNoVersion)
			return
		}
		at = n
	}
	answer(w, http.StatusOK, s.versionOf(subject, at-1))
}

func (s *Server) getLevel(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	level, ok := s.levels[r.PathValue("subject")]
	if !ok {
		level = s.levels[""]
	}
	answer(w, http.StatusOK, map[string]string{"compatibilityLevel": level})
}

func (s *Server) putLevel(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Compatibility string `json:"compatibility"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Compatibility == "" {
		refuse(w, problem{42203, "Invalid compatibility level"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.levels[r.PathValue("subject")] = body.Compatibility
	answer(w, http.StatusOK, body)
}
