package mysql

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLiveRows(t *testing.T) {
	for name, parameters := range map[string]string{
		"packets":      "",
		"one by one":   "multi-stmt-enable=false",
		"single rows":  "batch-dml-enable=false",
		"prepared":     "multi-stmt-enable=false&batch-dml-enable=false",
		"not prepared": "multi-stmt-enable=false&batch-dml-enable=false&cache-prep-stmts=false",
		"safe mode":    "safe-mode=true",
	} {
		t.Run(name, func(t *testing.T) {
			addr, db := downstream(t, "live")
			u := newTable(t, 100, "CREATE TABLE live.t (id INT PRIMARY KEY, s VARCHAR(20), u INT NOT NULL, UNIQUE KEY (u))")
			execAll(t, db, u.ddl)
			s := openSink(t, addr, parameters)
			require.NoError(t, acked(t, u.write(s, 5,
				u.change(10, 0, nil, []any{1, "one", 11}),
				u.change(10, 0, nil, []any{2, "two", 12}),
				u.change(11, 0, nil, []any{3, "three", 13}),
				u.change(12, 0, []any{1, "one", 11}, []any{1, "eins", 21}),
				u.change(13, 0, nil, []any{4, "four", 11}),
				u.change(14, 0, []any{2, "two", 12}, nil),
				u.change(15, 0, []any{3, "three", 13}, []any{3, nil, 12}),
			)))
			require.Equal(t, []string{"1|eins|21", "3|NULL|12", "4|four|11"}, contents(t, db, "SELECT * FROM live.t ORDER BY id"))
			require.Zero(t, s.Status())
		})
	}
}
