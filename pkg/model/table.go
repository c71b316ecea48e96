package model

import (
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/types"
)

// ColumnFlag is the bit mask of column properties that consumers of the open
// protocol see and that encoders need.
type ColumnFlag uint32

// The column flags, with the values of the open protocol.
const (
	FlagBinary      ColumnFlag = 1 << iota // charset binary
	FlagHandleKey                          // part of the handle key
	FlagGenerated                          // stored generated column
	FlagPrimaryKey                         // part of the primary key
	FlagUniqueKey                          // part of a unique index
	FlagMultipleKey                        // part of a non-unique or of any multi-column index
	FlagNullable                           // may be NULL
	FlagUnsigned                           // unsigned number
)

// Column is one replicated column: public and not virtual.
type Column struct {
	ID     int64
	Name   string
	Offset int  // position in Table.Info.Columns
	Type   byte // MySQL type code
	Flag   ColumnFlag
	// FieldType is TiDB's full type; shared, read-only.
	FieldType *types.FieldType
}

// Has tells whether all bits of f are set.
func (c *Column) Has(f ColumnFlag) bool { return c.Flag&f == f }

// Index is a primary or unique index.
type Index struct {
	ID      int64
	Name    string
	Primary bool
	// Columns are positions in Table.Columns, in index order. An index with a
	// virtual column is left out of Table.Indexes, since its key is not in rows,
	// and so is a partial one, which tells no two rows apart outside of its condition.
	Columns []int
	// PrefixLengths are the index prefix lengths per column, -1 for the whole.
	PrefixLengths []int
	// NotNull says that none of the columns may be NULL.
	NotNull bool
}

// Table is one version of one table. It is immutable and shared between all
// rows, goroutines and changefeeds that use this version.
type Table struct {
	ID       int64 // logical id; equals the physical id when not partitioned
	SchemaID int64
	Schema   string
	Name     string
	// Version is the finished-ts of the DDL that made this version, or the
	// snapshot-ts for tables that existed at the start.
	Version uint64

	Columns []Column
	// Indexes are the primary and unique indexes that hold every row,
	// without virtual columns.
	Indexes []Index
	// HandleKey are the positions in Columns of the key that identifies a
	// row downstream: primary key, else the NOT NULL unique index with the
	// fewest columns. Empty when there is none.
	HandleKey []int
	// PartitionIDs are the physical ids; nil when not partitioned.
	PartitionIDs []int64

	// Info is TiDB's own description; read-only.
	Info *timodel.TableInfo
}

// PhysicalIDs returns the ids under which the table's rows are stored.
func (t *Table) PhysicalIDs() []int64 {
	if t.PartitionIDs != nil {
		return t.PartitionIDs
	}
	return []int64{t.ID}
}

// IsView and IsSequence tell tables that hold no rows of their own.
func (t *Table) IsView() bool { return t.Info.IsView() }

// IsSequence tells whether the table is a sequence.
func (t *Table) IsSequence() bool { return t.Info.IsSequence() }

// Eligible tells whether rows of the table can be replicated: it needs a
// handle key, unless force is set, and must be neither view, sequence nor
// temporary table.
func (t *Table) Eligible(force bool) bool {
	if t.IsView() || t.IsSequence() || t.Info.TempTableType != timodel.TempTableNone {
		return false
	}
	return force || len(t.HandleKey) > 0
}
