package scheduler

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestDrainAndBalance(t *testing.T) {
	placed := map[model.CaptureID][]int64{"a": {5, 1, 3}, "b": {2}, "c": {4, 6}}
	tests := []struct {
		name  string
		plan  func(map[model.CaptureID][]int64, []Capture) []Move
		takes []Capture
		want  []Move
	}{
		{"nobody leaves", Drain, []Capture{{ID: "a"}, {ID: "b"}, {ID: "c"}}, nil},
		{"one leaves", Drain, []Capture{{ID: "a", Load: 3}, {ID: "b", Load: 1}},
			[]Move{{4, "c", "b"}, {6, "c", "b"}}},
		{"nobody is left to take them", Drain, nil, nil},
		{"level out", Balance, []Capture{{ID: "a"}, {ID: "b"}, {ID: "c"}}, []Move{{5, "a", "b"}}},
		{"to one that has nothing", Balance, []Capture{{ID: "b"}, {ID: "d"}, {ID: "a"}, {ID: "c"}}, []Move{{5, "a", "d"}}},
		{"one alone", Balance, []Capture{{ID: "a"}}, nil},
		{"nobody", Balance, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, tt.plan(placed, tt.takes)) })
	}
}

// Whatever the captures have: a drain leaves nothing behind, a balance ends
// level, and neither moves a table that may stay.
func TestMovesProperties(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	for round := range 2000 {
		placed := map[model.CaptureID][]int64{}
		var takes []Capture
		table, captures := int64(0), 1+rng.Intn(8)
		for i := range captures {
			id := fmt.Sprintf("capture-%d", i)
			for range rng.Intn(30) {
				table++
				placed[id] = append(placed[id], table)
			}
			if rng.Intn(3) > 0 {
				takes = append(takes, Capture{ID: id, Load: len(placed[id]), Rank: rng.Uint64()})
			}
		}
		if len(takes) == 0 {
			continue
		}
		drain := Drain(placed, takes)
		require.Equal(t, drain, Drain(placed, takes), "deterministic")
		apply(t, placed, drain)
		left := 0
		for _, c := range takes {
			left += len(placed[c.ID])
		}
		require.EqualValues(t, table, left, "round %d: everything is where it can be", round)

		balance := Balance(placed, takes)
		require.Equal(t, balance, Balance(placed, takes), "deterministic")
		surplus := 0
		for _, c := range takes {
			surplus += max(0, len(placed[c.ID])-(left+len(takes)-1)/len(takes))
		}
		apply(t, placed, balance)
		require.GreaterOrEqual(t, len(balance), surplus)
		least, greatest := 1<<30, 0
		for _, c := range takes {
			least, greatest = min(least, len(placed[c.ID])), max(greatest, len(placed[c.ID]))
		}
		require.LessOrEqual(t, greatest-least, 1, "round %d", round)
		require.Empty(t, Balance(placed, takes), "a level cluster stays as it is")
	}
}

// apply carries moves out.
func apply(t *testing.T, placed map[model.CaptureID][]int64, moves []Move) {
	t.Helper()
	for _, m := range moves {
		require.NotEqual(t, m.From, m.To)
		tables, found := placed[m.From], false
		for i, table := range tables {
			if table == m.Table {
				placed[m.From], found = append(tables[:i:i], tables[i+1:]...), true
				break
			}
		}
		require.True(t, found, "table %d is at %s", m.Table, m.From)
		placed[m.To] = append(placed[m.To], m.Table)
	}
}
