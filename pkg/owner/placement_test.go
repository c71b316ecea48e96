package owner

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// The placement is compared with plain maps after random changes.
func TestPlacement(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	tableOf := func(n int64) int64 { return 50 - n%4 } // pieces of few tables
	p := newPlacement(tableOf)
	placed, leaving := map[int64]model.CaptureID{}, map[int64]model.CaptureID{}
	for range 20_000 {
		table, capture := int64(rng.Intn(60)-20), fmt.Sprintf("c-%d", rng.Intn(4))
		switch rng.Intn(40) {
		case 0:
			p.clear(capture)
			at := func(_ int64, at model.CaptureID) bool { return at == capture }
			maps.DeleteFunc(placed, at)
			maps.DeleteFunc(leaving, at)
		case 1, 2, 3, 4, 5, 6, 7, 8:
			p.remove(table)
			delete(placed, table)
			delete(leaving, table)
		case 9, 10, 11, 12, 13, 14:
			p.release(table)
			if at, ok := placed[table]; ok {
				leaving[table] = at
				delete(placed, table)
			}
		default:
			p.put(table, capture)
			placed[table] = capture
			delete(leaving, table)
		}
		require.Equal(t, placed[table], p.of(table))
		require.Equal(t, len(placed), p.placed)
		if rng.Intn(3) > 0 { // several changes may come between two looks
			continue
		}
		want, counts, whole := map[model.CaptureID][]int64{}, map[model.CaptureID]int{}, map[model.CaptureID]int{}
		note := func(n int64, at model.CaptureID) {
			if n < 0 {
				n = tableOf(n)
			}
			want[at] = append(want[at], n)
		}
		for id, at := range placed {
			note(id, at)
			counts[at]++
			if id >= 0 {
				whole[at]++
			}
		}
		for id, at := range leaving {
			note(id, at)
		}
		tasks := p.list()
		require.Len(t, tasks, len(want))
		for i, task := range tasks {
			slices.Sort(want[task.CaptureID])
			require.Equal(t, slices.Compact(want[task.CaptureID]), task.TableIDs)
			require.Equal(t, counts[task.CaptureID], p.count(task.CaptureID))
			require.Equal(t, whole[task.CaptureID], p.countWhole(task.CaptureID))
			require.True(t, i == 0 || tasks[i-1].CaptureID < task.CaptureID)
		}
		require.Len(t, p.spots, len(placed)+len(leaving))
	}
}

// What readers were shown stays as it was.
func TestPlacementListsAreImmutable(t *testing.T) {
	p := newPlacement(nil)
	for table := range int64(10) {
		p.put(table, "a")
	}
	p.put(20, "b")
	before := p.list()
	p.remove(3)
	p.put(15, "a")
	after := p.list()
	require.Equal(t, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, before[0].TableIDs)
	require.Equal(t, []int64{0, 1, 2, 4, 5, 6, 7, 8, 9, 15}, after[0].TableIDs)
	require.True(t, sameTask(before[1], after[1]), "lists without a change are shared")
}
