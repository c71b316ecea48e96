package mounter

import (
	"encoding/binary"
	"errors"

	"github.com/tidemark/tidemark/pkg/model"
)

// formatV2 is the first byte of a row in the current format. Rows in the old
// format begin with a datum flag, which is smaller.
const formatV2 = 0x80

var (
	errShortRow = errors.New("row value is cut short")
	errRowFlag  = errors.New("row value is not in the current format")
)

// row is a row value in the current format, taken apart.
type row struct {
	large            bool   // ids and offsets have 4 bytes
	ids              []byte // of the values that are not NULL, rising, then of the NULLs, rising
	offsets          []byte // where each value ends in data
	data             []byte
	numValues, total int
}

func parseRow(b []byte) (row, error) {
	if len(b) < 6 {
		return row{}, errShortRow
	}
	if b[0] != formatV2 {
		return row{}, errRowFlag
	}
	r := row{large: b[1]&1 != 0, numValues: int(binary.LittleEndian.Uint16(b[2:]))}
	r.total = r.numValues + int(binary.LittleEndian.Uint16(b[4:]))
	idSize, offSize := 1, 2
	if r.large {
		idSize, offSize = 4, 4
	}
	dataAt := 6 + r.total*idSize + r.numValues*offSize
	if len(b) < dataAt {
		return row{}, errShortRow
	}
	r.ids = b[6 : 6+r.total*idSize]
	r.offsets = b[6+r.total*idSize : dataAt]
	r.data = b[dataAt:]
	return r, nil
}

func (r *row) id(i int) int64 {
	if r.large {
		return int64(binary.LittleEndian.Uint32(r.ids[i*4:]))
	}
	return int64(r.ids[i])
}

func (r *row) end(i int) uint32 {
	if r.large {
		return binary.LittleEndian.Uint32(r.offsets[i*4:])
	}
	return uint32(binary.LittleEndian.Uint16(r.offsets[i*2:]))
}

// value returns the bytes of the i-th value that is not NULL, false when the
// row is broken.
func (r *row) value(i int) ([]byte, bool) {
	start := uint32(0)
	if i > 0 {
		start = r.end(i - 1)
	}
	end := r.end(i)
	if start > end || uint64(end) > uint64(len(r.data)) {
		return nil, false
	}
	return r.data[start:end:end], true
}

// state says how a row holds a column.
type state uint8

const (
	stateAbsent state = iota
	stateNull
	stateValue
	stateBroken
)

// find looks a column up.
func (r *row) find(id int64) ([]byte, state) {
	if i, ok := r.search(id, 0, r.numValues); ok {
		if b, ok := r.value(i); ok {
			return b, stateValue
		}
		return nil, stateBroken
	}
	if _, ok := r.search(id, r.numValues, r.total); ok {
		return nil, stateNull
	}
	return nil, stateAbsent
}

// search is a binary search in ids[lo:hi].
func (r *row) search(id int64, lo, hi int) (int, bool) {
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch v := r.id(mid); {
		case v < id:
			lo = mid + 1
		case v > id:
			hi = mid
		default:
			return mid, true
		}
	}
	return 0, false
}

// kindMissing marks a value that the row does not hold. It never leaves this package.
const kindMissing = model.ValueKind(0xff)

// decodeRow decodes all columns of a row into dst, which is overwritten.
func (d *Decoder) decodeRow(p *plan, key, value []byte, dst []model.Value) ([]model.Value, error) {
	dst = sized(dst, len(p.cols))
	missing, err := d.fromValue(p, value, dst)
	if err != nil || missing == 0 {
		return dst, err
	}
	if err := d.fromKey(p, key, dst); err != nil {
		return dst, err
	}
	for i := range dst {
		if dst[i].Kind == kindMissing {
			dst[i] = p.cols[i].absent
		}
	}
	return dst, nil
}

func sized(dst []model.Value, n int) []model.Value {
	if cap(dst) < n {
		return make([]model.Value, n)
	}
	return dst[:n]
}

// fromValue decodes what the row value holds, marks the rest as missing and
// counts it.
func (d *Decoder) fromValue(p *plan, value []byte, dst []model.Value) (missing int, err error) {
	if value[0] != formatV2 {
		return d.fromOldFormat(p, value, dst)
	}
	r, err := parseRow(value)
	if err != nil {
		return 0, err
	}
	// Both lists of ids rise, as the columns do: one walk over all three.
	v, n := 0, r.numValues
	for _, i := range p.byID {
		c := &p.cols[i]
		for v < r.numValues && r.id(v) < c.id {
			v++
		}
		if v < r.numValues && r.id(v) == c.id {
			b, ok := r.value(v)
			if !ok {
				return 0, errShortRow
			}
			if err := d.setStored(c, b, &dst[i]); err != nil {
				return 0, err
			}
			continue
		}
		for n < r.total && r.id(n) < c.id {
			n++
		}
		if n < r.total && r.id(n) == c.id {
			dst[i] = model.Value{}
			continue
		}
		dst[i].Kind = kindMissing
		missing++
	}
	return missing, nil
}

// decodeColumns decodes some columns of a row and appends them to dst.
func (d *Decoder) decodeColumns(p *plan, key, value []byte, columns []int, dst []model.Value) ([]model.Value, error) {
	if value[0] != formatV2 {
		return d.pickColumns(p, key, value, columns, dst)
	}
	r, err := parseRow(value)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	missing := 0
	for _, i := range columns {
		var v model.Value
		b, state := r.find(p.cols[i].id)
		switch state {
		case stateValue:
			err = d.setStored(&p.cols[i], b, &v)
		case stateBroken:
			err = errShortRow
		case stateAbsent:
			v.Kind = kindMissing
			missing++
		}
		if err != nil {
			return dst, err
		}
		dst = append(dst, v)
	}
	if missing == 0 {
		return dst, nil
	}
	return dst, d.fillMissing(p, key, columns, dst[start:])
}

// fillMissing gives the columns that the value does not hold what the key or
// their default says.
func (d *Decoder) fillMissing(p *plan, key []byte, columns []int, dst []model.Value) error {
	all := sized(d.whole, len(p.cols))
	d.whole = all
	for i := range all {
		all[i].Kind = kindMissing
	}
	if err := d.fromKey(p, key, all); err != nil {
		return err
	}
	for at, i := range columns {
		switch {
		case dst[at].Kind != kindMissing:
		case all[i].Kind != kindMissing:
			dst[at] = all[i]
		default:
			dst[at] = p.cols[i].absent
		}
	}
	return nil
}

// pickColumns is decodeColumns for rows that have to be decoded as a whole.
func (d *Decoder) pickColumns(p *plan, key, value []byte, columns []int, dst []model.Value) ([]model.Value, error) {
	all, err := d.decodeRow(p, key, value, d.whole)
	d.whole = all
	if err != nil {
		return dst, err
	}
	for _, i := range columns {
		dst = append(dst, all[i])
	}
	return dst, nil
}
