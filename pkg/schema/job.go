package schema

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// job is a finished DDL job and the transaction that finished it.
type job struct {
	*timodel.Job
	startTs, commitTs uint64 // TSO
}

// sortJobs brings jobs into the order in which they took effect.
func sortJobs(jobs []job) {
	slices.SortStableFunc(jobs, func(a, b job) int {
		return cmp.Or(cmp.Compare(a.commitTs, b.commitTs),
			cmp.Compare(a.BinlogInfo.SchemaVersion, b.BinlogInfo.SchemaVersion), cmp.Compare(a.ID, b.ID))
	})
}

// jobDecoder finds finished jobs among the changes of the DDL job table.
type jobDecoder struct {
	table  *model.Table
	column []int
	rows   *mounter.Decoder
	values []model.Value
}

func newJobDecoder(t *model.Table) (*jobDecoder, error) {
	at := slices.IndexFunc(t.Columns, func(c model.Column) bool { return c.Name == jobColumn })
	if at < 0 {
		return nil, fmt.Errorf("the DDL job table has no column %s", jobColumn)
	}
	return &jobDecoder{table: t, column: []int{at}, rows: mounter.NewDecoder(time.UTC)}, nil
}

// doneMark is in the JSON of every finished job, and in few others.
var doneMark = []byte(fmt.Sprintf(`"state":%d`, timodel.JobStateDone))

// decode returns the job of a row, false when the row is no job that has just
// finished.
func (d *jobDecoder) decode(c *model.RawChange) (job, bool, error) {
	if c.IsDelete() {
		return job{}, false, nil
	}
	var err error
	d.values, err = d.rows.DecodeColumns(d.table, c, mounter.New, d.column, d.values)
	if err != nil {
		return job{}, false, err
	}
	meta := d.values[0].B
	// A job's row is written at every step, and jobs may be large.
	if !bytes.Contains(meta, doneMark) {
		return job{}, false, nil
	}
	j := &timodel.Job{}
	if err := j.Decode(meta); err != nil {
		return job{}, false, fmt.Errorf("DDL job finished at %d: %w", c.CommitTs, err)
	}
	if j.State != timodel.JobStateDone || j.BinlogInfo == nil {
		return job{}, false, nil
	}
	// Some kinds change tables without telling so in the job.
	if j.BinlogInfo.SchemaVersion == 0 && !needsReload(j.Type) {
		return job{}, false, nil
	}
	return job{Job: j, startTs: c.StartTs, commitTs: c.CommitTs}, true, nil
}

// needsReload tells the kinds of job that do not say what they changed: the
// schema has to be read again.
func needsReload(t timodel.ActionType) bool {
	switch t {
	case timodel.ActionFlashbackCluster, timodel.ActionRecoverSchema, timodel.ActionRefreshMeta:
		return true
	}
	return false
}
