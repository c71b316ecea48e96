package simple

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// shape is how a column's values are written.
type shape uint8

const (
	shapeNumber    shape = iota // integers, year, bit, enum, set
	shapeBigint                 // unsigned bigint
	shapeFloat                  // float
	shapeDouble                 // double
	shapeText                   // texts
	shapeVector                 // vector
	shapeBinary                 // bytes
	shapeTimestamp              // timestamp, with its time zone
)

// plan is what the rows of a table version have in common.
type plan struct {
	head    []byte   // what precedes the table's id
	columns []column // by rising name
	numKeys int      // columns of the handle key
}

type column struct {
	at    int    // position in Table.Columns
	name  []byte // as it is written
	shape shape
	key   bool
}

// newPlan sorts the columns; name encodes a column's name.
func newPlan(t *model.Table, head []byte, name func(string) []byte) *plan {
	p := &plan{head: head, columns: make([]column, len(t.Columns))}
	for i := range t.Columns {
		c := &t.Columns[i]
		p.columns[i] = column{at: i, name: name(c.Name), shape: shapeOf(c), key: c.Has(model.FlagHandleKey)}
		if p.columns[i].key {
			p.numKeys++
		}
	}
	slices.SortFunc(p.columns, func(a, b column) int {
		return strings.Compare(t.Columns[a.at].Name, t.Columns[b.at].Name)
	})
	return p
}

func shapeOf(c *model.Column) shape {
	switch c.Type {
	case mysql.TypeLonglong:
		if c.Has(model.FlagUnsigned) {
			return shapeBigint
		}
		return shapeNumber
	case mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24, mysql.TypeLong, mysql.TypeYear,
		mysql.TypeBit, mysql.TypeEnum, mysql.TypeSet:
		return shapeNumber
	case mysql.TypeFloat:
		return shapeFloat
	case mysql.TypeDouble:
		return shapeDouble
	case mysql.TypeTimestamp:
		return shapeTimestamp
	case mysql.TypeTiDBVectorFloat32:
		return shapeVector
	}
	if codec.IsBinary(c.FieldType) {
		return shapeBinary
	}
	return shapeText
}
