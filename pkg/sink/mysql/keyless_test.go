package mysql

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/sink"
)

// TestRowsWithoutKey: rows of a table without a key that its collation takes
// for equal are different rows all the same.
func TestRowsWithoutKey(t *testing.T) {
	for name, parameters := range map[string]string{
		"text":     "",
		"prepared": "multi-stmt-enable=false&batch-dml-enable=false",
		"replays":  "safe-mode=true",
	} {
		t.Run(name, func(t *testing.T) {
			addr, db := downstream(t, "keyless")
			u := newTable(t, 100, "CREATE TABLE keyless.t (s VARCHAR(9) COLLATE utf8mb4_general_ci, c CHAR(9) COLLATE utf8mb4_bin, v TEXT COLLATE utf8mb4_unicode_ci)")
			execAll(t, db, u.ddl)
			s := openSink(t, addr, "worker-count=1&"+parameters, func(o *sink.Options) {
				o.Config = config.DefaultReplicaConfig()
				o.Config.ForceReplicate = true
			})
			for i, text := range []string{"a", "A", "a ", "\u00e4'"} {
				require.NoError(t, acked(t, u.write(s, 0, u.change(10, int64(i), nil, []any{text, strings.TrimRight(text, " "), text}))))
			}
			require.NoError(t, acked(t, u.write(s, 0,
				u.change(11, 1, []any{"A", "A", "A"}, nil),
				u.change(11, 3, []any{"\u00e4'", "\u00e4'", "\u00e4'"}, []any{"A", "x", nil}),
				u.change(11, 2, []any{"a ", "a", "a "}, []any{"b", "b", "B"}))))
			require.NoError(t, acked(t, u.write(s, 0, u.change(12, 3, []any{"A", "x", nil}, []any{"\u00c4", "x", nil}))))
			require.Equal(t, []string{"a|a|a", "b|b|B", "\u00c4|x|NULL"}, contents(t, db, "SELECT * FROM keyless.t ORDER BY HEX(s)"))
		})
	}
}
