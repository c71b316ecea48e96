package simple

import (
	"encoding/binary"
	"encoding/json"
	"slices"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidemark/tidemark/pkg/model"
)

// primaryName is the name of the index that stands for a primary key without an
// index of its own.
const primaryName = "primary"

// tableSchema describes a table version to consumers.
type tableSchema struct {
	Schema  string         `json:"schema"`
	Table   string         `json:"table"`
	TableID int64          `json:"tableID"`
	Version uint64         `json:"version"`
	Columns []columnSchema `json:"columns"`
	Indexes []indexSchema  `json:"indexes"`
}

type columnSchema struct {
	Name     string   `json:"name"`
	DataType dataType `json:"dataType"`
	Nullable bool     `json:"nullable"`
	Default  any      `json:"default"` // nil, a string, or the number of a bit column
}

type dataType struct {
	MySQLType string   `json:"mysqlType"`
	Charset   string   `json:"charset"`
	Collate   string   `json:"collate"`
	Length    int      `json:"length,omitempty"`
	Decimal   int      `json:"decimal,omitempty"`
	Elements  []string `json:"elements,omitempty"`
	Unsigned  bool     `json:"unsigned,omitempty"`
	Zerofill  bool     `json:"zerofill,omitempty"`

	// tp is the type's number, for encoding.
	tp byte
}

type indexSchema struct {
	Name     string   `json:"name"`
	Unique   bool     `json:"unique"`
	Primary  bool     `json:"primary"`
	Nullable bool     `json:"nullable"`
	Columns  []string `json:"columns"`
}

// schemaOf describes a table: all its public columns, in the order of their
// ids, and all its public indexes. Nil stays nil.
func schemaOf(t *model.Table) *tableSchema {
	if t == nil {
		return nil
	}
	s := &tableSchema{
		Schema: t.Schema, Table: t.Name, TableID: t.ID, Version: t.Info.UpdateTS,
		Columns: make([]columnSchema, 0, len(t.Info.Columns)), Indexes: make([]indexSchema, 0, len(t.Info.Indices)+1),
	}
	columns := slices.Clone(t.Info.Columns)
	slices.SortStableFunc(columns, func(a, b *timodel.ColumnInfo) int { return int(a.ID - b.ID) })
	for _, c := range columns {
		if c.State == timodel.StatePublic {
			s.Columns = append(s.Columns, newColumnSchema(c))
		}
	}
	hasPrimary := false
	for _, x := range t.Info.Indices {
		if x.State == timodel.StatePublic {
			s.Indexes = append(s.Indexes, newIndexSchema(t.Info, x))
			hasPrimary = hasPrimary || x.Primary
		}
	}
	if !hasPrimary && len(t.HandleKey) > 0 {
		key := indexSchema{Name: primaryName, Unique: true, Primary: true}
		for _, i := range t.HandleKey {
			key.Columns = append(key.Columns, t.Columns[i].Name)
		}
		s.Indexes = append(s.Indexes, key)
	}
	return s
}

func newColumnSchema(c *timodel.ColumnInfo) columnSchema {
	s := columnSchema{
		Name:     c.Name.O,
		Nullable: !mysql.HasNotNullFlag(c.GetFlag()),
		Default:  c.GetDefaultValue(),
		DataType: dataType{
			MySQLType: types.TypeToStr(c.GetType(), c.GetCharset()),
			Charset:   c.GetCharset(), Collate: c.GetCollate(),
			Length: c.GetFlen(), Elements: c.GetElems(),
			Unsigned: mysql.HasUnsignedFlag(c.GetFlag()), Zerofill: mysql.HasZerofillFlag(c.GetFlag()),
			tp: c.GetType(),
		},
	}
	if tp := c.GetType(); tp != mysql.TypeFloat && tp != mysql.TypeDouble {
		s.DataType.Decimal = c.GetDecimal()
	}
	if text, ok := s.Default.(string); ok && c.GetType() == mysql.TypeBit {
		s.Default = bitNumber(text)
	}
	return s
}

// bitNumber is the number of a bit column's default, which has 8 bytes at most.
func bitNumber(text string) uint64 {
	var b [8]byte
	copy(b[max(0, 8-len(text)):], text)
	return binary.BigEndian.Uint64(b[:])
}

func newIndexSchema(info *timodel.TableInfo, x *timodel.IndexInfo) indexSchema {
	s := indexSchema{Name: x.Name.O, Unique: x.Unique, Primary: x.Primary, Columns: make([]string, 0, len(x.Columns))}
	for _, c := range x.Columns {
		column := info.Columns[c.Offset]
		s.Columns = append(s.Columns, column.Name.O)
		s.Nullable = s.Nullable || !mysql.HasNotNullFlag(column.GetFlag())
	}
	return s
}

// appendSchemaJSON appends the JSON form.
func appendSchemaJSON(b []byte, s *tableSchema) ([]byte, error) {
	text, err := json.Marshal(s)
	return append(b, text...), err
}

// isKey tells whether a column is part of the primary key that is announced.
func (s *tableSchema) isKey(column string) bool {
	for i := range s.Indexes {
		if s.Indexes[i].Primary {
			return slices.Contains(s.Indexes[i].Columns, column)
		}
	}
	return false
}

// typeName is a column's type as a Cell shows it.
func (d *dataType) typeName() string {
	name := d.MySQLType
	if name == "bit" || name == "year" {
		return name
	}
	if d.Unsigned {
		name += " unsigned"
	}
	if d.Zerofill {
		name += " zerofill"
	}
	return name
}
