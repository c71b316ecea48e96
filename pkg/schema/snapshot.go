package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/filter"
	"github.com/tidemark/tidemark/pkg/model"
)

// scanParallelism is the number of databases that are read at a time.
const scanParallelism = 8

// snapshot is what the meta keys say at one TSO. System databases are listed
// without their tables.
type snapshot struct {
	ts      uint64
	schemas []*timodel.DBInfo
	tables  []*model.Table
}

// loadSnapshot reads the schema as of ts.
func loadSnapshot(ctx context.Context, up Upstream, ts uint64) (*snapshot, error) {
	s := &snapshot{ts: ts}
	var err error
	if s.schemas, err = loadDatabases(ctx, up, ts); err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		scan errgroup.Group
	)
	scan.SetLimit(scanParallelism)
	for _, db := range s.schemas {
		if filter.IsSystemSchema(db.Name.O) {
			continue
		}
		scan.Go(func() error {
			tables, err := loadTables(ctx, up, ts, db)
			mu.Lock()
			defer mu.Unlock()
			s.tables = append(s.tables, tables...)
			return err
		})
	}
	if err := scan.Wait(); err != nil {
		return nil, err
	}
	return s, nil
}

func loadDatabases(ctx context.Context, up Upstream, ts uint64) ([]*timodel.DBInfo, error) {
	var dbs []*timodel.DBInfo
	start, end := fieldRange(hashDatabases, fieldDatabase)
	err := up.Scan(ctx, ts, start, end, func(_, value []byte) error {
		db := &timodel.DBInfo{}
		if err := json.Unmarshal(value, db); err != nil {
			return fmt.Errorf("description of a database: %w", err)
		}
		dbs = append(dbs, db)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read databases at %d: %w", ts, err)
	}
	return dbs, nil
}

// loadTables reads the tables of one database. Most of the time goes into
// parsing, which several goroutines share.
func loadTables(ctx context.Context, up Upstream, ts uint64, db *timodel.DBInfo) ([]*model.Table, error) {
	var raw [][]byte
	hash := databaseHash(db.ID)
	start, end := fieldRange(hash, fieldTable)
	err := up.Scan(ctx, ts, start, end, func(key, value []byte) error {
		if _, ok := fieldID(key, hash, fieldTable); ok {
			raw = append(raw, bytes.Clone(value))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read tables of database %d at %d: %w", db.ID, ts, err)
	}
	tables := make([]*model.Table, len(raw))
	var parse errgroup.Group
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		parse.Go(func() error {
			for i := w; i < len(raw); i += workers {
				info := &timodel.TableInfo{}
				if err := json.Unmarshal(raw[i], info); err != nil {
					return fmt.Errorf("description of a table in database %d: %w", db.ID, err)
				}
				tables[i] = NewTable(db.ID, db.Name.O, info, ts)
			}
			return nil
		})
	}
	return tables, parse.Wait()
}

// loadJobTable reads how finished DDL jobs are stored, from the newest state:
// older ones may be from before the table existed.
func loadJobTable(ctx context.Context, up Upstream) (*jobDecoder, error) {
	ts, err := up.CurrentTSO(ctx)
	if err != nil {
		return nil, err
	}
	dbs, err := loadDatabases(ctx, up, ts)
	if err != nil {
		return nil, err
	}
	for _, db := range dbs {
		if db.Name.L != systemDatabase {
			continue
		}
		value, err := up.Get(ctx, ts, hashKey(databaseHash(db.ID), fmt.Sprintf("%s%d", fieldTable, int64(jobTableID))))
		if err != nil {
			return nil, fmt.Errorf("read the DDL job table's description: %w", err)
		}
		if value == nil {
			break
		}
		info := &timodel.TableInfo{}
		if err := json.Unmarshal(value, info); err != nil {
			return nil, fmt.Errorf("the DDL job table's description: %w", err)
		}
		return newJobDecoder(NewTable(db.ID, db.Name.O, info, ts))
	}
	return nil, fmt.Errorf("the upstream has no DDL job table; TiDB 6.2 or later is needed")
}
