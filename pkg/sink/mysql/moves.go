package mysql

import (
	"hash/maphash"
	"slices"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// move is an update that gives its row another handle key.
type move struct {
	row      int    // position in the batch
	from, to uint64 // hashes of the keys
}

// moves finds the moves among rows. Only a handle key that is not the row key
// can change; that it does is rare and mostly ruled out by comparing bytes.
func (h *keyHasher) moves(p *tablePlan, rows []model.RawChange) ([]move, error) {
	if p.rawKey || !p.hasKey {
		return nil, nil
	}
	var out []move
	for i := range rows {
		changed, err := h.decoder.Changed(p.table, &rows[i], p.where)
		if err != nil {
			return nil, err
		}
		if !changed {
			continue
		}
		m := move{row: i}
		if m.from, err = h.handleHash(p, &rows[i], mounter.Old); err != nil {
			return nil, err
		}
		if m.to, err = h.handleHash(p, &rows[i], mounter.New); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (h *keyHasher) handleHash(p *tablePlan, c *model.RawChange, side mounter.Side) (uint64, error) {
	var err error
	if h.values, err = h.decoder.DecodeColumns(p.table, c, side, p.where, h.values); err != nil {
		return 0, err
	}
	h.buf = h.buf[:0]
	for n, col := range p.where {
		if h.values[n].IsNull() {
			h.buf = append(h.buf, 0)
			continue
		}
		h.buf = append(h.buf, 1)
		h.appendValue(&p.cols[col], &h.values[n], -1)
	}
	return maphash.Bytes(h.seed, h.buf), nil
}

// cutTxn is an upstream transaction of which one batch has brought a part.
type cutTxn struct {
	commitTs uint64
	taken    map[uint64]struct{} // keys that rows of earlier parts have moved to
}

// keptKeys returns the rows of the batch whose old key belongs to another row
// by now: one that the same transaction moved there before. Where the parts of
// a transaction are applied one after the other, such a key must not be
// deleted. It brings t, the transaction that the last batch of the table cut,
// up to the end of this batch.
func (t *cutTxn) keptKeys(rows []model.RawChange, moves []move) []int {
	var kept []int
	for _, m := range moves {
		if ts := rows[m.row].CommitTs; ts != t.commitTs {
			t.commitTs = ts
			clear(t.taken)
		}
		if _, ok := t.taken[m.from]; ok {
			kept = append(kept, m.row)
		}
		if t.taken == nil {
			t.taken = make(map[uint64]struct{})
		}
		t.taken[m.to] = struct{}{}
	}
	if last := rows[len(rows)-1].CommitTs; last != t.commitTs {
		t.commitTs, t.taken = last, nil
	}
	return kept
}

// keeps tells whether the old key of the job's nth row must not be deleted.
func (j *job) keeps(n int) bool {
	_, ok := slices.BinarySearch(j.kept, j.first+n)
	return ok
}
