package codectest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
)

// Golden compares messages with testdata/name. The file shows each message as
// two lines, key and value, quoted unless they are plain JSON; null stands for
// nil. With UPDATE_GOLDEN=1 in the environment the file is written anew, to be
// checked by eye.
func Golden(t *testing.T, name string, messages ...codec.Message) {
	t.Helper()
	var got bytes.Buffer
	for _, m := range messages {
		got.WriteString("key   " + quote(m.Key) + "\nvalue " + quote(m.Value) + "\n")
	}
	path := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

// quote writes bytes so that text stays readable: JSON is shown as it is.
func quote(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case plain(b):
		return string(b)
	}
	return strconv.QuoteToASCII(string(b))
}

// plain tells JSON that shows well in an editor.
func plain(b []byte) bool {
	return len(b) > 0 && b[0] == '{' && utf8.Valid(b) && bytes.IndexFunc(b, unicode.IsControl) < 0
}

// Encode appends events and returns the messages.
func Encode(t testing.TB, e codec.Encoder, events ...*codec.RowEvent) []codec.Message {
	t.Helper()
	for _, ev := range events {
		require.NoError(t, e.AppendRow(t.Context(), "topic", ev))
	}
	messages, err := e.Messages()
	require.NoError(t, err)
	return messages
}

// Files is a claim-check storage in memory.
type Files struct {
	mu    sync.Mutex
	files map[string][]byte
}

// Put implements codec.ClaimCheckStore. The address is that of a file store
// with the names in the order of the calls.
func (f *Files) Put(_ context.Context, _ string, content []byte) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files == nil {
		f.files = make(map[string][]byte)
	}
	location := "file:///claims/" + strconv.Itoa(len(f.files)+1) + ".json"
	f.files[location] = bytes.Clone(content)
	return location, nil
}

// Get returns the content at an address, nil when there is none.
func (f *Files) Get(location string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files[location]
}
