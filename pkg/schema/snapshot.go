package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	tikverr "github.com/tikv/client-go/v2/error"
	"golang.org/x/sync/errgroup"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
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

// rawTable is a table as its key holds it.
type rawTable struct {
	db   *timodel.DBInfo
	json []byte
}

// loadSnapshot reads the schema as of ts. Parsing takes as long as reading,
// so that both go on at the same time.
func loadSnapshot(ctx context.Context, up Upstream, ts uint64) (*snapshot, error) {
	s := &snapshot{ts: ts}
	var err error
	if s.schemas, err = loadDatabases(ctx, up, ts); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	found := make(chan rawTable, 256)
	group.Go(func() error {
		defer close(found)
		return scanTables(ctx, up, ts, s.schemas, found)
	})
	var mu sync.Mutex
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			tables, err := parseTables(ts, found)
			mu.Lock()
			defer mu.Unlock()
			s.tables = append(s.tables, tables...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return s, nil
}

// coded gives reads of a ts that is garbage-collected their code.
func coded(err error, ts uint64) error {
	var lost *tikverr.ErrTxnAbortedByGC
	if errors.As(err, &lost) {
		return cerrors.ErrSnapshotLostByGC.Wrap(err, ts, lost.TxnSafePoint)
	}
	return err
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

// scanTables reads the tables of all databases that are no system databases.
func scanTables(ctx context.Context, up Upstream, ts uint64, dbs []*timodel.DBInfo, found chan<- rawTable) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(scanParallelism)
	for _, db := range dbs {
		if filter.IsSystemSchema(db.Name.O) {
			continue
		}
		group.Go(func() error {
			start, end := fieldRange(databaseHash(db.ID), fieldTable)
			err := up.Scan(ctx, ts, start, end, func(_, value []byte) error {
				select {
				case found <- rawTable{db, bytes.Clone(value)}:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if err != nil {
				return fmt.Errorf("read tables of database %d at %d: %w", db.ID, ts, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func parseTables(ts uint64, found <-chan rawTable) ([]*model.Table, error) {
	var tables []*model.Table
	for raw := range found {
		info := &timodel.TableInfo{}
		if err := json.Unmarshal(raw.json, info); err != nil {
			return nil, fmt.Errorf("description of a table in database %d: %w", raw.db.ID, err)
		}
		tables = append(tables, NewTable(raw.db.ID, raw.db.Name.O, info, ts))
	}
	return tables, nil
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
	return nil, errors.New("the upstream has no DDL job table; TiDB 6.2 or later is needed")
}
