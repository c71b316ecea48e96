package dispatch

import (
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

const defaultTopic = "all"

func rulesOf(t testing.TB, rules ...*config.DispatchRule) *Rules {
	t.Helper()
	cfg := config.DefaultReplicaConfig()
	cfg.Sink.DispatchRules = rules
	r, err := NewRules(cfg, defaultTopic, config.ProtocolCanalJSON)
	require.NoError(t, err)
	return r
}

// everywhere is a rule for all tables.
func everywhere(partition string) *config.DispatchRule {
	return &config.DispatchRule{Matcher: []string{"*.*"}, PartitionRule: partition}
}

// events routes a batch and reads its events, as texts with their partitions.
func events(t testing.TB, r *Rules, u *sinktest.Table, partitions int32, rows ...model.RawChange) []string {
	t.Helper()
	p, err := r.Plan(u.Model)
	require.NoError(t, err)
	b := &model.RowBatch{TableID: u.Model.ID, Table: u.Model, Rows: rows}
	items, err := NewRouter(time.UTC).Route(p, b, partitions, nil)
	require.NoError(t, err)
	reader := NewReader(time.UTC)
	var out []string
	var ev codec.RowEvent
	for _, item := range items {
		require.NoError(t, reader.Read(p, b, item, &ev))
		out = append(out, fmt.Sprintf("%d@%d %s", item.Partition, ev.CommitTs, textOf(&ev)))
	}
	return out
}

func textOf(ev *codec.RowEvent) string {
	image := func(values []model.Value) string {
		var b []byte
		for i := range values {
			b = append(b, ' ')
			b = append(append(b, ev.Table.Columns[i].Name...), '=')
			b = appendText(b, &values[i])
		}
		return string(b)
	}
	switch ev.Row.Kind {
	case model.RowInsert:
		return "insert" + image(ev.Row.New)
	case model.RowDelete:
		return "delete" + image(ev.Row.Old)
	}
	return "update" + image(ev.Row.Old) + " ->" + image(ev.Row.New)
}

// sum is the hash worked out from its definition.
func sum(groups ...string) uint32 {
	h := uint32(0)
	for _, g := range groups {
		h ^= crc32.ChecksumIEEE([]byte(g))
	}
	return h
}

func TestPartitionRules(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE Db.T (id INT PRIMARY KEY, Name VARCHAR(10), u INT NOT NULL UNIQUE, n INT)")
	row := u.Change(101, 0, nil, []any{42, "x", 5, nil})
	gone := u.Change(102, 0, []any{43, "y", 6, 7}, nil)
	const count = 1000
	tests := []struct {
		name             string
		rule             config.DispatchRule
		inserted, erased uint32
	}{
		{"default", config.DispatchRule{PartitionRule: "DEFAULT"}, sum("DbT"), sum("DbT")},
		{"table", config.DispatchRule{PartitionRule: "table"}, sum("DbT"), sum("DbT")},
		{"old key", config.DispatchRule{DispatcherRule: "ts"}, 101, 102},
		{"ts", config.DispatchRule{PartitionRule: "ts"}, 101, 102},
		{"index-value", config.DispatchRule{PartitionRule: "Index-Value"}, sum("DbT", "id42"), sum("DbT", "id43")},
		{"rowid", config.DispatchRule{PartitionRule: "rowid"}, sum("DbT", "id42"), sum("DbT", "id43")},
		{"index", config.DispatchRule{PartitionRule: "index-value", IndexName: "K0"}, sum("DbT", "u5"), sum("DbT", "u6")},
		{"columns", config.DispatchRule{PartitionRule: "columns", Columns: []string{"NAME", "n"}},
			sum("DbT", "Namex", "nnull"), sum("DbT", "Namey", "n7")},
		{"unknown", config.DispatchRule{PartitionRule: "some-key"}, sum("DbT"), sum("DbT")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.rule.Matcher = []string{"db.*"}
			r := rulesOf(t, &test.rule)
			require.Equal(t, []string{
				fmt.Sprintf("%d@101 insert id=42 Name=x u=5 n=null", test.inserted%count),
				fmt.Sprintf("%d@102 delete id=43 Name=y u=6 n=7", test.erased%count),
			}, events(t, r, u, count, row, gone))
			require.Equal(t, test.name == "unknown", len(r.Warnings()) == 1)
		})
	}
}

// A table without a key is dispatched by its name, and columns are found by
// what they are, not by their place among virtual ones.
func TestKeysOfUnusualTables(t *testing.T) {
	keyless := sinktest.NewTable(t, 7, "CREATE TABLE db.t (a INT)")
	require.Equal(t, []string{fmt.Sprintf("%d@9 insert a=1", sum("dbt")%100)},
		events(t, rulesOf(t, everywhere("index-value")), keyless, 100, keyless.Change(9, 1, nil, []any{1})))

	virtual := sinktest.NewTable(t, 7, "CREATE TABLE db.t (v INT AS (1), a INT, b INT, id INT PRIMARY KEY)")
	rule := everywhere("columns")
	rule.Columns = []string{"b", "v"}
	require.Equal(t, []string{fmt.Sprintf("%d@9 insert a=1 b=2 id=3", sum("dbt", "b2")%100)},
		events(t, rulesOf(t, rule), virtual, 100, virtual.Change(9, 0, nil, []any{nil, 1, 2, 3})))

	composite := sinktest.NewTable(t, 7, "CREATE TABLE db.t (a INT, b VARCHAR(5), c INT, PRIMARY KEY(b, a))")
	require.Equal(t, []string{fmt.Sprintf("%d@9 insert a=1 b=x c=3", sum("dbt", "a1", "bx")%100)},
		events(t, rulesOf(t, everywhere("index-value")), composite, 100, composite.Change(9, 0, nil, []any{1, "x", 3})))
}

func TestSplit(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, k INT NOT NULL UNIQUE, v INT)")
	rows := []model.RawChange{
		u.Change(10, 0, []any{1, 1, 1}, []any{1, 1, 2}), // no key changes
		u.Change(20, 0, []any{9, 9, 9}, nil),
		u.Change(20, 0, []any{2, 2, 0}, []any{2, 3, 0}), // 2 and 3 are exchanged
		u.Change(20, 0, []any{3, 3, 0}, []any{3, 2, 0}),
		u.Change(20, 0, []any{4, 4, 0}, []any{4, 4, 1}),
		u.Change(20, 0, nil, []any{5, 5, 0}),
	}
	want := []string{
		"0@10 update id=1 k=1 v=1 -> id=1 k=1 v=2",
		"0@20 delete id=9 k=9 v=9",
		"0@20 delete id=2 k=2 v=0",
		"0@20 delete id=3 k=3 v=0",
		"0@20 update id=4 k=4 v=0 -> id=4 k=4 v=1",
		"0@20 insert id=5 k=5 v=0",
		"0@20 insert id=2 k=3 v=0",
		"0@20 insert id=3 k=2 v=0",
	}
	require.Equal(t, want, events(t, rulesOf(t), u, 1, rows...))

	cfg := config.DefaultReplicaConfig()
	raw := true
	cfg.Sink.KafkaConfig = &config.KafkaConfig{OutputRawChangeEvent: &raw}
	r, err := NewRules(cfg, defaultTopic, config.ProtocolOpen)
	require.NoError(t, err)
	require.Equal(t, "0@20 update id=2 k=2 v=0 -> id=2 k=3 v=0", events(t, r, u, 1, rows...)[2])
}

// The halves of a split update go where their own key belongs.
func TestSplitOverPartitions(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT NOT NULL UNIQUE, v INT)")
	got := events(t, rulesOf(t, everywhere("index-value")), u, 1000, u.Change(10, 5, []any{1, 1}, []any{2, 1}))
	require.Equal(t, []string{
		fmt.Sprintf("%d@10 delete id=1 v=1", sum("dbt", "id1")%1000),
		fmt.Sprintf("%d@10 insert id=2 v=1", sum("dbt", "id2")%1000),
	}, got)
}

func TestRowsWithoutEffect(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY)")
	nothing := model.NewRawChange(1, 2, u.Key(0, []any{1}), nil, nil)
	require.Empty(t, events(t, rulesOf(t), u, 3, nothing))
}

func TestRowID(t *testing.T) {
	read := func(create string, rowID int64, values ...any) int64 {
		u := sinktest.NewTable(t, 7, create)
		p, err := rulesOf(t).Plan(u.Model)
		require.NoError(t, err)
		b := &model.RowBatch{TableID: 8, Table: u.Model, Rows: []model.RawChange{u.Change(2, rowID, nil, values)}}
		var ev codec.RowEvent
		require.NoError(t, NewReader(time.UTC).Read(p, b, Item{}, &ev))
		require.Equal(t, int64(8), ev.PhysicalID)
		return ev.RowID
	}
	require.Equal(t, int64(-5), read("CREATE TABLE db.t (id INT PRIMARY KEY)", 0, -5))
	require.Equal(t, int64(77), read("CREATE TABLE db.t (id INT UNIQUE)", 77, 1))
	require.Zero(t, read("CREATE TABLE db.t (id VARCHAR(20) PRIMARY KEY)", 0, "abcdefgh"))
}

func TestTopics(t *testing.T) {
	r := rulesOf(t,
		&config.DispatchRule{Matcher: []string{"a.*", "!a.x"}, TopicRule: "of_{schema}_{table}"},
		&config.DispatchRule{Matcher: []string{"a.*", "b.*"}, TopicRule: "fixed"},
	)
	require.Equal(t, "of_A_t", r.Topic("A", "t"), "the first rule that matches, in any letter case")
	require.Equal(t, "fixed", r.Topic("a", "x"))
	require.Equal(t, defaultTopic, r.Topic("c", "t"))

	table := func(schema, name string) *model.Table { return &model.Table{Schema: schema, Name: name} }
	require.Equal(t, []string{defaultTopic, "fixed", "of_a_t"},
		r.Topics([]*model.Table{table("b", "1"), table("a", "t"), table("b", "2"), table("c", "t")}))
	require.Equal(t, []string{defaultTopic}, r.Topics(nil))

	require.Equal(t, defaultTopic, r.DDLTopic(&model.DDLEvent{Schema: "a"}), "of a database")
	require.Equal(t, "of_a_t", r.DDLTopic(&model.DDLEvent{Schema: "a", Table: "t"}))
	require.Equal(t, "of_a_old", r.DDLTopic(&model.DDLEvent{Schema: "a", Table: "new", OldSchema: "a", OldTable: "old"}))
	require.Equal(t, "of_a_old", r.DDLTopic(&model.DDLEvent{Schema: "a", Table: "new", PreInfo: table("a", "old")}))
}

func TestCaseSensitiveMatchers(t *testing.T) {
	cfg := config.DefaultReplicaConfig()
	cfg.CaseSensitive = true
	cfg.Sink.DispatchRules = []*config.DispatchRule{{Matcher: []string{"A.*"}, TopicRule: "x"}}
	r, err := NewRules(cfg, defaultTopic, "")
	require.NoError(t, err)
	require.Equal(t, "x", r.Topic("A", "t"))
	require.Equal(t, defaultTopic, r.Topic("a", "t"))

	u := sinktest.NewTable(t, 7, "CREATE TABLE a.t (id INT PRIMARY KEY, v INT)")
	for sensitive, want := range map[bool]string{true: "0@5 insert id=1 v=2", false: "0@5 insert id=1"} {
		cfg.CaseSensitive = sensitive
		cfg.Sink = &config.SinkConfig{ColumnSelectors: []*config.ColumnSelector{{Matcher: []string{"A.*"}, Columns: []string{"id"}}}}
		r, err := NewRules(cfg, defaultTopic, "")
		require.NoError(t, err)
		require.Equal(t, []string{want}, events(t, r, u, 1, u.Change(5, 0, nil, []any{1, 2})))
	}
}

func TestBadRules(t *testing.T) {
	tests := []struct {
		name string
		sink config.SinkConfig
		code *errors.Code
	}{
		{"matcher", config.SinkConfig{DispatchRules: []*config.DispatchRule{{Matcher: []string{"a"}}}}, errors.ErrFilterRuleInvalid},
		{"both words", config.SinkConfig{DispatchRules: []*config.DispatchRule{{Matcher: []string{"a.*"}, DispatcherRule: "ts", PartitionRule: "ts"}}}, errors.ErrSinkInvalidConfig},
		{"no columns", config.SinkConfig{DispatchRules: []*config.DispatchRule{{Matcher: []string{"a.*"}, PartitionRule: "columns"}}}, errors.ErrSinkInvalidConfig},
		{"topic", config.SinkConfig{DispatchRules: []*config.DispatchRule{{Matcher: []string{"a.*"}, TopicRule: "{x}"}}}, errors.ErrKafkaTopicExprInvalid},
		{"selector's tables", config.SinkConfig{ColumnSelectors: []*config.ColumnSelector{{Matcher: []string{"a"}}}}, errors.ErrFilterRuleInvalid},
		{"selector's columns", config.SinkConfig{ColumnSelectors: []*config.ColumnSelector{{Matcher: []string{"a.*"}, Columns: []string{"[a"}}}}, errors.ErrFilterRuleInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewRules(&config.ReplicaConfig{Sink: &test.sink}, defaultTopic, "")
			require.Equal(t, test.code.Text(), errors.CodeOf(err))
		})
	}
}

func TestRulesThatDoNotFitTheTable(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE a.b (id INT PRIMARY KEY, u INT UNIQUE, v INT)")
	for text, rule := range map[string]*config.DispatchRule{
		"[CDC:ErrDispatcherFailed]index not found when verify the table, table: a.b, index: PRIMARY": {PartitionRule: "index-value", IndexName: "PRIMARY"},
		"[CDC:ErrDispatcherFailed]columns not found when verify the table, table: a.b, columns: [x]": {PartitionRule: "columns", Columns: []string{"x"}},
	} {
		rule.Matcher = []string{"*.*"}
		require.EqualError(t, rulesOf(t, rule).Verify([]*model.Table{u.Model}), text)
	}
	u.Model.Info.Indices[0].Unique = false
	rule := everywhere("index-value")
	rule.IndexName = "k0"
	require.ErrorContains(t, rulesOf(t, rule).Verify([]*model.Table{u.Model}), "not unique")
}

func TestColumnSelectors(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, Aa INT, ab INT, c INT NOT NULL UNIQUE, d INT)")
	selecting := func(rule *config.DispatchRule, columns ...string) *Rules {
		cfg := config.DefaultReplicaConfig()
		cfg.Sink.ColumnSelectors = []*config.ColumnSelector{
			{Matcher: []string{"other.*"}, Columns: []string{"x"}},
			{Matcher: []string{"db.*"}, Columns: columns},
		}
		if rule != nil {
			cfg.Sink.DispatchRules = []*config.DispatchRule{rule}
		}
		r, err := NewRules(cfg, defaultTopic, "")
		require.NoError(t, err)
		return r
	}
	change := u.Change(5, 0, []any{1, 2, 3, 4, 5}, []any{1, 2, 3, 4, 6})
	require.Equal(t, []string{"0@5 update id=1 Aa=2 c=4 -> id=1 Aa=2 c=4"},
		events(t, selecting(nil, "*", "!AB", "!d"), u, 1, change), "the last match wins, in any letter case")

	p, err := selecting(nil, "c", "a*").Plan(u.Model)
	require.NoError(t, err)
	require.Equal(t, []int{2}, p.Table.HandleKey, "the unique index takes the primary key's place")
	require.Len(t, p.Table.Indexes, 1)
	require.True(t, p.Table.Columns[2].Has(model.FlagHandleKey))
	require.Equal(t, []int{0}, u.Model.HandleKey, "the version itself is as it was")
	require.False(t, u.Model.Columns[3].Has(model.FlagHandleKey))

	pair := sinktest.NewTable(t, 8, "CREATE TABLE db.p (a INT, b INT, c INT NOT NULL UNIQUE, PRIMARY KEY (a, b))")
	p, err = selecting(everywhere("index-value"), "b", "c").Plan(pair.Model)
	require.NoError(t, err)
	require.Equal(t, []int{1}, p.keys, "what is left of the handle key")
	require.Equal(t, []int{1}, p.Table.HandleKey)
	require.False(t, p.Table.Columns[0].Has(model.FlagHandleKey), "half of the primary key is no key")
	p, err = selecting(everywhere("index-value"), "c").Plan(pair.Model)
	require.NoError(t, err)
	require.False(t, p.PerRow(), "nothing is left of the handle key")

	p, err = selecting(nil, "*").Plan(u.Model)
	require.NoError(t, err)
	require.Same(t, u.Model, p.Table)

	code := errors.ErrColumnSelectorFailed.Text()
	require.Equal(t, code, errors.CodeOf(selecting(nil, "a*", "d").Verify([]*model.Table{u.Model})))
	rule := everywhere("columns")
	rule.Columns = []string{"d"}
	require.Equal(t, code, errors.CodeOf(selecting(rule, "id", "c").Verify([]*model.Table{u.Model})))
	require.NoError(t, selecting(rule, "id", "d").Verify([]*model.Table{u.Model}))
}
