package schema

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/stretchr/testify/require"
	tikverr "github.com/tikv/client-go/v2/error"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func TestSharing(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	u.putTable(50, 2, pkTable(100, "a"))
	r := NewRegistry(u, nil)
	acquire := func(ts uint64) *Lease {
		l, err := r.Acquire(context.Background(), ts)
		require.NoError(t, err)
		return l
	}
	a := acquire(100)
	b := acquire(150)
	require.Same(t, a.Store(), b.Store())
	old := acquire(90)
	require.NotSame(t, a.Store(), old.Store())
	require.Len(t, u.subscriptions(), 2)
	old.Release()
	old.Release()
	require.Len(t, u.subscriptions(), 1)
	a.Release()
	require.Len(t, u.subscriptions(), 1)
	b.Release()
	require.Empty(t, u.subscriptions())

	// A store that failed is left to its holders.
	c := acquire(100)
	c.Store().fail(errors.New("boom"))
	d := acquire(100)
	require.NotSame(t, c.Store(), d.Store())
	c.Release()
	d.Release()
}

// TestAcquireKnown asks for a store that is shared and not as far yet.
func TestAcquireKnown(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	u.putTable(50, 2, pkTable(100, "a"))
	r := NewRegistry(u, nil)
	first, err := r.Acquire(t.Context(), 100)
	require.NoError(t, err)
	defer first.Release()
	s := first.Store()

	type answer struct {
		tables map[int64]string
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		l, err := r.AcquireKnown(t.Context(), 120)
		if err != nil {
			answers <- answer{err: err}
			return
		}
		tables := names(l.Store(), 120)
		l.Release()
		answers <- answer{tables: tables}
	}()
	finish(t, u, s, doneJob(1, timodel.ActionCreateTable, 2, pkTable(101, "b"), "create table b (id int primary key)"))
	require.Empty(t, answers)
	u.resolve(120)
	got := <-answers
	require.NoError(t, got.err)
	require.Equal(t, map[int64]string{100: "test.a", 101: "test.b"}, got.tables)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.AcquireKnown(ended, 130)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, r.stores[s], 1, "the lease is given back")
}

// TestManyStartTogether: changefeeds with different checkpoints that start
// at the same time share one store.
func TestManyStartTogether(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	r := NewRegistry(u, nil)
	const feeds = 50
	r.loading <- struct{}{} // hold the first load back until all wait
	var wg sync.WaitGroup
	leases := make([]*Lease, feeds)
	for i := range feeds {
		wg.Add(1)
		go func() {
			defer wg.Done()
			l, err := r.Acquire(context.Background(), uint64(100+i))
			if err == nil {
				leases[i] = l
			}
		}()
	}
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.waiting) == feeds
	}, timeout, tick)
	<-r.loading
	wg.Wait()
	require.Equal(t, 1, u.opened)
	for _, l := range leases {
		require.NotNil(t, l)
		l.Release()
	}
	require.Empty(t, u.subscriptions())
	require.Empty(t, r.waiting)
}

func TestAcquireErrors(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	r := NewRegistry(u, nil)
	u.fail = func(ts uint64) error {
		if ts < 100 {
			return fmt.Errorf("scan: %w", &tikverr.ErrTxnAbortedByGC{TxnStartTS: ts, TxnSafePoint: 100})
		}
		return nil
	}
	u.put(200, []byte("x"), nil) // the present
	_, err := r.Acquire(context.Background(), 90)
	require.ErrorIs(t, err, cerrors.ErrSnapshotLostByGC)
	require.True(t, cerrors.IsGCFastFail(err))
	l, err := r.Acquire(context.Background(), 100)
	require.NoError(t, err)
	l.Release()

	down := errors.New("no answer")
	u.fail = func(uint64) error { return down }
	_, err = r.Acquire(context.Background(), 100)
	require.ErrorIs(t, err, down)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.loading <- struct{}{}
	_, err = r.Acquire(ctx, 100)
	require.ErrorIs(t, err, context.Canceled)
	<-r.loading
	require.Empty(t, r.waiting)
	require.Empty(t, u.subscriptions())
}

// TestFailureIsShared: when the upstream is down, those who waited for the
// load do not each try again.
func TestFailureIsShared(t *testing.T) {
	u := newFakeUpstream(t)
	down := errors.New("no answer")
	u.fail = func(uint64) error { return down }
	r := NewRegistry(u, nil)
	r.loading <- struct{}{}
	errs := make(chan error)
	for i := range 10 {
		go func() {
			_, err := r.Acquire(context.Background(), uint64(100+i))
			errs <- err
		}()
	}
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.waiting) == 10
	}, timeout, tick)
	<-r.loading
	for range 10 {
		require.ErrorIs(t, <-errs, down)
	}
	require.Equal(t, 1, u.reads)
}

func TestTrim(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	u.putTable(50, 2, pkTable(100, "a"))
	r := NewRegistry(u, nil)
	one, err := r.Acquire(context.Background(), 100)
	require.NoError(t, err)
	r.step = 0
	two, err := r.Acquire(context.Background(), 100)
	require.NoError(t, err)
	s := one.Store()
	var jobs []*timodel.Job
	for i := range int64(5) {
		jobs = append(jobs, doneJob(1+i, timodel.ActionAddColumn, 2, pkTable(100, "a", col(2+i, fmt.Sprint("c", i), mysql.TypeLong, 0)), ""))
	}
	jobs = append(jobs, doneJob(9, timodel.ActionDropTable, 2, pkTable(100, "a"), ""))
	finish(t, u, s, jobs...)

	one.Advance(135)
	require.Len(t, s.DDLs(0, 1000), 6)
	two.Advance(125)
	two.Advance(110) // no way back
	require.Len(t, s.DDLs(0, 1000), 4)
	table, ok := s.TableByPhysicalID(100, 125)
	require.True(t, ok)
	require.Equal(t, "c1", table.Columns[1].Name)
	_, ok = s.TableByPhysicalID(100, 124)
	require.False(t, ok)
	require.Len(t, s.catalog.tables.byID[100].versions, 5)

	two.Release()
	require.Len(t, s.DDLs(0, 1000), 3)
	one.Advance(1000) // not beyond what is resolved
	require.Empty(t, s.catalog.tables.byID)
	require.Empty(t, s.catalog.tables.changed)
	require.Empty(t, s.applied)
	require.Equal(t, uint64(160), s.floor)
	three, err := r.Acquire(context.Background(), 160)
	require.NoError(t, err)
	require.Same(t, s, three.Store())
	three.Release()
	one.Release()
	one.Advance(2000)
}

func TestThousandTables(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	for i := range int64(1000) {
		u.putTable(50, 2, pkTable(100+i, fmt.Sprint("t", i)))
	}
	l, err := NewRegistry(u, nil).Acquire(context.Background(), 100)
	require.NoError(t, err)
	defer l.Release()
	require.Len(t, l.Store().Tables(100), 1000)
}

func BenchmarkLoad(b *testing.B) {
	t := &testing.T{}
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	for i := range int64(1000) {
		info := pkTable(100+i, fmt.Sprint("t", i))
		for c := range int64(10) {
			info.Columns = append(info.Columns, col(2+c, fmt.Sprint("c", c), mysql.TypeVarchar, 0))
			info.Columns[c+1].Offset = int(c + 1)
		}
		u.putTable(50, 2, info)
	}
	for b.Loop() {
		if _, err := loadSnapshot(context.Background(), u, 100); err != nil {
			b.Fatal(err)
		}
	}
}

func TestChangedTables(t *testing.T) {
	u := newFakeUpstream(t)
	u.putSchema(50, dbInfo(2, "test"))
	u.putTable(50, 2, pkTable(100, "a"))
	u.putTable(50, 2, pkTable(101, "b"))
	r := NewRegistry(u, nil)
	lease, err := r.Acquire(context.Background(), 100)
	require.NoError(t, err)
	defer lease.Release()
	s := lease.Store()
	finish(t, u, s,
		doneJob(1, timodel.ActionAddColumn, 2, pkTable(100, "a", col(2, "c", mysql.TypeLong, 0)), ""),
		doneJob(2, timodel.ActionDropTable, 2, pkTable(101, "b"), ""),
		doneJob(3, timodel.ActionCreateTable, 2, pkTable(102, "d"), ""))
	events := s.DDLs(0, 1<<40)
	require.Len(t, events, 3)
	ids := func(tables []*model.Table) []int64 {
		out := []int64{}
		for _, table := range tables {
			out = append(out, table.ID)
		}
		return out
	}
	for _, tt := range []struct {
		after, upTo uint64
		before, now []int64
	}{
		{100, events[0].CommitTs - 1, []int64{}, []int64{}},
		{100, events[0].CommitTs, []int64{100}, []int64{100}},
		{events[0].CommitTs, events[1].CommitTs, []int64{101}, []int64{}},
		{events[1].CommitTs, events[2].CommitTs, []int64{}, []int64{102}},
		{100, events[2].CommitTs, []int64{100, 101}, []int64{100, 102}},
		{events[2].CommitTs, 1 << 40, []int64{}, []int64{}},
	} {
		before, now := s.ChangedTables(tt.after, tt.upTo)
		require.Equal(t, tt.before, ids(before))
		require.Equal(t, tt.now, ids(now))
	}
	before, now := s.ChangedTables(100, events[0].CommitTs)
	require.Len(t, before[0].Columns, 1)
	require.Len(t, now[0].Columns, 2)
}
