package filter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	tfilter "github.com/pingcap/tidb/pkg/util/table-filter"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func eventFilters(t *testing.T, events ...*config.EventFilterConfig) *Filter {
	t.Helper()
	f, err := New(&config.FilterConfig{Rules: []string{"*.*"}, EventFilters: events}, false)
	require.NoError(t, err)
	return f
}

func TestWords(t *testing.T) {
	for _, w := range []string{"Insert", "create  table", "alter", "", "add columns", "create sequence"} {
		_, err := parseKinds([]string{w})
		require.True(t, errors.Is(err, cerrors.ErrInvalidIgnoreEventType), w)
	}
	documented := append(alterWords(), "all dml", "all ddl", "insert", "update", "delete", "alter table",
		"create schema", "drop schema", "create database", "drop database", "modify schema charset and collate",
		"create table", "drop table", "truncate table", "recover table", "create view", "drop view")
	require.Len(t, documented, 41)
	_, err := parseKinds(documented)
	require.NoError(t, err)
	all, err := parseKinds([]string{"all ddl"})
	require.NoError(t, err)
	require.True(t, all.hasDDL(timodel.ActionCreateSequence))
	alter, err := parseKinds([]string{"alter table"})
	require.NoError(t, err)
	for _, w := range alterWords() {
		for _, a := range actionsOf(w) {
			require.True(t, alter.hasDDL(a), w)
		}
	}
	for _, a := range []timodel.ActionType{
		timodel.ActionCreateTable, timodel.ActionCreateTables, timodel.ActionDropTable, timodel.ActionTruncateTable, timodel.ActionRecoverTable,
		timodel.ActionCreateView, timodel.ActionDropView, timodel.ActionCreateSchema, timodel.ActionDropSchema, timodel.ActionModifySchemaCharsetAndCollate,
	} {
		require.False(t, alter.hasDDL(a), a.String())
	}
	dml, err := parseKinds([]string{"all dml"})
	require.NoError(t, err)
	require.Equal(t, [model.RowDelete + 1]bool{false, true, true, true}, dml.rows)
}

func TestIgnoresDDL(t *testing.T) {
	table := func(a timodel.ActionType) *model.DDLEvent {
		return &model.DDLEvent{Type: a, Schema: "db", Table: "t", StartTs: 7}
	}
	rename := &model.DDLEvent{Type: timodel.ActionRenameTable, OldSchema: "db", OldTable: "t", Schema: "db", Table: "new"}
	schema := &model.DDLEvent{Type: timodel.ActionDropSchema, Schema: "db"}
	tests := []struct {
		name string
		cfg  config.EventFilterConfig
		ev   *model.DDLEvent
		text string
		want bool
	}{
		{"event", config.EventFilterConfig{Matcher: []string{"db.t"}, IgnoreEvent: []string{"drop table"}}, table(timodel.ActionDropTable), "", true},
		{"other event", config.EventFilterConfig{Matcher: []string{"db.t"}, IgnoreEvent: []string{"drop table"}}, table(timodel.ActionTruncateTable), "", false},
		{"other table", config.EventFilterConfig{Matcher: []string{"db.u"}, IgnoreEvent: []string{"drop table"}}, table(timodel.ActionDropTable), "", false},
		{"no matcher", config.EventFilterConfig{IgnoreEvent: []string{"drop table"}}, table(timodel.ActionDropTable), "", false},
		{"minds case", config.EventFilterConfig{Matcher: []string{"DB.T"}, IgnoreEvent: []string{"drop table"}}, table(timodel.ActionDropTable), "", false},
		{"several columns", config.EventFilterConfig{Matcher: []string{"db.t"}, IgnoreEvent: []string{"add column"}}, table(timodel.ActionAddColumns), "", true},
		{"old name", config.EventFilterConfig{Matcher: []string{"db.t"}, IgnoreEvent: []string{"rename table"}}, rename, "", true},
		{"new name", config.EventFilterConfig{Matcher: []string{"db.new"}, IgnoreEvent: []string{"rename table"}}, rename, "", false},
		{"database by a table", config.EventFilterConfig{Matcher: []string{"db.t"}, IgnoreEvent: []string{"drop database"}}, schema, "", true},
		{"other database", config.EventFilterConfig{Matcher: []string{"d.*"}, IgnoreEvent: []string{"drop database"}}, schema, "", false},
		{"text", config.EventFilterConfig{Matcher: []string{"db.*"}, IgnoreSQL: []string{"^x", "ADD column"}}, table(timodel.ActionAddColumn), "alter table t add COLUMN a int", true},
		{"other text", config.EventFilterConfig{Matcher: []string{"db.*"}, IgnoreSQL: []string{"^add"}}, table(timodel.ActionAddColumn), "alter table t add column a int", false},
		{"rows only", config.EventFilterConfig{Matcher: []string{"db.*"}, IgnoreEvent: []string{"all dml"}}, table(timodel.ActionAddColumn), "", false},
		{"bad pattern disarms", config.EventFilterConfig{Matcher: []string{"db.*"}, IgnoreSQL: []string{"("}, IgnoreEvent: []string{"all ddl", "insert"}}, table(timodel.ActionAddColumn), "(", false},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, eventFilters(t, &c.cfg).IgnoresDDL(c.ev, c.text))
		})
	}
	f, err := New(&config.FilterConfig{IgnoreTxnStartTs: []uint64{9, 7, 1}}, false)
	require.NoError(t, err)
	require.True(t, f.IgnoresDDL(table(timodel.ActionDropTable), ""), "its transaction is left out")
	require.False(t, f.IgnoresDDL(schema, ""))
}

func TestFiltersRows(t *testing.T) {
	for _, c := range []struct {
		cfg  config.EventFilterConfig
		want bool
	}{
		{config.EventFilterConfig{IgnoreEvent: []string{"all ddl"}}, false},
		{config.EventFilterConfig{IgnoreSQL: []string{"x"}}, false},
		{config.EventFilterConfig{IgnoreEvent: []string{"delete"}}, true},
		{config.EventFilterConfig{IgnoreEvent: []string{"delete"}, IgnoreSQL: []string{"("}}, false},
		{config.EventFilterConfig{IgnoreDeleteValueExpr: "1"}, true},
	} {
		require.Equal(t, c.want, eventFilters(t, &c.cfg).FiltersRows(), c.cfg)
	}
	f, err := New(&config.FilterConfig{IgnoreTxnStartTs: []uint64{1}}, false)
	require.NoError(t, err)
	require.True(t, f.FiltersRows())
}

func TestCheckPatterns(t *testing.T) {
	require.NoError(t, eventFilters(t, &config.EventFilterConfig{IgnoreSQL: []string{"a|b", "c"}}).CheckPatterns())
	err := eventFilters(t, &config.EventFilterConfig{IgnoreSQL: []string{"a", "["}}).CheckPatterns()
	require.True(t, errors.Is(err, cerrors.ErrFilterRuleInvalid), err)
}

// TestLists: the selection of old clients counts only without rules.
func TestLists(t *testing.T) {
	tables := func(names ...string) (out []*config.FilterTable) {
		for _, n := range names {
			schema, table, _ := strings.Cut(n, ".")
			out = append(out, &config.FilterTable{Schema: schema, Name: table})
		}
		return append(out, nil)
	}
	tests := []struct {
		name    string
		cfg     config.FilterConfig
		in, out []string
	}{
		{"do dbs", config.FilterConfig{DoDBs: []string{"a", "b*"}}, []string{"a.t", "A.t", "bb.t"}, []string{"c.t"}},
		{"ignore dbs", config.FilterConfig{IgnoreDBs: []string{"~^a$"}}, []string{"b.t"}, []string{"a.t"}},
		{"do wins over ignore", config.FilterConfig{DoDBs: []string{"a"}, IgnoreDBs: []string{"a"}}, []string{"a.t"}, []string{"b.t"}},
		{"do tables", config.FilterConfig{DoTables: tables("a.t?")}, []string{"a.t1"}, []string{"a.t", "b.t1"}},
		{"ignore tables", config.FilterConfig{IgnoreTables: tables("a.[x-z]")}, []string{"a.w", "b.x"}, []string{"a.x"}},
		{"both halves", config.FilterConfig{DoDBs: []string{"a"}, IgnoreTables: tables("a.t")}, []string{"a.u"}, []string{"a.t", "b.u"}},
		{"system", config.FilterConfig{DoDBs: []string{"mysql"}}, nil, []string{"mysql.user"}},
		{"rules win", config.FilterConfig{Rules: []string{"b.*"}, DoDBs: []string{"a"}}, []string{"b.t"}, []string{"a.t"}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			f, err := New(&c.cfg, false)
			require.NoError(t, err)
			for i, names := range [][]string{c.out, c.in} {
				for _, n := range names {
					schema, table, _ := strings.Cut(n, ".")
					require.Equal(t, i == 1, f.MatchTable(schema, table), n)
				}
			}
		})
	}
	_, err := New(&config.FilterConfig{DoDBs: []string{""}}, false)
	require.True(t, errors.Is(err, cerrors.ErrFilterRuleInvalid), err)
}

// TestRandomRules holds the choice of tables against TiDB's table filter.
func TestRandomRules(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 6))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	part := func() string {
		return pick("*", "a", "b?", "[ab]*", "[!a]x", "/^a.b/", "`a.b`", `"B"`, "Ab", "mysql", "tidb_cdc", "_x")
	}
	names := []string{"a", "A", "b", "bx", "ab", "Ab", "a.b", "axb", "B", "mysql", "MySQL", "tidb_cdc", "_x", "xx", "ü"}
	for range 2000 {
		var rules []string
		for range 1 + r.IntN(4) {
			rules = append(rules, pick("", "", "!")+part()+"."+part())
		}
		sensitive := r.IntN(2) == 0
		oracle, err := tfilter.Parse(rules)
		require.NoError(t, err, rules)
		if !sensitive {
			oracle = tfilter.CaseInsensitive(oracle)
		}
		f, err := New(&config.FilterConfig{Rules: rules}, sensitive)
		require.NoError(t, err)
		for range 20 {
			schema, table := pick(names...), pick(names...)
			system := strings.EqualFold(schema, "mysql") || schema == "tidb_cdc"
			about := fmt.Sprintf("%v on %s.%s, sensitive %t", rules, schema, table, sensitive)
			require.Equal(t, !system && oracle.MatchTable(schema, table), f.MatchTable(schema, table), about)
			require.Equal(t, !system && oracle.MatchSchema(schema), f.MatchSchema(schema), about)
		}
	}
}

func FuzzNew(f *testing.F) {
	f.Add("a.*", "insert", "^drop")
	f.Add("!a.`b`", "all ddl", "(?i")
	f.Add("/a/.[!x]", "", "[")
	f.Fuzz(func(t *testing.T, rule, word, sql string) {
		if strings.HasPrefix(strings.TrimSpace(rule), "@") {
			return // reads a file
		}
		filter, err := New(&config.FilterConfig{Rules: []string{rule}, EventFilters: []*config.EventFilterConfig{
			{Matcher: []string{rule}, IgnoreEvent: []string{word}, IgnoreSQL: []string{sql}},
		}}, false)
		if err != nil {
			require.NotEmpty(t, cerrors.CodeOf(err))
			return
		}
		require.False(t, filter.MatchTable("mysql", "user"))
		filter.IgnoresDDL(&model.DDLEvent{Schema: rule, Table: word}, sql)
	})
}
