package mysql

import (
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// TestShiftedKeys has one transaction that moves every row to the key of the
// next, in a table whose handle key is not the row key.
func TestShiftedKeys(t *testing.T) {
	const rows = 5
	for name, tc := range map[string]struct {
		parameters string
		replicate  uint64
		cut        int // where the batches of the transaction are cut
	}{
		"replay":        {"", 100, rows},
		"single rows":   {"batch-dml-enable=false", 100, rows},
		"safe mode":     {"safe-mode=true", 0, rows},
		"live":          {"", 0, rows},
		"live and cut":  {"", 0, 2},
		"live, split":   {"max-txn-row=2&worker-count=3", 0, rows},
		"whole":         {"max-txn-row=2&worker-count=3&transaction-atomicity=table", 100, rows},
		"split":         {"max-txn-row=2&worker-count=3", 100, rows},
		"row by row":    {"max-txn-row=1&worker-count=3", 100, rows},
		"cut":           {"", 100, 2},
		"cut and split": {"max-txn-row=2&worker-count=3", 100, 3},
	} {
		t.Run(name, func(t *testing.T) {
			addr, db := downstream(t, "shift")
			u := newTable(t, 100, "CREATE TABLE shift.t (id INT NOT NULL, v INT, PRIMARY KEY (id) NONCLUSTERED)")
			execAll(t, db, u.ddl)
			s := openSink(t, addr, tc.parameters)
			var inserts, updates []model.RawChange
			for i := 1; i <= rows; i++ {
				inserts = append(inserts, u.change(10, int64(i), nil, []any{i, i * 10}))
				updates = append(updates, u.change(20, int64(i), []any{i, i * 10}, []any{i%rows + 1, i * 10}))
			}
			write := func(rows []model.RawChange, last bool) <-chan error {
				done := make(chan error, 1)
				require.NoError(t, s.Write(t.Context(), &model.RowBatch{
					TableID: u.info.ID, Table: u.table, Rows: rows, ReplicateTs: tc.replicate, LastOfTxn: last,
					Done: func(err error) { done <- err },
				}))
				return done
			}
			require.NoError(t, acked(t, write(inserts, true)))
			acks := []<-chan error{write(updates[:tc.cut], tc.cut == rows)}
			if tc.cut < rows {
				acks = append(acks, write(updates[tc.cut:], true))
			}
			for _, done := range acks {
				require.NoError(t, acked(t, done))
			}
			require.Equal(t, []string{"1|50", "2|10", "3|20", "4|30", "5|40"}, contents(t, db, "SELECT * FROM shift.t ORDER BY id"))
		})
	}
}

// TestTakenKeyInOtherCase: a transaction gives a row the key of another one,
// which moves away in a later part, in other letters. To the database it is the
// same key, so the later part must not delete it.
func TestTakenKeyInOtherCase(t *testing.T) {
	addr, db := downstream(t, "shift")
	u := newTable(t, 100, "CREATE TABLE shift.c (id VARCHAR(9) COLLATE utf8mb4_general_ci NOT NULL, v INT, PRIMARY KEY (id) NONCLUSTERED)")
	execAll(t, db, u.ddl, "INSERT INTO shift.c VALUES ('c', 1), ('a', 2)")
	s := openSink(t, addr, "")
	for i, c := range []model.RawChange{
		u.change(20, 1, []any{"c", 1}, []any{"A", 1}), u.change(20, 2, []any{"a", 2}, []any{"b", 2}),
	} {
		done := make(chan error, 1)
		require.NoError(t, s.Write(t.Context(), &model.RowBatch{
			TableID: 100, Table: u.table, Rows: []model.RawChange{c}, ReplicateTs: 100, LastOfTxn: i == 1,
			Done: func(err error) { done <- err },
		}))
		require.NoError(t, acked(t, done))
	}
	require.Equal(t, []string{"A|1", "b|2"}, contents(t, db, "SELECT * FROM shift.c ORDER BY id"))
}

// TestRowMovesToAnotherPartition: where a key spans partitions, a row that
// moves is deleted in one and inserted in another, and these come in any order.
func TestRowMovesToAnotherPartition(t *testing.T) {
	for name, tc := range map[string]struct {
		partition   timodel.PartitionInfo
		insertFirst bool
	}{
		"insert first, by expression": {timodel.PartitionInfo{Expr: "year(`d`) + `P`"}, true},
		"insert first, by columns":    {timodel.PartitionInfo{Columns: []ast.CIStr{ast.NewCIStr("P")}}, true},
		"delete first":                {timodel.PartitionInfo{Expr: "`p`"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			addr, db := downstream(t, "moving")
			u := newTable(t, 100, "CREATE TABLE moving.t (id INT NOT NULL, p INT, d DATE, PRIMARY KEY (id) NONCLUSTERED)")
			u.info.Indices[0].Global, u.info.Partition = true, &tc.partition
			execAll(t, db, u.ddl, "INSERT INTO moving.t VALUES (1, NULL, '2020-01-01'), (2, 2, '2020-01-01')")
			s := openSink(t, addr, "")
			changes := []model.RawChange{
				u.change(20, 1, []any{1, nil, "2020-01-01"}, nil),
				u.change(20, 1, nil, []any{1, 5, "2020-01-01"}),
			}
			if tc.insertFirst {
				changes[0], changes[1] = changes[1], changes[0]
			}
			for _, c := range changes {
				require.NoError(t, acked(t, u.write(s, 100, c)))
			}
			require.NoError(t, acked(t, u.write(s, 0, u.change(120, 2, []any{2, 2, "2020-01-01"}, []any{2, 3, "2021-01-01"}))))
			require.NoError(t, acked(t, u.write(s, 0, u.change(121, 2, []any{2, 3, "2021-01-01"}, []any{3, 3, "2021-01-01"}))))
			require.Equal(t, []string{"1|5|2020-01-01", "3|3|2021-01-01"}, contents(t, db, "SELECT * FROM moving.t ORDER BY id"))
		})
	}
}

func TestPartitionColumns(t *testing.T) {
	for expr, want := range map[string][]string{
		"":                          nil,
		"`a`":                       {"a"},
		"year(`D`)":                 {"d"},
		"unix_timestamp(`at`)":      {"at"},
		"`a` + floor(`select` / 3)": {"a", "select"},
		"what?":                     nil,
	} {
		require.Equal(t, want, partitionColumns(&timodel.PartitionInfo{Expr: expr}), expr)
	}
}
