package conformance

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// classes are the placeholders for values that differ from run to run:
// <tso> stands for any TSO, <tso:x> keeps it as {{x}} for later steps.
var classes = map[string]string{
	"tso":     `[0-9]{18}`,
	"int":     `[0-9]+`,
	"ints":    `[0-9, \n]*`,
	"uuid":    `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
	"time":    `[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}`,
	"rfc3339": `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})`,
	"stamp":   `[0-9T:. -]+`,
	"hash":    `[0-9a-f]{40}|None`,
	"failing": `pending|warning`,
	"text":    `[^\n]+`,
	"any":     `(?s:.*)`,
	"nl":      `\n`,
}

var (
	placeholder = regexp.MustCompile(`<([a-z0-9]+)(?::([a-z0-9_]+))?>`)
	reference   = regexp.MustCompile(`\{\{([a-z0-9_./-]+)\}\}`)
)

// vars are the values that scripts name as {{x}}.
type vars map[string]string

// expand puts values in for their names; {{file/x.json}} is the file below
// testdata with its lines joined.
func (v vars) expand(s string) (string, error) {
	var missing error
	out := reference.ReplaceAllStringFunc(s, func(ref string) string {
		name := strings.Trim(ref, "{}")
		if value, ok := v[name]; ok {
			return value
		}
		if strings.HasSuffix(name, ".json") {
			b, err := os.ReadFile("testdata/" + name)
			if err == nil {
				return joined(strings.Split(string(b), "\n"))
			}
			missing = err
			return ref
		}
		missing = fmt.Errorf("nothing is known as %s", ref)
		return ref
	})
	return out, missing
}

// match compares an answer's text with a pattern, byte by byte but for the
// placeholders, and keeps what they name. Where a pattern has a name twice,
// both values must be the same.
func (v vars) match(pattern, text string) (bool, error) {
	re, names, err := compile(pattern)
	if err != nil {
		return false, err
	}
	m := re.FindStringSubmatch(text)
	if m == nil {
		return false, nil
	}
	kept := vars{}
	for i, name := range names {
		if before, ok := kept[name]; name != "" && ok && before != m[i+1] {
			return false, nil
		}
		kept[name] = m[i+1]
	}
	delete(kept, "")
	maps.Copy(v, kept)
	return true, nil
}

// compile turns a pattern into an expression with one group per placeholder.
// What looks like a placeholder but is none stands for itself.
func compile(pattern string) (*regexp.Regexp, []string, error) {
	var b strings.Builder
	var names []string
	b.WriteString(`\A`)
	last := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(pattern, -1) {
		class, ok := classes[pattern[m[2]:m[3]]]
		if !ok {
			continue
		}
		name := ""
		if m[4] >= 0 {
			name = pattern[m[4]:m[5]]
		}
		names = append(names, name)
		b.WriteString(regexp.QuoteMeta(pattern[last:m[0]]))
		b.WriteString("(" + class + ")")
		last = m[1]
	}
	b.WriteString(regexp.QuoteMeta(pattern[last:]))
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	return re, names, err
}

func TestMatch(t *testing.T) {
	v := vars{"x": "y"}
	s, err := v.expand(`{"a":"{{x}}","b":<tso:start>,"c":"<a href=>"}`)
	require.NoError(t, err)
	for text, want := range map[string]bool{
		`{"a":"y","b":461234567890123456,"c":"<a href=>"}`:  true,
		`{"a":"y","b":461234567890123456,"c":"<a href=>"} `: false,
		`{"a":"y","b":46,"c":"<a href=>"}`:                  false,
		`{"a":"z","b":461234567890123456,"c":"<a href=>"}`:  false,
	} {
		ok, err := v.match(s, text)
		require.NoError(t, err)
		require.Equal(t, want, ok, text)
	}
	require.Equal(t, "461234567890123456", v["start"])
	for text, want := range map[string]bool{"1 1": true, "1 2": false} {
		ok, err := v.match("<int:n> <int:n>", text)
		require.NoError(t, err)
		require.Equal(t, want, ok, text)
	}
	_, err = v.expand("{{nobody}}")
	require.Error(t, err)
}
