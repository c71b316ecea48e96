package mysql

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// TestShiftedKeys has one transaction that moves every row to the key of the
// next, in a table whose handle key is not the row key.
func TestShiftedKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		parameters string
		replicate  uint64
	}{
		"replay":      {"", 100},
		"single rows": {"batch-dml-enable=false", 100},
		"safe mode":   {"safe-mode=true", 0},
		"live":        {"", 0},
		"whole":       {"max-txn-row=2&worker-count=3&transaction-atomicity=table", 100},
	} {
		t.Run(name, func(t *testing.T) {
			addr, db := downstream(t, "shift")
			u := newTable(t, 100, "CREATE TABLE shift.t (id INT NOT NULL, v INT, PRIMARY KEY (id) NONCLUSTERED)")
			execAll(t, db, u.ddl)
			s := openSink(t, addr, tc.parameters)
			var inserts, updates []model.RawChange
			for i := 1; i <= 5; i++ {
				inserts = append(inserts, u.change(10, int64(i), nil, []any{i, i * 10}))
				updates = append(updates, u.change(20, int64(i), []any{i, i * 10}, []any{i%5 + 1, i * 10}))
			}
			require.NoError(t, acked(t, u.write(s, tc.replicate, inserts...)))
			require.NoError(t, acked(t, u.write(s, tc.replicate, updates...)))
			require.Equal(t, []string{"1|50", "2|10", "3|20", "4|30", "5|40"}, contents(t, db, "SELECT * FROM shift.t ORDER BY id"))
		})
	}
}
