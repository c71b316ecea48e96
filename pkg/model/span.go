package model

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const signMask = uint64(1) << 63

// Span is a range of raw (not memcomparable-encoded) keys of one physical
// table, start inclusive and end exclusive.
type Span struct {
	TableID  int64
	StartKey []byte
	EndKey   []byte
}

// TableSpan covers all record keys of a physical table: [t{id}_r, t{id}_s).
func TableSpan(physicalID int64) Span {
	return Span{TableID: physicalID, StartKey: tableKey(physicalID, 'r'), EndKey: tableKey(physicalID, 's')}
}

// Whole tells whether the span covers its table's whole record range.
func (s Span) Whole() bool {
	w := TableSpan(s.TableID)
	return bytes.Equal(s.StartKey, w.StartKey) && bytes.Equal(s.EndKey, w.EndKey)
}

// Borders shows the keys of the span the way that the tools of PD and the
// stores do, in hex digits.
func (s Span) Borders() (start, end string) {
	return fmt.Sprintf("%X", s.StartKey), fmt.Sprintf("%X", s.EndKey)
}

// TableRegion is a region of a table, as far as cutting the table needs it.
type TableRegion struct {
	// Start is where it begins, a raw key: nil or before the table for the
	// first one, and nil where the border is no key.
	Start []byte
	// WrittenKeys is what PD counted in about the last minute; 0 when it was
	// not asked.
	WrittenKeys uint64
}

func tableKey(id int64, part byte) []byte {
	k := make([]byte, 0, 11)
	k = append(k, 't')
	k = binary.BigEndian.AppendUint64(k, uint64(id)^signMask)
	return append(k, '_', part)
}

// TableIDOfKey returns the physical table id of a raw record key, false when
// the key is none.
func TableIDOfKey(key []byte) (int64, bool) {
	if len(key) < 11 || key[0] != 't' || key[9] != '_' || key[10] != 'r' {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(key[1:9]) ^ signMask), true
}
