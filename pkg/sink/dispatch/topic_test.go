package dispatch

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

func TestTopicExpressions(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct {
		expr, schema, table, topic string
	}{
		{"fixed.Topic-1_a", "s", "t", "fixed.Topic-1_a"},
		{"{schema}", "Db", "t", "Db"},
		{"{table}", "Db", "T", "T"},
		{"a_{schema}_b_{table}_c", "s", "t", "a_s_b_t_c"},
		{"{schema}{table}", "s", "t", "st"},
		{"{schema}.{table}", "d b", "表", "d_b._"},
		{"{schema}_{table}", "{table}", "t", "_table__t"},
		{"{schema}", ".", "t", "_"},
		{"{schema}{table}", ".", ".", "__"},
		{".", "s", "t", "_"},
		{"..", "s", "t", "__"},
		{"{table}", "s", long, long[:maxTopicLength]},
		{long, "s", "t", long[:maxTopicLength]},
	}
	for _, test := range tests {
		require.NoError(t, checkTopicExpr(test.expr, config.ProtocolCanalJSON), test.expr)
		require.Equal(t, test.topic, expandTopic(test.expr, test.schema, test.table), test.expr)
	}
	for _, expr := range []string{"{table}_{schema}", "{schema}{schema}", "{db}", "a b", "ü", "{schema", "{}", "a/b", "{SCHEMA}"} {
		err := checkTopicExpr(expr, config.ProtocolOpen)
		require.Equal(t, errors.ErrKafkaTopicExprInvalid.Text(), errors.CodeOf(err), expr)
	}
}

func TestTopicExpressionsOfAvro(t *testing.T) {
	for _, expr := range []string{"fixed", "{schema}_{table}", "a{schema}{table}b"} {
		require.NoError(t, checkTopicExpr(expr, config.ProtocolAvro), expr)
	}
	for _, expr := range []string{"{schema}", "{table}", "x_{schema}", "{table}{schema}"} {
		require.Error(t, checkTopicExpr(expr, config.ProtocolAvro), expr)
	}
}

func FuzzTopic(f *testing.F) {
	f.Add("a_{schema}_{table}", "s", "t")
	f.Add("{schema}", "..", "")
	f.Add("fixed", "\xff", "{table}")
	f.Fuzz(func(t *testing.T, expr, schema, table string) {
		if expr == "" || checkTopicExpr(expr, config.ProtocolOpen) != nil {
			return
		}
		topic := expandTopic(expr, schema, table)
		if topic == "" {
			require.Empty(t, schema+table, "only of empty names")
			return
		}
		require.Regexp(t, `^[A-Za-z0-9._\-]{1,249}$`, topic)
		require.NotContains(t, []string{".", ".."}, topic)
	})
}
