package scheduler

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestAssign(t *testing.T) {
	tests := []struct {
		name     string
		tables   []int64
		captures []Capture
		want     map[model.CaptureID][]int64
	}{
		{"no capture", []int64{1}, nil, nil},
		{"no table", nil, []Capture{{ID: "a"}}, nil},
		{"one capture takes all", []int64{1, 2, 3}, []Capture{{ID: "a", Load: 7}}, map[model.CaptureID][]int64{"a": {1, 2, 3}}},
		{"evenly", []int64{1, 2, 3, 4}, []Capture{{ID: "b"}, {ID: "a"}}, map[model.CaptureID][]int64{"a": {1, 2}, "b": {3, 4}}},
		{"the odd one goes to the first id", []int64{1, 2, 3}, []Capture{{ID: "b"}, {ID: "a"}}, map[model.CaptureID][]int64{"a": {1, 2}, "b": {3}}},
		{"the new capture catches up", []int64{1, 2, 3}, []Capture{{ID: "a", Load: 5}, {ID: "b"}}, map[model.CaptureID][]int64{"b": {1, 2, 3}}},
		{"up to the level and on", []int64{1, 2, 3, 4}, []Capture{{ID: "a", Load: 2}, {ID: "b"}}, map[model.CaptureID][]int64{"a": {4}, "b": {1, 2, 3}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, Assign(tt.tables, tt.captures))
		})
	}
}

// TestAssignProperties checks on random input what must always hold.
func TestAssignProperties(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for round := range 2000 {
		captures := make([]Capture, 1+rng.Intn(7))
		before := map[model.CaptureID]int{}
		for i := range captures {
			captures[i] = Capture{ID: fmt.Sprintf("capture-%d", i), Load: rng.Intn(20)}
			before[captures[i].ID] = captures[i].Load
		}
		tables := make([]int64, rng.Intn(60))
		for i := range tables {
			tables[i] = int64(i + 1)
		}
		plan := Assign(tables, captures)
		require.Equal(t, plan, Assign(tables, captures), "deterministic")

		var assigned []int64
		greatest, least := 0, 1<<30
		for id, load := range before {
			got := len(plan[id])
			assigned = append(assigned, plan[id]...)
			if got > 0 {
				greatest = max(greatest, load+got)
			}
			least = min(least, load+got)
		}
		slices.Sort(assigned)
		require.Equal(t, append([]int64{}, tables...), append([]int64{}, assigned...), "each exactly once")
		if len(tables) > 0 {
			require.LessOrEqual(t, greatest, least+1, "round %d: no capture that got a table is more than one above any other", round)
		}
	}
}
