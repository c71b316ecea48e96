// Package scheduler plans on which capture each table of a changefeed runs. It
// is pure: it looks at what is placed and what has no place, and says what to
// add where and what to move.
package scheduler

import (
	"slices"

	"github.com/tidemark/tidemark/pkg/model"
)

// Capture is a candidate for tables.
type Capture struct {
	ID model.CaptureID
	// Load is how many tables of the changefeed it has already.
	Load int
	// Rank decides between captures of equal load. If it differs from one
	// changefeed to the next, the odd tables of many changefeeds spread.
	Rank uint64
}

// Assign spreads tables over captures so that their loads come as close to
// each other as additions alone can make them. Every table is assigned exactly
// once, in the order given, and equal input gives equal output. The result is
// nil when there is no capture.
func Assign(tables []int64, captures []Capture) map[model.CaptureID][]int64 {
	if len(captures) == 0 || len(tables) == 0 {
		return nil
	}
	byLoad := slices.Clone(captures)
	slices.SortFunc(byLoad, compareCaptures)
	plan := make(map[model.CaptureID][]int64, len(captures))
	for _, n := range shares(len(tables), byLoad) {
		if n.count > 0 {
			plan[n.id] = tables[:n.count:n.count]
			tables = tables[n.count:]
		}
	}
	return plan
}

type share struct {
	id    model.CaptureID
	count int
}

// shares fills the least loaded captures up first: it finds the level that
// the new tables reach, like water, and gives each capture what it lacks.
func shares(n int, byLoad []Capture) []share {
	filled := 1
	for ; filled < len(byLoad); filled++ {
		// What it takes to raise the first ones to the next one's load.
		need := (byLoad[filled].Load - byLoad[filled-1].Load) * filled
		if need >= n {
			break
		}
		n -= need
	}
	level, rest := byLoad[filled-1].Load+n/filled, n%filled
	out := make([]share, filled)
	for i := range out {
		out[i] = share{id: byLoad[i].ID, count: level - byLoad[i].Load}
		if i < rest {
			out[i].count++
		}
	}
	return out
}
