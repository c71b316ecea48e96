package dispatch

import (
	"encoding/binary"
	stderrors "errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/sink/sinktest"
)

// summed appends the checksum that TiDB writes into rows.
func summed(value, key []byte) []byte {
	value = append([]byte(nil), value...)
	value[1] |= 2
	value = append(value, 2)
	sum := crc32.Update(crc32.ChecksumIEEE(value), crc32.IEEETable, mounter.Handle(key))
	return binary.LittleEndian.AppendUint32(value, sum)
}

func TestChecksums(t *testing.T) {
	u := sinktest.NewTable(t, 7, "CREATE TABLE db.t (id INT PRIMARY KEY, a INT)")
	p, err := rulesOf(t).Plan(u.Model)
	require.NoError(t, err)
	plain := u.Change(2, 0, []any{1, 10}, []any{1, 11})
	good := model.NewRawChange(1, 2, plain.Key(), summed(plain.Value(), plain.Key()), summed(plain.OldValue(), plain.Key()))
	damaged := summed(plain.Value(), plain.Key())
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
