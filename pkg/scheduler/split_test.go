package scheduler

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// inTable is a raw key of table 5.
func inTable(n int) []byte {
	return fmt.Appendf(slices.Clone(model.TableSpan(5).StartKey), "%06d", n)
}

// cut is a table of that many regions, the first of which begins before it.
func cut(regions int, written func(i int) uint64) []model.TableRegion {
	out := make([]model.TableRegion, regions)
	for i := range out {
		out[i].WrittenKeys = written(i)
		if i > 0 {
			out[i].Start = inTable(i)
		}
	}
	return out
}

func idle(int) uint64 { return 0 }

// requireCover checks that pieces cover the table without gap or overlap.
func requireCover(t *testing.T, pieces []model.Span) {
	t.Helper()
	whole := model.TableSpan(5)
	require.Empty(t, Holes(whole, pieces))
	at := whole.StartKey
	for _, p := range pieces {
		require.Equal(t, whole.TableID, p.TableID)
		require.Equal(t, at, p.StartKey)
		require.Less(t, string(p.StartKey), string(p.EndKey))
		at = p.EndKey
	}
	require.Equal(t, whole.EndKey, at)
}

func TestSplit(t *testing.T) {
	hot := func(i int) uint64 {
		if i >= 90 {
			return 1000
		}
		return 0
	}
	for _, tt := range []struct {
		name     string
		regions  []model.TableRegion
		captures int
		rule     SplitRule
		pieces   int
	}{
		{"at the threshold", cut(10, idle), 3, SplitRule{Regions: 10}, 0},
		{"over the threshold", cut(11, idle), 3, SplitRule{Regions: 10}, 9},
		{"fewer regions than pieces", cut(4, idle), 3, SplitRule{Regions: 1}, 4},
		{"a single region", cut(1, idle), 3, SplitRule{Regions: 0}, 0},
		{"no region known", nil, 3, SplitRule{Regions: 0}, 0},
		{"one capture", cut(100, idle), 1, SplitRule{Regions: 10}, 3},
		{"no capture", cut(100, idle), 0, SplitRule{Regions: 10}, 0},
		{"very large", cut(60_000*10, idle), 3, SplitRule{Regions: 10}, 12},
		{"written a little", cut(100, hot), 3, SplitRule{Regions: 100, WrittenKeys: 10_001}, 0},
		{"written much", cut(100, hot), 3, SplitRule{Regions: 100, WrittenKeys: 10_000}, 9},
		{"written a little, many regions", cut(100, hot), 3, SplitRule{Regions: 10, WrittenKeys: 10_001}, 9},
		{"writes are not looked at", cut(100, hot), 3, SplitRule{Regions: 100}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pieces := Split(model.TableSpan(5), tt.regions, tt.captures, tt.rule)
			require.Len(t, pieces, tt.pieces)
			if pieces != nil {
				requireCover(t, pieces)
			}
		})
	}
}

// Pieces have equal numbers of regions, or of written keys.
func TestSplitIsEven(t *testing.T) {
	in := func(p model.Span, n int) bool {
		return n == 0 && string(p.StartKey) == string(model.TableSpan(5).StartKey) ||
			string(inTable(n)) >= string(p.StartKey) && string(inTable(n)) < string(p.EndKey)
	}
	for _, p := range Split(model.TableSpan(5), cut(900, idle), 3, SplitRule{Regions: 10}) {
		regions := 0
		for n := range 900 {
			if in(p, n) {
				regions++
			}
		}
		require.InDelta(t, 100, regions, 1)
	}
	growing := func(i int) uint64 { return uint64(i) * 10 }
	for _, p := range Split(model.TableSpan(5), cut(900, growing), 3, SplitRule{Regions: 1000, WrittenKeys: 1}) {
		written := 0
		for n := range 900 {
			if in(p, n) {
				written += n * 10
			}
		}
		require.InDelta(t, 10*899*900/2/9, written, 10*899)
	}
}

// Whatever is lost of a split table, what is left and its holes are a whole
// cover again.
func TestHolesMendAnyLoss(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for range 2000 {
		n := 2 + rng.Intn(60)
		regions := cut(n, func(int) uint64 { return uint64(rng.Intn(1000)) })
		pieces := Split(model.TableSpan(5), regions, 1+rng.Intn(8), SplitRule{Regions: rng.Intn(n), WrittenKeys: uint64(rng.Intn(3000))})
		requireCover(t, pieces)
		left := slices.DeleteFunc(slices.Clone(pieces), func(model.Span) bool { return rng.Intn(2) == 0 })
		mended := append(slices.Clone(left), Holes(model.TableSpan(5), left)...)
		slices.SortFunc(mended, func(a, b model.Span) int { return slices.Compare(a.StartKey, b.StartKey) })
		requireCover(t, mended)
		require.LessOrEqual(t, len(mended), 2*len(left)+1)
	}
}

func TestInterleave(t *testing.T) {
	require.Equal(t, []int64{1, 4, 7, 2, 5, 3, 6}, Interleave([]int64{1, 2, 3, 4, 5, 6, 7}, 3))
	require.Equal(t, []int64{1, 2}, Interleave([]int64{1, 2}, 1))
	require.Equal(t, []int64{1, 2}, Interleave([]int64{1, 2}, 5))
	require.Empty(t, Interleave(nil, 3))
}
