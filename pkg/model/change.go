package model

import "unsafe"

// RawChange is one committed row change, still in the store's own bytes. The
// key, value and old value are windows into one record, normally a piece of
// the gRPC message that brought it, so that a queued row costs one pointer
// and no copy. It is immutable and may be copied freely; holding one keeps
// the whole backing record alive.
type RawChange struct {
	CommitTs uint64 // TSO
	StartTs  uint64 // TSO

	rec                []byte
	keyOff, keyLen     uint32
	valueOff, valueLen uint32
	oldOff, oldLen     uint32
}

// NewRawChange copies key, value and oldValue into one record. An empty value
// means a delete; an empty old value means that no previous row existed.
func NewRawChange(startTs, commitTs uint64, key, value, oldValue []byte) RawChange {
	rec := make([]byte, 0, len(key)+len(value)+len(oldValue))
	rec = append(rec, key...)
	rec = append(rec, value...)
	rec = append(rec, oldValue...)
	return RawChangeAt(startTs, commitTs, rec,
		0, len(key), len(key), len(value), len(key)+len(value), len(oldValue))
}

// RawChangeAt builds a change whose parts are windows of rec, given by offset
// and length. The record must not be modified afterwards.
func RawChangeAt(startTs, commitTs uint64, rec []byte, keyOff, keyLen, valueOff, valueLen, oldOff, oldLen int) RawChange {
	return RawChange{
		CommitTs: commitTs, StartTs: startTs, rec: rec,
		keyOff: uint32(keyOff), keyLen: uint32(keyLen),
		valueOff: uint32(valueOff), valueLen: uint32(valueLen),
		oldOff: uint32(oldOff), oldLen: uint32(oldLen),
	}
}

// Key is the raw row key: 't' + table id + '_r' + handle.
func (c *RawChange) Key() []byte { return c.rec[c.keyOff : c.keyOff+c.keyLen : c.keyOff+c.keyLen] }

// Value is the encoded new row; empty for a delete.
func (c *RawChange) Value() []byte {
	return c.rec[c.valueOff : c.valueOff+c.valueLen : c.valueOff+c.valueLen]
}

// OldValue is the encoded previous row; empty for an insert.
func (c *RawChange) OldValue() []byte {
	return c.rec[c.oldOff : c.oldOff+c.oldLen : c.oldOff+c.oldLen]
}

// IsDelete tells whether the row is gone after the change.
func (c *RawChange) IsDelete() bool { return c.valueLen == 0 }

// IsInsert tells whether there was no row before the change.
func (c *RawChange) IsInsert() bool { return c.valueLen > 0 && c.oldLen == 0 }

// IsUpdate tells whether the change replaces an existing row.
func (c *RawChange) IsUpdate() bool { return c.valueLen > 0 && c.oldLen > 0 }

// Size is the memory, in bytes, that the change is charged with: its parts
// and its own header.
func (c *RawChange) Size() int64 {
	return int64(c.keyLen) + int64(c.valueLen) + int64(c.oldLen) + int64(unsafe.Sizeof(*c))
}

// Compare orders changes of one table: by commit-ts, then start-ts, then
// deletes first, then updates before inserts.
func (c *RawChange) Compare(o *RawChange) int {
	switch {
	case c.CommitTs != o.CommitTs:
		return cmpUint64(c.CommitTs, o.CommitTs)
	case c.StartTs != o.StartTs:
		return cmpUint64(c.StartTs, o.StartTs)
	}
	return c.rank() - o.rank()
}

func (c *RawChange) rank() int {
	switch {
	case c.IsDelete():
		return 0
	case c.IsUpdate():
		return 1
	default:
		return 2
	}
}

func cmpUint64(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

// RowBatch is a run of changes of one physical table, all decoded under one
// table version and in Compare order, on its way to a sink.
type RowBatch struct {
	TableID int64  // physical id: a partition's own id for partitioned tables
	Table   *Table // the version valid for every row of the batch
	Rows    []RawChange
	// ReplicateTs is the TSO at which this capture started to replicate the
	// table: a row with CommitTs <= ReplicateTs may have been delivered before.
	ReplicateTs uint64
	// LastOfTxn says that no further row with the last row's commit-ts
	// follows in this table. Only with transaction-atomicity=none may it be false.
	LastOfTxn bool
	// Done is called by the sink exactly once, from any goroutine, when
	// every row of the batch is durable downstream (nil), or when it
	// never will be by this sink (the error). It does not block. The rows
	// and all that they point to are reused afterwards.
	Done func(error)
}
