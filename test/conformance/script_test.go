package conformance

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is one exchange of a script: a request and the answer to it.
type step struct {
	file  string
	line  int
	title string
	// eventually repeats the request until the answer is the expected one.
	eventually bool
	// background starts the request and looks at the answer after the last
	// script: some requests take as long as a connection may.
	background bool
	// node is where the request goes: "a", the owner, unless the script says
	// otherwise.
	node string

	method, path string
	header       []string // "Name: value", as written on the wire
	body         string

	status      int
	contentType string   // "" means that the header is absent
	wantHeader  []string // further headers that the answer must have
	want        string   // pattern of the body
}

// isFixture tells what only prepares the following steps from a request: a
// statement for the upstream database, or a key written into etcd.
func (s *step) isFixture() bool { return s.method == "SQL" || s.method == "ETCD" }

func (s *step) name() string { return fmt.Sprintf("%03d_%s", s.line, s.title) }

// contentTypes are the short names of what servers send.
var contentTypes = map[string]string{
	"json":  "application/json; charset=utf-8",
	"text":  "text/plain; charset=utf-8",
	"plain": "text/plain",
	"html":  "text/html; charset=utf-8",
	"none":  "",
	// How names in UTF-8 would be escaped depends on the library's release.
	"metrics": "text/plain; version=0.0.4; charset=utf-8; escaping=<text>",
}

// readScript reads the steps of a file; testdata/README.md tells its form.
func readScript(path string) ([]*step, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var steps []*step
	var block []string
	begin := 0
	flush := func() error {
		if begin == 0 {
			return nil
		}
		s, err := parseStep(block)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, begin, err)
		}
		s.file, s.line = path, begin
		steps = append(steps, s)
		return nil
	}
	for i, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "=== ") {
			if err := flush(); err != nil {
				return nil, err
			}
			begin, block = i+1, nil
		}
		if begin > 0 && !strings.HasPrefix(line, "# ") {
			block = append(block, line)
		}
	}
	return steps, flush()
}

// parseStep reads one step: title, request, and after a line of dashes the
// expected answer.
func parseStep(lines []string) (*step, error) {
	s := &step{node: "a"}
	for _, word := range strings.Fields(lines[0])[1:] {
		switch {
		case word == "@eventually":
			s.eventually = true
		case word == "@background":
			s.background = true
		case strings.HasPrefix(word, "@node="):
			s.node = strings.TrimPrefix(word, "@node=")
		default:
			s.title = strings.TrimSpace(s.title + " " + word)
		}
	}
	request, answer := lines[1:], []string(nil)
	for i, line := range request {
		if line == "---" {
			request, answer = request[:i], request[i+1:]
			break
		}
	}
	if err := s.parseRequest(request); err != nil {
		return nil, err
	}
	if s.isFixture() {
		return s, nil
	}
	return s, s.parseAnswer(answer)
}

func (s *step) parseRequest(lines []string) error {
	if len(lines) == 0 {
		return fmt.Errorf("no request")
	}
	var ok bool
	if s.method, s.path, ok = strings.Cut(lines[0], " "); !ok {
		return fmt.Errorf("no path in %q", lines[0])
	}
	rest := lines[1:]
	for len(rest) > 0 && rest[0] != "" {
		s.header = append(s.header, rest[0])
		rest = rest[1:]
	}
	s.body = strings.Trim(strings.Join(rest, "\n"), "\n")
	return nil
}

func (s *step) parseAnswer(lines []string) error {
	if len(lines) == 0 {
		return fmt.Errorf("no answer")
	}
	words := strings.Fields(lines[0])
	if len(words) < 2 {
		return fmt.Errorf("an answer starts with status and content type, not %q", lines[0])
	}
	var err error
	if s.status, err = strconv.Atoi(words[0]); err != nil {
		return err
	}
	var known bool
	if s.contentType, known = contentTypes[words[1]]; !known {
		s.contentType = words[1]
	}
	rest := lines[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "< ") {
		s.wantHeader = append(s.wantHeader, strings.TrimPrefix(rest[0], "< "))
		rest = rest[1:]
	}
	for len(rest) > 0 && rest[len(rest)-1] == "" {
		rest = rest[:len(rest)-1]
	}
	switch {
	case len(words) > 2 && words[2] == "compact":
		s.want = joined(rest)
	case len(rest) == 1 && strings.HasPrefix(rest[0], "!"):
		s.want, err = errorBody(rest[0])
	default:
		s.want = strings.Join(rest, "\n")
	}
	return err
}

// joined puts JSON that is written over several lines onto one.
func joined(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimSpace(l))
	}
	return b.String()
}

// errorBody spells out the short form of an error body, "!code text". The text
// is the inside of a JSON string; "!- text" is an error without a code.
func errorBody(line string) (string, error) {
	code, text, ok := strings.Cut(strings.TrimPrefix(line, "!"), " ")
	if !ok {
		return "", fmt.Errorf("no text in %q", line)
	}
	if code == "-" {
		code = ""
	} else {
		text = "[" + code + "]" + text
	}
	return "{\n    \"error_msg\": \"" + text + "\",\n    \"error_code\": \"" + code + "\"\n}", nil
}

func TestParseStep(t *testing.T) {
	s, err := parseStep(strings.Split(`=== create twice @eventually @node=b
POST /api/v2/changefeeds?x=1
'Content-type': 'application/json'

{"a":
 1}

---
400 json compact
< Location: /x
{
  "a": 1
}

`, "\n"))
	require.NoError(t, err)
	require.Equal(t, &step{
		title: "create twice", eventually: true, node: "b",
		method: "POST", path: "/api/v2/changefeeds?x=1",
		header: []string{"'Content-type': 'application/json'"}, body: "{\"a\":\n 1}",
		status: 400, contentType: "application/json; charset=utf-8",
		wantHeader: []string{"Location: /x"}, want: `{"a": 1}`,
	}, s)

	body, err := errorBody("!CDC:ErrX some \\u003ctext\\u003e")
	require.NoError(t, err)
	require.Equal(t, "{\n    \"error_msg\": \"[CDC:ErrX]some \\u003ctext\\u003e\",\n    \"error_code\": \"CDC:ErrX\"\n}", body)
	for _, bad := range [][]string{{"=== x"}, {"=== x", "GET"}, {"=== x", "GET /", "---"}, {"=== x", "GET /", "---", "200"}, {"=== x", "GET /", "---", "ok json"}} {
		_, err := parseStep(bad)
		require.Error(t, err, "%v", bad)
	}
}
