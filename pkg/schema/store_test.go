package schema

import (
	"context"
	"errors"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// playground is a store at ts 100 with database 2 "test" and the given tables.
func playground(t *testing.T, infos ...*timodel.TableInfo) (*fakeUpstream, *Store) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	u.putSchema(50, dbInfo(3, "Other"))
	for _, info := range infos {
		u.putTable(50, 2, info)
	}
	lease, err := NewRegistry(u, nil).Acquire(context.Background(), 100)
	require.NoError(t, err)
	t.Cleanup(lease.Release)
	return u, lease.Store()
}

// finish delivers jobs at 110, 120, ... and waits until they are applied.
func finish(t *testing.T, u *fakeUpstream, s *Store, jobs ...*timodel.Job) []*model.DDLEvent {
	ts := s.ResolvedTs()
	from := ts
	for _, j := range jobs {
		ts += 10
		u.rows(jobRow(t, ts, j))
	}
	u.resolve(ts)
	waitResolved(t, s, ts)
	return s.DDLs(from, ts)
}

func waitResolved(t *testing.T, s *Store, ts uint64) {
	require.Eventually(t, func() bool { return s.ResolvedTs() >= ts || s.Err() != nil }, timeout, tick)
	require.NoError(t, s.Err())
}

// names shows what exists as of ts: physical id -> table.
func names(s *Store, ts uint64) map[int64]string {
	out := map[int64]string{}
	for _, t := range s.Tables(ts) {
		for _, id := range t.PhysicalIDs() {
			out[id] = t.Schema + "." + t.Name
		}
	}
	return out
}

// requireSame checks that looking up by id gives what the list says.
func requireTables(t *testing.T, s *Store, ts uint64, want map[int64]string) {
	require.Equal(t, want, names(s, ts))
	for id := int64(1); id < 1000; id++ {
		table, ok := s.TableByPhysicalID(id, ts)
		name, exists := want[id]
		if exists {
			require.True(t, ok, "id %d", id)
			require.Equal(t, name, table.Schema+"."+table.Name)
			require.Contains(t, table.PhysicalIDs(), id)
		} else if ok {
			require.NotNil(t, table.PartitionIDs, "id %d", id) // a partitioned table's own id
		}
	}
}

func TestSnapshot(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	u.putSchema(50, dbInfo(20, "test20"))
	u.putTable(50, 2, pkTable(100, "a"))
	u.putTable(60, 20, partitioned(pkTable(101, "b"), 102, 103))
	u.putTable(70, 2, pkTable(100, "a2"))
	u.putTable(90, 2, pkTable(104, "late"))
	u.putTable(70, 1, pkTable(105, "in_mysql"))
	r := NewRegistry(u, nil)
	for ts, want := range map[uint64]map[int64]string{
		40: {},
		55: {100: "test.a"},
		65: {100: "test.a", 102: "test20.b", 103: "test20.b"},
		80: {100: "test.a2", 102: "test20.b", 103: "test20.b"},
	} {
		l, err := r.Acquire(context.Background(), ts)
		require.NoError(t, err)
		s := l.Store()
		require.Equal(t, ts, s.ResolvedTs())
		requireTables(t, s, ts, want)
		l.Release()
	}
	require.Empty(t, u.subscriptions())
}

func TestJobs(t *testing.T) {
	a := pkTable(100, "a")
	p := partitioned(pkTable(110, "p"), 111, 112)
	v := tinfo(120, "v")
	v.View = &timodel.ViewInfo{}
	seq := tinfo(130, "s")
	seq.Sequence = &timodel.SequenceInfo{}
	start := map[int64]string{100: "test.a", 111: "test.p", 112: "test.p", 120: "test.v", 130: "test.s"}
	with := func(changes map[int64]string) map[int64]string {
		out := map[int64]string{}
		for id, name := range start {
			out[id] = name
		}
		for id, name := range changes {
			if out[id] = name; name == "" {
				delete(out, id)
			}
		}
		return out
	}
	type event struct{ schema, table, oldSchema, oldTable, pre, post string }
	tests := []struct {
		name   string
		job    *timodel.Job
		tables map[int64]string
		event  event
		parts  []event
	}{
		{"create table", doneJob(1, timodel.ActionCreateTable, 2, pkTable(200, "n"), ""), with(map[int64]string{200: "test.n"}),
			event{"test", "n", "", "", "", "n"}, nil},
		{"create partitioned table", doneJob(1, timodel.ActionCreateTable, 3, partitioned(pkTable(200, "n"), 201, 202), ""),
			with(map[int64]string{201: "Other.n", 202: "Other.n"}), event{"Other", "n", "", "", "", "n"}, nil},
		{"replace view", onTable(doneJob(1, timodel.ActionCreateView, 2, func() *timodel.TableInfo {
			n := tinfo(200, "V")
			n.View = &timodel.ViewInfo{}
			return n
		}(), ""), 200, "v"), with(map[int64]string{120: "", 200: "test.V"}), event{"test", "V", "", "", "v", "V"}, nil},
		{"drop table", doneJob(1, timodel.ActionDropTable, 2, a, ""), with(map[int64]string{100: ""}), event{"test", "a", "", "", "a", ""}, nil},
		{"drop partitioned table", doneJob(1, timodel.ActionDropTable, 2, p, ""), with(map[int64]string{111: "", 112: ""}),
			event{"test", "p", "", "", "p", ""}, nil},
		{"drop view", doneJob(1, timodel.ActionDropView, 2, v, ""), with(map[int64]string{120: ""}), event{"test", "v", "", "", "v", ""}, nil},
		{"drop sequence", doneJob(1, timodel.ActionDropSequence, 2, seq, ""), with(map[int64]string{130: ""}), event{"test", "s", "", "", "s", ""}, nil},
		{"recover table", doneJob(1, timodel.ActionRecoverTable, 2, pkTable(99, "back"), ""), with(map[int64]string{99: "test.back"}),
			event{"test", "back", "", "", "", "back"}, nil},
		{"truncate table", onTable(doneJob(1, timodel.ActionTruncateTable, 2, pkTable(200, "a"), ""), 100, "a"),
			with(map[int64]string{100: "", 200: "test.a"}), event{"test", "a", "", "", "a", "a"}, nil},
		{"truncate partitioned table", onTable(doneJob(1, timodel.ActionTruncateTable, 2, partitioned(pkTable(200, "p"), 201, 202), ""), 110, "p"),
			with(map[int64]string{111: "", 112: "", 201: "test.p", 202: "test.p"}), event{"test", "p", "", "", "p", "p"}, nil},
		{"rename table", withArgs(onTable(doneJob(1, timodel.ActionRenameTable, 3, pkTable(100, "B"), ""), 100, "a"),
			&timodel.RenameTableArgs{OldSchemaID: 2, OldSchemaName: ast.NewCIStr("test"), NewTableName: ast.NewCIStr("B")}),
			with(map[int64]string{100: "Other.B"}), event{"Other", "B", "test", "a", "a", "B"}, nil},
		{"rename tables in a circle", withArgs(func() *timodel.Job {
			j := doneJob(1, timodel.ActionRenameTables, 2, nil, "")
			j.BinlogInfo.MultipleTableInfos = []*timodel.TableInfo{pkTable(100, "p"), partitioned(pkTable(110, "a"), 111, 112), pkTable(100, "p")}
			return j
		}(), &timodel.RenameTablesArgs{RenameTableInfos: []*timodel.RenameTableArgs{
			rename(100, 2, "test", "a", 3, "tmp"), rename(110, 2, "test", "p", 2, "a"), rename(100, 3, "other", "tmp", 2, "p"),
		}}), with(map[int64]string{100: "test.p", 111: "test.a", 112: "test.a"}), event{schema: "test"}, []event{
			{"Other", "tmp", "test", "a", "a", "p"}, {"test", "a", "test", "p", "p", "a"}, {"test", "p", "Other", "tmp", "a", "p"},
		}},
		{"create tables", func() *timodel.Job {
			j := doneJob(1, timodel.ActionCreateTables, 2, nil, "")
			j.BinlogInfo.MultipleTableInfos = []*timodel.TableInfo{pkTable(200, "x"), pkTable(201, "y")}
			return j
		}(), with(map[int64]string{200: "test.x", 201: "test.y"}), event{schema: "test"},
			[]event{{"test", "x", "", "", "", "x"}, {"test", "y", "", "", "", "y"}}},
		{"exchange partition", withArgs(onTable(doneJob(1, timodel.ActionExchangeTablePartition, 2, partitioned(pkTable(110, "p"), 100, 112), ""), 100, "a"),
			&timodel.ExchangeTablePartitionArgs{PartitionID: 111, PTSchemaID: 2, PTTableID: 110, PartitionName: "p111"}),
			with(map[int64]string{100: "test.p", 111: "test.a"}), event{"test", "p", "", "", "p", "p"}, []event{{"test", "a", "", "", "a", "a"}}},
		{"add partition", doneJob(1, timodel.ActionAddTablePartition, 2, partitioned(pkTable(110, "p"), 111, 112, 113), ""),
			with(map[int64]string{113: "test.p"}), event{"test", "p", "", "", "p", "p"}, nil},
		{"drop partition", doneJob(1, timodel.ActionDropTablePartition, 2, partitioned(pkTable(110, "p"), 112), ""),
			with(map[int64]string{111: ""}), event{"test", "p", "", "", "p", "p"}, nil},
		{"truncate partition", doneJob(1, timodel.ActionTruncateTablePartition, 2, partitioned(pkTable(110, "p"), 211, 112), ""),
			with(map[int64]string{111: "", 211: "test.p"}), event{"test", "p", "", "", "p", "p"}, nil},
		{"reorganize partition", doneJob(1, timodel.ActionReorganizePartition, 2, partitioned(pkTable(110, "p"), 211, 212, 112), ""),
			with(map[int64]string{111: "", 211: "test.p", 212: "test.p"}), event{"test", "p", "", "", "p", "p"}, nil},
		{"partition by", onTable(doneJob(1, timodel.ActionAlterTablePartitioning, 2, partitioned(pkTable(200, "a"), 201), ""), 100, "a"),
			with(map[int64]string{100: "", 201: "test.a"}), event{"test", "a", "", "", "a", "a"}, nil},
		{"remove partitioning", onTable(doneJob(1, timodel.ActionRemovePartitioning, 2, pkTable(200, "p"), ""), 110, "p"),
			with(map[int64]string{111: "", 112: "", 200: "test.p"}), event{"test", "p", "", "", "p", "p"}, nil},
		{"add column", doneJob(1, timodel.ActionAddColumn, 2, pkTable(100, "a", col(2, "c", mysql.TypeLong, 0)), ""),
			start, event{"test", "a", "", "", "a", "a"}, nil},
		{"multi schema change", doneJob(1, timodel.ActionMultiSchemaChange, 2, pkTable(100, "a", col(2, "c", mysql.TypeLong, 0)), ""),
			start, event{"test", "a", "", "", "a", "a"}, nil},
		{"create schema", onDatabase(doneJob(1, timodel.ActionCreateSchema, 9, nil, ""), dbInfo(9, "Nine")), start, event{schema: "Nine"}, nil},
		{"drop schema", onDatabase(doneJob(1, timodel.ActionDropSchema, 2, nil, ""), dbInfo(2, "test")), map[int64]string{}, event{schema: "test"}, nil},
		{"schema charset", onDatabase(doneJob(1, timodel.ActionModifySchemaCharsetAndCollate, 2, nil, ""), dbInfo(2, "test")), start, event{schema: "test"}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			u, s := playground(t, pkTable(100, "a"), partitioned(pkTable(110, "p"), 111, 112), v, seq)
			events := finish(t, u, s, tc.job)
			requireTables(t, s, 109, start)
			requireTables(t, s, 110, tc.tables)
			require.Len(t, events, 1)
			describe := func(ev *model.DDLEvent) event {
				require.Equal(t, uint64(110), ev.CommitTs)
				require.Equal(t, uint64(109), ev.StartTs)
				e := event{schema: ev.Schema, table: ev.Table, oldSchema: ev.OldSchema, oldTable: ev.OldTable}
				if ev.PreInfo != nil {
					e.pre = ev.PreInfo.Name
				}
				if ev.Info != nil {
					e.post = ev.Info.Name
					require.Equal(t, uint64(110), ev.Info.Version)
				}
				return e
			}
			require.Equal(t, tc.event, describe(events[0]))
			var parts []event
			for _, part := range events[0].Parts {
				parts = append(parts, describe(part))
			}
			require.Equal(t, tc.parts, parts)
		})
	}
}

func rename(id, oldSchemaID int64, oldSchema, oldTable string, newSchemaID int64, newTable string) *timodel.RenameTableArgs {
	return &timodel.RenameTableArgs{TableID: id, OldSchemaID: oldSchemaID, OldSchemaName: ast.NewCIStr(oldSchema),
		OldTableName: ast.NewCIStr(oldTable), NewSchemaID: newSchemaID, NewTableName: ast.NewCIStr(newTable)}
}

// TestStream is about order, repeats and rows that are no finished jobs.
func TestStream(t *testing.T) {
	u, s := playground(t, pkTable(100, "a"))
	changed, cancel := s.Watch()
	defer cancel()

	running := doneJob(1, timodel.ActionAddColumn, 2, pkTable(100, "a", col(2, "c", mysql.TypeLong, 0)), "")
	running.State = timodel.JobStateRunning
	noEffect := doneJob(2, timodel.ActionAddColumn, 2, pkTable(100, "no"), "")
	noEffect.BinlogInfo.SchemaVersion = 0
	rolledBack := doneJob(3, timodel.ActionAddColumn, 2, pkTable(100, "no"), "")
	rolledBack.State = timodel.JobStateRollbackDone
	inMySQL := doneJob(4, timodel.ActionCreateTable, 1, pkTable(300, "sys"), "")
	first := jobRow(t, 110, doneJob(5, timodel.ActionModifyTableComment, 2, pkTable(100, "a"), "first"))
	again := jobRow(t, 112, doneJob(5, timodel.ActionModifyTableComment, 2, pkTable(100, "a"), "again"))
	second := jobRow(t, 120, doneJob(6, timodel.ActionModifyTableComment, 2, pkTable(100, "a"), "second"))
	later := jobRow(t, 150, doneJob(7, timodel.ActionModifyTableComment, 2, pkTable(100, "a"), "later"))
	deleted := model.NewRawChange(112, 113, first.Key(), nil, first.Value())

	u.resolve(105)
	waitResolved(t, s, 105)
	<-changed
	u.rows(later, second, jobRow(t, 101, running), jobRow(t, 104, noEffect))
	u.rows(first, first, deleted, again, jobRow(t, 111, rolledBack), jobRow(t, 115, inMySQL))
	require.Equal(t, uint64(105), s.ResolvedTs())
	require.Empty(t, s.DDLs(0, 1000))
	u.resolve(130)
	waitResolved(t, s, 130)
	<-changed
	queries := func(after, upTo uint64) (out []string) {
		for _, ev := range s.DDLs(after, upTo) {
			out = append(out, ev.Query)
		}
		return out
	}
	require.Equal(t, []string{"first", "second"}, queries(0, 1000))
	require.Equal(t, []string{"second"}, queries(110, 120))
	require.Empty(t, queries(110, 119))
	u.resolve(149) // a job is ahead: it must not be passed
	waitResolved(t, s, 149)
	u.resolve(150)
	waitResolved(t, s, 150)
	require.Equal(t, []string{"later"}, queries(120, 150))
	u.resolve(151)
	waitResolved(t, s, 151)
	requireTables(t, s, 151, map[int64]string{100: "test.a"})
}

func TestWaitResolved(t *testing.T) {
	u, s := playground(t, pkTable(100, "a"))
	require.NoError(t, s.WaitResolved(t.Context(), s.ResolvedTs()))
	waited := make(chan error, 1)
	go func() { waited <- s.WaitResolved(t.Context(), 110) }()
	u.resolve(109)
	waitResolved(t, s, 109)
	require.Empty(t, waited)
	u.resolve(110)
	require.NoError(t, <-waited)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.WaitResolved(ended, 120), context.Canceled)
	s.fail(errors.New("broken"))
	require.EqualError(t, s.WaitResolved(t.Context(), 120), "broken")
}

// TestReload is about jobs that do not say what they changed.
func TestReload(t *testing.T) {
	for _, kind := range []timodel.ActionType{timodel.ActionFlashbackCluster, timodel.ActionRecoverSchema, timodel.ActionRefreshMeta} {
		t.Run(kind.String(), func(t *testing.T) {
			u, s := playground(t, pkTable(100, "a"), partitioned(pkTable(110, "p"), 111, 112))
			u.put(110, hashKey(databaseHash(2), "Table:100"), nil)
			u.putTable(110, 2, partitioned(pkTable(110, "p2"), 112, 113))
			u.putSchema(110, dbInfo(30, "back"))
			u.putTable(110, 30, pkTable(310, "t"))
			u.put(110, hashKey(hashDatabases, "DB:3"), nil)
			j := doneJob(1, kind, 30, nil, "")
			j.BinlogInfo.SchemaVersion = 0
			events := finish(t, u, s, j)
			require.Len(t, events, 1)
			requireTables(t, s, 109, map[int64]string{100: "test.a", 111: "test.p", 112: "test.p"})
			requireTables(t, s, 110, map[int64]string{112: "test.p2", 113: "test.p2", 310: "back.t"})
		})
	}
}

func TestBrokenJob(t *testing.T) {
	u, s := playground(t, pkTable(100, "a"))
	changed, cancel := s.Watch()
	defer cancel()
	u.rows(jobRow(t, 110, doneJob(1, timodel.ActionRenameTables, 2, nil, "")))
	u.resolve(110)
	<-changed
	require.Error(t, s.Err())
	require.Equal(t, uint64(100), s.ResolvedTs())
	u.resolve(120)
	require.Equal(t, uint64(100), s.ResolvedTs())
	_, ok := s.TableByPhysicalID(100, 100)
	require.True(t, ok)
}

func TestStreamError(t *testing.T) {
	u, s := playground(t)
	changed, cancel := s.Watch()
	defer cancel()
	u.subscriptions()[0].options.Consumer.OnError(context.DeadlineExceeded)
	<-changed
	require.ErrorIs(t, s.Err(), context.DeadlineExceeded)
}
