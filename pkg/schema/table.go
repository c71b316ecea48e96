package schema

import (
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidemark/tidemark/pkg/model"
)

// primaryName is the name that every primary key has.
const primaryName = "PRIMARY"

// NewTable describes a version of a table for replication. The info must not
// be changed afterwards.
func NewTable(schemaID int64, schema string, info *timodel.TableInfo, version uint64) *model.Table {
	t := &model.Table{
		ID: info.ID, SchemaID: schemaID, Schema: schema, Name: info.Name.O,
		Version: version, Info: info,
	}
	position := addColumns(t)
	addIndexes(t, position)
	chooseHandleKey(t)
	flagColumns(t, position)
	if p := info.GetPartitionInfo(); p != nil {
		t.PartitionIDs = make([]int64, len(p.Definitions))
		for i := range p.Definitions {
			t.PartitionIDs[i] = p.Definitions[i].ID
		}
	}
	return t
}

// addColumns takes the columns that rows hold, and returns their positions by
// offset in TiDB's list.
func addColumns(t *model.Table) map[int]int {
	position := make(map[int]int, len(t.Info.Columns))
	t.Columns = make([]model.Column, 0, len(t.Info.Columns))
	for i, c := range t.Info.Columns {
		if c.State != timodel.StatePublic || c.IsVirtualGenerated() {
			continue
		}
		position[i] = len(t.Columns)
		t.Columns = append(t.Columns, model.Column{
			ID: c.ID, Name: c.Name.O, Offset: i, Type: c.GetType(),
			Flag: ownFlags(c), FieldType: &c.FieldType,
		})
	}
	return position
}

// ownFlags are the flags that do not depend on public indexes.
func ownFlags(c *timodel.ColumnInfo) model.ColumnFlag {
	flag, own := c.GetFlag(), model.ColumnFlag(0)
	set := func(on bool, f model.ColumnFlag) {
		if on {
			own |= f
		}
	}
	set(c.GetCharset() == charset.CharsetBin, model.FlagBinary)
	set(c.IsGenerated(), model.FlagGenerated)
	set(mysql.HasPriKeyFlag(flag), model.FlagPrimaryKey)
	set(mysql.HasUniKeyFlag(flag), model.FlagUniqueKey)
	set(mysql.HasMultipleKeyFlag(flag), model.FlagMultipleKey)
	set(!mysql.HasNotNullFlag(flag), model.FlagNullable)
	set(mysql.HasUnsignedFlag(flag), model.FlagUnsigned)
	return own
}

func addIndexes(t *model.Table, position map[int]int) {
	if t.Info.PKIsHandle {
		for i := range t.Columns {
			if mysql.HasPriKeyFlag(t.Columns[i].FieldType.GetFlag()) {
				t.Indexes = append(t.Indexes, model.Index{
					Name: primaryName, Primary: true, NotNull: true,
					Columns: []int{i}, PrefixLengths: []int{types.UnspecifiedLength},
				})
				break
			}
		}
	}
	for _, x := range t.Info.Indices {
		if x.State != timodel.StatePublic || !x.Unique && !x.Primary {
			continue
		}
		if index, ok := newIndex(t, x, position); ok {
			t.Indexes = append(t.Indexes, index)
		}
	}
}

// newIndex is false for an index with a column that rows do not hold, and for
// a partial one: rows outside of its condition may have any values.
func newIndex(t *model.Table, x *timodel.IndexInfo, position map[int]int) (model.Index, bool) {
	index := model.Index{ID: x.ID, Name: x.Name.O, Primary: x.Primary, NotNull: true}
	if x.HasCondition() {
		return index, false
	}
	for _, c := range x.Columns {
		i, ok := position[c.Offset]
		if !ok {
			return index, false
		}
		index.Columns = append(index.Columns, i)
		index.PrefixLengths = append(index.PrefixLengths, c.Length)
		index.NotNull = index.NotNull && mysql.HasNotNullFlag(t.Columns[i].FieldType.GetFlag())
	}
	return index, true
}

// chooseHandleKey takes the primary key, else the unique index without NULLs
// that has the fewest columns, and of several the oldest.
func chooseHandleKey(t *model.Table) {
	best := -1
	for i := range t.Indexes {
		x := &t.Indexes[i]
		switch {
		case x.Primary:
			t.HandleKey = x.Columns
			return
		case !x.NotNull:
		case best < 0, len(x.Columns) < len(t.Indexes[best].Columns),
			len(x.Columns) == len(t.Indexes[best].Columns) && x.ID < t.Indexes[best].ID:
			best = i
		}
	}
	if best >= 0 {
		t.HandleKey = t.Indexes[best].Columns
	}
}

// flagColumns marks every column of each index. MySQL marks the first only.
func flagColumns(t *model.Table, position map[int]int) {
	for _, i := range t.HandleKey {
		t.Columns[i].Flag |= model.FlagHandleKey
	}
	for _, x := range t.Info.Indices {
		if x.State != timodel.StatePublic {
			continue
		}
		var flag model.ColumnFlag
		switch {
		case x.Primary:
			flag = model.FlagPrimaryKey
		case x.Unique:
			flag = model.FlagUniqueKey
		}
		if len(x.Columns) > 1 {
			flag |= model.FlagMultipleKey
		}
		for _, c := range x.Columns {
			if i, ok := position[c.Offset]; ok {
				t.Columns[i].Flag |= flag
			}
		}
	}
}
