package mysql

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/pingcap/tidb/pkg/util/collate"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// keyHasher computes conflict keys: hashes such that two changes that touch
// the same value of a unique key of a table have one in common. Others may
// have one in common by chance, which only costs parallelism.
type keyHasher struct {
	seed    maphash.Seed
	decoder *mounter.Decoder
	values  []model.Value
	buf     []byte
	keys    []uint64
}

// hash returns the conflict keys of rows, those of row i from ends[i] to
// ends[i+1]. Its results are newly made.
func (h *keyHasher) hash(p *tablePlan, rows []model.RawChange) (keys []uint64, ends []uint32, err error) {
	h.keys = h.keys[:0]
	ends = make([]uint32, 1, len(rows)+1)
	for i := range rows {
		if err := h.appendKeys(p, &rows[i]); err != nil {
			return nil, nil, err
		}
		ends = append(ends, uint32(len(h.keys)))
	}
	return slices.Clone(h.keys), ends, nil
}

// appendKeys appends the conflict keys of one change to h.keys.
func (h *keyHasher) appendKeys(p *tablePlan, c *model.RawChange) error {
	table := p.seed()
	switch p.conflict {
	case conflictTable:
		h.add(table, len(h.keys))
		return nil
	case conflictRawKey:
		h.add(table^maphash.Bytes(h.seed, mounter.Handle(c.Key())), len(h.keys))
		return nil
	}
	from := len(h.keys)
	for _, side := range [...]mounter.Side{mounter.Old, mounter.New} {
		values, err := h.decoder.DecodeColumns(p.table, c, side, p.unique, h.values)
		if err != nil {
			return err
		}
		if h.values = values; len(values) == 0 {
			continue
		}
		for n := range p.table.Indexes {
			h.addIndex(table, p, n, from)
		}
	}
	if !p.hasKey {
		// Without a key that is always there, rows are found by their whole
		// content: any two of them may be the same.
		h.add(table, from)
	}
	return nil
}

// seed is what tells the conflict keys of tables apart.
func (p *tablePlan) seed() uint64 { return uint64(p.table.ID) * 0x9e3779b97f4a7c15 }

// add appends a key unless it is there already from the given position on, as
// the new value of an update mostly is.
func (h *keyHasher) add(key uint64, from int) {
	if !slices.Contains(h.keys[from:], key) {
		h.keys = append(h.keys, key)
	}
}

// addIndex adds the key of one index. NULLs are never equal, so that an index
// with a NULL in it conflicts with nothing.
func (h *keyHasher) addIndex(table uint64, p *tablePlan, n, from int) {
	ix := &p.table.Indexes[n]
	h.buf = binary.LittleEndian.AppendUint32(h.buf[:0], uint32(n))
	for i, c := range ix.Columns {
		v := &h.values[p.uniqueAt[c]]
		if v.IsNull() {
			return
		}
		prefix := -1
		if i < len(ix.PrefixLengths) {
			prefix = ix.PrefixLengths[i]
		}
		h.appendValue(&p.cols[c], v, prefix)
	}
	h.add(table^maphash.Bytes(h.seed, h.buf), from)
}

// appendValue writes a value such that values that are equal to the database
// give the same bytes.
func (h *keyHasher) appendValue(c *colPlan, v *model.Value, prefix int) {
	content := v.B
	switch {
	case (v.Kind == model.KindFloat32 || v.Kind == model.KindFloat64) && v.N == 1<<63:
		h.buf = binary.LittleEndian.AppendUint64(h.buf, 0) // -0 equals 0
		return
	case v.Kind != model.KindBytes && v.Kind != model.KindText:
		h.buf = binary.LittleEndian.AppendUint64(h.buf, v.N)
		return
	case prefix > 0:
		content = cutPrefix(content, prefix, c.collation != "")
	}
	if c.collation != "" {
		content = collationKey(content, c.collation)
	}
	h.buf = append(h.buf, content...)
	h.buf = binary.LittleEndian.AppendUint32(h.buf, uint32(len(content)))
}

// cutPrefix cuts to n bytes, or to n characters of text.
func cutPrefix(b []byte, n int, text bool) []byte {
	if !text {
		return b[:min(n, len(b))]
	}
	end := 0
	for ; n > 0 && end < len(b); n-- {
		_, size := utf8.DecodeRune(b[end:])
		end += size
	}
	return b[:end]
}

// collationKey gives equal bytes for strings that are equal under the
// collation: trailing spaces do not count, and letters of one weight are the same.
func collationKey(b []byte, collation string) []byte {
	if collate.IsCICollation(collation) {
		if !collate.NewCollationEnabled() {
			return bytes.TrimRight(bytes.ToLower(b), " ")
		}
		return collate.GetCollator(collation).Key(unsafe.String(unsafe.SliceData(b), len(b)))
	}
	return bytes.TrimRight(b, " ")
}
