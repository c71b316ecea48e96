package scheduler

import (
	"cmp"
	"slices"

	"github.com/tidemark/tidemark/pkg/model"
)

// Move takes a table from one capture to another.
type Move struct {
	Table    int64
	From, To model.CaptureID
}

// Drain moves every table off the captures that are not among the candidates,
// to where the fewest are. placed lists the tables of every capture; it is not
// modified. Equal input gives equal output.
func Drain(placed map[model.CaptureID][]int64, candidates []Capture) []Move {
	takes := make(map[model.CaptureID]struct{}, len(candidates))
	for _, c := range candidates {
		takes[c.ID] = struct{}{}
	}
	from := map[int64]model.CaptureID{}
	var homeless []int64
	for capture, tables := range placed {
		if _, ok := takes[capture]; ok {
			continue
		}
		for _, table := range tables {
			from[table] = capture
			homeless = append(homeless, table)
		}
	}
	slices.Sort(homeless)
	var moves []Move
	for to, tables := range Assign(homeless, candidates) {
		for _, table := range tables {
			moves = append(moves, Move{Table: table, From: from[table], To: to})
		}
	}
	slices.SortFunc(moves, func(a, b Move) int { return cmp.Compare(a.Table, b.Table) })
	return moves
}

// Balance moves as few tables as it takes until no candidate has two tables
// more than another. The Load of the candidates is what placed says; it need
// not be set. Equal input gives equal output.
func Balance(placed map[model.CaptureID][]int64, candidates []Capture) []Move {
	if len(candidates) == 0 {
		return nil
	}
	byLoad := slices.Clone(candidates)
	total := 0
	for i := range byLoad {
		byLoad[i].Load = len(placed[byLoad[i].ID])
		total += byLoad[i].Load
	}
	// The fullest keep the odd tables: that saves moves.
	slices.SortFunc(byLoad, func(a, b Capture) int { return -compareCaptures(a, b) })
	share, odd := total/len(byLoad), total%len(byLoad)
	var surplus []Move
	var gaps []model.CaptureID
	for i, c := range byLoad {
		keep := share
		if i < odd {
			keep++
		}
		if c.Load > keep {
			tables := slices.Sorted(slices.Values(placed[c.ID]))
			for _, table := range tables[keep:] {
				surplus = append(surplus, Move{Table: table, From: c.ID})
			}
		}
		for range keep - min(keep, c.Load) {
			gaps = append(gaps, c.ID)
		}
	}
	for i := range surplus {
		surplus[i].To = gaps[i]
	}
	return surplus
}

// compareCaptures orders captures by what they have, then by rank.
func compareCaptures(a, b Capture) int {
	return cmp.Or(cmp.Compare(a.Load, b.Load), cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.ID, b.ID))
}
