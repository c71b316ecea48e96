package scheduler

import (
	"bytes"
	"slices"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// piecesPerCapture is how many pieces of a split table each capture gets:
	// so many that captures which come or go later can share them evenly too.
	piecesPerCapture = 3
	// maxPieceRegions bounds the pieces of very large tables: one subscription
	// should not have to follow more regions than that.
	maxPieceRegions = 50_000
)

// SplitRule says which tables are split.
type SplitRule struct {
	// Regions splits a table that has more regions than this.
	Regions int
	// WrittenKeys splits a table of which at least so many keys were written
	// lately, into pieces of equal writes; 0 does not look at writes.
	WrittenKeys uint64
}

// Split cuts a table at borders of its regions, which are given in order of
// keys, for that many captures. The result covers the span without gap or
// overlap, in order; it is nil when the table stays whole.
func Split(span model.Span, regions []model.TableRegion, captures int, rule SplitRule) []model.Span {
	written := uint64(0)
	for _, r := range regions {
		written += r.WrittenKeys
	}
	weigh := func(model.TableRegion) uint64 { return 1 }
	switch {
	case rule.WrittenKeys > 0 && written >= rule.WrittenKeys:
		weigh = func(r model.TableRegion) uint64 { return r.WrittenKeys + 1 } // idle regions spread too
	case len(regions) <= rule.Regions:
		return nil
	}
	count := max(captures*piecesPerCapture, len(regions)/maxPieceRegions)
	total := uint64(0)
	for _, r := range regions {
		total += weigh(r)
	}
	pieces := []model.Span{{TableID: span.TableID, StartKey: span.StartKey}}
	before, share := uint64(0), 0
	for _, r := range regions {
		last := &pieces[len(pieces)-1]
		middle := before + weigh(r)/2 // a region belongs where its middle lies
		before += weigh(r)
		due := int(float64(middle) / float64(total) * float64(count))
		if due <= share || bytes.Compare(r.Start, last.StartKey) <= 0 || bytes.Compare(r.Start, span.EndKey) >= 0 {
			continue
		}
		share = due
		last.EndKey = r.Start
		pieces = append(pieces, model.Span{TableID: span.TableID, StartKey: r.Start})
	}
	if len(pieces) == 1 {
		return nil
	}
	pieces[len(pieces)-1].EndKey = span.EndKey
	return pieces
}

// Holes lists what the pieces of a table, in order of keys, leave uncovered of
// its span.
func Holes(span model.Span, pieces []model.Span) []model.Span {
	var holes []model.Span
	at := span.StartKey
	for _, p := range pieces {
		if bytes.Compare(at, p.StartKey) < 0 {
			holes = append(holes, model.Span{TableID: span.TableID, StartKey: at, EndKey: p.StartKey})
		}
		at = p.EndKey
	}
	if bytes.Compare(at, span.EndKey) < 0 {
		holes = append(holes, model.Span{TableID: span.TableID, StartKey: at, EndKey: span.EndKey})
	}
	return holes
}

// Interleave orders pieces that lie side by side so that Assign, which gives a
// capture neighbours in the list, gives it pieces that lie apart: where a
// table is written at one end only, all captures take part. There are as many
// candidates as columns.
func Interleave(pieces []int64, columns int) []int64 {
	if columns < 2 {
		return pieces
	}
	out := make([]int64, 0, len(pieces))
	for first := range columns {
		for i := first; i < len(pieces); i += columns {
			out = append(out, pieces[i])
		}
	}
	return slices.Clip(out)
}
