package objstore

import (
	"context"
	stderrors "errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

func sinkURI(s string) config.SinkURI { return config.SinkURI(s) }

func TestStores(t *testing.T) {
	for name, uri := range map[string]config.SinkURI{
		"file":  sinkURI("file://" + t.TempDir() + "/new/dir"),
		"local": sinkURI("local://" + t.TempDir() + "/"),
		"nfs":   sinkURI("nfs://" + t.TempDir()),
		"s3":    sinkURI("s3://bucket/base?access-key=key&secret-access-key=a+b/c&endpoint=" + startS3(t)),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), uri)
			require.NoError(t, err)
			defer s.Close()

			_, err = s.Get(t.Context(), "a/b.json")
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.Empty(t, list(t, s, ""))
			require.Empty(t, list(t, s, "a"))
			require.NoError(t, s.Put(t.Context(), "a/b.json", []byte("one")))
			require.NoError(t, s.Put(t.Context(), "a/b.json", []byte("second")))
			require.NoError(t, s.Put(t.Context(), "a/c/d", []byte{}))
			require.NoError(t, s.Put(t.Context(), "e", []byte("x")))
			content, err := s.Get(t.Context(), "a/b.json")
			require.NoError(t, err)
			require.Equal(t, "second", string(content))

			require.Equal(t, map[string]int64{"a/b.json": 6, "a/c/d": 0, "e": 1}, list(t, s, ""))
			require.Equal(t, map[string]int64{"a/b.json": 6, "a/c/d": 0}, list(t, s, "a"))
			stop := stderrors.New("stop")
			require.ErrorIs(t, s.List(t.Context(), "", func(string, int64) error { return stop }), stop)

			require.NoError(t, s.Delete(t.Context(), "e", "a/b.json", "missing"))
			require.Equal(t, map[string]int64{"a/c/d": 0}, list(t, s, ""))

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, s.Put(ctx, "late", nil), errors.ErrExternalStorageAPI)
		})
	}
}

func list(t *testing.T, s Store, dir string) map[string]int64 {
	t.Helper()
	found := make(map[string]int64)
	require.NoError(t, s.List(t.Context(), dir, func(name string, size int64) error {
		found[name] = size
		return nil
	}))
	return found
}

func TestDirectoryKeepsToItself(t *testing.T) {
	root := t.TempDir()
	s, err := Open(t.Context(), sinkURI("file://"+root))
	require.NoError(t, err)
	for _, name := range []string{"../x", "/etc/passwd", ""} {
		require.ErrorIs(t, s.Put(t.Context(), name, nil), errors.ErrExternalStorageAPI, name)
		_, err := s.Get(t.Context(), name)
		require.Error(t, err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, tempPrefix+"1"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(root, "taken"), 0o700))
	require.Error(t, s.Put(t.Context(), "taken", nil), "a directory is there")
	require.Empty(t, list(t, s, ""), "files that are being written are not shown")
}

func TestNoop(t *testing.T) {
	s, err := Open(t.Context(), "noop:///")
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Put(t.Context(), "a", nil))
	_, err = s.Get(t.Context(), "a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Empty(t, list(t, s, ""))
	require.NoError(t, s.Delete(t.Context(), "a"))
}

// The clients of GCS and Azure are TiDB's; that their parameters arrive is what
// is seen here.
func TestOtherClouds(t *testing.T) {
	var paths []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		if r.URL.Path != "/bucket" {
			w.Header().Set("x-ms-error-code", "BlobNotFound")
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	s, err := Open(t.Context(), sinkURI("azblob://bucket/base?account-name=me&account-key=c2VjcmV0&endpoint="+server.URL))
	require.NoError(t, err)
	defer s.Close()
	require.Contains(t, paths, "/bucket/base/test")
	_, err = s.Get(t.Context(), "x")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestBadURIs(t *testing.T) {
	for _, uri := range []config.SinkURI{
		"", "ftp://x/y", "s3:///prefix?secret-access-key=hidden", "gcs://", "file://",
		"s3://bucket?endpoint=nowhere&secret-access-key=hidden", "s3://bucket?access-key=a",
		"s3://user:hidden@%zz",
	} {
		_, err := Open(t.Context(), uri)
		require.ErrorIs(t, err, errors.ErrFailToCreateExternalStorage, string(uri))
		require.NotContains(t, err.Error(), "hidden")
	}
}

func TestClaimCheck(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenClaimCheck(t.Context(), sinkURI("file://"+dir+"/?access-key=hidden"))
	require.NoError(t, err)
	defer c.Close()
	location, err := c.Put(t.Context(), "id.json", []byte("{}"))
	require.NoError(t, err)
	require.Equal(t, "file://"+dir+"/id.json", location)
	content, err := c.Get(t.Context(), location)
	require.NoError(t, err)
	require.Equal(t, "{}", string(content))
	_, err = OpenClaimCheck(t.Context(), "")
	require.Error(t, err)
}
