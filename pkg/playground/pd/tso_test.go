package pd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// memory is a saver.
type memory struct {
	n     uint64
	saves int
	err   error
}

func (m *memory) load(context.Context) (uint64, error) { return m.n, m.err }

func (m *memory) save(_ context.Context, n uint64) error {
	if m.err != nil {
		return m.err
	}
	m.n, m.saves = n, m.saves+1
	return nil
}

// clock is a hand-driven one, in milliseconds.
type clock struct{ ms int64 }

func (c *clock) now() time.Time { return time.UnixMilli(c.ms) }

func newOracle(t *testing.T, c *clock, m *memory) *oracle {
	t.Helper()
	o, err := loadOracle(t.Context(), c.now, m)
	require.NoError(t, err)
	return o
}

// next returns physical and logical part.
func next(t *testing.T, o *oracle, count uint32) (physical, logical int64) {
	t.Helper()
	ts, err := o.next(t.Context(), count)
	require.NoError(t, err)
	return ts.Physical, ts.Logical
}

func TestOracleFollowsTheClock(t *testing.T) {
	c := &clock{ms: 1000}
	o := newOracle(t, c, &memory{})
	for _, step := range []struct {
		clock, physical, logical int64
		count                    uint32
	}{
		{clock: 1000, count: 1, physical: 1000, logical: 1},
		{clock: 1000, count: 10, physical: 1000, logical: 11},
		{clock: 1001, count: 5, physical: 1001, logical: 5},
		{clock: 900, count: 1, physical: 1001, logical: 6}, // the clock was set back
		{clock: 1001, count: maxLogical - 7, physical: 1001, logical: maxLogical - 1},
		{clock: 1001, count: 1, physical: 1002, logical: 1}, // more than fit into a millisecond
	} {
		c.ms = step.clock
		physical, logical := next(t, o, step.count)
		require.Equal(t, step.physical, physical)
		require.Equal(t, step.logical, logical)
	}
}

func TestOracleRefusesOddCounts(t *testing.T) {
	o := newOracle(t, &clock{ms: 1000}, &memory{})
	for _, count := range []uint32{0, maxLogical} {
		_, err := o.next(t.Context(), count)
		require.Error(t, err)
	}
}

func TestOracleSavesAhead(t *testing.T) {
	c, m := &clock{ms: 1000}, &memory{}
	o := newOracle(t, c, m)
	for c.ms < 1000+tsoWindow.Milliseconds() {
		physical, _ := next(t, o, 1)
		require.Less(t, physical, int64(m.n), "every timestamp lies below what is saved")
		c.ms++
	}
	require.Equal(t, 1, m.saves, "one write buys a whole window")
	next(t, o, 1)
	require.Equal(t, 2, m.saves)
}

func TestOracleAfterKillBeginsAtTheLimit(t *testing.T) {
	c, m := &clock{ms: 1000}, &memory{}
	last, _ := next(t, newOracle(t, c, m), 1)

	c.ms = 500 // and the clock went back meanwhile
	physical, _ := next(t, newOracle(t, c, m), 1)
	require.Greater(t, physical, last)
	require.Equal(t, 1000+tsoWindow.Milliseconds(), physical)
}

func TestOracleReleaseGivesTimeBack(t *testing.T) {
	c, m := &clock{ms: 1000}, &memory{}
	o := newOracle(t, c, m)
	next(t, o, 1)
	require.NoError(t, o.release(t.Context()))
	_, err := o.next(t.Context(), 1)
	require.ErrorIs(t, err, ErrStopped)

	physical, _ := next(t, newOracle(t, c, m), 1)
	require.Equal(t, int64(1001), physical)
}

func TestOracleHandsOutNothingUnsaved(t *testing.T) {
	c, m := &clock{ms: 1000}, &memory{}
	o := newOracle(t, c, m)
	m.err = errors.New("disk full")
	_, err := o.next(t.Context(), 1)
	require.ErrorIs(t, err, m.err)
	m.err = nil
	next(t, o, 1)
}

func TestTSOIsUniqueAndRises(t *testing.T) {
	s := open(t, nil)
	c := dial(t, s)
	const workers, each = 8, 200
	seen := make([][]uint64, workers)
	var group errgroup.Group
	for w := range workers {
		group.Go(func() error {
			var last uint64
			for range each {
				physical, logical, err := c.GetTS(t.Context())
				if err != nil {
					return err
				}
				ts := uint64(physical)<<logicalBits | uint64(logical)
				if ts <= last {
					return errors.New("a timestamp went back")
				}
				last = ts
				seen[w] = append(seen[w], ts)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	all := map[uint64]bool{}
	for _, list := range seen {
		for _, ts := range list {
			require.False(t, all[ts], "a timestamp came twice")
			all[ts] = true
		}
	}
	own, err := s.TSO(t.Context())
	require.NoError(t, err)
	for ts := range all {
		require.Less(t, ts, own)
	}
}

func TestIDsAreUniqueAcrossRestarts(t *testing.T) {
	s := open(t, nil)
	seen := map[uint64]bool{}
	for range 3 {
		for range idBatch + 10 {
			id, err := s.AllocID(t.Context())
			require.NoError(t, err)
			require.NotZero(t, id)
			require.False(t, seen[id])
			seen[id] = true
		}
		s.Kill()
		require.NoError(t, s.Start(t.Context()))
	}
}

func TestAllocatorRanges(t *testing.T) {
	a, err := loadAllocator(t.Context(), &memory{n: 5})
	require.NoError(t, err)
	last, err := a.next(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, uint64(8), last, "6, 7 and 8")
	_, err = a.next(t.Context(), 0)
	require.Error(t, err)
}
