package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// documented is the address in the documents' lines.
const documented = "127.0.0.1:8300"

// curlrc makes curl tell status and type after the body; the lines themselves
// stay as they are.
const curlrc = "silent\nshow-error\nmax-time = 60\nwrite-out = \"\\n%{http_code} %{content_type}\"\n"

// TestCurl runs the documents' lines with the real program.
func TestCurl(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	require.NoError(t, os.WriteFile(filepath.Join(shared.dir, ".curlrc"), []byte(curlrc), 0o600))
	r := newRunner(ctx, t, map[string]*cluster.Server{"a": shared.server})
	for _, file := range []string{"testdata/curl_v1.http", "testdata/curl_v2.http"} {
		r.runFiles(ctx, t, file)
		removeFeeds(ctx, t)
	}
}

// runCurl runs a line in a shell, as a reader of the documents does.
func runCurl(ctx context.Context, args, addr string) (*answer, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", "curl "+strings.ReplaceAll(args, documented, addr))
	cmd.Env = append(os.Environ(), "CURL_HOME="+shared.dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("curl: %w: %s", err, stderr.String())
	}
	end := bytes.LastIndexByte(out, '\n')
	code, contentType, _ := strings.Cut(string(out[end+1:]), " ")
	status, err := strconv.Atoi(code)
	if err != nil {
		return nil, err
	}
	a := &answer{status: status, header: http.Header{}, length: int64(end), body: string(out[:end])}
	if contentType != "" {
		a.header.Set("Content-Type", contentType)
	}
	return a, nil
}
