package mounter_test

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/rowcodec"
	"github.com/stretchr/testify/require"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/schema"
)

// sumByTiDB is the checksum of the columns as TiDB computes it.
func sumByTiDB(t testing.TB, loc *time.Location, info *timodel.TableInfo, datums []types.Datum) uint32 {
	data := rowcodec.RowData{}
	for i, c := range info.Columns {
		data.Cols = append(data.Cols, rowcodec.ColData{ColumnInfo: c, Datum: &datums[i]})
	}
	sum, err := data.Checksum(loc)
	require.NoError(t, err)
	return sum
}

// withChecksum appends a checksum to a row value, as TiDB of that version does.
func withChecksum(value, key []byte, version byte, sums ...uint32) []byte {
	value = slices.Clone(value)
	value[1] |= 2
	if len(sums) == 2 {
		version |= 8
	}
	value = append(value, version)
	switch version & 7 {
	case 1:
		sums = []uint32{crc32.Update(crc32.ChecksumIEEE(value), crc32.IEEETable, key)}
	case 2:
		sums = []uint32{crc32.Update(crc32.ChecksumIEEE(value), crc32.IEEETable, mounter.Handle(key))}
	}
	for _, s := range sums {
		value = binary.LittleEndian.AppendUint32(value, s)
	}
	return value
}

func TestChecksumsAgainstTiDB(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(7, 8))
	check := func(t *testing.T, kinds []kind) {
		info := tableInfo(kinds, nil)
		table := schema.NewTable(1, "test", info, 1)
		v := mounter.NewVerifier()
		for n := range 60 {
			datums := make([]types.Datum, len(kinds))
			for i, k := range kinds {
				if r.IntN(8) > 0 {
					datums[i] = k.value(r)
				}
				// The store does not keep the sign of -0.
				if f := &datums[i]; f.Kind() == types.KindFloat32 && f.GetFloat32() == 0 {
					f.SetFloat32(0)
				} else if f.Kind() == types.KindFloat64 && f.GetFloat64() == 0 {
					f.SetFloat64(0)
				}
			}
			want := sumByTiDB(t, berlin, info, datums)
			stored := encodeRow(t, berlin, info, datums, nil, true)
			value := withChecksum(stored.value, stored.key, byte(n%3), want)
			if n%3 == 2 {
				byTiDB, err := tablecodec.EncodeRow(berlin, datums, idsOf(info), nil, nil,
					rowcodec.RawChecksum{Handle: stored.handle}, &rowcodec.Encoder{Enable: true})
				require.NoError(t, err)
				require.Equal(t, byTiDB, value)
			}
			change := model.NewRawChange(1, 2, stored.key, value, value)
			sum, err := v.Verify(table, &change)
			require.NoError(t, err)
			require.Equal(t, &model.Checksum{Current: want, Previous: want, Version: n % 3}, sum, "%v", datums)
		}
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) { check(t, []kind{k}) })
	}
	t.Run("all", func(t *testing.T) { check(t, kinds()) })
}

func idsOf(info *timodel.TableInfo) []int64 {
	ids := make([]int64, len(info.Columns))
	for i, c := range info.Columns {
		ids[i] = c.ID
	}
	return ids
}

func TestVerify(t *testing.T) {
	info := tableInfo([]kind{signedKind("int", mysql.TypeLonglong, 64)}, nil)
	table := schema.NewTable(1, "test", info, 1)
	row := func(n int64) ([]byte, []byte, uint32) {
		datums := []types.Datum{types.NewIntDatum(n)}
		stored := encodeRow(t, time.UTC, info, datums, nil, true)
		return stored.key, stored.value, sumByTiDB(t, time.UTC, info, datums)
	}
	key, first, firstSum := row(1)
	_, second, secondSum := row(2)
	with := func(value []byte, version byte, sums ...uint32) []byte {
		return withChecksum(value, key, version, sums...)
	}
	damaged := func(value []byte) []byte {
		value = slices.Clone(value)
		value[len(value)-1]++
		return value
	}
	for _, tc := range []struct {
		name     string
		old, new []byte
		want     *model.Checksum
	}{
		{"none", first, second, nil},
		{"insert", nil, with(first, 0, firstSum), &model.Checksum{Current: firstSum}},
		{"delete", with(first, 0, firstSum), nil, &model.Checksum{Previous: firstSum}},
		{"update", with(first, 0, firstSum), with(second, 0, secondSum), &model.Checksum{Current: secondSum, Previous: firstSum}},
		{"second fits", nil, with(first, 0, 7, firstSum), &model.Checksum{Current: firstSum}},
		{"neither fits", nil, with(first, 0, 7, 8), &model.Checksum{Current: firstSum, Corrupted: true}},
		{"old does not fit", with(first, 0, 7), with(second, 0, secondSum), &model.Checksum{Current: secondSum, Previous: firstSum}},
		{"old without", first, with(second, 1), &model.Checksum{Current: secondSum, Version: 1}},
		{"raw damaged", nil, damaged(with(first, 1)), &model.Checksum{Current: firstSum, Version: 1, Corrupted: true}},
		{"old raw damaged", damaged(with(first, 2)), with(second, 2), &model.Checksum{Current: secondSum, Previous: firstSum, Version: 2, Corrupted: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := model.NewRawChange(1, 2, key, tc.new, tc.old)
			sum, err := mounter.NewVerifier().Verify(table, &change)
			require.NoError(t, err)
			require.Equal(t, tc.want, sum)
		})
	}
	for name, value := range map[string][]byte{
		"cut":     with(first, 1)[:len(first)+3],
		"second":  with(first, 0, 1, 2)[:len(first)+5],
		"version": with(first, 3, 1),
	} {
		change := model.NewRawChange(1, 2, key, value, nil)
		_, err := mounter.NewVerifier().Verify(table, &change)
		require.ErrorIs(t, err, errors.ErrDecodeRowToDatum, name)
	}
}

func BenchmarkVerify(b *testing.B) {
	table, change := sample(b)
	value := withChecksum(change.Value(), change.Key(), 2)
	change = model.NewRawChange(1, 2, change.Key(), value, nil)
	v := mounter.NewVerifier()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(table, &change); err != nil {
			b.Fatal(err)
		}
	}
}
