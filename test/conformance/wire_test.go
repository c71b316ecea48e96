package conformance

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is what a server sent back.
type answer struct {
	status int
	header http.Header
	length int64 // as announced; -1 if it was not
	body   string
}

// requestLimit bounds one exchange.
const requestLimit = 60 * time.Second

// exchange sends a request exactly as written, which Go's client would not
// do: it cleans paths and header names.
func exchange(ctx context.Context, addr, method, path string, header []string, body string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(encode(addr, method, path, header, body)); err != nil {
		return nil, err
	}
	req, err := http.NewRequest(method, "/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{status: resp.StatusCode, header: resp.Header, length: announced(resp), body: string(b)}, nil
}

func encode(addr, method, path string, header []string, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, addr)
	chunked := false
	for _, h := range header {
		chunked = chunked || strings.EqualFold(h, "Transfer-Encoding: chunked")
		b.WriteString(h + "\r\n")
	}
	switch {
	case chunked:
		fmt.Fprintf(&b, "\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	case body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	default:
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// announced is the length that the header tells.
func announced(resp *http.Response) int64 {
	n, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// send runs a step's request against a server.
func (s *step) send(ctx context.Context, addr string, v vars) (*answer, error) {
	path, err := v.expand(s.path)
	if err != nil {
		return nil, err
	}
	if s.method == "curl" {
		return runCurl(ctx, path, addr)
	}
	body, err := v.expand(s.body)
	if err != nil {
		return nil, err
	}
	header := make([]string, len(s.header))
	for i, h := range s.header {
		if header[i], err = v.expand(h); err != nil {
			return nil, err
		}
	}
	return exchange(ctx, addr, s.method, path, header, body)
}

// check compares an answer with the expected one and tells the first
// difference.
func (s *step) check(a *answer, v vars) error {
	want, err := v.expand(s.want)
	if err != nil {
		return err
	}
	if a.status != s.status {
		return fmt.Errorf("status %d, not %d; body:\n%s", a.status, s.status, a.body)
	}
	ok, err := v.match(want, a.body)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("body:\n%s\nexpected:\n%s", a.body, want)
	}
	got := a.header.Values("Content-Type")
	if ok, err := v.match(s.contentType, strings.Join(got, "|")); err != nil || !ok {
		return fmt.Errorf("Content-Type %q, not %q", got, s.contentType)
	}
	if a.length >= 0 && a.length != int64(len(a.body)) || a.length < 0 && a.body == "" {
		return fmt.Errorf("Content-Length %d with a body of %d bytes", a.length, len(a.body))
	}
	for _, h := range s.wantHeader {
		name, value, _ := strings.Cut(h, ": ")
		if value, err = v.expand(value); err != nil {
			return err
		}
		if got := a.header.Values(name); strings.Join(got, "|") != value {
			return fmt.Errorf("header %s is %q, not %q", name, got, value)
		}
	}
	return nil
}
