package objstore

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeS3 is the part of S3's interface that a Store needs.
type fakeS3 struct {
	t       *testing.T
	mu      sync.Mutex
	objects map[string][]byte // by path, with the bucket
}

func startS3(t *testing.T) string {
	f := &fakeS3{t: t, objects: make(map[string][]byte)}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/")
	content, exists := f.objects[name]
	switch {
	case !strings.Contains(r.Header.Get("Authorization"), "Credential=key/"):
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodHead && !strings.Contains(name, "/"): // the bucket
		w.Header().Set("X-Amz-Bucket-Region", "us-east-1")
	case r.Method == http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			f.t.Error(err)
		}
		f.objects[name] = body
	case r.Method == http.MethodGet && r.URL.Query().Has("prefix"):
		f.list(w, name, r.URL.Query().Get("prefix"))
	case r.Method == http.MethodDelete:
		delete(f.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case !exists:
		w.WriteHeader(http.StatusNotFound)
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `<Error><Code>NoSuchKey</Code></Error>`)
		}
	case r.Method == http.MethodGet:
		_, _ = w.Write(content)
	}
}

func (f *fakeS3) list(w http.ResponseWriter, bucket, prefix string) {
	type object struct {
		Key  string
		Size int
	}
	var result struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []object
	}
	bucket = strings.TrimSuffix(bucket, "/") + "/"
	for name, content := range f.objects {
		if key, ok := strings.CutPrefix(name, bucket); ok && strings.HasPrefix(key, prefix) {
			result.Contents = append(result.Contents, object{key, len(content)})
		}
	}
	slices.SortFunc(result.Contents, func(a, b object) int { return strings.Compare(a.Key, b.Key) })
	if err := xml.NewEncoder(w).Encode(result); err != nil {
		f.t.Error(err)
	}
}

func TestS3NeedsItsKey(t *testing.T) {
	endpoint := startS3(t)
	_, err := Open(t.Context(), "s3://bucket/base?access-key=other&secret-access-key=hidden&endpoint="+sinkURI(endpoint))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hidden")
}
