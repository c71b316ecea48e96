package schema

import (
	"cmp"
	"slices"

	timodel "github.com/pingcap/tidb/pkg/meta/model"

	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

// catalog is the databases and tables in all versions since some TSO. Its
// owner guards it.
type catalog struct {
	schemas histories[*timodel.DBInfo]
	tables  histories[*model.Table]
	// parents says to which table a partition belongs, 0 when to none.
	parents histories[int64]
	// names finds the newest tables by database and lower-case name.
	names map[tableName]int64
}

type tableName struct {
	schemaID int64
	name     string
}

func nameOf(t *model.Table) tableName { return tableName{t.SchemaID, t.Info.Name.L} }

func newCatalog(s *snapshot) *catalog {
	c := &catalog{
		schemas: newHistories[*timodel.DBInfo](), tables: newHistories[*model.Table](),
		parents: newHistories[int64](), names: make(map[tableName]int64, len(s.tables)),
	}
	for _, db := range s.schemas {
		c.schemas.start(db.ID, s.ts, db)
	}
	for _, t := range s.tables {
		c.tables.start(t.ID, s.ts, t)
		c.names[nameOf(t)] = t.ID
		for _, id := range t.PartitionIDs {
			c.parents.start(id, s.ts, t.ID)
		}
	}
	return c
}

// table returns the table whose rows have the physical id as of ts.
func (c *catalog) table(physicalID int64, ts uint64) *model.Table {
	if id := c.parents.at(physicalID, ts); id != 0 {
		return c.tables.at(id, ts)
	}
	return c.tables.at(physicalID, ts)
}

// list returns all tables as of ts, by id.
func (c *catalog) list(ts uint64) []*model.Table {
	out := make([]*model.Table, 0, len(c.tables.byID))
	for _, h := range c.tables.byID {
		if t := h.at(ts); t != nil {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *model.Table) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// schemaName returns the name of a database, fallback when it is not known.
func (c *catalog) schemaName(id int64, fallback string) string {
	if db := c.schemas.latest(id); db != nil {
		return db.Name.O
	}
	return fallback
}

// put makes info the newest version of its table. Tables of system databases
// are not kept.
func (c *catalog) put(ts uint64, schemaID int64, schema string, info *timodel.TableInfo) *model.Table {
	t := NewTable(schemaID, schema, info, ts)
	if filter.IsSystemSchema(schema) {
		c.drop(ts, t.ID)
		return t
	}
	old := c.tables.latest(t.ID)
	if old != nil {
		c.unname(old)
		for _, id := range old.PartitionIDs {
			if !slices.Contains(t.PartitionIDs, id) {
				c.release(ts, id, old.ID)
			}
		}
	}
	for _, id := range t.PartitionIDs {
		if c.parents.latest(id) != t.ID {
			c.parents.set(id, ts, t.ID)
		}
	}
	c.tables.set(t.ID, ts, t)
	c.names[nameOf(t)] = t.ID
	return t
}

// drop removes a table and returns what it was, nil when it is not known.
func (c *catalog) drop(ts uint64, id int64) *model.Table {
	old := c.tables.latest(id)
	if old == nil {
		return nil
	}
	c.unname(old)
	for _, p := range old.PartitionIDs {
		c.release(ts, p, id)
	}
	c.tables.set(id, ts, nil)
	return old
}

// release ends that a partition belongs to a table, unless another one has
// taken it over already.
func (c *catalog) release(ts uint64, partitionID, tableID int64) {
	if c.parents.latest(partitionID) == tableID {
		c.parents.set(partitionID, ts, 0)
	}
}

func (c *catalog) unname(t *model.Table) {
	if c.names[nameOf(t)] == t.ID {
		delete(c.names, nameOf(t))
	}
}

// dropSchema removes a database with all its tables.
func (c *catalog) dropSchema(ts uint64, id int64) {
	for name, table := range c.names {
		if name.schemaID == id {
			c.drop(ts, table)
		}
	}
	c.schemas.set(id, ts, nil)
}

// replace makes the content of a snapshot the newest state.
func (c *catalog) replace(s *snapshot) {
	kept := make(map[int64]bool, len(s.tables))
	for _, db := range s.schemas {
		kept[db.ID] = true
	}
	for id, h := range c.schemas.byID {
		if h.latest() != nil && !kept[id] {
			c.dropSchema(s.ts, id)
		}
	}
	for _, db := range s.schemas {
		c.schemas.set(db.ID, s.ts, db)
	}
	clear(kept)
	for _, t := range s.tables {
		kept[t.ID] = true
	}
	for id, h := range c.tables.byID {
		if h.latest() != nil && !kept[id] {
			c.drop(s.ts, id)
		}
	}
	for _, t := range s.tables {
		c.put(s.ts, t.SchemaID, t.Schema, t.Info)
	}
}

// trim forgets history that is not valid at any ts >= floor.
func (c *catalog) trim(floor uint64) {
	c.schemas.trim(floor)
	c.tables.trim(floor)
	c.parents.trim(floor)
}
