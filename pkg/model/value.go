package model

// ValueKind tells which field of a Value holds the content.
type ValueKind uint8

// The kinds of Value. Which column type yields which kind:
// integers and year KindInt or KindUint (unsigned columns), enum, set and bit
// KindUint, float KindFloat32, double KindFloat64, decimal, date, datetime,
// timestamp, time and JSON KindText, char, varchar, text, binary and blob
// KindBytes, vector KindVector.
const (
	KindNull ValueKind = iota
	KindInt
	KindUint
	KindFloat32
	KindFloat64
	KindText   // ASCII or UTF-8 text form in B
	KindBytes  // raw column bytes in B
	KindVector // little-endian float32s in B
)

// Value is one decoded column value, unboxed. B may point into a decoder's
// buffer or into the row's record: it is valid until the decoder is used again.
type Value struct {
	Kind ValueKind
	N    uint64 // KindInt: two's complement; KindUint; floats: IEEE bits of a float64
	B    []byte
}

// IsNull tells whether the value is SQL NULL.
func (v *Value) IsNull() bool { return v.Kind == KindNull }

// Int returns the content of a KindInt value.
func (v *Value) Int() int64 { return int64(v.N) }

// RowKind is what a change did to its row.
type RowKind uint8

// The kinds of a row change.
const (
	RowNone RowKind = iota // inserted and deleted by one transaction: nothing to deliver
	RowInsert
	RowUpdate
	RowDelete
)

// Row is a decoded change. New and Old are indexed like Table.Columns; New is
// empty for deletes and Old for inserts.
type Row struct {
	Kind RowKind
	Old  []Value
	New  []Value
}
