package processor

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// keyFilter drops the rows with a key, or fails.
type keyFilter struct {
	key string
	err error
}

func (f keyFilter) Keep(_ *model.Table, rows []model.RawChange) ([]model.RawChange, error) {
	kept := rows[:0]
	for i := range rows {
		if string(rows[i].Key()) != f.key {
			kept = append(kept, rows[i])
		}
	}
	return kept, f.err
}

func filtered(f keyFilter) func(*Options) {
	return func(o *Options) { o.NewRowFilter = func() RowFilter { return f } }
}

// TestFilteredRows: what is dropped counts as delivered, and a batch that lost
// its end still says truly whether its transaction is complete.
func TestFilteredRows(t *testing.T) {
	r := newRig(t, filtered(keyFilter{key: "x"}))
	r.limits.Rows = 3
	r.open(1)
	r.sink.hold = true
	r.add(1, 10)
	s := r.up.sub(t, 1)
	s.rows(change(20, "a"), change(20, "b"), change(30, "x")) // ends with a transaction of which nothing is left
	s.rows(change(30, "x2"), change(40, "a"), change(40, "x"))
	s.rows(change(50, "x"), change(51, "x"), change(52, "x")) // nothing at all
	s.resolve(100)
	r.waitFor("batches", func() bool { return len(r.sink.got()) == 2 })
	b := r.sink.got()
	require.Equal(t, []uint64{20, 20}, commitTimes(b[0].Rows))
	require.True(t, b[0].LastOfTxn)
	require.Equal(t, []uint64{30, 40}, commitTimes(b[1].Rows))
	require.True(t, b[1].LastOfTxn)
	require.Equal(t, uint64(10), r.Progress().CheckpointTs)
	b[1].Done(nil)
	b[0].Done(nil)
	r.waitCheckpoint(100)
}

func TestFailingFilterEndsTheRun(t *testing.T) {
	broken := errors.New("cannot be computed")
	r := newRig(t, filtered(keyFilter{err: broken}))
	r.open(1)
	r.add(1, 10)
	r.up.sub(t, 1).rows(change(20, "a"))
	r.up.sub(t, 1).resolve(40)
	require.ErrorIs(t, r.failed(), broken)
	require.Empty(t, r.sink.got())
}
