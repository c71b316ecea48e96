package owner

import (
	stderrors "errors"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

func testPlanner(t *testing.T, s *fakeSchema, start, target uint64, rules ...string) *planner {
	f, err := filter.New(&config.FilterConfig{Rules: rules}, false)
	require.NoError(t, err)
	return newPlanner(s, f, passDDL, &config.ReplicaConfig{}, start, target)
}

func keysOf(set map[int64]struct{}) []int64 { return difference(set, nil) }

func TestReplicatedTables(t *testing.T) {
	partitioned := table(10, "p")
	partitioned.PartitionIDs = []int64{11, 12}
	noKey := table(20, "nokey")
	noKey.HandleKey = nil
	view := table(30, "v")
	view.Info.View = &timodel.ViewInfo{}
	s := newFakeSchema(100, table(1, "a"), table(2, "other"), partitioned, noKey, view)
	p := testPlanner(t, s, 100, 0, "db.*", "!db.other")
	require.Equal(t, []int64{1, 11, 12}, keysOf(p.tables))
	p.force = true
	require.Equal(t, []int64{1, 11, 12, 20}, keysOf(p.replicated(s.Tables(100))))
}

func TestPlannerWalks(t *testing.T) {
	s := newFakeSchema(100, table(1, "a"))
	p := testPlanner(t, s, 100, 0)
	barrier, err := p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(100), barrier)

	// Void jobs move it on; two jobs of one commit-ts are one step.
	s.define(120, table(1, "a"), table(2, "b"), table(3, "c"))
	s.advance(200,
		ddl(110, timodel.ActionAddColumn, ""),
		ddl(120, timodel.ActionCreateTable, "create b"), ddl(120, timodel.ActionCreateTable, "create c"),
		ddl(130, timodel.ActionAddIndex, "add index"))
	barrier, err = p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(120), barrier)
	require.Len(t, p.next.events, 2)
	require.Equal(t, []int64{2, 3}, p.next.add)
	require.Empty(t, p.next.drop)
	require.Equal(t, []int64{1}, keysOf(p.tables), "not before the step is done")
	barrier, err = p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(120), barrier, "it stays there")
	p.finish()
	require.Equal(t, []int64{1, 2, 3}, keysOf(p.tables))
	barrier, err = p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(130), barrier)
	p.finish()
	barrier, err = p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(200), barrier)
}

// A job that is not for downstream may still change what is replicated.
func TestStepWithoutEvents(t *testing.T) {
	s := newFakeSchema(100, table(1, "a"))
	p := testPlanner(t, s, 100, 0)
	s.define(110, table(2, "a"))
	s.advance(200, ddl(110, timodel.ActionTruncateTable, ""))
	barrier, err := p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(110), barrier)
	require.Empty(t, p.next.events)
	require.Equal(t, []int64{2}, p.next.add)
	require.Equal(t, []int64{1}, p.next.drop)
}

func TestPlannerStopsAtTarget(t *testing.T) {
	s := newFakeSchema(300, table(1, "a"))
	s.jobs = []*model.DDLEvent{ddl(150, timodel.ActionAddColumn, "at"), ddl(151, timodel.ActionAddColumn, "behind")}
	p := testPlanner(t, s, 100, 150)
	barrier, err := p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(150), barrier)
	require.Equal(t, "at", p.next.events[0].Query)
	p.finish()
	barrier, err = p.advance()
	require.NoError(t, err)
	require.Equal(t, uint64(150), barrier)
	require.Nil(t, p.next)
}

func TestPlannerError(t *testing.T) {
	s := newFakeSchema(300, table(1, "a"))
	s.jobs = []*model.DDLEvent{ddl(150, timodel.ActionRenameTable, "x")}
	p := testPlanner(t, s, 100, 0)
	p.split = func(*model.DDLEvent, *filter.Filter, bool) ([]*model.DDLEvent, error) {
		return nil, stderrors.New("no")
	}
	_, err := p.advance()
	require.Error(t, err)
}

// In a BDR group a DDL goes on from the primary cluster only, and not what a
// changefeed has brought there. Its tables change in any case.
func TestDDLsOfBDRGroup(t *testing.T) {
	jobs := []struct {
		role   string
		source uint64
		sent   bool
	}{
		{"primary", 0, true}, {"primary", 1, false}, {"secondary", 0, false}, {"secondary", 1, false}, {"none", 0, false}, {"", 0, false},
	}
	for _, bdr := range []bool{true, false} {
		for i, job := range jobs {
			s := newFakeSchema(300, table(1, "a"))
			s.define(150, table(2, "a"))
			ev := ddl(150, timodel.ActionTruncateTable, "TRUNCATE TABLE a")
			ev.BDRRole, ev.CDCWriteSource = job.role, job.source
			s.jobs = []*model.DDLEvent{ev}
			f, err := filter.New(&config.FilterConfig{}, false)
			require.NoError(t, err)
			p := newPlanner(s, f, passDDL, &config.ReplicaConfig{BDRMode: &bdr}, 100, 0)
			barrier, err := p.advance()
			require.NoError(t, err)
			require.Equal(t, uint64(150), barrier)
			require.Equal(t, !bdr || job.sent, len(p.next.events) == 1, "job %d, bdr %t", i, bdr)
			require.Equal(t, []int64{2}, p.next.add)
			require.Equal(t, []int64{1}, p.next.drop)
		}
	}
}
