package dispatch

import (
	stderrors "errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

func TestChecksums(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, a INT)")
	p, err := rulesOf(t).Plan(u.Model)
	require.NoError(t, err)
	plain := u.Change(2, 0, []any{1, 10}, []any{1, 11})
	good := model.NewRawChange(1, 2, plain.Key(), sinktest.Checksummed(plain.Value(), plain.Key()), sinktest.Checksummed(plain.OldValue(), plain.Key()))
	damaged := sinktest.Checksummed(plain.Value(), plain.Key())
	damaged[len(damaged)-1]++
	bad := model.NewRawChange(1, 2, plain.Key(), damaged, nil)

	reader := NewReader(time.UTC)
	stop := stderrors.New("stop")
	var fail error
	calls := 0
	reader.VerifyChecksums(func(table *model.Table, c *model.RawChange) error {
		require.Equal(t, u.Model, table)
		require.Equal(t, uint64(2), c.CommitTs)
		calls++
		return fail
	})
	read := func(c model.RawChange, half Half) (*codec.Checksum, error) {
		var ev codec.RowEvent
		b := &model.RowBatch{TableID: 7, Table: u.Model, Rows: []model.RawChange{c}}
		err := reader.Read(p, b, Item{Half: half}, &ev)
		return ev.Checksum, err
	}
	sum, err := read(plain, Whole)
	require.NoError(t, err)
	require.Nil(t, sum, "the upstream wrote none")
	whole, err := read(good, Whole)
	require.NoError(t, err)
	require.Equal(t, 2, whole.Version)
	require.False(t, whole.Corrupted)
	require.NotEqual(t, whole.Current, whole.Previous)
	old, err := read(good, OldHalf)
	require.NoError(t, err)
	require.Equal(t, &codec.Checksum{Previous: whole.Previous, Version: 2}, old)
	half, err := read(good, NewHalf)
	require.NoError(t, err)
	require.Equal(t, &codec.Checksum{Current: whole.Current, Version: 2}, half)
	require.Zero(t, calls)

	sum, err = read(bad, Whole)
	require.NoError(t, err)
	require.True(t, sum.Corrupted)
	fail = stop
	_, err = read(bad, Whole)
	require.ErrorIs(t, err, stop)
	require.Equal(t, 2, calls)
}
