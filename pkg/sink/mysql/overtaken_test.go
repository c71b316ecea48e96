package mysql

import (
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// TestOldRowsOfOtherPartitions: unique keys span partitions, and the changes of
// one partition come behind newer ones of another.
func TestOldRowsOfOtherPartitions(t *testing.T) {
	for name, replicateTs := range map[string]uint64{"replays": 1000, "new rows": 0} {
		t.Run(name, func(t *testing.T) {
			addr, db := downstream(t, "late")
			u := newTable(t, 100, "CREATE TABLE late.t (id INT NOT NULL, p INT, u INT, PRIMARY KEY (id) NONCLUSTERED, UNIQUE KEY (u))")
			u.info.Indices[0].Global, u.info.Indices[1].Global = true, true
			u.info.Partition = &timodel.PartitionInfo{Expr: "`p`"}
			execAll(t, db, u.ddl, "INSERT INTO late.t VALUES (1, 1, 10), (2, 1, 20), (3, 2, 30)")
			s := openSink(t, addr, "")
			write := func(changes ...model.RawChange) {
				t.Helper()
				for _, c := range changes {
					require.NoError(t, acked(t, u.write(s, replicateTs, c)))
				}
			}
			// Of the second partition: row 1 moves in, row 3 takes what row 2 had,
			// row 4 comes and goes.
			write(u.change(20, 11, nil, []any{1, 2, 10}),
				u.change(21, 13, []any{3, 2, 30}, []any{3, 2, 20}),
				u.change(22, 14, nil, []any{4, 2, 40}),
				u.change(23, 14, []any{4, 2, 40}, nil))
			// Of the first, where all that happened before.
			write(u.change(10, 1, []any{1, 1, 10}, []any{1, 0, 10}),
				u.change(11, 2, []any{2, 1, 20}, []any{2, 0, 20}),
				u.change(12, 4, nil, []any{4, 1, 40}),
				u.change(13, 2, []any{2, 0, 20}, []any{2, 0, nil}),
				u.change(20, 1, []any{1, 0, 10}, nil),
				u.change(22, 4, []any{4, 1, 40}, nil))
			require.Equal(t, []string{"1|2|10", "2|0|NULL", "3|2|20"}, contents(t, db, "SELECT * FROM late.t ORDER BY id"))
		})
	}
}

// TestOvertakenForgets: what is remembered is bounded, and the newest stays.
func TestOvertakenForgets(t *testing.T) {
	var o overtaken
	for k := range uint64(3 * overtakenMemory) {
		o.note(k, 7)
		o.note(0, 9)
		o.note(0, 8)
	}
	require.LessOrEqual(t, len(o.young)+len(o.old), 2*overtakenMemory)
	require.Equal(t, uint64(9), max(o.young[0], o.old[0]))
}
