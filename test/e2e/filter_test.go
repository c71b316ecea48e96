package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// createFeed makes a changefeed that goes with the test.
func createFeed(ctx context.Context, t *testing.T, d downstream, id string, startTs uint64, config map[string]any) {
	t.Helper()
	require.NoError(t, shared.server.API.Create(ctx, cluster.Feed{ID: id, SinkURI: d.uri, StartTs: startTs, ReplicaConfig: config}))
	t.Cleanup(func() { _ = shared.server.API.Delete(context.Background(), id) })
}

func upstreamNow(ctx context.Context, t *testing.T) uint64 {
	t.Helper()
	ts, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	return ts
}

// text is the one value of a query.
func text(ctx context.Context, t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var s sql.NullString
	require.NoError(t, db.QueryRowContext(ctx, query).Scan(&s), query)
	return s.String
}

// rowFilterCases change one key each. Every case has a database of its own
// with a table t, of which the rows that arrive are compared.
func rowFilterCases() []rowFilterCase {
	event := func(keysAndValues ...any) []map[string]any {
		e := map[string]any{"matcher": []string{"{db}.t"}}
		for i := 0; i < len(keysAndValues); i += 2 {
			e[keysAndValues[i].(string)] = keysAndValues[i+1]
		}
		return []map[string]any{e}
	}
	return []rowFilterCase{
		{name: "none", script: lives, want: "1:11:a,2:21:B"},
		{name: "ignore_insert", events: event("ignore_event", []string{"insert"}), script: inserts, want: ""},
		{name: "ignore_update", events: event("ignore_event", []string{"update"}), script: lives, want: "1:10:a,2:20:B"},
		{name: "ignore_delete", events: event("ignore_event", []string{"delete"}), script: lives, want: "1:11:a,2:21:B,3:-:c"},
		{name: "ignore_all_dml", events: event("ignore_event", []string{"all dml"}), script: lives, want: ""},
		{name: "other_matcher", events: event("matcher", []string{"{db}.u"}, "ignore_event", []string{"all dml"}), script: lives, want: "1:11:a,2:21:B"},
		{name: "matcher_minds_case", events: event("matcher", []string{"{db}.T"}, "ignore_event", []string{"all dml"}), script: lives, want: "1:11:a,2:21:B"},
		{name: "sql_is_not_for_rows", events: event("ignore_sql", []string{"insert"}), script: lives, want: "1:11:a,2:21:B"},
		{name: "insert_expr", events: event("ignore_insert_value_expr", "v >= 15"), script: inserts, want: "1:10:a,3:-:c"},
		{name: "insert_expr_collation", events: event("ignore_insert_value_expr", "s = 'b'"), script: inserts, want: "1:10:a,3:-:c"},
		{name: "insert_expr_virtual", events: event("ignore_insert_value_expr", "twice = 40"), script: inserts, want: "1:10:a,3:-:c"},
		{name: "insert_expr_null", events: event("ignore_insert_value_expr", "v IS NULL"), script: inserts, want: "1:10:a,2:20:B"},
		{name: "insert_expr_not_one", events: event("ignore_insert_value_expr", "v"), script: inserts, want: "1:10:a,2:20:B,3:-:c"},
		{name: "update_old_expr", events: event("ignore_update_old_value_expr", "v = 10"), script: lives, want: "1:10:a,2:21:B"},
		{name: "update_new_expr", events: event("ignore_update_new_value_expr", "v = 21"), script: lives, want: "1:11:a,2:20:B"},
		{name: "delete_expr", events: event("ignore_delete_value_expr", "s = 'C'"), script: lives, want: "1:11:a,2:21:B,3:-:c"},
		{name: "two_filters", events: append(event("ignore_insert_value_expr", "id = 1"), event("ignore_insert_value_expr", "id = 2")...),
			script: inserts, want: "3:-:c"},
		{name: "lists_do", filter: map[string]any{"rules": []string{}, "do_dbs": []string{"{db}"}}, script: lives, want: "1:11:a,2:21:B"},
		{name: "lists_ignore", filter: map[string]any{"rules": []string{}, "do_dbs": []string{"{db}"},
			"ignore_tables": []map[string]any{{"database_name": "{db}", "table_name": "t"}}}, script: lives, want: "no table"},
		{name: "rules_case", filter: map[string]any{"rules": []string{"{DB}.T"}}, script: lives, want: "1:11:a,2:21:B"},
		{name: "rules_case_sensitive", filter: map[string]any{"rules": []string{"{DB}.T"}}, sensitive: true, script: lives, want: "no table"},
	}
}

type rowFilterCase struct {
	name      string
	filter    map[string]any   // nil: everything in the database
	events    []map[string]any // event_filters
	sensitive bool
	script    func() []string
	want      string
}

const filteredTable = "CREATE TABLE {db}.t (id INT PRIMARY KEY, v INT, s VARCHAR(20) COLLATE utf8mb4_general_ci, twice INT AS (v * 2) VIRTUAL)"

func inserts() []string {
	return []string{filteredTable, "INSERT INTO {db}.t (id, v, s) VALUES (1,10,'a'),(2,20,'B'),(3,NULL,'c')"}
}

func lives() []string {
	return append(inserts(), "UPDATE {db}.t SET v = v + 1 WHERE id <= 2", "DELETE FROM {db}.t WHERE id = 3")
}

// named puts the database's name into all texts of a value.
func named(v any, db string) any {
	switch v := v.(type) {
	case string:
		return strings.NewReplacer("{db}", db, "{DB}", strings.ToUpper(db)).Replace(v)
	case []string:
		out := make([]string, len(v))
		for i := range v {
			out[i] = named(v[i], db).(string)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = named(x, db)
		}
		return out
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = named(v[i], db)
		}
		return out
	}
	return v
}

func TestRowFilters(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	down := shared.downs[1]
	for _, c := range rowFilterCases() {
		db := "rf_" + c.name
		exec(ctx, t, shared.upDB, "CREATE DATABASE "+db)
		exec(ctx, t, down.db, "CREATE DATABASE IF NOT EXISTS "+db)
	}
	startTs := upstreamNow(ctx, t)
	for _, c := range rowFilterCases() {
		db := "rf_" + c.name
		filter := map[string]any{"rules": []string{"{db}.*"}}
		if c.filter != nil {
			filter = c.filter
		}
		if c.events != nil {
			filter["event_filters"] = c.events
		}
		createFeed(ctx, t, down, strings.ReplaceAll(db, "_", "-"), startTs,
			map[string]any{"filter": named(filter, db), "case_sensitive": c.sensitive})
	}
	for _, c := range rowFilterCases() {
		exec(ctx, t, shared.upDB, named(c.script(), "rf_"+c.name).([]string)...)
	}
	ts := upstreamNow(ctx, t)
	for _, c := range rowFilterCases() {
		t.Run(c.name, func(t *testing.T) {
			db := "rf_" + c.name
			require.NoError(t, shared.server.API.WaitCheckpoint(ctx, strings.ReplaceAll(db, "_", "-"), ts))
			got := "no table"
			if text(ctx, t, down.db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '"+db+"'") == "1" {
				got = text(ctx, t, down.db, "SELECT GROUP_CONCAT(id,':',IFNULL(v,'-'),':',s ORDER BY id) FROM "+db+".t")
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestIgnoreTransactions: a transaction that is named by its start-ts stays
// away, rows and statements alike.
func TestIgnoreTransactions(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	down := shared.downs[1]
	exec(ctx, t, shared.upDB, "CREATE DATABASE igntxn", "CREATE TABLE igntxn.t (id INT PRIMARY KEY)")
	exec(ctx, t, down.db, "CREATE DATABASE igntxn", "CREATE TABLE igntxn.t (id INT PRIMARY KEY)")
	from := upstreamNow(ctx, t)
	var ignored uint64
	for id := 1; id <= 3; id++ {
		tx, err := shared.upDB.BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO igntxn.t VALUES (%d), (%d)", id, 10*id))
		require.NoError(t, err)
		if id == 2 {
			require.NoError(t, tx.QueryRowContext(ctx, "SELECT @@tidb_current_ts").Scan(&ignored))
		}
		require.NoError(t, tx.Commit())
	}
	createFeed(ctx, t, down, "igntxn", from, map[string]any{"filter": map[string]any{
		"rules": []string{"igntxn.*"}, "ignore_txn_start_ts": []uint64{1, ignored},
	}})
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "igntxn", upstreamNow(ctx, t)))
	require.Equal(t, "1,3,10,30", text(ctx, t, down.db, "SELECT GROUP_CONCAT(id ORDER BY id) FROM igntxn.t"))
}

// ddlWord is a word of ignore_event and a statement that it is for. {t} is the
// table, which is created before unless setup says otherwise.
type ddlWord struct {
	word  string
	setup []string
	ddl   string
	// state is a query about {t} whose answer the statement changes. Empty:
	// SHOW CREATE TABLE.
	state string
}

func ddlWords() []ddlWord {
	table := []string{"CREATE TABLE {t} (id INT PRIMARY KEY, v INT, s VARCHAR(10) NOT NULL, UNIQUE KEY u (s), KEY kv (v))", "INSERT INTO {t} VALUES (1,1,'a'),(11,11,'b')"}
	ranges := []string{"CREATE TABLE {t} (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
		"INSERT INTO {t} VALUES (1,1),(11,11)"}
	const exists = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'dw' AND table_name = '{n}'"
	const rows = "SELECT COUNT(*) FROM {t}"
	return []ddlWord{
		{"create table", nil, "CREATE TABLE {t} (id INT PRIMARY KEY)", exists},
		{"drop table", table, "DROP TABLE {t}", exists},
		{"truncate table", table, "TRUNCATE TABLE {t}", rows},
		{"rename table", table, "RENAME TABLE {t} TO {t}_new", exists},
		{"recover table", append(table[:2:2], "DROP TABLE {t}"), "RECOVER TABLE {t}", exists},
		{"modify table comment", table, "ALTER TABLE {t} COMMENT = 'new'", ""},
		{"modify table charset and collate", table, "ALTER TABLE {t} DEFAULT COLLATE utf8mb4_general_ci", ""},
		{"create view", nil, "CREATE VIEW {t} AS SELECT 1", exists},
		{"drop view", []string{"CREATE VIEW {t} AS SELECT 1"}, "DROP VIEW {t}", exists},
		{"add table partition", ranges, "ALTER TABLE {t} ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))", ""},
		{"drop table partition", ranges, "ALTER TABLE {t} DROP PARTITION p1", ""},
		{"truncate table partition", ranges, "ALTER TABLE {t} TRUNCATE PARTITION p1", rows},
		{"exchange table partition", append(ranges[:2:2], "CREATE TABLE {t}_x (id INT PRIMARY KEY, v INT)"),
			"ALTER TABLE {t} EXCHANGE PARTITION p1 WITH TABLE {t}_x", rows},
		{"reorganize table partition", ranges, "ALTER TABLE {t} REORGANIZE PARTITION p0, p1 INTO (PARTITION p VALUES LESS THAN (20))", ""},
		{"alter table partitioning", ranges, "ALTER TABLE {t} PARTITION BY HASH (id) PARTITIONS 2", ""},
		{"remove table partitioning", ranges, "ALTER TABLE {t} REMOVE PARTITIONING", ""},
		{"add column", table, "ALTER TABLE {t} ADD COLUMN c INT", ""},
		{"drop column", append(table[:2:2], "ALTER TABLE {t} ADD COLUMN c INT"), "ALTER TABLE {t} DROP COLUMN c", ""},
		{"modify column", table, "ALTER TABLE {t} MODIFY COLUMN v BIGINT", ""},
		{"set default value", table, "ALTER TABLE {t} ALTER COLUMN v SET DEFAULT 7", ""},
		{"add primary key", []string{"CREATE TABLE {t} (id INT NOT NULL, UNIQUE KEY u (id))"}, "ALTER TABLE {t} ADD PRIMARY KEY (id) NONCLUSTERED", ""},
		{"drop primary key", []string{"CREATE TABLE {t} (id INT NOT NULL, PRIMARY KEY (id) NONCLUSTERED, UNIQUE KEY u (id))"}, "ALTER TABLE {t} DROP PRIMARY KEY", ""},
		{"create index", table, "CREATE INDEX i ON {t} (s)", ""},
		{"drop index", table, "DROP INDEX kv ON {t}", ""},
		{"rename index", table, "ALTER TABLE {t} RENAME INDEX kv TO kw", ""},
		{"alter index visibility", table, "ALTER TABLE {t} ALTER INDEX kv INVISIBLE", ""},
		{"alter ttl info", []string{"CREATE TABLE {t} (id INT PRIMARY KEY, at DATETIME)"}, "ALTER TABLE {t} TTL = at + INTERVAL 9 YEAR TTL_ENABLE = 'OFF'", ""},
		{"alter ttl remove", []string{"CREATE TABLE {t} (id INT PRIMARY KEY, at DATETIME) TTL = at + INTERVAL 9 YEAR TTL_ENABLE = 'OFF'"}, "ALTER TABLE {t} REMOVE TTL", ""},
		{"multi schema change", table, "ALTER TABLE {t} ADD COLUMN c INT, ADD COLUMN d INT", ""},
		{"alter table", table, "ALTER TABLE {t} ADD COLUMN c INT", ""},
		{"all ddl", table, "ALTER TABLE {t} ADD COLUMN c INT", ""},
		{"sql:add\\s+COLUMN c", table, "alter table {t} add  column c int", ""},
	}
}

// TestIgnoreEventWords: for every word, a statement that it names reaches the
// downstream for one table and not for another.
func TestIgnoreEventWords(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	down := shared.downs[0]
	exec(ctx, t, shared.upDB, "CREATE DATABASE dw")
	exec(ctx, t, down.db, "CREATE DATABASE dw")
	startTs := upstreamNow(ctx, t)
	put := func(s, name string) string {
		return strings.NewReplacer("{t}", "dw."+name, "{n}", name).Replace(s)
	}
	ask := func(db *sql.DB, w ddlWord, name string) string {
		if w.state != "" {
			return text(ctx, t, db, put(w.state, name))
		}
		var table, create string
		require.NoError(t, db.QueryRowContext(ctx, put("SHOW CREATE TABLE {t}", name)).Scan(&table, &create))
		return strings.ReplaceAll(create, name, "{n}")
	}
	for i, w := range ddlWords() {
		for _, name := range []string{fmt.Sprintf("free%d", i), fmt.Sprintf("kept%d", i)} {
			for _, s := range w.setup {
				exec(ctx, t, shared.upDB, put(s, name))
			}
		}
	}
	setUp := upstreamNow(ctx, t)
	var events []map[string]any
	for i, w := range ddlWords() {
		key, value := "ignore_event", w.word
		if pattern, ok := strings.CutPrefix(w.word, "sql:"); ok {
			key, value = "ignore_sql", pattern
		}
		events = append(events, map[string]any{"matcher": []string{fmt.Sprintf("dw.kept%d", i)}, key: []string{value}})
	}
	// What sets the tables up goes by a changefeed without event filters.
	createFeed(ctx, t, down, "dw-setup", startTs, map[string]any{"filter": map[string]any{"rules": []string{"dw.*"}}})
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "dw-setup", setUp))
	require.NoError(t, shared.server.API.Delete(ctx, "dw-setup"))
	from := upstreamNow(ctx, t)
	createFeed(ctx, t, down, "dw", from, map[string]any{"filter": map[string]any{"rules": []string{"dw.*"}, "event_filters": events}})

	before := make([]string, len(ddlWords()))
	for i, w := range ddlWords() {
		if name := fmt.Sprintf("kept%d", i); w.state != "" || w.setup != nil {
			before[i] = ask(down.db, w, name)
		}
	}
	for i, w := range ddlWords() {
		exec(ctx, t, shared.upDB, put(w.ddl, fmt.Sprintf("free%d", i)), put(w.ddl, fmt.Sprintf("kept%d", i)))
	}
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "dw", upstreamNow(ctx, t)))
	for i, w := range ddlWords() {
		t.Run(w.word, func(t *testing.T) {
			require.Equal(t, before[i], ask(down.db, w, fmt.Sprintf("kept%d", i)), "ignored")
			require.NotEqual(t, before[i], ask(down.db, w, fmt.Sprintf("free%d", i)), "not ignored")
		})
	}
}

// TestIgnoreSchemaWords is about statements on databases.
func TestIgnoreSchemaWords(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	down := shared.downs[1]
	for _, db := range []string{"sw_drop", "sw_charset", "sw_free"} {
		exec(ctx, t, shared.upDB, "CREATE DATABASE "+db+" COLLATE utf8mb4_bin")
		exec(ctx, t, down.db, "CREATE DATABASE "+db+" COLLATE utf8mb4_bin")
	}
	event := func(db, word string) map[string]any {
		return map[string]any{"matcher": []string{db + ".*"}, "ignore_event": []string{word}}
	}
	createFeed(ctx, t, down, "sw", upstreamNow(ctx, t), map[string]any{"filter": map[string]any{"rules": []string{"sw_*.*"},
		"event_filters": []any{event("sw_drop", "drop database"), event("sw_charset", "modify schema charset and collate"), event("sw_made", "create schema")}}})
	exec(ctx, t, shared.upDB, "DROP DATABASE sw_drop", "ALTER DATABASE sw_charset COLLATE utf8mb4_general_ci",
		"ALTER DATABASE sw_free COLLATE utf8mb4_general_ci", "CREATE DATABASE sw_made", "CREATE DATABASE sw_made2")
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "sw", upstreamNow(ctx, t)))
	require.Equal(t, "sw_charset=utf8mb4_bin,sw_drop=utf8mb4_bin,sw_free=utf8mb4_general_ci,sw_made2=utf8mb4_bin", text(ctx, t, down.db,
		"SELECT GROUP_CONCAT(schema_name,'=',default_collation_name ORDER BY schema_name) FROM information_schema.schemata WHERE schema_name LIKE 'sw\\_%'"))
}

// TestFilterRefusals: what is wrong with a filter is told when it is given.
func TestFilterRefusals(t *testing.T) {
	ctx := testContext(t, time.Minute)
	exec(ctx, t, shared.upDB, "CREATE DATABASE ref", "CREATE TABLE ref.t (id INT PRIMARY KEY, `Name` VARCHAR(10))")
	event := func(key string, value any) map[string]any {
		return map[string]any{"rules": []string{"ref.*"}, "event_filters": []any{map[string]any{"matcher": []string{"ref.t"}, key: value}}}
	}
	for _, c := range []struct {
		name   string
		filter map[string]any
		status int
		code   string
	}{
		{"rule", map[string]any{"rules": []string{"a"}}, http.StatusInternalServerError, ""},
		{"event", event("ignore_event", []string{"Insert"}), http.StatusInternalServerError, "CDC:ErrInvalidIgnoreEventType"},
		{"sql", event("ignore_sql", []string{"("}), http.StatusBadRequest, "CDC:ErrFilterRuleInvalid"},
		{"syntax", event("ignore_insert_value_expr", "id >"), http.StatusInternalServerError, "CDC:ErrInvalidFilterExpression"},
		{"two statements", event("ignore_delete_value_expr", "1); SELECT (1"), http.StatusInternalServerError, "CDC:ErrInvalidFilterExpression"},
		{"column", event("ignore_update_new_value_expr", "mame = 'x'"), http.StatusInternalServerError, "CDC:ErrExpressionColumnNotFound"},
		{"subquery", event("ignore_update_old_value_expr", "id IN (SELECT 1)"), http.StatusInternalServerError, "CDC:ErrInvalidFilterExpression"},
		{"session", event("ignore_insert_value_expr", "USER() = `Name`"), http.StatusInternalServerError, "CDC:ErrInvalidFilterExpression"},
		{"good", event("ignore_insert_value_expr", "NAME = 'x' and ref.t.id > 1 -- comment"), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := shared.server.API.Create(ctx, cluster.Feed{ID: "refusal", SinkURI: "blackhole://", ReplicaConfig: map[string]any{"filter": c.filter}})
			if c.status == 0 {
				require.NoError(t, err)
				require.NoError(t, shared.server.API.Delete(ctx, "refusal"))
				return
			}
			var refused *cluster.APIError
			require.True(t, errors.As(err, &refused), "%v", err)
			require.Equal(t, c.status, refused.Status, err)
			require.Equal(t, c.code, refused.Code, err)
		})
	}
}

// TestEligibility: tables without a key that identifies rows, and statements
// that give them one or take it away.
func TestEligibility(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	down := shared.downs[1]
	tables := []string{"CREATE TABLE el.plain (v INT)", "CREATE TABLE el.keyed (v INT, PRIMARY KEY (v) /*T![clustered_index] NONCLUSTERED */)"}
	exec(ctx, t, shared.upDB, append([]string{"CREATE DATABASE el"}, tables...)...)
	exec(ctx, t, down.db, append([]string{"CREATE DATABASE el"}, tables...)...)
	startTs := upstreamNow(ctx, t)
	config := func(more ...string) map[string]any {
		c := map[string]any{"filter": map[string]any{"rules": []string{"el.*"}}}
		for _, key := range more {
			c[key] = true
		}
		return c
	}
	rows := func(table string) string {
		return text(ctx, t, down.db, "SELECT GROUP_CONCAT(v ORDER BY v) FROM el."+table)
	}
	var refused *cluster.APIError
	err := shared.server.API.Create(ctx, cluster.Feed{ID: "el", SinkURI: down.uri, StartTs: startTs, ReplicaConfig: config()})
	require.True(t, errors.As(err, &refused), "%v", err)
	require.Equal(t, http.StatusBadRequest, refused.Status)
	require.Equal(t, "CDC:ErrTableIneligible", refused.Code)

	createFeed(ctx, t, down, "el", startTs, config("ignore_ineligible_table"))
	exec(ctx, t, shared.upDB, "INSERT INTO el.plain VALUES (1)", "INSERT INTO el.keyed VALUES (1)",
		"CREATE TABLE el.plain2 (v INT)", "INSERT INTO el.plain2 VALUES (1)",
		// From here on it can be replicated.
		"ALTER TABLE el.plain ADD PRIMARY KEY (v) NONCLUSTERED", "INSERT INTO el.plain VALUES (2)")
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "el", upstreamNow(ctx, t)))
	require.Equal(t, "2", rows("plain"))
	require.Equal(t, "1", rows("keyed"))
	require.Equal(t, "0", text(ctx, t, down.db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'el' AND table_name = 'plain2'"))

	// A key that goes stops the changefeed, until it is to replicate anyway.
	exec(ctx, t, shared.upDB, "INSERT INTO el.keyed VALUES (2)", "ALTER TABLE el.keyed DROP PRIMARY KEY", "INSERT INTO el.keyed VALUES (3)")
	require.NoError(t, cluster.Until(ctx, "the changefeed to stop", func() (bool, error) {
		s, err := shared.server.API.Status(ctx, "el")
		return err == nil && (s.LastError != nil || s.LastWarning != nil), err
	}))
	require.NoError(t, shared.server.API.Pause(ctx, "el"))
	update := config("force_replicate", "ignore_ineligible_table", "check_gc_safe_point")
	require.NoError(t, shared.server.API.Do(ctx, http.MethodPut, "/api/v2/changefeeds/el", map[string]any{"replica_config": update}, nil))
	require.NoError(t, shared.server.API.Resume(ctx, "el"))
	exec(ctx, t, shared.upDB, "INSERT INTO el.keyed VALUES (4)", "INSERT INTO el.plain2 VALUES (2)", "CREATE TABLE el.plain3 (v INT)",
		"INSERT INTO el.plain3 VALUES (1),(1)", "DELETE FROM el.plain3 LIMIT 1")
	exec(ctx, t, down.db, "CREATE TABLE IF NOT EXISTS el.plain2 (v INT)")
	require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "el", upstreamNow(ctx, t)))
	require.Equal(t, "1,2,3,4", rows("keyed"))
	require.Equal(t, "1", rows("plain3"))
}

// TestExpressionLosesItsColumn: a statement that takes away what an expression
// needs fails the changefeed for good, rather than letting rows through.
func TestExpressionLosesItsColumn(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	down := shared.downs[1]
	exec(ctx, t, shared.upDB, "CREATE DATABASE lose", "CREATE TABLE lose.t (id INT PRIMARY KEY, v INT)")
	exec(ctx, t, down.db, "CREATE DATABASE lose", "CREATE TABLE lose.t (id INT PRIMARY KEY, v INT)")
	createFeed(ctx, t, down, "lose", upstreamNow(ctx, t), map[string]any{"filter": map[string]any{"rules": []string{"lose.*"},
		"event_filters": []any{map[string]any{"matcher": []string{"lose.t"}, "ignore_insert_value_expr": "v = 1"}}}})
	exec(ctx, t, shared.upDB, "INSERT INTO lose.t VALUES (1,1),(2,2)", "ALTER TABLE lose.t ADD COLUMN w INT",
		"INSERT INTO lose.t VALUES (3,1,1),(4,2,1)", "ALTER TABLE lose.t DROP COLUMN v", "INSERT INTO lose.t VALUES (5,1)")
	require.NoError(t, shared.server.API.WaitState(ctx, "lose", "failed"))
	s, err := shared.server.API.Status(ctx, "lose")
	require.NoError(t, err)
	require.NotNil(t, s.LastError)
	require.Equal(t, "CDC:ErrExpressionColumnNotFound", s.LastError.Code)
	require.Equal(t, "2,4", text(ctx, t, down.db, "SELECT GROUP_CONCAT(id ORDER BY id) FROM lose.t"))
}
