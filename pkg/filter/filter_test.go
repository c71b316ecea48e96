package filter

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	cerrors "github.com/tidemark/tidemark/pkg/errors"
)

func TestMatchTable(t *testing.T) {
	cases := []struct {
		name      string
		rules     []string
		sensitive bool
		schema    string
		table     string
		want      bool
	}{
		{"no rules mean all", nil, false, "a", "b", true},
		{"empty list means all", []string{}, false, "a", "b", true},
		{"wildcard", []string{"foo*.*", "bar*.*"}, false, "foo1", "x", true},
		{"no rule matches", []string{"foo*.*"}, false, "baz", "x", false},
		{"last rule wins", []string{"*.*", "!test.t1"}, false, "test", "t1", false},
		{"negation only for its table", []string{"*.*", "!test.t1"}, false, "test", "t2", true},
		{"case folded by default", []string{"Test.T1"}, false, "test", "t1", true},
		{"case kept when asked", []string{"Test.T1"}, true, "test", "t1", false},
		{"regular expression", []string{`/^t[0-9]+$/./x/`}, false, "t12", "axb", true},
		{"system schema never", []string{"*.*"}, false, "mysql", "user", false},
		{"system schema in any case", []string{"*.*"}, false, "MySQL", "user", false},
		{"named system schema never", []string{"mysql.*"}, false, "mysql", "user", false},
		{"own schema never", []string{"*.*"}, false, "tidb_cdc", "syncpoint_v1", false},
		{"own schema matches exactly", []string{"*.*"}, false, "TIDB_CDC", "x", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := New(&config.FilterConfig{Rules: c.rules}, c.sensitive)
			require.NoError(t, err)
			require.Equal(t, c.want, f.MatchTable(c.schema, c.table))
		})
	}
}

func TestMatchSchema(t *testing.T) {
	f, err := New(&config.FilterConfig{Rules: []string{"a.*", "b.t1", "!c.*", "!d.t1"}}, false)
	require.NoError(t, err)
	require.True(t, f.MatchSchema("a"))
	require.True(t, f.MatchSchema("B"))
	require.False(t, f.MatchSchema("c"))
	require.False(t, f.MatchSchema("d"))
	require.False(t, f.MatchSchema("sys"))
}

func TestBadRules(t *testing.T) {
	for _, rule := range []string{"a", "a.b.c", "/[/.x", "a.[", "*"} {
		_, err := New(&config.FilterConfig{Rules: []string{rule}}, false)
		require.Error(t, err, rule)
		require.True(t, errors.Is(err, cerrors.ErrFilterRuleInvalid), rule)
	}
}

func TestNilConfigMatchesAll(t *testing.T) {
	f, err := New(nil, true)
	require.NoError(t, err)
	require.True(t, f.MatchTable("a", "b"))
}
