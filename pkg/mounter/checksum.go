package mounter

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tidemark/tidemark/pkg/model"
)

// What a row's value says of its checksum.
const (
	rowHasChecksum       = 0x02 // in the row's flags
	checksumVersionMask  = 0x07 // in the checksum's header
	checksumHasSecond    = 0x08
	checksumOfColumns    = 0 // version: of the columns' values
	checksumOfRowKey     = 1 // version: of the value's bytes and the row's key
	checksumOfRowsHandle = 2 // version: of the value's bytes and the row's handle
)

// Verifier checks the checksums that the upstream wrote into rows. It is not
// safe for concurrent use.
type Verifier struct {
	// Checksums have timestamps in UTC, whatever zone messages show.
	decoder *Decoder
	values  []model.Value
	buf     []byte
}

// NewVerifier makes a verifier.
func NewVerifier() *Verifier { return &Verifier{decoder: NewDecoder(time.UTC)} }

// Verify checks both sides of a change and returns the checksums of their
// columns; nil when the upstream wrote none. A checksum that does not fit is no
// error but Corrupted. An error has the code ErrDecodeRowToDatum.
func (v *Verifier) Verify(t *model.Table, c *model.RawChange) (*model.Checksum, error) {
	var sum model.Checksum
	found := false
	for _, side := range []Side{Old, New} {
		stored, ok, err := parseChecksum(side.of(c))
		if err != nil {
			return nil, failed(t, c, err)
		}
		if !ok {
			continue
		}
		found = true
		columns, err := v.ofColumns(t, c, side)
		if err != nil {
			return nil, failed(t, c, err)
		}
		fits := stored.fits(c, columns)
		sum.Version = stored.version
		if side == New {
			sum.Current = columns
		} else {
			sum.Previous = columns
			// The schema at hand may lack a column that the old row had, or have
			// one that it lacked.
			fits = fits || stored.version == checksumOfColumns
		}
		sum.Corrupted = sum.Corrupted || !fits
	}
	if !found {
		return nil, nil
	}
	return &sum, nil
}

// checksum is what a row value holds.
type checksum struct {
	version       int
	first, second uint32
	hasSecond     bool
	summed        []byte // the value up to the checksum's header
}

// parseChecksum finds a value's checksum; false when it has none.
func parseChecksum(value []byte) (checksum, bool, error) {
	if len(value) < 2 || value[0] != formatV2 || value[1]&rowHasChecksum == 0 {
		return checksum{}, false, nil
	}
	r, err := parseRow(value)
	if err != nil {
		return checksum{}, false, err
	}
	end := uint32(0)
	if r.numValues > 0 {
		end = r.end(r.numValues - 1)
	}
	if uint64(end)+5 > uint64(len(r.data)) {
		return checksum{}, false, errShortRow
	}
	header, tail := r.data[end], r.data[end+1:]
	c := checksum{
		version: int(header & checksumVersionMask), hasSecond: header&checksumHasSecond != 0,
		first: binary.LittleEndian.Uint32(tail), summed: value[:len(value)-len(tail)],
	}
	if c.version > checksumOfRowsHandle {
		return checksum{}, false, fmt.Errorf("unknown version %d of a row's checksum", c.version)
	}
	if c.hasSecond {
		if len(tail) < 8 {
			return checksum{}, false, errShortRow
		}
		c.second = binary.LittleEndian.Uint32(tail[4:])
	}
	return c, true, nil
}

// fits tells whether the row is what it was when the checksum was made.
func (c *checksum) fits(change *model.RawChange, columns uint32) bool {
	switch c.version {
	case checksumOfColumns:
		return c.first == columns || c.hasSecond && c.second == columns
	case checksumOfRowKey:
		return c.first == crc32.Update(crc32.ChecksumIEEE(c.summed), crc32.IEEETable, change.Key())
	}
	return c.first == crc32.Update(crc32.ChecksumIEEE(c.summed), crc32.IEEETable, Handle(change.Key()))
}

// ofColumns is the checksum of a row's columns, in the order of their ids. NULL
// adds nothing.
func (v *Verifier) ofColumns(t *model.Table, c *model.RawChange, side Side) (uint32, error) {
	d := v.decoder
	d.buf = d.buf[:0]
	p := d.planOf(t)
	var err error
	if v.values, err = d.decodeRow(p, c.Key(), side.of(c), v.values); err != nil {
		return 0, err
	}
	sum := uint32(0)
	for _, i := range p.byID {
		v.buf = appendSummed(v.buf[:0], &v.values[i])
		sum = crc32.Update(sum, crc32.IEEETable, v.buf)
	}
	return sum, nil
}

// appendSummed appends a value in the form in which it is summed.
func appendSummed(b []byte, v *model.Value) []byte {
	switch v.Kind {
	case model.KindNull:
		return b
	case model.KindText, model.KindBytes:
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v.B)))
		return append(b, v.B...)
	case model.KindVector:
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v.B)/4))
		return append(b, v.B...)
	}
	return binary.LittleEndian.AppendUint64(b, v.N)
}
