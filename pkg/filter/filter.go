// Package filter decides which tables and events a changefeed replicates.
package filter

import (
	"slices"
	"strings"

	tfilter "github.com/pingcap/tidb/pkg/util/table-filter"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// Filter applies a changefeed's filter configuration. It is immutable and safe
// for concurrent use.
type Filter struct {
	tables  tfilter.Filter
	events  []*eventFilter
	startTs []uint64 // TSOs of transactions that are left out, sorted
}

// New compiles a filter. Table patterns that do not parse are an
// ErrFilterRuleInvalid, unknown words for events an ErrInvalidIgnoreEventType.
// It does not look into expressions, and a changefeed that was made elsewhere
// runs without patterns for statements that do not parse: see CheckPatterns.
func New(cfg *config.FilterConfig, caseSensitive bool) (*Filter, error) {
	if cfg == nil {
		cfg = config.DefaultFilterConfig()
	}
	tables, err := selection(cfg)
	if err != nil {
		return nil, errors.ErrFilterRuleInvalid.Wrap(err, cfg)
	}
	if !caseSensitive {
		tables = tfilter.CaseInsensitive(tables)
	}
	f := &Filter{tables: tables, startTs: slices.Clone(cfg.IgnoreTxnStartTs)}
	slices.Sort(f.startTs)
	for _, c := range cfg.EventFilters {
		e, err := newEventFilter(c)
		if err != nil {
			return nil, err
		}
		f.events = append(f.events, e)
	}
	return f, nil
}

// selection compiles the choice of tables: the rules, else the lists of old
// clients, else everything.
func selection(cfg *config.FilterConfig) (tfilter.Filter, error) {
	switch {
	case len(cfg.Rules) > 0:
		return tfilter.Parse(cfg.Rules)
	case cfg.HasLists():
		return tfilter.ParseMySQLReplicationRules(&tfilter.MySQLReplicationRules{
			DoTables: listed(cfg.DoTables), DoDBs: cfg.DoDBs,
			IgnoreTables: listed(cfg.IgnoreTables), IgnoreDBs: cfg.IgnoreDBs,
		})
	}
	return tfilter.All(), nil
}

func listed(tables []*config.FilterTable) []*tfilter.Table {
	out := make([]*tfilter.Table, 0, len(tables))
	for _, t := range tables {
		if t != nil {
			out = append(out, &tfilter.Table{Schema: t.Schema, Name: t.Name})
		}
	}
	return out
}

// MatchTable tells whether rows and DDL of the table are replicated.
func (f *Filter) MatchTable(schema, table string) bool {
	return !IsSystemSchema(schema) && f.tables.MatchTable(schema, table)
}

// MatchSchema tells whether DDL of the database itself is replicated.
func (f *Filter) MatchSchema(schema string) bool {
	return !IsSystemSchema(schema) && f.tables.MatchSchema(schema)
}

// IgnoresTxns tells whether some transactions are left out as a whole.
func (f *Filter) IgnoresTxns() bool { return len(f.startTs) > 0 }

// IgnoresTxn tells whether the transaction with this start-ts is left out.
func (f *Filter) IgnoresTxn(startTs uint64) bool {
	_, found := slices.BinarySearch(f.startTs, startTs)
	return found
}

// IsSystemSchema tells the databases that are never replicated, whatever the
// rules say. The system databases of MySQL and TiDB match in any case, the
// tools' own ones exactly.
func IsSystemSchema(schema string) bool {
	switch strings.ToLower(schema) {
	case "mysql", "sys", "information_schema", "performance_schema",
		"metrics_schema", "inspection_schema", "workload_schema", "dm_heartbeat":
		return true
	}
	return schema == "tidb_cdc" || schema == "lightning_task_info"
}
