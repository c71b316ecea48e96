package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/kv"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/rowcodec"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// How long tests wait for what goes on in the background.
const (
	timeout = 10 * time.Second
	tick    = time.Millisecond
)

// fakeUpstream is a cluster in memory: meta keys in all versions and a DDL
// stream that the test feeds.
type fakeUpstream struct {
	t *testing.T

	mu     sync.Mutex
	now    uint64
	data   map[string][]fakeVersion
	subs   map[*fakeSubscription]struct{}
	opened int
	reads  int
	fail   func(ts uint64) error // of snapshot reads
}

type fakeVersion struct {
	ts    uint64
	value []byte // nil: deleted
}

type fakeSubscription struct {
	up       *fakeUpstream
	options  changes.Options
	resolved uint64
}

func newFakeUpstream(t *testing.T) *fakeUpstream {
	u := &fakeUpstream{t: t, now: 10, data: map[string][]fakeVersion{}, subs: map[*fakeSubscription]struct{}{}}
	u.putSchema(5, dbInfo(1, "mysql"))
	jobs := tinfo(jobTableID, "tidb_ddl_job", col(1, "job_id", mysql.TypeLonglong, mysql.PriKeyFlag|mysql.NotNullFlag),
		col(2, "reorg", mysql.TypeLong, 0), col(5, jobColumn, mysql.TypeLongBlob, 0))
	jobs.PKIsHandle = true
	u.putTable(5, 1, jobs)
	return u
}

func (u *fakeUpstream) put(ts uint64, key, value []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.data[string(key)] = append(u.data[string(key)], fakeVersion{ts, value})
	u.now = max(u.now, ts)
}

func (u *fakeUpstream) putJSON(ts uint64, key []byte, v any) {
	b, err := json.Marshal(v)
	require.NoError(u.t, err)
	u.put(ts, key, b)
}

func (u *fakeUpstream) putSchema(ts uint64, db *timodel.DBInfo) {
	u.putJSON(ts, hashKey(hashDatabases, fmt.Sprintf("%s%d", fieldDatabase, db.ID)), db)
}

func (u *fakeUpstream) putTable(ts uint64, schemaID int64, info *timodel.TableInfo) {
	u.putJSON(ts, hashKey(databaseHash(schemaID), fmt.Sprintf("%s%d", fieldTable, info.ID)), info)
	// Other fields of the hash, which are to be ignored.
	u.put(ts, hashKey(databaseHash(schemaID), fmt.Sprintf("TID:%d", info.ID)), []byte("7"))
}

func (u *fakeUpstream) CurrentTSO(context.Context) (uint64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now, nil
}

func (u *fakeUpstream) Get(ctx context.Context, ts uint64, key []byte) ([]byte, error) {
	var out []byte
	err := u.Scan(ctx, ts, key, append(slices.Clone(key), 0), func(_, value []byte) error {
		out = bytes.Clone(value)
		return nil
	})
	return out, err
}

func (u *fakeUpstream) Scan(ctx context.Context, ts uint64, start, end []byte, fn func(key, value []byte) error) error {
	u.mu.Lock()
	fail := u.fail
	u.reads++
	var keys []string
	values := map[string][]byte{}
	for key, versions := range u.data {
		if key < string(start) || key >= string(end) {
			continue
		}
		for _, v := range versions {
			if v.ts <= ts {
				values[key] = v.value
			}
		}
		if values[key] != nil {
			keys = append(keys, key)
		}
	}
	u.mu.Unlock()
	if fail != nil {
		if err := fail(ts); err != nil {
			return err
		}
	}
	sort.Strings(keys)
	for _, key := range keys {
		if err := fn([]byte(key), values[key]); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (u *fakeUpstream) Subscribe(o changes.Options) Subscription {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := &fakeSubscription{up: u, options: o}
	u.subs[s] = struct{}{}
	u.opened++
	return s
}

func (s *fakeSubscription) Close() {
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	delete(s.up.subs, s)
}

func (u *fakeUpstream) subscriptions() []*fakeSubscription {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []*fakeSubscription
	for s := range u.subs {
		out = append(out, s)
	}
	return out
}

// rows delivers changes to every subscription.
func (u *fakeUpstream) rows(rows ...model.RawChange) {
	for _, s := range u.subscriptions() {
		var fresh []model.RawChange
		for _, r := range rows {
			if r.CommitTs > s.options.StartTs {
				fresh = append(fresh, r)
			}
		}
		s.options.Consumer.OnRows(fresh)
	}
}

func (u *fakeUpstream) resolve(ts uint64) {
	u.mu.Lock()
	u.now = max(u.now, ts)
	u.mu.Unlock()
	for _, s := range u.subscriptions() {
		if ts > s.resolved {
			s.resolved = ts
			s.options.Consumer.OnResolved(ts)
		}
	}
}

// jobRow is the change of the job table that writes a job.
func jobRow(t *testing.T, ts uint64, j *timodel.Job) model.RawChange {
	meta, err := j.Encode(true)
	require.NoError(t, err)
	value, err := tablecodec.EncodeRow(time.UTC, []types.Datum{types.NewIntDatum(0), types.NewBytesDatum(meta)},
		[]int64{2, 5}, nil, nil, nil, &rowcodec.Encoder{Enable: true})
	require.NoError(t, err)
	return model.NewRawChange(ts-1, ts, tablecodec.EncodeRowKeyWithHandle(jobTableID, kv.IntHandle(j.ID)), value, nil)
}

func dbInfo(id int64, name string) *timodel.DBInfo {
	return &timodel.DBInfo{ID: id, Name: ast.NewCIStr(name), Charset: "utf8mb4", Collate: "utf8mb4_bin", State: timodel.StatePublic}
}

func col(id int64, name string, tp byte, flag uint) *timodel.ColumnInfo {
	c := &timodel.ColumnInfo{ID: id, Name: ast.NewCIStr(name), State: timodel.StatePublic, Version: timodel.CurrLatestColumnInfoVersion}
	ft := types.NewFieldType(tp)
	ft.SetFlag(flag)
	ft.SetCharset(charset.CharsetBin)
	ft.SetCollate(charset.CollationBin)
	c.FieldType = *ft
	return c
}

func index(id int64, name string, unique, primary bool, columns ...int) *timodel.IndexInfo {
	x := &timodel.IndexInfo{ID: id, Name: ast.NewCIStr(name), Unique: unique, Primary: primary, State: timodel.StatePublic}
	for _, c := range columns {
		x.Columns = append(x.Columns, &timodel.IndexColumn{Offset: c, Length: types.UnspecifiedLength})
	}
	return x
}

func tinfo(id int64, name string, cols ...*timodel.ColumnInfo) *timodel.TableInfo {
	info := &timodel.TableInfo{ID: id, Name: ast.NewCIStr(name), Columns: cols, State: timodel.StatePublic, Charset: "utf8mb4", Collate: "utf8mb4_bin"}
	for i, c := range cols {
		c.Offset = i
	}
	return info
}

// pkTable is a table with an integer primary key.
func pkTable(id int64, name string, extra ...*timodel.ColumnInfo) *timodel.TableInfo {
	info := tinfo(id, name, append([]*timodel.ColumnInfo{col(1, "id", mysql.TypeLonglong, mysql.PriKeyFlag|mysql.NotNullFlag)}, extra...)...)
	info.PKIsHandle = true
	return info
}

func partitioned(info *timodel.TableInfo, ids ...int64) *timodel.TableInfo {
	info.Partition = &timodel.PartitionInfo{Enable: true, Type: ast.PartitionTypeRange}
	for _, id := range ids {
		info.Partition.Definitions = append(info.Partition.Definitions, timodel.PartitionDefinition{ID: id, Name: ast.NewCIStr(fmt.Sprintf("p%d", id))})
	}
	return info
}

// doneJob is a finished job as TiDB writes it.
func doneJob(id int64, kind timodel.ActionType, schemaID int64, info *timodel.TableInfo, query string) *timodel.Job {
	j := &timodel.Job{
		ID: id, Type: kind, SchemaID: schemaID, State: timodel.JobStateDone, Query: query, Version: timodel.JobVersion2,
		BinlogInfo: &timodel.HistoryInfo{SchemaVersion: id, TableInfo: info}, Charset: "utf8mb4", Collate: "utf8mb4_bin",
	}
	if info != nil {
		j.TableID, j.TableName = info.ID, info.Name.L
	}
	return j
}

func onTable(j *timodel.Job, id int64, name string) *timodel.Job {
	j.TableID, j.TableName = id, name
	return j
}

func withArgs(j *timodel.Job, args timodel.JobArgs) *timodel.Job {
	j.FillArgs(args)
	return j
}

func onDatabase(j *timodel.Job, db *timodel.DBInfo) *timodel.Job {
	j.BinlogInfo.DBInfo, j.SchemaID, j.SchemaName = db, db.ID, db.Name.L
	return j
}
