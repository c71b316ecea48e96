package mounter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidemark/tidemark/pkg/model"
)

// The flags in front of a datum, in keys and in rows of the old format.
const (
	flagNull         = 0
	flagBytes        = 1 // memcomparable
	flagCompactBytes = 2
	flagInt          = 3
	flagUint         = 4
	flagFloat        = 5
	flagDecimal      = 6
	flagDuration     = 7
	flagVarint       = 8
	flagUvarint      = 9
	flagJSON         = 10
	flagVector       = 20
)

var (
	errShortDatum = errors.New("datum is cut short")
	errShortKey   = errors.New("row key is cut short")
)

const signMask = uint64(1) << 63

// datum is one flagged value: a number (integers, and floats as bits) or bytes.
type datum struct {
	flag byte
	n    uint64
	b    []byte
}

// cutDatum splits the first datum off b. The bytes of a datum are windows into
// b; memcomparable ones stay encoded.
func cutDatum(b []byte) (datum, []byte, error) {
	if len(b) == 0 {
		return datum{}, nil, errShortDatum
	}
	d, b := datum{flag: b[0]}, b[1:]
	size := 0
	switch d.flag {
	case flagNull:
		return d, b, nil
	case flagInt, flagUint, flagFloat, flagDuration:
		if len(b) < 8 {
			return d, nil, errShortDatum
		}
		d.n = binary.BigEndian.Uint64(b)
		switch d.flag {
		case flagInt, flagDuration:
			d.n ^= signMask
		case flagFloat:
			d.n = floatBits(d.n)
		}
		return d, b[8:], nil
	case flagVarint:
		var n int64
		n, size = binary.Varint(b)
		d.n = uint64(n)
	case flagUvarint:
		d.n, size = binary.Uvarint(b)
	case flagBytes:
		size = groupsSize(b)
	case flagCompactBytes:
		n, head := binary.Varint(b)
		if head <= 0 || n < 0 || uint64(n) > uint64(len(b)-head) {
			return d, nil, errShortDatum
		}
		b, size = b[head:], int(n)
		d.b = b[:size:size]
		return d, b[size:], nil
	case flagDecimal:
		size = decimalSize(b)
	case flagJSON:
		size = jsonSize(b)
	case flagVector:
		size = vectorSize(b)
	default:
		return d, nil, fmt.Errorf("unknown datum flag %d", d.flag)
	}
	if size <= 0 || size > len(b) {
		return d, nil, errShortDatum
	}
	d.b = b[:size:size]
	return d, b[size:], nil
}

// The memcomparable form of bytes: groups of 8, padded with zeros, each
// followed by 0xff minus the number of padding bytes.
const (
	groupLen  = 8
	groupFull = 0xff
)

// groupsSize is the length of the memcomparable bytes that b begins with, 0
// when they are cut short.
func groupsSize(b []byte) int {
	for at := groupLen; at < len(b); at += groupLen + 1 {
		if b[at] != groupFull {
			return at + 1
		}
	}
	return 0
}

// appendGroups decodes memcomparable bytes.
func appendGroups(dst, b []byte) ([]byte, error) {
	for ; len(b) > groupLen; b = b[groupLen+1:] {
		pad := int(groupFull - b[groupLen])
		if pad > groupLen {
			return dst, errors.New("bad padding of a bytes group")
		}
		dst = append(dst, b[:groupLen-pad]...)
	}
	return dst, nil
}

// floatBits undoes the order-preserving encoding of a float64.
func floatBits(u uint64) uint64 {
	if u&signMask != 0 {
		return u &^ signMask
	}
	return ^u
}

// fromOldFormat is fromValue for the format of TiDB before 4.0: a list of
// column id and value, each a datum.
func (d *Decoder) fromOldFormat(p *plan, b []byte, dst []model.Value) (missing int, err error) {
	for i := range dst {
		dst[i].Kind = kindMissing
	}
	missing = len(dst)
	if len(b) == 1 && b[0] == flagNull {
		return missing, nil // a row without any column
	}
	for len(b) > 0 {
		var id, v datum
		if id, b, err = cutDatum(b); err != nil {
			return 0, err
		}
		if v, b, err = cutDatum(b); err != nil {
			return 0, err
		}
		for i := range p.cols {
			if p.cols[i].id != int64(id.n) {
				continue
			}
			if dst[i].Kind == kindMissing {
				missing--
			}
			if err = d.setDatum(&p.cols[i], v, &dst[i]); err != nil {
				return 0, err
			}
			break
		}
	}
	return missing, nil
}

// fromKey fills the missing handle columns of dst from the row's key. What
// the value holds comes first: a key may have only a prefix of a column, or
// its form for sorting.
func (d *Decoder) fromKey(p *plan, key []byte, dst []model.Value) error {
	if p.intHandle < 0 && p.handle == nil {
		return nil
	}
	b := Handle(key)
	if i := p.intHandle; i >= 0 && dst[i].Kind == kindMissing {
		if len(b) != 8 {
			return errShortKey
		}
		return d.setNumber(&p.cols[i], binary.BigEndian.Uint64(b)^signMask, &dst[i])
	}
	for _, i := range p.handle {
		v, rest, err := cutDatum(b)
		if err != nil {
			return err
		}
		if dst[i].Kind == kindMissing {
			if err := d.setDatum(&p.cols[i], v, &dst[i]); err != nil {
				return err
			}
		}
		b = rest
	}
	return nil
}
