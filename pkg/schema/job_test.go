package schema

import (
	"encoding/json"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func testDecoder(t testing.TB) *jobDecoder {
	info := tinfo(jobTableID, "tidb_ddl_job", col(1, "job_id", mysql.TypeLonglong, mysql.PriKeyFlag|mysql.NotNullFlag),
		col(2, "reorg", mysql.TypeLong, 0), col(5, jobColumn, mysql.TypeLongBlob, 0))
	d, err := newJobDecoder(NewTable(1, "mysql", info, 1))
	require.NoError(t, err)
	return d
}

func TestJobDecoder(t *testing.T) {
	d := testDecoder(t)
	row := jobRow(t, 110, doneJob(7, timodel.ActionAddColumn, 2, pkTable(100, "a"), "alter"))
	j, ok, err := d.decode(&row)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []any{int64(7), "alter", uint64(109), uint64(110)}, []any{j.ID, j.Query, j.startTs, j.commitTs})

	_, err = newJobDecoder(NewTable(1, "mysql", pkTable(jobTableID, "tidb_ddl_job"), 1))
	require.ErrorContains(t, err, jobColumn)
}

// FuzzJobDecoder feeds arbitrary rows of the job table.
func FuzzJobDecoder(f *testing.F) {
	for _, kind := range []timodel.ActionType{timodel.ActionAddColumn, timodel.ActionRenameTables, timodel.ActionFlashbackCluster} {
		j := doneJob(1, kind, 2, pkTable(100, "a"), "alter")
		meta, err := json.Marshal(j)
		require.NoError(f, err)
		f.Add(meta)
	}
	d := testDecoder(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		row := model.NewRawChange(1, 2, []byte("t"), value, nil)
		_, _, _ = d.decode(&row)
		// The same bytes as the content of a sound row.
		sound := append([]byte{0x80, 1, 1, 0, 0, 0, 5, 0, 0, 0, byte(len(value)), byte(len(value) >> 8), byte(len(value) >> 16), 0}, value...)
		row = model.NewRawChange(1, 2, []byte("t"), sound, nil)
		_, _, _ = d.decode(&row)
	})
}
