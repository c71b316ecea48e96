// Package filter decides which tables and events a changefeed replicates.
package filter

import (
	"strings"

	tfilter "github.com/pingcap/tidb/pkg/util/table-filter"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// Filter applies a changefeed's filter configuration. It is immutable and safe
// for concurrent use.
type Filter struct {
	rules tfilter.Filter
}

// New compiles a filter. Errors have the code ErrFilterRuleInvalid.
func New(cfg *config.FilterConfig, caseSensitive bool) (*Filter, error) {
	rules := []string{"*.*"}
	if cfg != nil && len(cfg.Rules) > 0 {
		rules = cfg.Rules
	}
	f, err := tfilter.Parse(rules)
	if err != nil {
		return nil, errors.ErrFilterRuleInvalid.Wrap(err, cfg)
	}
	if !caseSensitive {
		f = tfilter.CaseInsensitive(f)
	}
	return &Filter{rules: f}, nil
}

// MatchTable tells whether rows and DDL of the table are replicated.
func (f *Filter) MatchTable(schema, table string) bool {
	return !IsSystemSchema(schema) && f.rules.MatchTable(schema, table)
}

// MatchSchema tells whether DDL of the database itself is replicated.
func (f *Filter) MatchSchema(schema string) bool {
	return !IsSystemSchema(schema) && f.rules.MatchSchema(schema)
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
