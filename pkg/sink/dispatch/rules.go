// Package dispatch says which topic and partition a row change goes to, and
// turns batches of stored rows into the events that encoders take.
//
// The rules and hashes are TiCDC's: rows of one key keep their partition when
// a changefeed moves from there to here.
package dispatch

import (
	"fmt"
	"strings"

	tfilter "github.com/pingcap/tidb/pkg/util/table-filter"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// The ways to choose a partition, as rules name them. The empty word and
// "default" mean by table, "rowid" is the old name of "index-value".
const (
	partitionDefault    = "default"
	partitionTable      = "table"
	partitionTs         = "ts"
	partitionIndexValue = "index-value"
	partitionRowID      = "rowid"
	partitionColumns    = "columns"
)

// method is a way to choose a partition.
type method uint8

const (
	byTable method = iota
	byTs
	byIndex
	byColumns
)

// Rules are a changefeed's dispatch rules and column selectors, compiled.
// They are immutable and safe for concurrent use.
type Rules struct {
	defaultTopic string
	rules        []rule
	selectors    []selector
	splitUpdates bool
	warnings     []string
}

type rule struct {
	matcher tfilter.Filter
	method  method
	index   string
	columns []string
	topic   string // expression; empty is the default topic
}

type selector struct {
	tables  tfilter.Filter
	columns tfilter.ColumnFilter
}

// NewRules compiles the rules of a Kafka changefeed. The protocol is canonical,
// or empty when it is not known. Errors: ErrFilterRuleInvalid,
// ErrKafkaTopicExprInvalid, ErrSinkInvalidConfig.
func NewRules(cfg *config.ReplicaConfig, defaultTopic, protocol string) (*Rules, error) {
	r := &Rules{defaultTopic: defaultTopic, splitUpdates: true}
	if cfg == nil || cfg.Sink == nil {
		return r, nil
	}
	if k := cfg.Sink.KafkaConfig; k != nil && k.OutputRawChangeEvent != nil {
		r.splitUpdates = !*k.OutputRawChangeEvent
	}
	for _, given := range cfg.Sink.DispatchRules {
		compiled, err := r.compile(given, cfg.CaseSensitive, protocol)
		if err != nil {
			return nil, err
		}
		r.rules = append(r.rules, compiled)
	}
	for _, given := range cfg.Sink.ColumnSelectors {
		tables, err := matcher(given.Matcher, cfg.CaseSensitive)
		if err != nil {
			return nil, err
		}
		columns, err := tfilter.ParseColumnFilter(given.Columns)
		if err != nil {
			return nil, errors.ErrFilterRuleInvalid.Wrap(err, given.Columns)
		}
		r.selectors = append(r.selectors, selector{tables: tables, columns: columns})
	}
	return r, nil
}

func (r *Rules) compile(given *config.DispatchRule, caseSensitive bool, protocol string) (rule, error) {
	word := given.PartitionRule
	if given.DispatcherRule != "" {
		if word != "" {
			return rule{}, errors.ErrSinkInvalidConfig.Msg("dispatcher and partition cannot be configured both for rule:%v", *given)
		}
		word = given.DispatcherRule
	}
	tables, err := matcher(given.Matcher, caseSensitive)
	if err != nil {
		return rule{}, err
	}
	out := rule{matcher: tables, topic: given.TopicRule}
	if out.topic != "" {
		if err := checkTopicExpr(out.topic, protocol); err != nil {
			return rule{}, err
		}
	}
	switch strings.ToLower(word) {
	case "", partitionDefault, partitionTable:
	case partitionTs:
		out.method = byTs
	case partitionIndexValue, partitionRowID:
		out.method, out.index = byIndex, given.IndexName
	case partitionColumns:
		out.method, out.columns = byColumns, given.Columns
		if len(given.Columns) == 0 {
			return rule{}, errors.ErrSinkInvalidConfig.Msg("columns must be given for the partition rule columns, matcher: %v", given.Matcher)
		}
	default:
		r.warnings = append(r.warnings, fmt.Sprintf("unknown partition rule %q: the rows are dispatched by table", word))
	}
	return out, nil
}

// matcher compiles a list of table rules.
func matcher(rules []string, caseSensitive bool) (tfilter.Filter, error) {
	f, err := tfilter.Parse(rules)
	if err != nil {
		return nil, errors.ErrFilterRuleInvalid.Wrap(err, rules)
	}
	if !caseSensitive {
		f = tfilter.CaseInsensitive(f)
	}
	return f, nil
}

// Warnings are about words in the rules that were replaced by others.
func (r *Rules) Warnings() []string { return r.warnings }

// DefaultTopic is where everything goes that no rule names a topic for.
func (r *Rules) DefaultTopic() string { return r.defaultTopic }

// ruleOf returns the first rule that matches; the zero rule is the implicit last one.
func (r *Rules) ruleOf(schema, table string) rule {
	for i := range r.rules {
		if r.rules[i].matcher.MatchTable(schema, table) {
			return r.rules[i]
		}
	}
	return rule{}
}

// Topic is where the rows of a table go.
func (r *Rules) Topic(schema, table string) string {
	if expr := r.ruleOf(schema, table).topic; expr != "" {
		return expandTopic(expr, schema, table)
	}
	return r.defaultTopic
}

// DDLTopic is where a schema change is announced: the topic of the table's
// name before the change, so that it comes behind the rows that it follows.
func (r *Rules) DDLTopic(ev *model.DDLEvent) string {
	switch {
	case ev.OldTable != "":
		return r.Topic(ev.OldSchema, ev.OldTable)
	case ev.Table == "":
		return r.defaultTopic
	case ev.PreInfo != nil:
		return r.Topic(ev.PreInfo.Schema, ev.PreInfo.Name)
	}
	return r.Topic(ev.Schema, ev.Table)
}

// Topics lists the topics that get watermarks while the given tables are
// replicated: theirs and the default one, which comes first, each once.
func (r *Rules) Topics(tables []*model.Table) []string {
	out, seen := []string{r.defaultTopic}, map[string]struct{}{r.defaultTopic: {}}
	for _, t := range tables {
		topic := r.Topic(t.Schema, t.Name)
		if _, known := seen[topic]; !known {
			seen[topic] = struct{}{}
			out = append(out, topic)
		}
	}
	return out
}

// Verify checks that the rules fit the tables. Errors: ErrDispatcherFailed,
// ErrColumnSelectorFailed.
func (r *Rules) Verify(tables []*model.Table) error {
	for _, t := range tables {
		if _, err := r.Plan(t); err != nil {
			return err
		}
	}
	return nil
}
