package avro

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
)

// TestCheckRegistry looks at what counts as a registry.
func TestCheckRegistry(t *testing.T) {
	for name, tc := range map[string]struct {
		root, subjects string
		refused        bool
	}{
		"Confluent's":       {root: "{}", subjects: "not asked for"},
		"a page at its top": {root: "<html>", subjects: `["a-value"]`},
		"no registry":       {root: "<html>", subjects: "<html>", refused: true},
		"other JSON":        {root: `{"a":1}`, subjects: `{"a":1}`, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.root) })
			mux.HandleFunc("GET /subjects", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.subjects) })
			server := httptest.NewServer(mux)
			defer server.Close()
			c, err := newConfluent(server.URL)
			require.NoError(t, err)
			if err := c.check(t.Context()); tc.refused {
				require.ErrorIs(t, err, errors.ErrAvroSchemaAPIError)
			} else {
				require.NoError(t, err)
			}
		})
	}
}
