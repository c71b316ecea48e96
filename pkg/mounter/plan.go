package mounter

import (
	"bytes"
	"slices"
	"sort"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidemark/tidemark/pkg/model"
)

// class groups the column types that are stored and shown alike.
type class uint8

const (
	classUnknown class = iota
	classInt
	classUint // unsigned integers, set, bit
	classEnum
	classFloat32
	classFloat64
	classDecimal
	classDate
	classDatetime
	classTimestamp
	classDuration
	classBytes
	classJSON
	classVector
)

// column is what decoding needs to know of a column.
type column struct {
	id    int64
	class class
	fsp   int    // digits after the second
	elems uint64 // number of elements of an enum
	// absent is the value of rows that were written before the column was
	// added. Its text is in memory of its own.
	absent model.Value
}

// plan is a table version prepared for decoding.
type plan struct {
	table *model.Table
	cols  []column
	byID  []int // positions in cols, by rising column id
	// intHandle is the position of the column that the key holds as an
	// integer, -1 if there is none; handle the positions of the columns of a
	// common handle, in the order of the key.
	intHandle int
	handle    []int
}

// planOf returns the prepared table version.
func (d *Decoder) planOf(t *model.Table) *plan {
	if d.last != nil && d.last.table == t {
		return d.last
	}
	p, ok := d.plans[t]
	if !ok {
		if len(d.plans) >= maxPlans {
			clear(d.plans)
		}
		p = newPlan(t, d.loc)
		d.plans[t] = p
	}
	d.last = p
	return p
}

func newPlan(t *model.Table, loc *time.Location) *plan {
	p := &plan{table: t, cols: make([]column, len(t.Columns)), byID: make([]int, len(t.Columns)), intHandle: -1}
	position := make(map[int]int, len(t.Columns)) // offset in TiDB's list -> position in ours
	for i := range t.Columns {
		c := &t.Columns[i]
		position[c.Offset] = i
		p.byID[i] = i
		p.cols[i] = newColumn(c, t.Info.Columns[c.Offset], loc)
		if t.Info.PKIsHandle && mysql.HasPriKeyFlag(c.FieldType.GetFlag()) {
			p.intHandle = i
		}
	}
	sort.Slice(p.byID, func(a, b int) bool { return p.cols[p.byID[a]].id < p.cols[p.byID[b]].id })
	if t.Info.IsCommonHandle {
		p.handle = handlePositions(t.Info, position)
	}
	return p
}

func handlePositions(info *timodel.TableInfo, position map[int]int) []int {
	at := slices.IndexFunc(info.Indices, func(x *timodel.IndexInfo) bool { return x.Primary })
	if at < 0 {
		return nil
	}
	var out []int
	for _, col := range info.Indices[at].Columns {
		i, ok := position[col.Offset]
		if !ok {
			return nil // cannot be: primary key columns are public and stored
		}
		out = append(out, i)
	}
	return out
}

func newColumn(c *model.Column, info *timodel.ColumnInfo, loc *time.Location) column {
	col := column{id: c.ID, class: classOf(c.FieldType), fsp: min(max(c.FieldType.GetDecimal(), 0), 6)}
	if col.class == classEnum {
		col.elems = uint64(len(c.FieldType.GetElems()))
	}
	col.absent = absentValue(&col, info, loc)
	return col
}

func classOf(ft *types.FieldType) class {
	switch ft.GetType() {
	case mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24, mysql.TypeLong, mysql.TypeLonglong:
		if mysql.HasUnsignedFlag(ft.GetFlag()) {
			return classUint
		}
		return classInt
	case mysql.TypeYear:
		return classInt
	case mysql.TypeSet, mysql.TypeBit:
		return classUint
	case mysql.TypeEnum:
		return classEnum
	case mysql.TypeFloat:
		return classFloat32
	case mysql.TypeDouble:
		return classFloat64
	case mysql.TypeNewDecimal:
		return classDecimal
	case mysql.TypeDate, mysql.TypeNewDate:
		return classDate
	case mysql.TypeDatetime:
		return classDatetime
	case mysql.TypeTimestamp:
		return classTimestamp
	case mysql.TypeDuration:
		return classDuration
	case mysql.TypeString, mysql.TypeVarchar, mysql.TypeVarString,
		mysql.TypeTinyBlob, mysql.TypeBlob, mysql.TypeMediumBlob, mysql.TypeLongBlob:
		return classBytes
	case mysql.TypeJSON:
		return classJSON
	case mysql.TypeTiDBVectorFloat32:
		return classVector
	}
	return classUnknown
}

// sameBytes compares the stored form of columns of both sides. Equal bytes
// mean equal values; when the rows are not in the current format, or a column
// is stored on one side only, it is not sure.
func (p *plan) sameBytes(c *model.RawChange, columns []int) (same, sure bool) {
	newRow, err := parseRow(c.Value())
	if err != nil {
		return false, false
	}
	oldRow, err := parseRow(c.OldValue())
	if err != nil {
		return false, false
	}
	for _, i := range columns {
		a, aState := newRow.find(p.cols[i].id)
		b, bState := oldRow.find(p.cols[i].id)
		if aState != bState || !bytes.Equal(a, b) {
			return false, false
		}
	}
	return true, true
}
