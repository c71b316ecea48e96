package mysql

import (
	"slices"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// overtakenMemory is how many conflict keys are remembered at least.
const overtakenMemory = 1 << 17

// overtaken finds rows that come behind newer ones that had one of their
// unique values, as rows of different partitions may. Upstream such a row has
// given the value up before the other one took it, so a later change of it is
// still to come, and to write it now would cost the newer row its place.
//
// It remembers the newest commit-ts of each key for some time only: streams that
// are further apart than that are written in the order in which they come.
type overtaken struct {
	young, old map[uint64]uint64 // conflict key → commit-ts
}

// takenKeys are the conflict keys of the new values of rows: those of row i are
// keys[ends[i]:ends[i+1]].
type takenKeys struct {
	keys []uint64
	ends []uint32
}

// find returns the positions of the rows of a job that are overtaken, and
// remembers all of them.
func (o *overtaken) find(all *job, taken takenKeys) []int {
	var out []int
	for i := range all.rows {
		ts := all.rows[i].CommitTs
		if slices.ContainsFunc(taken.of(i), func(k uint64) bool { return max(o.young[k], o.old[k]) > ts }) {
			out = append(out, i)
		}
		for _, k := range all.keysOf(i) {
			o.note(k, ts)
		}
	}
	return out
}

func (t *takenKeys) of(row int) []uint64 { return t.keys[t.ends[row]:t.ends[row+1]] }

func (o *overtaken) note(key, ts uint64) {
	if o.young == nil || len(o.young) >= overtakenMemory {
		o.young, o.old = make(map[uint64]uint64), o.young
	}
	o.young[key] = max(o.young[key], o.old[key], ts)
}

// taken returns the conflict keys of the new values of rows, where a table
// needs them to find those that are overtaken.
func (h *keyHasher) taken(p *tablePlan, rows []model.RawChange) (takenKeys, error) {
	if !p.globalKey {
		return takenKeys{}, nil
	}
	h.keys = h.keys[:0]
	ends := make([]uint32, 1, len(rows)+1)
	for i := range rows {
		var err error
		if h.values, err = h.decoder.DecodeColumns(p.table, &rows[i], mounter.New, p.unique, h.values); err != nil {
			return takenKeys{}, err
		}
		if len(h.values) > 0 {
			from := len(h.keys)
			for n := range p.table.Indexes {
				h.addIndex(p.seed(), p, n, from)
			}
		}
		ends = append(ends, uint32(len(h.keys)))
	}
	return takenKeys{slices.Clone(h.keys), ends}, nil
}

// stale tells whether the new content of the job's nth row is overtaken.
func (j *job) stale(n int) bool {
	_, ok := slices.BinarySearch(j.overtaken, j.first+n)
	return ok
}
