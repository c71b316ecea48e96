package v2

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
)

// TestListsOfOlderDocuments: they count where a request gives no rules, and
// the rule for everything stands where it gives neither.
func TestListsOfOlderDocuments(t *testing.T) {
	dbs := []string{"db"}
	for _, tt := range []struct {
		name, text string
		want       config.FilterConfig
	}{
		{"nothing", `{}`, config.FilterConfig{Rules: []string{"*.*"}}},
		{"null", `{"filter":null}`, config.FilterConfig{Rules: []string{"*.*"}}},
		{"empty section", `{"filter":{}}`, config.FilterConfig{Rules: []string{"*.*"}}},
		{"other filters", `{"filter":{"ignore_txn_start_ts":[1]}}`, config.FilterConfig{Rules: []string{"*.*"}, IgnoreTxnStartTs: []uint64{1}}},
		{"no rules", `{"filter":{"rules":[]}}`, config.FilterConfig{Rules: []string{}}},
		{"rules", `{"filter":{"rules":["a.*"]}}`, config.FilterConfig{Rules: []string{"a.*"}}},
		{"lists", `{"filter":{"do_dbs":["db"]}}`, config.FilterConfig{DoDBs: dbs}},
		{"lists beside no rules", `{"filter":{"rules":[],"do_dbs":["db"]}}`, config.FilterConfig{Rules: []string{}, DoDBs: dbs}},
		{"rules win", `{"filter":{"rules":["*.*"],"do_dbs":["db"]}}`, config.FilterConfig{Rules: []string{"*.*"}, DoDBs: dbs}},
		{"tables", `{"filter":{"do_tables":[{"database_name":"d","table_name":"t"}]}}`,
			config.FilterConfig{DoTables: []*config.FilterTable{{Schema: "d", Name: "t"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := defaults()
			require.NoError(t, json.Unmarshal([]byte(tt.text), &c))
			require.Equal(t, &tt.want, c.merged().Filter)
		})
	}
	var null *ReplicaConfig
	require.Equal(t, config.DefaultReplicaConfig(), null.merged())
	require.Equal(t, config.DefaultReplicaConfig(), defaults().merged())
}
